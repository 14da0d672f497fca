"""The server as a process of its own: killed, told to stop, started again (P2, N3, R3)."""

import asyncio
import base64
import itertools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.fakes.behaviour import accepts_late
from adapters.whatsapp.fake import FakeCloudApi
from adapters.whatsapp.fake_rules import FakeAccount
from adapters.whatsapp.fake_webhooks import StatusPlan
from api.main import Database, core
from api.processes import dispatching, projecting
from api.settings import Settings
from tests.api.businesses import verification
from tests.api.conftest import (
    ACCOUNT,
    APP_SECRET,
    TOKEN,
    VERIFY_TOKEN,
    Client,
    signed,
    text_webhook,
)
from tests.api.deliveries import eventually, now
from tests.conftest import Database as EmptyDatabase

HANGING = "700000000000003"
MASTER_KEY = b"k" * 32
STOP_SECONDS_MAX = 10.0
SENDERS = 8
CUSTOMERS = 12


@dataclass
class Installation:
    """A database, a platform, and what starts a server on them."""

    settings: Settings
    where: Database
    fake: FakeCloudApi
    program: Path
    environment: dict[str, str]

    @asynccontextmanager
    async def server(self) -> AsyncIterator["Server"]:
        """A server process; killed at the end if it still runs."""
        process = await asyncio.create_subprocess_exec(
            str(self.program),
            "serve",
            "--port",
            "0",
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
            assert line.startswith("Trunkline is ready at "), line
            url = line.split()[-1]
            async with httpx.AsyncClient(base_url=url, timeout=20) as http:
                yield Server(process, http)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def organisation(self, http: httpx.AsyncClient) -> Client:
        """A new org, made as an operator makes it."""
        process = await asyncio.create_subprocess_exec(
            str(self.program),
            "org",
            "create",
            "Acme",
            "--json",
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        made = json.loads(output)
        return Client(http, made["api_key"], made["organization_id"], made["user_id"])


@dataclass
class Server:
    """A server process and a client to it."""

    process: asyncio.subprocess.Process
    http: httpx.AsyncClient

    def kill(self) -> None:
        """As the machine would."""
        self.process.send_signal(signal.SIGKILL)

    async def stop(self) -> tuple[int, bool]:
        """As an operator would: the exit code, and whether it came in time."""
        started = asyncio.get_running_loop().time()
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), 3 * STOP_SECONDS_MAX)
        return code, asyncio.get_running_loop().time() - started < STOP_SECONDS_MAX


@pytest.fixture(scope="module")
async def installation(
    database: EmptyDatabase, tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> AsyncIterator[Installation]:
    home = tmp_path_factory.mktemp("home")
    async with FakeCloudApi(
        accounts=[
            FakeAccount(phone_number_id=each, access_token=TOKEN) for each in (ACCOUNT, HANGING)
        ],
        app_secret=APP_SECRET,
        plan=StatusPlan(statuses=()),
    ) as fake:
        settings = Settings(
            home=home,
            master_key=MASTER_KEY,
            meta_app_secrets=(APP_SECRET,),
            whatsapp_api_base=fake.base_url,
        )
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(repository),
            "TRUNKLINE_HOME": str(home),
            "TRUNKLINE_DATABASE_URL": database.url,
            "TRUNKLINE_MIGRATION_DATABASE_URL": database.superuser,
            "TRUNKLINE_MASTER_KEY": base64.b64encode(MASTER_KEY).decode(),
            "TRUNKLINE_META_APP_SECRET": APP_SECRET,
            "TRUNKLINE_META_VERIFY_TOKEN": VERIFY_TOKEN,
            "TRUNKLINE_WHATSAPP_API_BASE": fake.base_url,
        }
        where = Database(database.url, database.superuser, "trunkline", True)
        program = Path(sys.executable).parent / "trunkline"
        yield Installation(settings, where, fake, program, environment)


@dataclass
class Load:
    """Customers who write all the time, through several connections."""

    http: httpx.AsyncClient | None  # None until there is a server.
    account_id: str
    written: dict[str, bytes] = field(default_factory=dict)  # Webhooks by text.
    acknowledged: list[str] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)

    async def run(self) -> None:
        """Write until the server answers no more."""
        await asyncio.gather(*(self._write() for _ in range(SENDERS)))

    async def _write(self) -> None:
        assert self.http is not None
        while True:
            number = next(self.numbers)
            text = f"message {number}"
            webhook = text_webhook(
                text,
                wamid=f"wamid.{self.account_id}.{number}",
                timestamp=now(),
                phone=str(12025550100 + number % CUSTOMERS),
                account_id=self.account_id,
            )
            self.written[text] = json.dumps(webhook).encode()
            try:
                if not await deliver(self.http, self.written[text]):
                    return
            except httpx.TransportError:
                return
            self.acknowledged.append(text)

    async def until(self, count: int) -> None:
        """Wait until so many are acknowledged."""

        async def enough() -> bool:
            return len(self.acknowledged) >= count

        await eventually(enough, True)


async def deliver(http: httpx.AsyncClient, body: bytes) -> bool:
    """Post a webhook; whether it was acknowledged."""
    response = await http.post("/webhooks/whatsapp", content=body, headers=signed(body))
    return response.status_code == 200


async def redeliver(http: httpx.AsyncClient, bodies: Sequence[bytes]) -> None:
    """All of them, several at once; each is acknowledged."""
    for start in range(0, len(bodies), SENDERS):
        batch = bodies[start : start + SENDERS]
        assert all(await asyncio.gather(*(deliver(http, body) for body in batch)))


