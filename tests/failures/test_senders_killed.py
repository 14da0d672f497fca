"""Servers that die while Messenger or WeChat answers them, and what the next ones find (N3)."""

import asyncio
import contextlib
import secrets
from dataclasses import replace
from typing import Any

import httpx

from adapters.fakes.fake import Fake
from adapters.messenger.fake import FakeSendApi
from adapters.messenger.fake_rules import FakePage
from adapters.messenger.fake_webhooks import EventPlan
from adapters.wechat.fake import FakeWeChat
from adapters.wechat.fake_rules import FakeOfficialAccount
from tests.api.conftest import APP_SECRET, Client
from tests.api.deliveries import eventually
from tests.failures.house import AHEAD_SECONDS, DEATH_SECONDS_MAX, House

KIM = "6473829104756123"


def reaching(house: House, platform: str, fake: Fake) -> House:
    """The same installation, whose processes reach this platform too."""
    variables = house.environment | {f"TRUNKLINE_{platform.upper()}_API_BASE": fake.base_url}
    return replace(house, environment=variables)


async def the_chat(client: Client) -> str:
    await client.settled()
    (chat,) = await client.chats("crm")
    return str(chat["id"])


async def statuses(client: Client, chat_id: str) -> list[str]:
    await client.settled()
    messages: list[Any] = await client.messages("crm", chat_id)
    return [each["status"] for each in messages if each["direction"] == "outbound"]


async def answers(client: Client, chat_id: str, text: str) -> None:
    with contextlib.suppress(httpx.TransportError):  # It may die before it has answered us.
        await client.reply("crm", chat_id, text)


async def dead(process: Any) -> None:
    async with asyncio.timeout(DEATH_SECONDS_MAX):
        await process.wait()


async def test_messengers_echo_settles_what_a_dead_server_has_sent(house: House) -> None:
    """It gives our mark back to whoever serves then."""
    page = FakePage(page_id=str(secrets.randbelow(10**15)))
    async with FakeSendApi(
        accounts=[page], app_secret=APP_SECRET, plan=EventPlan(events=())
    ) as fake:
        house = reaching(house, "messenger", fake)
        tenant = await house.tenant(connected=False)
        async with house.server(dies_at="messenger: after the request") as (process, http):
            client = tenant.client(http)
            await client.connect(
                "crm",
                page.page_id,
                platform="messenger",
                business_account_id=None,
                credentials={"access_token": page.access_token},
            )
            fake.deliver_to(str(http.base_url.join("/webhooks/messenger")))
            fake.customer_says(KIM, "hello")
            await fake.settled()
            chat_id = await the_chat(client)
            await answers(client, chat_id, "hello yourself")
            await dead(process)
        async with house.server(ahead_seconds=AHEAD_SECONDS) as (_, http):
            client = tenant.client(http)
            await eventually(lambda: statuses(client, chat_id), ["uncertain"])
            fake.deliver_to(str(http.base_url.join("/webhooks/messenger")))
            (sent,) = fake.accepted
            fake.tell("echo", sent)
            await eventually(lambda: statuses(client, chat_id), ["sent"])
        assert len(fake.accepted) == 1


async def test_a_token_that_a_dead_server_was_to_renew_is_renewed_by_another(house: House) -> None:
    """Its claim ends by itself; the message that it had taken is for a person to look at."""
    number = secrets.token_hex(6)
    account = FakeOfficialAccount(account_id=f"gh_{number}", app_id=f"wx{number}")
    async with FakeWeChat(accounts=[account]) as fake:
        house = reaching(house, "wechat", fake)
        tenant = await house.tenant(connected=False)
        async with house.server(dies_at="token: claimed") as (process, http):
            client = tenant.client(http)
            await client.connect(
                "crm",
                account.account_id,
                platform="wechat",
                business_account_id=None,
                credentials={
                    "app_id": account.app_id,
                    "app_secret": account.app_secret,
                    "token": account.token,
                },
            )
            fake.deliver_to(str(http.base_url.join("/webhooks/wechat")))
            fake.customer_says(KIM, "hello")
            await fake.settled()
            chat_id = await the_chat(client)
            await answers(client, chat_id, "lost")
            await dead(process)
        async with house.server(ahead_seconds=AHEAD_SECONDS) as (_, http):
            client = tenant.client(http)
            await eventually(lambda: statuses(client, chat_id), ["uncertain"])
            await client.reply("crm", chat_id, "next")
            await eventually(lambda: statuses(client, chat_id), ["uncertain", "sent"])
        assert [each.text for each in fake.accepted] == ["next"]
