"""A day on WeChat: in, out, tokens that end, quotas, an outage, lost answers, refusals.

Spec S4, S15, N1, N3, N4, C15, P1, P4; with a fake that has WeChat's manners.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest

from adapters.fakes.behaviour import accepts_then_drops
from adapters.wechat.fake import FakeWeChat
from adapters.wechat.fake_behaviour import fails, limits
from adapters.wechat.fake_rules import FakeOfficialAccount
from adapters.wechat.tokens import holder
from api.main import Core, Database, core
from api.processes import dispatching
from api.settings import Settings
from tests.api.businesses import Business, connect, organisation, verification
from tests.api.conftest import NOWHERE, listening, serving
from tests.api.deliveries import eventually
from tests.conftest import Database as EmptyDatabase

KEY = "9kSjhtwYeRJGFQ4j1VDnBhJ6ZQfmh0W8m2OCXB96EBu"
MODES = ("plain", "compatible", "secure")
OFFICIAL_ACCOUNTS = [
    FakeOfficialAccount(
        account_id=f"gh_{number:012x}",
        app_id=f"wx{number:016x}",
        app_secret=f"wechat-secret-{number}",
        token=f"token{number}",
        encoding_aes_key=KEY,
        mode=MODES[number % 3],
    )
    for number in range(30)
]
KIM, LEE = "oQk8w5P0aTz4Xc", "oQk8w5P0aTz4Xd"


@dataclass
class World:
    """A running server beside a fake WeChat."""

    parts: Core
    http: httpx.AsyncClient
    fake: FakeWeChat
    settings: Settings
    database: Database
    accounts: Iterator[FakeOfficialAccount] = field(default_factory=lambda: iter(OFFICIAL_ACCOUNTS))

    async def business(self, account: FakeOfficialAccount | None = None) -> Business:
        account = account or next(self.accounts)
        org = await organisation(self.parts, self.http)
        business = Business(org, self.fake, account.account_id)
        return await connect(business, "wechat", credentials(account))

    async def hear(self, acme: Business, customer: str, text: str) -> str:
        """A customer writes; the chat where it is seen."""
        self.fake.customer_says(customer, text, account_id=acme.account_id)
        return await acme.chat_with(customer)

    async def tokens(self, account: FakeOfficialAccount) -> tuple[int, int]:
        """How many tokens an account has had for sending, and how many were demanded."""
        found = await self.parts.access_tokens.find(holder(credentials(account)))
        asked = [each for each in self.fake.token_requests if each["appid"] == account.app_id]
        return found.number if found else 0, sum(each["force_refresh"] for each in asked)


def credentials(account: FakeOfficialAccount) -> dict[str, str]:
    return {
        "app_id": account.app_id,
        "app_secret": account.app_secret,
        "token": account.token,
        "encoding_aes_key": KEY,
        "mode": account.mode,
    }


@pytest.fixture(scope="module")
async def world(
    database: EmptyDatabase, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    where = Database(database.url, database.superuser, "trunkline", True)
    listener, url = listening()
    async with FakeWeChat(
        accounts=OFFICIAL_ACCOUNTS, webhook_url=f"{url}/webhooks/wechat", window=True
    ) as fake:
        settings = Settings(
            home=tmp_path_factory.mktemp("home"),
            whatsapp_api_base=NOWHERE,
            wechat_api_base=fake.base_url,
        )
        async with serving(settings, where, listener, url) as (parts, http):
            yield World(parts, http, fake, settings, where)


# In and out.


@pytest.mark.parametrize("mode", MODES)
async def test_a_conversation_that_two_services_see_and_one_answers(
    world: World, mode: str
) -> None:
    """Spec S3, S4, C15. WeChat tells nothing of what became of an answer."""
    account = next(each for each in world.accounts if each.mode == mode)
    acme = await world.business(account)
    chat_id = await world.hear(acme, KIM, "我的订单到哪儿了?")
    await acme.org.reply("crm", chat_id, "今天已经发货。")
    await eventually(lambda: acme.fates(chat_id), [("sent", None)])
    (sent,) = await acme.sent()
    assert sent.body == {"touser": KIM, "msgtype": "text", "text": {"content": "今天已经发货。"}}
    for service in ("crm", "desk"):
        question, answer = await acme.org.messages(service, chat_id)
        assert question["content"]["text"] == "我的订单到哪儿了?"
        assert (answer["status"], answer["masked"]) == ("sent", service == "desk")
        assert ("今天已经发货。" in str(answer)) == (service == "crm")


async def test_a_template_is_sent_by_its_id_and_told_of_when_it_arrived(world: World) -> None:
    """Spec C8, C15: the one message of which WeChat says what became of it."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    path = f"/v1/accounts/{acme.account_id}/templates/OPENTM207/zh_CN"
    shipped = {"body": "订单{{thing1}}已发货。", "parameters": ["thing1"], "state": "approved"}
    marketing = await acme.org.call("PUT", path, json=shipped | {"category": "marketing"})
    assert marketing.status_code == 400
    await acme.org.put(path, shipped | {"category": "utility"})
    template = {"kind": "template", "name": "OPENTM207", "language": "zh"}
    body = {**template, "parameters": {"thing1": "A-7"}}
    await acme.org.post(f"/v1/services/crm/chats/{chat_id}/messages", body, expect=202)
    await eventually(lambda: acme.fates(chat_id), [("delivered", None)])
    (sent,) = await acme.sent()
    data = {"thing1": {"value": "A-7"}}
    assert sent.body == {"touser": KIM, "template_id": "OPENTM207", "data": data}
    (_, shown) = await acme.org.messages("crm", chat_id)
    assert shown["content"]["text"] == "订单A-7已发货。"