async def received(client: Client, account_id: str) -> Counter[str]:
    """How often each text stands in the inbox of the account's channel."""
    await client.settled()
    channels = (await client.get("/v1/channels"))["items"]
    (channel_id,) = [each["id"] for each in channels if each["account_id"] == account_id]
    texts: Counter[str] = Counter()
    for chat in await client.chats("crm", channel=channel_id):
        texts.update(each["content"]["text"] for each in await client.messages("crm", chat["id"]))
    return texts


async def positions(client: Client) -> list[int]:
    return [each["position"] for each in await client.events()]


async def test_a_killed_server_has_lost_nothing_it_acknowledged(installation: Installation) -> None:
    """Spec P2: each message is there once, positions have no gaps, and it takes the rest again."""
    account = "700000000000001"
    async with installation.server() as first:
        org = await installation.organisation(first.http)
        await org.services("crm")
        channel = await org.connect("crm", account)
        unknown = ("failed", "account_unknown")
        await eventually(lambda: verification(org, channel["id"]), unknown)
        load = Load(first.http, account)
        loading = asyncio.create_task(load.run())
        await load.until(150)
        first.kill()
        await loading
    async with installation.server() as second:
        org.http = second.http
        found = await received(org, account)
        assert {text: found[text] for text in load.acknowledged} == dict.fromkeys(
            load.acknowledged, 1
        )
        assert found.keys() <= load.written.keys()
        before = await org.events()
        assert [each["position"] for each in before] == list(range(1, len(before) + 1))
        await redeliver(second.http, [load.written[text] for text in found])
        assert await org.events() == before
        await redeliver(second.http, list(load.written.values()))
        assert await received(org, account) == dict.fromkeys(load.written, 1)
        last = await positions(org)
        assert last == list(range(1, len(last) + 1))


async def test_a_server_that_is_told_to_stop_ends_in_time_and_loses_nothing(
    installation: Installation,
) -> None:
    """SIGTERM drains and ends within 10 seconds with exit code 0."""
    account = "700000000000002"
    async with installation.server() as first:
        org = await installation.organisation(first.http)
        await org.services("crm")
        await org.connect("crm", account)
        load = Load(first.http, account)
        loading = asyncio.create_task(load.run())
        await load.until(100)
        assert await first.stop() == (0, True)
        await loading
    async with installation.server() as second:
        org.http = second.http
        found = await received(org, account)
        assert {text: found[text] for text in load.acknowledged} == dict.fromkeys(
            load.acknowledged, 1
        )
        last = await positions(org)
        assert last == list(range(1, len(last) + 1))


@dataclass
class Ahead:
    """A clock that shows what the time will be."""

    by: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by


async def test_what_a_dead_server_was_sending_is_uncertain_and_not_sent_again(
    installation: Installation,
) -> None:
    """Spec N3: killed between the event that takes a message and the platform's answer."""
    async with installation.server() as first:
        org = await installation.organisation(first.http)
        await org.services("crm")
        channel = await org.connect("crm", ACCOUNT)
        await eventually(lambda: verification(org, channel["id"]), ("verified", None))
        webhook = text_webhook("hello", wamid="wamid.hello", timestamp=now() - 60)
        assert await deliver(first.http, json.dumps(webhook).encode())
        await org.settled()
        (chat,) = await org.chats("crm")
        installation.fake.next_requests(accepts_late(20))
        await org.reply("crm", chat["id"], "hi")
        await eventually(installation_sent(installation), ["hi"])
        first.kill()
    later = Ahead(timedelta(seconds=61))
    async with (
        core(installation.settings, installation.where, clock=later) as parts,
        projecting(parts),
        dispatching(parts),
        installation.server() as second,
    ):
        org.http = second.http

        async def fate() -> Any:
            await org.settled()
            return (await org.messages("crm", chat["id"]))[-1]["status"]

        await eventually(fate, "uncertain")
        lost = await org.events(type="chat.send_uncertain")
        assert [each["data"]["reason"] for each in lost] == ["dispatcher_lost"]
        assert await installation_sent(installation)() == ["hi"]


async def test_a_platform_that_does_not_answer_does_not_hold_up_the_end(
    installation: Installation,
) -> None:
    """SIGTERM ends within 10 seconds. Nobody knows what became of the message (N3)."""
    async with installation.server() as first:
        org = await installation.organisation(first.http)
        await org.services("crm")
        channel = await org.connect("crm", HANGING)
        await eventually(lambda: verification(org, channel["id"]), ("verified", None))
        webhook = text_webhook(
            "hello", wamid="wamid.hanging", timestamp=now() - 60, account_id=HANGING
        )
        assert await deliver(first.http, json.dumps(webhook).encode())
        await org.settled()
        (chat,) = await org.chats("crm")
        installation.fake.next_requests(accepts_late(20))
        await org.reply("crm", chat["id"], "hanging")

        async def started() -> int:
            return len(await org.events(type="chat.send_started"))

        await eventually(started, 1)
        assert await first.stop() == (0, True)
    async with installation.server() as second:
        org.http = second.http
        await org.settled()
        assert (await org.messages("crm", chat["id"]))[-1]["status"] == "uncertain"


def installation_sent(installation: Installation) -> Any:
    async def texts() -> list[str | None]:
        return [each.text for each in installation.fake.accepted]

    return texts
