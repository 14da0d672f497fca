"""A day on LINE and on Telegram: in, out, masked, an outage, lost answers, refusals.

Spec S4, N3, N4, C15, C17, P1; each with a fake that has the platform's own manners.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest

from adapters.fakes.behaviour import accepts_then_answers, accepts_then_drops, drops
from adapters.fakes.fake import AcceptedSend
from adapters.line import fake_behaviour as line_says
from adapters.line.fake import FakeLine
from adapters.line.fake_rules import FakeLineAccount
from adapters.telegram import fake_behaviour as telegram_says
from adapters.telegram.fake import FakeTelegram
from adapters.telegram.fake_rules import FakeBot
from api.main import Core, Database, found
from api.settings import Settings
from tests.api.businesses import verification
from tests.api.conftest import NOWHERE, Client, listening, serving
from tests.api.deliveries import eventually
from tests.api.openapi_check import OpenApiCheck
from tests.conftest import Database as EmptyDatabase

LINES = [
    FakeLineAccount(
        user_id=f"U{number:032x}",
        access_token=f"line-token-{number}",
        channel_secret=f"line-secret-{number}",
        monthly_quota=1 if number == 0 else None,
    )
    for number in range(20)
]
BOTS = [
    FakeBot(
        bot_id=str(7_000_000_000 + number), secret=f"bot-secret-{number}", secret_token=f"t{number}"
    )
    for number in range(20)
]
LIMITED_LINE = LINES[0]
PUBLIC = "https://chats.acme.example"


@dataclass
class World:
    """A running server between two fake platforms."""

    parts: Core
    http: httpx.AsyncClient
    line: FakeLine
    telegram: FakeTelegram
    lines: Iterator[FakeLineAccount] = field(default_factory=lambda: iter(LINES[1:]))
    bots: Iterator[FakeBot] = field(default_factory=lambda: iter(BOTS))


@pytest.fixture(scope="module")
async def world(
    database: EmptyDatabase, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    where = Database(database.url, database.superuser, "trunkline", True)
    listener, url = listening()
    async with (
        FakeLine(accounts=LINES, webhook_url=f"{url}/webhooks/line") as line,
        FakeTelegram(accounts=BOTS, webhook_url=f"{url}/webhooks/telegram") as telegram,
    ):
        settings = Settings(
            home=tmp_path_factory.mktemp("home"),
            whatsapp_api_base=NOWHERE,
            messenger_api_base=NOWHERE,
            line_api_base=line.base_url,
            line_data_api_base=line.base_url,
            public_url=PUBLIC,
            telegram_api_base=telegram.base_url,
            wechat_api_base=NOWHERE,
        )
        async with serving(settings, where, listener, url) as (parts, http):
            await OpenApiCheck.told_to(http)
            yield World(parts, http, line, telegram)


@dataclass
class Business:
    """An organisation with CRM and Desk on one account of a platform."""

    world: World
    platform: str
    org: Client
    account_id: str
    channel_id: str

    @property
    def fake(self) -> FakeLine | FakeTelegram:
        return self.world.line if self.platform == "line" else self.world.telegram

    async def hear(self, customer: int, text: str) -> str:
        """A customer writes; the chat where it is seen."""
        if self.platform == "line":
            self.world.line.customer_says(user_id(customer), text, account_id=self.account_id)
        else:
            self.world.telegram.customer_says(customer, text, account_id=self.account_id)
        await self.fake.settled()
        await self.org.settled()
        chats = await self.org.chats("crm")
        found = [each for each in chats if each["customer"]["address"] == self.address(customer)]
        return str(found[0]["id"])

    async def sent(self) -> list[AcceptedSend]:
        return [each for each in self.fake.accepted if each.account_id == self.account_id]

    async def sent_texts(self, customer: int | None = None) -> list[str | None]:
        to = None if customer is None else self.address(customer)
        return [each.text for each in await self.sent() if to in (None, each.to)]

    def address(self, customer: int) -> str:
        return user_id(customer) if self.platform == "line" else str(customer)

    async def fates(self, chat_id: str, service: str = "crm") -> list[tuple[str, Any]]:
        """Status and failure of what was written in a chat."""
        await self.org.settled()
        return [
            (each["status"], each["failure"])
            for each in await self.org.messages(service, chat_id)
            if each["direction"] == "outbound"
        ]

    async def deferred(self, reason: str) -> bool:
        events = await self.org.events(type="chat.send_deferred")
        return reason in [each["data"]["reason"] for each in events]


def user_id(customer: int) -> str:
    return f"U{customer:032x}"


async def business(world: World, platform: str, *, line: FakeLineAccount | None = None) -> Business:
    org, user, key = await found(world.parts, "Acme")
    client = Client(world.http, key, org.id, user)
    await client.services("crm", "desk")
    if platform == "line":
        account = line or next(world.lines)
        account_id = account.user_id
        credentials = {
            "access_token": account.access_token,
            "channel_secret": account.channel_secret,
        }
    else:
        bot = next(world.bots)
        account_id, credentials = (
            bot.bot_id,
            {"bot_token": bot.token, "secret_token": bot.secret_token},
        )
    body: dict[str, Any] = {
        "platform": platform,
        "business_account_id": None,
        "credentials": credentials,
    }
    channel = await client.connect("crm", account_id, **body)
    await client.connect(
        "desk", account_id, platform=platform, credentials=None, business_account_id=None
    )
    await eventually(lambda: verification(client, channel["id"]), ("verified", None))
    return Business(world, platform, client, account_id, channel["id"])


both = pytest.mark.parametrize("platform", ["line", "telegram"])
KIM, LEE = 5_512_345_678, 5_512_345_679


@both
async def test_a_conversation_that_two_services_see_and_one_answers(
    world: World, platform: str
) -> None:
    """Spec S3, S4, C15."""
    acme = await business(world, platform)
    chat_id = await acme.hear(KIM, "Is my order on its way?")
    await acme.org.reply("crm", chat_id, "It left today.")
    await eventually(lambda: acme.fates(chat_id), [("sent", None)])
    (sent,) = await acme.sent()
    assert (sent.to, sent.kind, sent.text) == (acme.address(KIM), "text", "It left today.")
    for service in ("crm", "desk"):
        question, answer = await acme.org.messages(service, chat_id)
        assert question["content"]["text"] == "Is my order on its way?"
        assert (answer["status"], answer["masked"]) == ("sent", service == "desk")
        assert ("It left today." in str(answer)) == (service == "crm")
    await acme.org.reply("desk", chat_id, "And here is Desk.")
    await eventually(acme.sent_texts, ["It left today.", "And here is Desk."])


@both
async def test_an_outage_loses_nothing_doubles_nothing_and_keeps_the_order(
    world: World, platform: str
) -> None:
    """Spec N3, N4. What customers write meanwhile arrives."""
    acme = await business(world, platform)
    kim = await acme.hear(KIM, "hello")
    lee = await acme.hear(LEE, "hello")
    await acme.fake.go_down()
    try:
        for number in range(3):
            await acme.org.reply("crm", kim, f"kim {number}")
            await acme.org.reply("desk", lee, f"lee {number}")
        await acme.hear(KIM, "still there?")
        await eventually(lambda: acme.deferred("not_reached"), True)
        assert await acme.sent_texts() == []
    finally:
        await acme.fake.come_back()
    await eventually(lambda: acme.fates(kim), [("sent", None)] * 3)
    await eventually(lambda: acme.fates(lee, "desk"), [("sent", None)] * 3)
    assert await acme.sent_texts(KIM) == ["kim 0", "kim 1", "kim 2"]
    assert await acme.sent_texts(LEE) == ["lee 0", "lee 1", "lee 2"]


@both
async def test_a_limit_is_waited_for_and_nothing_overtakes(world: World, platform: str) -> None:
    """Spec N3, N4."""
    acme = await business(world, platform)
    chat_id = await acme.hear(KIM, "hello")
    says = line_says if platform == "line" else telegram_says
    acme.fake.next_requests(says.limits(1))
    for text in "ab":
        await acme.org.reply("crm", chat_id, text)
    await eventually(acme.sent_texts, ["a", "b"])
    assert await acme.deferred("rate_limited")


@both
async def test_a_dead_token_stops_the_account_until_there_is_another(
    world: World, platform: str
) -> None:
    """Spec N3, S12."""
    acme = await business(world, platform)
    chat_id = await acme.hear(KIM, "hello")
    says = line_says if platform == "line" else telegram_says
    acme.fake.next_requests(says.fails(401))
    await acme.org.reply("crm", chat_id, "a")

    async def health() -> Any:
        shown = await acme.org.get(f"/v1/channels/{acme.channel_id}")
        return shown["health"]["state"], shown["health"]["reason"]

    await eventually(health, ("stopped", "credentials"))
    assert await acme.fates(chat_id) == [("queued", None)]
    name = "access_token" if platform == "line" else "bot_token"
    new = {"credentials": {name: (await own_token(acme))}}
    await acme.org.patch(f"/v1/services/crm/channels/{acme.channel_id}", new)
    await eventually(acme.sent_texts, ["a"])


async def own_token(acme: Business) -> str:
    if acme.platform == "line":
        return next(each.access_token for each in LINES if each.user_id == acme.account_id)
    return next(each.token for each in BOTS if each.bot_id == acme.account_id)


# What only one of them does.


@pytest.mark.parametrize(
    "behaviour",
    [drops(), accepts_then_drops(), accepts_then_answers(500), line_says.fails(500)],
    ids=["lost before", "lost after", "failed after", "failed"],
)
async def test_line_is_asked_again_with_the_same_key_and_delivers_once(
    world: World, behaviour: Any
) -> None:
    """Spec N3: nothing is uncertain, nothing is sent twice."""
    acme = await business(world, "line")
    chat_id = await acme.hear(KIM, "hello")
    acme.fake.next_requests(behaviour)
    for text in ("first", "second"):
        await acme.org.reply("crm", chat_id, text)
    await eventually(lambda: acme.fates(chat_id), [("sent", None)] * 2)
    assert await acme.sent_texts() == ["first", "second"]
    assert await acme.org.events(type="chat.send_uncertain") == []


async def test_what_line_answered_before_is_the_message_that_a_customer_answers(
    world: World,
) -> None:
    """The id that comes with the 409 is the one under which LINE speaks of the message (C17)."""
    acme = await business(world, "line")
    chat_id = await acme.hear(KIM, "hello")
    acme.fake.next_requests(accepts_then_drops())
    reply = await acme.org.reply("crm", chat_id, "first")
    await eventually(lambda: acme.fates(chat_id), [("sent", None)])
    (sent,) = await acme.sent()
    world.line.customer_says(
        user_id(KIM), "that one", account_id=acme.account_id, quotes=sent.platform_id
    )
    await acme.fake.settled()
    await acme.org.settled()
    shown = {each["content"]["text"]: each for each in await acme.org.messages("crm", chat_id)}
    assert shown["that one"]["reply_to"] == reply["id"]


async def test_lines_monthly_limit_is_a_refusal_that_is_not_tried_again(world: World) -> None:
    """It would stand in the queue until the month is over."""
    acme = await business(world, "line", line=LIMITED_LINE)
    chat_id = await acme.hear(KIM, "hello")
    for text in ("the last one", "one too many"):
        await acme.org.reply("crm", chat_id, text)
    over = {"reason": "quota_exceeded", "code": 429}
    await eventually(lambda: acme.fates(chat_id), [("sent", None), ("failed", over)])
    assert len(await acme.org.events(type="chat.send_started")) == 2


async def test_line_says_nothing_of_a_customer_who_blocked_the_account(world: World) -> None:
    """A push to them is answered like any other; that they left is kept."""
    acme = await business(world, "line")
    chat_id = await acme.hear(KIM, "hello")
    world.line.blocks(user_id(KIM), account_id=acme.account_id)
    await acme.fake.settled()
    await acme.org.reply("crm", chat_id, "are you there?")
    await eventually(lambda: acme.fates(chat_id), [("sent", None)])
    world.line.follows(user_id(KIM), account_id=acme.account_id)
    await acme.fake.settled()
    follows = await acme.org.events(type="contact.follow_changed")
    assert [each["data"]["follows"] for each in follows] == [False, True]


async def test_telegrams_lost_answer_leaves_a_message_uncertain(world: World) -> None:
    """Spec N3: there is no key, so only a person may send it again."""
    acme = await business(world, "telegram")
    chat_id = await acme.hear(KIM, "hello")
    acme.fake.next_requests(accepts_then_drops())
    lost = await acme.org.reply("crm", chat_id, "lost")
    await eventually(lambda: acme.fates(chat_id), [("uncertain", None)])
    path = f"/v1/services/crm/chats/{chat_id}/messages/{lost['id']}/retry"
    await acme.org.post(path, expect=202)
    await eventually(lambda: acme.fates(chat_id), [("uncertain", None), ("sent", None)])
    assert await acme.sent_texts() == ["lost", "lost"]


async def test_telegram_says_that_a_customer_blocked_the_bot(world: World) -> None:
    """The reason stands at the message; when they come back the next one arrives."""
    acme = await business(world, "telegram")
    chat_id = await acme.hear(KIM, "hello")
    world.telegram.blocks(KIM, account_id=acme.account_id)
    await acme.fake.settled()
    await acme.org.reply("crm", chat_id, "are you there?")
    blocked = ("failed", {"reason": "blocked", "code": 403})
    await eventually(lambda: acme.fates(chat_id), [blocked])
    world.telegram.unblocks(KIM, account_id=acme.account_id)
    await acme.fake.settled()
    await acme.org.reply("crm", chat_id, "welcome back")
    await eventually(lambda: acme.fates(chat_id), [blocked, ("sent", None)])


async def test_what_a_telegram_customer_says_of_our_message_finds_it(world: World) -> None:
    """Spec C17: an answer to it, and a reaction."""
    acme = await business(world, "telegram")
    chat_id = await acme.hear(KIM, "hello")
    reply = await acme.org.reply("crm", chat_id, "how are you?")
    await eventually(lambda: acme.fates(chat_id), [("sent", None)])
    number = int((await acme.sent())[0].platform_id.split(":")[2])
    world.telegram.customer_says(KIM, "fine", account_id=acme.account_id, quotes=number)
    world.telegram.reacts(KIM, number, "👍", account_id=acme.account_id)
    await acme.fake.settled()
    await acme.org.settled()
    # Telegram counts whole seconds, so the answer may stand before what it answers.
    shown = {each["content"]["text"]: each for each in await acme.org.messages("crm", chat_id)}
    assert shown["fine"]["reply_to"] == reply["id"]
    assert [each["text"] for each in shown["how are you?"]["reactions"]] == ["👍"]


async def test_who_writes_to_a_connected_business_on_telegram_is_answered_there(
    world: World,
) -> None:
    """Spec C17: by their own id in the inbox, through the connection on the way out."""
    acme = await business(world, "telegram")
    says = partial(world.telegram.customer_says, KIM, account_id=acme.account_id)
    says("hello, owner", connection="bc1")
    await acme.fake.settled()
    await acme.org.settled()
    (chat,) = await acme.org.chats("crm")
    assert chat["customer"]["address"] == str(KIM)
    for connection in ("bc1", "bc2"):  # As it is made anew.
        says("hello again", connection=connection)
        await acme.fake.settled()
        await acme.org.reply("crm", chat["id"], connection)
        await eventually(lambda: last_status(acme, chat["id"]), "sent")
    sent = [(each.text, each.body["business_connection_id"]) for each in await acme.sent()]
    assert sent == [("bc1", "bc1"), ("bc2", "bc2")]
    assert (await acme.org.chats("crm"))[0]["customer"]["address"] == str(KIM)


async def last_status(acme: Business, chat_id: str) -> str:
    return (await acme.fates(chat_id))[-1][0]


async def test_a_telegram_group_that_moved_is_answered_where_it_is_now(world: World) -> None:
    """Spec C19. Also before its webhook tells us so."""
    acme = await business(world, "telegram")
    group = -4_012_345
    world.telegram.customer_says(KIM, "hello all", account_id=acme.account_id, group_id=group)
    await acme.fake.settled()
    await acme.org.settled()
    (chat,) = await acme.org.chats("crm")
    world.telegram.deliver_to(None)
    try:
        moved = world.telegram.migrates(group, account_id=acme.account_id)
    finally:
        world.telegram.deliver_to(str(world.http.base_url.join("/webhooks/telegram")))
    await acme.org.reply("crm", chat["id"], "hello group")
    await eventually(lambda: acme.fates(chat["id"]), [("sent", None)])
    assert [each.to for each in await acme.sent()] == [str(moved)]
