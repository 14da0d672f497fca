"""What LINE and Messenger do in their own way: tokens by which messages are marked as read and
quoted, utility templates, and pages that are told nothing any more.

Each with a fake that has the platform's own manners.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.exchange import new_http_client
from adapters.fakes.behaviour import Behaviour, accepts_then_drops, behaves, drops
from adapters.line.fake import FakeLine
from adapters.line.fake_behaviour import fails as line_fails
from adapters.line.fake_rules import FakeLineAccount
from adapters.messenger.client import SendApi
from adapters.messenger.fake import FakeSendApi
from adapters.messenger.fake_behaviour import fails as messenger_fails
from adapters.messenger.fake_rules import FakePage
from adapters.subscriber import Subscriber
from api.main import Core, Database
from api.settings import Settings
from domain.subscription import AGAIN_AFTER, HeldAccount, SubscriptionSchedule
from tests.api.businesses import Business, connect, organisation
from tests.api.conftest import APP_SECRET, NOWHERE, listening, serving
from tests.api.deliveries import eventually
from tests.api.openapi_check import OpenApiCheck
from tests.conftest import Database as EmptyDatabase

LINES = [
    FakeLineAccount(
        user_id=f"U{number:032x}",
        access_token=f"line-token-{number}",
        channel_secret=f"line-secret-{number}",
    )
    for number in range(20)
]
PAGES = [
    FakePage(page_id=str(101_000 + number), access_token=f"page-{number}") for number in range(20)
]
KIM = {"line": "U19c8e7d6b5a493827160f5e4d3c2b1a0", "messenger": "6473829104756123"}

both = pytest.mark.parametrize("platform", ["line", "messenger"])


@dataclass
class Past:
    """Messenger's clock, which can be put back."""

    hours: float = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) - timedelta(hours=self.hours)


@dataclass
class World:
    """A running server between two fake platforms."""

    parts: Core
    http: httpx.AsyncClient
    line: FakeLine
    messenger: FakeSendApi
    past: Past
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    lines: Iterator[FakeLineAccount] = field(default_factory=lambda: iter(LINES))
    pages: Iterator[FakePage] = field(default_factory=lambda: iter(PAGES))

    async def business(self, platform: str) -> "Shop":
        org = await organisation(self.parts, self.http)
        if platform == "messenger":
            page = next(self.pages)
            shop = Shop(org, self.messenger, page.page_id, kim=KIM[platform])
            await connect(shop, platform, {"access_token": page.access_token})
        else:
            account = next(self.lines)
            shop = Shop(org, self.line, account.user_id, kim=KIM[platform])
            secrets = {"channel_secret": account.channel_secret}
            await connect(shop, platform, {"access_token": account.access_token, **secrets})
        return shop


@dataclass
class Shop(Business):
    """A business on one of the two, with its customer Kim."""

    fake: FakeLine | FakeSendApi
    kim: str = ""

    def says(self, text: str) -> str:
        """Kim writes; the platform's id of the message."""
        return self.fake.customer_says(self.kim, text, account_id=self.account_id)

    @property
    def read(self) -> list[str]:
        """What this account has marked as read: messages on LINE, customers on Messenger."""
        return [what for account, what in self.fake.read if account == self.account_id]

    @property
    def quoted(self) -> list[str]:
        """What messages of this account have quoted, on LINE."""
        assert isinstance(self.fake, FakeLine)
        return [what for account, what in self.fake.quoted if account == self.account_id]

    async def outcomes(self) -> list[str]:
        ended = await self.org.events(type="marking.ended")
        return [each["data"]["outcome"] for each in ended]


