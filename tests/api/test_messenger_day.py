"""A day on Messenger: in, out, echoes, watermarks, an outage, lost answers, refusals.

Spec S4, S10, N1, N3, N4, C15, C17, P1; with a fake that has Meta's manners.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from adapters.fakes.behaviour import accepts_then_drops, drops
from adapters.messenger.fake import FakeSendApi
from adapters.messenger.fake_behaviour import fails, limits
from adapters.messenger.fake_rules import FakePage
from adapters.messenger.fake_webhooks import EventPlan
from api.main import Core, Database
from api.settings import Settings
from tests.api.businesses import Business, connect, organisation, texts, verification
from tests.api.conftest import APP_SECRET, NOWHERE, listening, serving
from tests.api.deliveries import eventually
from tests.conftest import Database as EmptyDatabase

PAGES = [
    FakePage(page_id=str(101_917_755_308_000 + number), access_token=f"page-token-{number}")
    for number in range(30)
]
KIM, LEE = "6473829104756123", "6473829104756124"


@dataclass
class World:
    """A running server beside a fake Messenger."""

    parts: Core
    http: httpx.AsyncClient
    fake: FakeSendApi
    pages: Iterator[FakePage] = field(default_factory=lambda: iter(PAGES))

    async def business(self, page: FakePage | None = None) -> Business:
        page = page or next(self.pages)
        org = await organisation(self.parts, self.http)
        business = Business(org, self.fake, page.page_id)
        return await connect(business, "messenger", {"access_token": page.access_token})

    async def hear(self, acme: Business, customer: str, text: str) -> str:
        """A customer writes; the chat where it is seen."""
        self.fake.customer_says(customer, text, account_id=acme.account_id)
        return await acme.chat_with(customer)

    @contextmanager
    def plan(self, *events: str, **more: Any) -> Iterator[None]:
        """Messenger tells of these, and of no others."""
        before, self.fake.plan = self.fake.plan, EventPlan(events=events, **more)
        try:
            yield
        finally:
            self.fake.plan = before


@pytest.fixture(scope="module")
async def world(
    database: EmptyDatabase, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    where = Database(database.url, database.superuser, "trunkline", True)
    listener, url = listening()
    webhook_url = f"{url}/webhooks/messenger"
    async with FakeSendApi(accounts=PAGES, app_secret=APP_SECRET, webhook_url=webhook_url) as fake:
        settings = Settings(
            home=tmp_path_factory.mktemp("home"),
            meta_app_secrets=(APP_SECRET,),
            whatsapp_api_base=NOWHERE,
            messenger_api_base=fake.base_url,
        )
        async with serving(settings, where, listener, url) as (parts, http):
            yield World(parts, http, fake)


# In and out.


async def test_a_conversation_that_two_services_see_and_one_answers(world: World) -> None:
    """Spec S3, S4, C15, C17: the echo of our own message is no second copy of it."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "Is my order on its way?")
    reply = await acme.org.reply("crm", chat_id, "It left today.")
    await eventually(lambda: acme.fates(chat_id), [("read", None)])
    (sent,) = await acme.sent()
    assert sent.body == {
        "recipient": {"id": KIM},
        "messaging_type": "RESPONSE",
        "message": {"text": "It left today.", "metadata": f"{chat_id}.{reply['id']}"},
    }
    for service in ("crm", "desk"):
        question, answer = await acme.org.messages(service, chat_id)
        assert question["content"]["text"] == "Is my order on its way?"
        assert (answer["status"], answer["masked"]) == ("read", service == "desk")
        assert ("It left today." in str(answer)) == (service == "crm")
    assert await acme.org.events(type="chat.echo_received") == []
    (chat,) = await acme.org.chats("crm")
    assert chat["session"]["customer_last_read_at"] is not None


async def test_what_is_answered_in_the_pages_inbox_is_of_no_service(world: World) -> None:
    """Spec C17."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    world.fake.page_says(KIM, "I am the owner", account_id=acme.account_id)
    await world.fake.settled()
    world.fake.customer_reads(KIM, account_id=acme.account_id)
    await world.fake.settled()
    await acme.org.settled()
    _, answer = await acme.org.messages("desk", chat_id)
    assert (answer["service"], answer["status"], answer["content"]["text"]) == (
        None,
        "read",
        "I am the owner",
    )


async def test_watermarks_that_come_late_twice_and_out_of_order_end_as_read(world: World) -> None:
    """Spec C15, P2."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    written = [str(number) for number in range(6)]
    with world.plan("echo", "delivery", "read", twice=0.5, out_of_order=0.7, delay_seconds=0.02):
        for text in written:
            await acme.org.reply("crm", chat_id, text)
        await eventually(acme.sent_texts, written)
        await world.fake.settled()
    await eventually(lambda: acme.fates(chat_id), [("read", None)] * 6)
    assert await texts(acme.org, "crm", chat_id) == ["hello", *written]


async def test_delivered_and_not_read(world: World) -> None:
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    with world.plan("echo", "delivery"):
        await acme.org.reply("crm", chat_id, "anybody there?")
        await eventually(lambda: acme.fates(chat_id), [("delivered", None)])


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
    await eventually(lambda: acme.fates(kim), [("read", None)] * 3)
    await eventually(lambda: acme.fates(lee, "desk"), [("read", None)] * 3)
    assert await acme.sent_texts(KIM) == ["kim 0", "kim 1", "kim 2"]
    assert await acme.sent_texts(LEE) == ["lee 0", "lee 1", "lee 2"]
    assert await acme.org.events(type="chat.echo_received") == []


