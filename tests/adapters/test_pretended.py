"""What one plays with a fake: a customer writes, requests go wrong, and what was sent is shown."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.fakes.server import Answer, FakeServer, Request
from adapters.pretended import PRETENDED, Pretended
from api.cli.fake import Printer
from api.main import pretended

every_platform = pytest.mark.parametrize("platform", list(PRETENDED))


@asynccontextmanager
async def playing(
    platform: str,
) -> AsyncIterator[tuple[Pretended, httpx.AsyncClient, list[Request]]]:
    """A fake, a client to its control, and the webhooks that come."""
    heard: list[Request] = []

    def hear(request: Request) -> Answer:
        heard.append(request)
        return Answer(body=b"success")

    server = FakeServer(hear)
    await server.start()
    url = f"{server.base_url}/webhooks/{platform}"
    try:
        async with (
            pretended(platform, webhook_url=url) as one,
            httpx.AsyncClient(base_url=f"{one.fake.base_url}/_fake", trust_env=False) as client,
        ):
            yield one, client, heard
    finally:
        await server.stop()


@every_platform
async def test_a_customer_writes(platform: str) -> None:
    async with playing(platform) as (one, client, heard):
        path = f"/customers/{one.customer}/messages"
        answer = await client.post(path, json={"text": "Good morning"})
        assert answer.status_code == 200
        assert answer.json()["id"]
        await one.fake.settled()
        (webhook,), (delivery,) = heard, one.fake.deliveries
        assert webhook.path.startswith(f"/webhooks/{platform}")
        assert webhook.body == delivery.body
        assert delivery.is_done


@every_platform
async def test_trouble_is_met_by_messages_and_by_nothing_else(platform: str) -> None:
    async with playing(platform) as (one, client, _):
        made = await client.post("/trouble", json={"kind": "is_down", "count": 2})
        assert made.json() == {"kind": "is_down", "count": 2}
        assert (await client.get("/messages")).json() == []
        async with httpx.AsyncClient(base_url=one.fake.base_url, trust_env=False) as its_api:
            paths = ("/anything", *[one.fake.SENDS] * 3)
            statuses = [(await its_api.post(path)).status_code for path in paths]
        assert [status == 503 for status in statuses] == [False, True, True, False]
        assert len(one.fake.requests) == 4


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/customers/12025550143/messages", {}),
        ("POST", "/customers/12025550143/messages", {"text": 5}),
        ("POST", "/customers/12025550143/messages", []),
        ("POST", "/trouble", {"kind": "rain"}),
        ("POST", "/trouble", {"kind": ["drops"]}),
        ("POST", "/trouble", {"kind": "drops", "count": 0}),
        ("POST", "/trouble", {"kind": "drops", "count": "3"}),
        ("GET", "/nothing", None),
        ("DELETE", "/messages", None),
    ],
)
async def test_what_it_cannot_do_is_said(method: str, path: str, body: Any) -> None:
    async with playing("whatsapp") as (one, client, _):
        answer = await client.request(method, path, json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert one.fake.deliveries == []


async def test_an_address_that_the_platform_does_not_have_is_refused() -> None:
    async with playing("telegram") as (_, client, _):
        answer = await client.post("/customers/nobody/messages", json={"text": "Hi"})
        assert answer.status_code == 400
        assert "nobody" in answer.json()["error"]


# The command.


async def test_the_command_says_how_it_is_used_and_ends_when_asked() -> None:
    program = Path(sys.executable).parent / "trunkline"
    process = await asyncio.create_subprocess_exec(
        str(program), "fake", "whatsapp", "--json", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        assert ready["what"] == "ready"
        assert ready["webhook_url"] == "http://127.0.0.1:8000/webhooks/whatsapp"
        assert ready["environment"] == {
            "TRUNKLINE_WHATSAPP_API_BASE": ready["base"],
            "TRUNKLINE_META_APP_SECRET": "fake-app-secret",
        }
        headers = {"Authorization": f"Bearer {ready['credentials']['access_token']}"}
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": "+12025550143",
            "type": "text",
            "text": {"body": "Bonjour"},
        }
        async with httpx.AsyncClient(base_url=ready["base"], trust_env=False) as client:
            path = f"/v26.0/{ready['account_id']}/messages"
            assert (await client.post(path, json=body, headers=headers)).status_code == 200
        told = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        assert told == {
            "what": "message",
            "to": "12025550143",
            "kind": "text",
            "text": "Bonjour",
            "id": told["id"],
        }
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_what_was_sent_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    async with playing("whatsapp") as (one, _, _):
        headers = {"Authorization": f"Bearer {one.credentials['access_token']}"}
        to = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": "+12025550143"}
        place = {"type": "location", "location": {"latitude": 35.4, "longitude": 139.6}}
        text = {"type": "text", "text": {"body": "Bonjour"}}
        async with httpx.AsyncClient(base_url=one.fake.base_url, trust_env=False) as client:
            for said in (text, place):
                path = f"/v26.0/{one.account_id}/messages"
                answer = await client.post(path, json=to | said, headers=headers)
                assert answer.status_code == 200, answer.text
        Printer(as_json=False).tell(one)
    told = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert told[:2] == ["to 12025550143: Bonjour (text)", "to 12025550143: (location)"]