@pytest.fixture(scope="module")
async def world(
    database: EmptyDatabase, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    where = Database(database.url, database.superuser, "trunkline", True)
    listener, url = listening()
    past = Past()
    async with (
        FakeLine(accounts=LINES, webhook_url=f"{url}/webhooks/line") as line,
        FakeSendApi(
            accounts=PAGES,
            app_secret=APP_SECRET,
            webhook_url=f"{url}/webhooks/messenger",
            window=True,
            now=past,
        ) as messenger,
    ):
        settings = Settings(
            home=tmp_path_factory.mktemp("home"),
            meta_app_secrets=(APP_SECRET,),
            whatsapp_api_base=NOWHERE,
            messenger_api_base=messenger.base_url,
            line_api_base=line.base_url,
            telegram_api_base=NOWHERE,
            wechat_api_base=NOWHERE,
        )
        async with serving(settings, where, listener, url) as (parts, http):
            await OpenApiCheck.told_to(http)
            yield World(parts, http, line, messenger, past)


# Marking as read.


async def seen(shop: Shop, *texts: str) -> list[str]:
    """Kim writes, and after each message somebody looks at the chat; the messages."""
    said = []
    for text in texts:
        said.append(shop.says(text))
        chat_id = await shop.chat_with(shop.kim)
        await shop.org.post(f"/v1/services/crm/chats/{chat_id}/visit")
    return said


@both
async def test_a_visit_marks_what_the_customer_wrote_once(world: World, platform: str) -> None:
    shop = await world.business(platform)
    await shop.org.put("/v1/services/crm", {"mark_read": True})
    (first,) = await seen(shop, "one")
    await eventually(shop.outcomes, ["marked"])
    (second,) = await seen(shop, "two")
    await eventually(shop.outcomes, ["marked"] * 2)
    chat_id = await shop.chat_with(shop.kim)
    await shop.org.post(f"/v1/services/crm/chats/{chat_id}/visit")
    assert shop.read == ([first, second] if platform == "line" else [shop.kim] * 2)
    assert len(await shop.org.events(type="marking.requested")) == 2


async def test_while_messenger_is_away_the_marks_of_a_chat_become_one(world: World) -> None:
    """It knows no single messages."""
    shop = await world.business("messenger")
    await shop.org.put("/v1/services/crm", {"mark_read": True})
    await shop.fake.go_down()
    await seen(shop, "one", "two", "three")
    await shop.fake.come_back()
    await eventually(shop.outcomes, ["marked"])
    assert shop.read == [shop.kim]
    assert len(await shop.org.events(type="marking.requested")) == 3


@pytest.mark.parametrize(
    ("platform", "refusal", "where"),
    [
        ("line", line_fails(400), "/markAsRead"),
        ("messenger", messenger_fails(10, 2018278), "/messages"),
    ],
)
async def test_what_is_refused_is_not_repeated(
    world: World, platform: str, refusal: Callable[..., Any], where: str
) -> None:
    shop = await world.business(platform)
    await shop.org.put("/v1/services/crm", {"mark_read": True})
    shop.fake.next_requests(refusal, to=where)
    await seen(shop, "one")
    await eventually(shop.outcomes, ["refused"])
    assert shop.read == []


@both
async def test_what_marks_a_message_is_shown_to_nobody(world: World, platform: str) -> None:
    """Spec P4: with LINE's token anybody who has the account's could mark it."""
    shop = await world.business(platform)
    shop.says("one")
    chat_id = await shop.chat_with(shop.kim)
    (message,) = await shop.org.messages("crm", chat_id)
    (received,) = await shop.org.events(type="chat.message_received")
    token = str(shop.fake.deliveries[-1].body).partition('markAsReadToken":"')[2][:32]
    assert (len(token) == 32) == (platform == "line")
    assert "token" not in str(message)
    assert received["data"]["content"] == {"sealed": True}


# Quoting on LINE, by tokens.


async def quote(shop: Shop, message: Any, **body: Any) -> Any:
    """Answer a message; what is shown of the answer, or the problem."""
    path = f"/v1/services/crm/chats/{await shop.chat_with(shop.kim)}/messages"
    body = {"kind": "text", "text": "that one", "reply_to": message["id"], **body}
    return (await shop.org.call("POST", path, json=body)).json()


async def timeline(shop: Shop) -> list[Any]:
    return await shop.org.messages("crm", await shop.chat_with(shop.kim))


async def test_a_reply_quotes_what_the_customer_wrote_and_what_we_did(world: World) -> None:
    shop = await world.business("line")
    heard = shop.says("which?")
    (asked,) = await timeline(shop)
    assert (await quote(shop, asked))["reply_to"] == asked["id"]
    chat_id = await shop.chat_with(shop.kim)
    await eventually(lambda: shop.fates(chat_id), [("sent", None)])
    ours = (await timeline(shop))[-1]
    await quote(shop, ours)
    await eventually(lambda: shop.fates(chat_id), [("sent", None)] * 2)
    first, _ = await shop.sent()
    assert shop.quoted == [heard, first.platform_id]
    sent = await shop.org.events(type="chat.message_sent")
    assert [each["data"]["quote_token"] for each in sent] == [{"sealed": True}] * 2


async def test_a_quote_survives_a_lost_answer_and_its_token_too(world: World) -> None:
    """Spec N3: the same push again is answered with the token of then."""
    shop = await world.business("line")
    heard = shop.says("which?")
    (asked,) = await timeline(shop)
    shop.fake.next_requests(accepts_then_drops())
    await quote(shop, asked)
    chat_id = await shop.chat_with(shop.kim)
    await eventually(lambda: shop.fates(chat_id), [("sent", None)])
    await quote(shop, (await timeline(shop))[-1])
    await eventually(lambda: shop.fates(chat_id), [("sent", None)] * 2)
    first, _ = await shop.sent()
    assert shop.quoted == [heard, first.platform_id]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "audio", "duration": 1000, "contentProvider": {"type": "line"}},
        {"type": "location", "latitude": 35.6, "longitude": 139.7},
    ],
)
async def test_what_line_gave_no_token_for_is_not_quoted(
    world: World, message: dict[str, Any]
) -> None:
    shop = await world.business("line")
    assert isinstance(shop.fake, FakeLine)
    shop.fake.customer_sends(shop.kim, message, account_id=shop.account_id)
    (heard,) = await timeline(shop)
    problem = await quote(shop, heard)
    assert (problem["status"], problem["code"]) == (400, "invalid")
    field = {"field": "reply_to", "message": "names no message of this chat that can be quoted"}
    assert problem["errors"] == [field]