async def test_the_address_can_be_registered_in_the_console(world: World) -> None:
    """Spec P1."""
    account = next(world.accounts)
    acme = await world.business(account)
    base = str(world.http.base_url.join("/webhooks/wechat"))
    assert await world.fake.register_webhook(base, account_id=acme.account_id)


async def test_two_answers_of_the_same_words_are_two_messages(world: World) -> None:
    """WeChat gives no id that could tell them apart; ours does."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    for _ in range(2):
        await acme.org.reply("crm", chat_id, "好")
    await eventually(lambda: acme.fates(chat_id), [("sent", None)] * 2)
    assert await acme.sent_texts() == ["好", "好"]


# Tokens.


@pytest.mark.parametrize("is_handed_out", [False, True])
async def test_a_token_that_ends_in_the_middle_loses_and_doubles_nothing(
    world: World, is_handed_out: bool
) -> None:
    """Spec N3. Another one is demanded only where the endpoint goes on giving out the dead one."""
    account = next(world.accounts)
    acme = await world.business(account)
    chat_id = await world.hear(acme, KIM, "hello")
    written = [str(number) for number in range(4)]
    for text in written:
        await acme.org.reply("crm", chat_id, text)
        await eventually(acme.sent_texts, written[: int(text) + 1])
        if text == "1":
            world.fake.end_token(account_id=account.account_id, is_handed_out=is_handed_out)
    await eventually(lambda: acme.fates(chat_id), [("sent", None)] * 4)
    assert await world.tokens(account) == (2, int(is_handed_out))
    assert await acme.deferred() == set()


async def test_several_dispatchers_share_one_token(world: World) -> None:
    """One of them asks for it, whenever it ends."""
    account = next(world.accounts)
    acme = await world.business(account)
    customers = [f"oQk8{number}" for number in range(8)]
    chats = [await world.hear(acme, each, "hello") for each in customers]

    async def answer_all(text: str) -> None:
        await asyncio.gather(*(acme.org.reply("crm", each, text) for each in chats))

    async def sent_to_all() -> int:
        return len(await acme.sent())

    async with core(world.settings, world.database) as elsewhere, dispatching(elsewhere):
        await answer_all("first")
        await eventually(sent_to_all, 8)
        assert await world.tokens(account) == (1, 0)
        world.fake.end_token(account_id=account.account_id)
        await answer_all("second")
        await eventually(sent_to_all, 16)
        assert await world.tokens(account) == (2, 0)
    for customer in customers:
        assert await acme.sent_texts(customer) == ["first", "second"]


async def test_no_token_stands_in_the_log_or_in_the_database(world: World) -> None:
    """P4."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    await acme.org.reply("crm", chat_id, "hi")
    await eventually(lambda: acme.fates(chat_id), [("sent", None)])
    sends = [each for each in world.fake.requests if each.path.endswith("/custom/send")]
    token = sends[-1].query["access_token"]
    async with await psycopg.AsyncConnection.connect(world.database.migration_url) as connection:
        tokens = await connection.execute("SELECT token FROM trunkline.access_tokens")
        events = await connection.execute("SELECT data FROM trunkline.events")
        rows = [bytes(value) for (value,) in await tokens.fetchall() + await events.fetchall()]
    assert len(rows) > 1
    assert not [each for each in rows if token.encode() in each]


# Trouble.


async def test_an_outage_loses_nothing_doubles_nothing_and_keeps_the_order(world: World) -> None:
    """Spec N3, N4. What customers write meanwhile arrives."""
    acme = await world.business()
    kim, lee = await world.hear(acme, KIM, "hello"), await world.hear(acme, LEE, "hello")
    await world.fake.go_down()
    try:
        for number in range(3):
            await acme.org.reply("crm", kim, f"kim {number}")
            await acme.org.reply("desk", lee, f"lee {number}")
        await world.hear(acme, KIM, "still there?")
        await eventually(acme.deferred, {"not_reached"})
        assert await acme.sent_texts() == []
    finally:
        await world.fake.come_back()
    await eventually(lambda: acme.fates(kim), [("sent", None)] * 3)
    await eventually(lambda: acme.fates(lee, "desk"), [("sent", None)] * 3)
    assert await acme.sent_texts(KIM) == ["kim 0", "kim 1", "kim 2"]
    assert await acme.sent_texts(LEE) == ["lee 0", "lee 1", "lee 2"]


