"""A server that dies while LINE answers it: the next one asks again with the same key (N3)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from adapters.line.fake import FakeLine
from adapters.line.fake_rules import FakeLineAccount, RetryKeys
from tests.api.conftest import Client
from tests.api.deliveries import eventually
from tests.failures.house import AHEAD_SECONDS, DEATH_SECONDS_MAX, House

KIM = "U19c8e7d6b5a493827160f5e4d3c2b1a0"
# An account belongs to one organisation, so each test takes one of these.
ACCOUNTS = iter(
    FakeLineAccount(user_id=f"U{number:032x}", access_token=f"line-token-{number}")
    for number in range(10)
)


@dataclass(frozen=True)
class Line:
    """A LINE with one account, and processes that reach it."""

    account: FakeLineAccount
    fake: FakeLine
    house: House


@contextlib.asynccontextmanager
async def line_of(house: House) -> AsyncIterator[Line]:
    """The same installation, whose processes reach LINE too."""
    account = next(ACCOUNTS)
    async with FakeLine(accounts=[account]) as fake:
        variables = house.environment | {"TRUNKLINE_LINE_API_BASE": fake.base_url}
        yield Line(account, fake, replace(house, environment=variables))


async def answers_a_customer(client: Client, line: Line, url: str) -> str:
    """A customer writes to a new channel and is answered; the chat."""
    credentials = {
        "access_token": line.account.access_token,
        "channel_secret": line.account.channel_secret,
    }
    await client.connect(
        "crm",
        line.account.user_id,
        platform="line",
        business_account_id=None,
        credentials=credentials,
    )
    line.fake.deliver_to(f"{url}/webhooks/line")
    line.fake.customer_says(KIM, "hello")
    await line.fake.settled()
    await client.settled()
    (chat,) = await client.chats("crm")
    with contextlib.suppress(httpx.TransportError):  # It may die before it has answered us.
        await client.reply("crm", chat["id"], "hello yourself")
    return str(chat["id"])


async def attempts_until_it_is_sent(line: Line) -> list[int]:
    """One server dies when LINE has the message; another one goes on."""
    tenant = await line.house.tenant(connected=False)
    async with line.house.server(dies_at="line: after the request") as (process, http):
        url = str(http.base_url).rstrip("/")
        chat_id = await answers_a_customer(tenant.client(http), line, url)
        async with asyncio.timeout(DEATH_SECONDS_MAX):
            await process.wait()
    assert len(line.fake.accepted) == 1
    async with line.house.server(ahead_seconds=AHEAD_SECONDS) as (_, http):
        client = tenant.client(http)

        async def status() -> str:
            await client.settled()
            messages: list[Any] = await client.messages("crm", chat_id)
            return str(messages[-1]["status"])

        await eventually(status, "sent")
        assert await client.events(type="chat.send_uncertain") == []
        started = await client.events(type="chat.send_started")
        return [each["data"]["attempt"] for each in started]


async def test_line_delivers_once_what_two_processes_have_sent(house: House) -> None:
    async with line_of(house) as line:
        assert await attempts_until_it_is_sent(line) == [1, 2]
        assert len(line.fake.accepted) == 1


async def test_control_without_its_keys_line_delivers_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RetryKeys, "check", lambda *_: None)
    async with line_of(house) as line:
        assert await attempts_until_it_is_sent(line) == [1, 2]
        assert len(line.fake.accepted) == 2