async def test_only_texts_and_stickers_quote_on_line(world: World) -> None:
    shop = await world.business("line")
    shop.says("where?")
    (asked,) = await timeline(shop)
    place = {"latitude": 35.6, "longitude": 139.7}
    problem = await quote(shop, asked, kind="location", location=place, text=None)
    field = {"field": "reply_to", "message": "location cannot quote a message on line"}
    assert (problem["status"], problem["errors"]) == (400, [field])
    assert await shop.org.events(type="chat.reply_requested") == []


# Utility templates.

SHIPPED = {
    "category": "utility",
    "body": "{{order}} is on its way.",
    "parameters": ["order"],
    "state": "approved",
}


async def test_after_messengers_window_a_utility_template_goes_and_no_text(world: World) -> None:
    """Spec N1, N2, C8."""
    shop = await world.business("messenger")
    world.past.hours = 24
    shop.says("where is it?")
    chat_id = await shop.chat_with(shop.kim)
    world.past.hours = 0
    await shop.org.put(f"/v1/accounts/{shop.account_id}/templates/shipped/en_US", SHIPPED)
    world.messenger.templates.add(("shipped", "en_US"))
    refused = await shop.org.reply("crm", chat_id, "On its way.", expect=409)
    assert (refused["code"], refused["templates"]) == ("window_closed", ["shipped"])
    template = {"kind": "template", "name": "shipped", "language": "en"}
    body = {**template, "parameters": {"order": "A-7"}}
    await shop.org.post(f"/v1/services/crm/chats/{chat_id}/messages", body, expect=202)
    await eventually(lambda: shop.fates(chat_id), [("read", None)])
    (sent,) = await shop.sent()
    assert (sent.kind, sent.body["messaging_type"]) == ("template", "UTILITY")
    assert (await timeline(shop))[-1]["content"]["text"] == "A-7 is on its way."


@pytest.mark.parametrize(
    ("platform", "said"),
    [
        ("messenger", "must be utility on messenger"),
        ("line", "templates cannot be sent on line"),
    ],
)
async def test_a_template_that_could_not_be_sent_is_not_defined(
    world: World, platform: str, said: str
) -> None:
    shop = await world.business(platform)
    path = f"/v1/accounts/{shop.account_id}/templates/sale/en"
    answer = await shop.org.call("PUT", path, json=SHIPPED | {"category": "marketing"})
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (400, "invalid")
    assert problem["errors"] == [{"field": "category", "message": said}]
    assert (await shop.org.get(f"/v1/accounts/{shop.account_id}/templates"))["items"] == []


# Pages that are told nothing any more.


@dataclass
class Ahead:
    """A clock that stands still, so many hours after the world began."""

    began: datetime
    hours: float

    def now(self) -> datetime:
        return self.began + timedelta(hours=self.hours)


class Unclaimed:
    """The control: what is looked at by one is left to the others as well."""

    def __init__(self, schedule: SubscriptionSchedule) -> None:
        self._schedule = schedule
        self._lock = asyncio.Lock()

    async def claim_checks(
        self, platforms: Collection[str], *, now: datetime, until: datetime, limit: int
    ) -> list[HeldAccount]:
        until = now - timedelta(seconds=1)
        async with self._lock:
            return await self._schedule.claim_checks(platforms, now=now, until=until, limit=limit)

    async def plan_check(self, account: HeldAccount, *, at: datetime) -> None:
        """Left to the next test."""