async def test_a_lost_answer_leaves_a_message_uncertain(world: World) -> None:
    """Spec N3: there is no key and no echo, so only a person may send it again."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    await acme.org.reply("crm", chat_id, "first")
    await eventually(lambda: acme.fates(chat_id), [("sent", None)])
    world.fake.next_requests(accepts_then_drops())
    lost = await acme.org.reply("crm", chat_id, "lost")
    await eventually(lambda: acme.fates(chat_id), [("sent", None), ("uncertain", None)])
    path = f"/v1/services/crm/chats/{chat_id}/messages/{lost['id']}/retry"
    await acme.org.post(path, expect=202)
    await eventually(acme.sent_texts, ["first", "lost", "lost"])


async def test_the_sixth_message_is_refused_until_the_customer_writes_again(world: World) -> None:
    """Spec N1: WeChat's own counting has the last word."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    for number in range(6):
        await acme.org.reply("crm", chat_id, str(number))
    over = ("failed", {"reason": "quota_exceeded", "code": 45047})
    await eventually(lambda: acme.fates(chat_id), [*[("sent", None)] * 5, over])
    await world.hear(acme, KIM, "go on")
    await acme.org.reply("crm", chat_id, "6")
    await eventually(acme.sent_texts, ["0", "1", "2", "3", "4", "6"])


@pytest.mark.parametrize(
    ("code", "reason"),
    [(45015, "window_closed"), (43019, "blocked"), (43004, "undeliverable")],
)
async def test_a_refusal_stands_at_the_message_and_the_next_goes_out(
    world: World, code: int, reason: str
) -> None:
    """Spec N1, N3."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    await acme.org.reply("crm", chat_id, "a")
    await eventually(acme.sent_texts, ["a"])
    world.fake.next_requests(fails(code))
    for text in "bc":
        await acme.org.reply("crm", chat_id, text)
    failed = ("failed", {"reason": reason, "code": code})
    await eventually(lambda: acme.fates(chat_id), [("sent", None), failed, ("sent", None)])
    assert await acme.sent_texts() == ["a", "c"]
    assert await acme.health() == ("ok", None)


async def test_a_limit_is_waited_for_and_nothing_overtakes(world: World) -> None:
    """Spec N3, N4."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    world.fake.next_requests(limits(1))
    for text in "ab":
        await acme.org.reply("crm", chat_id, text)
    await eventually(acme.sent_texts, ["a", "b"])
    assert await acme.deferred() == {"rate_limited"}


# Accounts.


async def test_an_address_that_is_not_in_the_accounts_list_is_named(world: World) -> None:
    """Spec S15: the missing prerequisite."""
    account = next(world.accounts)
    org = await organisation(world.parts, world.http)
    acme = Business(org, world.fake, account.account_id)
    world.fake.ip_allowed = False
    try:
        channel = await org.connect(
            "crm",
            account.account_id,
            platform="wechat",
            business_account_id=None,
            credentials=credentials(account),
        )
        await eventually(lambda: verification(org, channel["id"]), ("failed", "ip_not_allowed"))
        chat_id = await world.hear(acme, KIM, "hello")
        await org.reply("crm", chat_id, "hi")
        acme.channel_id = channel["id"]
        await eventually(acme.health, ("stopped", "ip_not_allowed"))
        assert await acme.fates(chat_id) == [("queued", None)]
    finally:
        world.fake.ip_allowed = True
    again: Any = {"credentials": {"app_secret": account.app_secret}}
    await org.patch(f"/v1/services/crm/channels/{channel['id']}", again)
    await eventually(acme.sent_texts, ["hi"])


async def test_a_secret_that_was_reset_stops_the_account_until_there_is_another(
    world: World,
) -> None:
    """Spec N3, S12."""
    account = next(world.accounts)
    acme = await world.business(account)
    chat_id = await world.hear(acme, KIM, "hello")
    wrong = {"credentials": {"app_secret": "reset-in-the-console"}}
    path = f"/v1/services/crm/channels/{acme.channel_id}"
    await acme.org.patch(path, wrong)
    await acme.org.reply("crm", chat_id, "a")
    await eventually(acme.health, ("stopped", "credentials"))
    await acme.org.patch(path, {"credentials": {"app_secret": account.app_secret}})
    await eventually(acme.sent_texts, ["a"])