async def test_a_lost_answer_is_settled_by_the_echo_that_gives_our_mark_back(world: World) -> None:
    """Spec N3: uncertain until then, and never sent again."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    with world.plan():
        world.fake.next_requests(accepts_then_drops())
        await acme.org.reply("crm", chat_id, "lost")
        await eventually(lambda: acme.fates(chat_id), [("uncertain", None)])
    (sent,) = await acme.sent()
    for event in ("echo", "delivery", "read"):
        world.fake.tell(event, sent)
        await world.fake.settled()
    await eventually(lambda: acme.fates(chat_id), [("read", None)])
    assert await texts(acme.org, "crm", chat_id) == ["hello", "lost"]
    await acme.org.reply("crm", chat_id, "next")
    await eventually(acme.sent_texts, ["lost", "next"])


async def test_control_an_echo_without_our_mark_settles_nothing(world: World) -> None:
    """It is somebody else's message then, and ours stays uncertain."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    with world.plan():
        world.fake.next_requests(accepts_then_drops())
        await acme.org.reply("crm", chat_id, "lost")
        await eventually(lambda: acme.fates(chat_id), [("uncertain", None)])
    (sent,) = await acme.sent()
    world.fake.tell("echo", replace(sent, body={"message": {"text": "lost"}}))
    await world.fake.settled()
    await acme.org.settled()
    assert await texts(acme.org, "crm", chat_id) == ["hello", "lost", "lost"]
    assert sorted(await acme.fates(chat_id)) == [("sent", None), ("uncertain", None)]


async def test_a_message_that_was_never_taken_stays_uncertain_until_a_person_decides(
    world: World,
) -> None:
    """Spec N3. It does not hold up the next one (N4)."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    world.fake.next_requests(drops())
    lost = await acme.org.reply("crm", chat_id, "lost")
    await acme.org.reply("crm", chat_id, "next")
    await eventually(lambda: acme.fates(chat_id), [("uncertain", None), ("read", None)])
    path = f"/v1/services/crm/chats/{chat_id}/messages/{lost['id']}/retry"
    await acme.org.post(path, expect=202)
    await eventually(acme.sent_texts, ["next", "lost"])


async def test_a_limit_is_waited_for_and_nothing_overtakes(world: World) -> None:
    """Spec N3, N4."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    world.fake.next_requests(limits(1))
    for text in "ab":
        await acme.org.reply("crm", chat_id, text)
    await eventually(acme.sent_texts, ["a", "b"])
    assert await acme.deferred() == {"rate_limited"}


@pytest.mark.parametrize(
    ("behaviour", "reason", "code"),
    [
        (fails(10, 2018278), "window_closed", 10),
        (fails(551, 1545041), "undeliverable", 551),
        (fails(100, 2018001), "undeliverable", 100),
    ],
)
async def test_a_refusal_stands_at_the_message_and_the_next_goes_out(
    world: World, behaviour: Any, reason: str, code: int
) -> None:
    """Spec N1, N3: the platform's own word counts, too."""
    acme = await world.business()
    chat_id = await world.hear(acme, KIM, "hello")
    world.fake.next_requests(behaviour)
    for text in "ab":
        await acme.org.reply("crm", chat_id, text)
    failed = ("failed", {"reason": reason, "code": code})
    await eventually(lambda: acme.fates(chat_id), [failed, ("read", None)])
    assert await acme.sent_texts() == ["b"]
    assert await acme.health() == ("ok", None)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [(fails(190), "credentials"), (fails(368), "blocked"), (fails(10, 1893063), "blocked")],
)
async def test_a_dead_token_or_a_block_stops_the_page_until_there_is_another(
    world: World, behaviour: Any, reason: str
) -> None:
    """Spec N3, S12."""
    page = next(world.pages)
    acme = await world.business(page)
    chat_id = await world.hear(acme, KIM, "hello")
    world.fake.next_requests(behaviour)
    await acme.org.reply("crm", chat_id, "a")
    await eventually(acme.health, ("stopped", reason))
    assert await acme.fates(chat_id) == [("queued", None)]
    new = {"credentials": {"access_token": page.access_token}}
    await acme.org.patch(f"/v1/services/crm/channels/{acme.channel_id}", new)
    await eventually(acme.sent_texts, ["a"])


# Accounts.


async def test_deliveries_for_a_page_that_nobody_holds_go_to_whose_token_is_accepted(
    world: World,
) -> None:
    """Spec S10: not to whoever comes first."""
    page = next(world.pages)
    for number in range(3):
        world.fake.customer_says(KIM, f"early {number}", account_id=page.page_id)
        await world.fake.settled()
    guesser = await organisation(world.parts, world.http, "Guesser")
    guess: dict[str, Any] = {"platform": "messenger", "business_account_id": None}
    channel = await guesser.connect(
        "crm", page.page_id, credentials={"access_token": PAGES[0].access_token}, **guess
    )
    await eventually(lambda: verification(guesser, channel["id"]), ("failed", "account_unknown"))
    await guesser.settled()
    assert await guesser.chats("crm") == []
    await guesser.delete(f"/v1/channels/{channel['id']}/services/crm")
    await guesser.delete(f"/v1/channels/{channel['id']}")
    acme = await world.business(page)
    chat_id = await acme.chat_with(KIM)
    assert await texts(acme.org, "crm", chat_id) == [f"early {number}" for number in range(3)]
    await guesser.settled()
    assert await guesser.chats("crm") == []
    await acme.org.reply("crm", chat_id, "Here we are.")
    await eventually(lambda: acme.fates(chat_id), [("read", None)])