async def look(world: World, *, hours: float = 2.0, control: bool = False) -> None:
    """Two processes look at all pages, so many hours later."""
    schedule = Unclaimed(world.parts.directory) if control else world.parts.directory
    async with new_http_client() as client:
        api = SendApi(client, base_address=world.messenger.base_url)
        both = [
            Subscriber(
                schedule,
                world.parts.context.credentials,
                world.parts.verifying,
                {"messenger": api},
                Ahead(world.began, hours),
            )
            for _ in range(2)
        ]
        await asyncio.gather(*(each.check_due() for each in both))


def asked(shop: Shop) -> list[str]:
    """How Messenger was asked about the page's deliveries."""
    path = f"/v26.0/{shop.account_id}/subscribed_apps"
    return [each.method for each in shop.fake.requests if each.path == path]


async def forgotten(world: World) -> tuple[Shop, FakeSendApi]:
    """A page that Messenger has ended its deliveries for."""
    shop = await world.business("messenger")
    world.messenger.subscribed.discard(shop.account_id)
    return shop, world.messenger


async def subscriptions(shop: Shop) -> list[str]:
    events = [*await shop.org.events(type="account.unsubscribed")]
    events += await shop.org.events(type="account.resubscribed")
    return [each["type"] for each in sorted(events, key=lambda each: int(each["position"]))]


async def test_a_page_that_is_told_nothing_is_subscribed_again(world: World) -> None:
    shop, messenger = await forgotten(world)
    shop.says("to nobody")
    await look(world)
    assert shop.account_id in messenger.subscribed
    assert asked(shop) == ["GET", "POST"]
    assert await subscriptions(shop) == ["account.resubscribed"]
    assert await shop.health() == ("ok", None)
    shop.says("to us")
    (heard,) = await timeline(shop)
    assert heard["content"]["text"] == "to us"


async def test_each_page_is_looked_at_once_an_hour_by_one_process(world: World) -> None:
    shop = await world.business("messenger")
    await look(world, hours=0.5)
    assert asked(shop) == []
    for _ in range(2):
        await look(world, hours=2.0)
        assert asked(shop) == ["GET"]
    await look(world, hours=3.0)
    assert asked(shop) == ["GET"] * 2
    assert await subscriptions(shop) == []


async def test_control_without_its_claim_a_page_is_looked_at_by_all(world: World) -> None:
    shop = await world.business("messenger")
    await look(world, control=True)
    assert asked(shop) == ["GET"] * 2


async def test_a_refusal_to_go_on_is_shown_until_messenger_delivers_again(world: World) -> None:
    shop, messenger = await forgotten(world)
    to = f"{shop.account_id}/subscribed_apps"
    for hours in (2.0, 3.0):
        messenger.next_requests(behaves(), messenger_fails(200), to=to)
        await look(world, hours=hours)
        assert await subscriptions(shop) == ["account.unsubscribed"]
        assert await shop.health() == ("unsubscribed", "permission")
    messenger.subscribed.add(shop.account_id)  # By somebody's hand.
    await look(world, hours=4.0)
    assert await subscriptions(shop) == ["account.unsubscribed", "account.resubscribed"]
    assert await shop.health() == ("ok", None)


@pytest.mark.parametrize("behaviours", [(drops(),), (behaves(), drops())])
async def test_where_messenger_does_not_answer_it_is_asked_again_soon(
    world: World, behaviours: tuple[Behaviour, ...]
) -> None:
    shop, messenger = await forgotten(world)
    messenger.next_requests(*behaviours, to=f"{shop.account_id}/subscribed_apps")
    await look(world)
    assert await subscriptions(shop) == []
    await look(world, hours=2.0 + AGAIN_AFTER / timedelta(hours=1))
    assert await subscriptions(shop) == ["account.resubscribed"]


async def test_a_page_that_was_released_is_left_alone(world: World) -> None:
    """Spec S15."""
    shop, _ = await forgotten(world)
    for service in ("crm", "desk"):
        await shop.org.delete(f"/v1/channels/{shop.channel_id}/services/{service}")
    await shop.org.delete(f"/v1/channels/{shop.channel_id}")
    await look(world)
    assert asked(shop) == []
