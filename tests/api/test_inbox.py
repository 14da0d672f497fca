"""Inboxes: order, views, filters, pages, status, unread counters, blocking (C0, C1, C4, C6, C7)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.whatsapp.fake_behaviour import fails
from tests.api.businesses import connected, shared, texts
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import eventually, now

HOUR = 3600


@dataclass
class Inbox:
    """An org with one shared account, whose customers go by short names."""

    trunkline: Trunkline
    org: Client
    account: str
    channel_id: str
    chats: dict[str, str] = field(default_factory=dict)

    async def hear(self, customer: str, text: str = "hello", *, hours_ago: float = 0) -> None:
        """A customer writes."""
        phone = f"1202555{1000 + ord(customer) % 1000}"
        await self.trunkline.says(
            text,
            account_id=self.account,
            phone=phone,
            seconds_ago=hours_ago * HOUR,
            name=customer,
        )
        await self.org.settled()
        for chat in await self.org.chats("crm", limit=200):
            self.chats[chat["customer"]["name"]] = chat["id"]

    async def act(
        self, customer: str, action: str, *, service: str = "crm", body: Any = None
    ) -> Any:
        """Do something with a customer's chat."""
        path = f"/v1/services/{service}/chats/{self.chats[customer]}/{action}"
        return await self.org.post(path, body)

    async def listed(self, service: str = "crm", **query: Any) -> str:
        """The customers of a list, newest activity first."""
        chats = await self.org.chats(service, **query)
        return "".join(chat["customer"]["name"] for chat in chats)

    async def unread(self, client: Client | None = None, service: str = "crm") -> Any:
        """A user's total, and their unread chats by customer."""
        client = client or self.org
        await client.settled() if client is self.org else None
        headers = {"Trunkline-Min-Position": str(self.org.position)}
        counts = await client.get(f"/v1/services/{service}/unread", headers=headers)
        names = {chat_id: name for name, chat_id in self.chats.items()}
        return counts["unread"], {names[key]: count for key, count in counts["chats"].items()}


async def inbox_of(trunkline: Trunkline, *services: str) -> Inbox:
    """A new org's inbox; `crm` is always among its services."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await shared(org, account, *(services or ("crm",)))
    return Inbox(trunkline, org, account, channel_id)


def as_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def hours_ago(hours: float) -> str:
    return as_time(now() - hours * HOUR)


# Order.


async def test_the_timeline_is_in_the_platforms_order_and_the_log_in_that_of_arrival(
    trunkline: Trunkline,
) -> None:
    """Spec C0."""
    inbox = await inbox_of(trunkline)
    start = now()
    for text, ago in (("third", 10), ("first", 30), ("second", 20)):
        await trunkline.says(text, account_id=inbox.account, seconds_ago=ago)
    await inbox.org.settled()
    (chat,) = await inbox.org.chats("crm")
    assert await texts(inbox.org, "crm", chat["id"]) == ["first", "second", "third"]
    received = await inbox.org.events(type="chat.message_received")
    assert [round(start - _seconds(each["data"]["at"]), -1) for each in received] == [10, 30, 20]
    assert [each["version"] for each in received] == [2, 3, 4]


async def test_messages_of_the_same_second_stand_in_the_order_of_their_arrival(
    trunkline: Trunkline,
) -> None:
    """Spec C0."""
    inbox = await inbox_of(trunkline)
    for text in "abcdef":
        await trunkline.says(text, account_id=inbox.account, seconds_ago=7 - now() % 1)
    await inbox.org.settled()
    (chat,) = await inbox.org.chats("crm")
    assert await texts(inbox.org, "crm", chat["id"]) == list("abcdef")


async def test_a_late_message_moves_its_chat_neither_up_nor_down(trunkline: Trunkline) -> None:
    """Spec C0, C1."""
    inbox = await inbox_of(trunkline)
    await inbox.hear("A", "newest", hours_ago=1)
    await inbox.hear("B", hours_ago=2)
    await inbox.hear("B", "late", hours_ago=3)
    assert await inbox.listed() == "AB"
    newest, late = await inbox.org.chats("crm")
    assert [newest["last_message"]["content"], late["last_message"]["content"]] == [
        {"text": "newest"},
        {"text": "hello"},
    ]
    assert late["started_at"] < late["last_activity_at"] < newest["started_at"]


async def test_a_time_too_far_ahead_counts_as_ours(trunkline: Trunkline) -> None:
    """Spec C0: more than five minutes are not believed, less are."""
    inbox = await inbox_of(trunkline)
    await inbox.hear("A", hours_ago=-1)
    await inbox.hear("B", hours_ago=-4 / 60)
    ahead = {
        chat["customer"]["name"]: round(_seconds(chat["last_activity_at"]) - now(), -1)
        for chat in await inbox.org.chats("crm")
    }
    assert ahead == {"A": 0, "B": 240}


# Views and filters.


async def test_a_chat_shows_all_that_belongs_to_it(trunkline: Trunkline) -> None:
    inbox = await inbox_of(trunkline)
    await inbox.hear("A", hours_ago=1)
    (chat,) = await inbox.org.chats("crm")
    at = chat["last_activity_at"]
    closes = datetime.fromisoformat(at) + timedelta(hours=24)
    assert chat == {
        "id": chat["id"],
        "channel_id": inbox.channel_id,
        "platform": "whatsapp",
        "customer": {
            "contact_id": chat["customer"]["contact_id"],
            "name": "A",
            "address": "+12025551065",
        },
        "status": "open",
        "blocked": False,
        "owner": None,
        "unread": 1,
        "answered": False,
        "started_at": at,
        "last_activity_at": at,
        "last_message": {
            "id": chat["last_message"]["id"],
            "direction": "inbound",
            "kind": "text",
            "at": at,
            "status": "received",
            "masked": False,
            "service": None,
            "author": None,
            "content": {"text": "hello"},
            "reply_to": None,
            "retry_of": None,
            "failure": None,
            "edited_at": None,
            "unsent": False,
            "member": None,
            "reactions": [],
        },
        "window": {"open": True, "closes_at": closes.isoformat().replace("+00:00", "Z")},
        "session": {
            "id": chat["session"]["id"],
            "started_at": at,
            "customer_last_read_at": None,
        },
        "marketing_opt_out": False,
    }


async def _five_chats(trunkline: Trunkline) -> Inbox:
    """A is mine, B somebody else's, C closed, D blocked, E answered and nobody's."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    other = await inbox.org.user("agent", {"crm": "reply"})
    for number, customer in enumerate("ABCDE"):
        await inbox.hear(customer, hours_ago=10 - number)
    await inbox.act("A", "assign")
    await inbox.act("B", "assign", body={"user_id": other.user_id})
    await inbox.act("C", "close")
    await inbox.act("D", "block")
    await inbox.org.reply("crm", inbox.chats["E"], "hi")
    inbox.chats["other"] = other.user_id
    return inbox


async def test_views_hold_what_their_names_say(trunkline: Trunkline) -> None:
    """Spec C1. Each service has its own; the newest activity comes first."""
    inbox = await _five_chats(trunkline)
    views = ("all", "mine", "unassigned", "blocked", "closed")
    assert {view: await inbox.listed(view=view) for view in views} == {
        "all": "ECBA",
        "mine": "A",
        "unassigned": "EC",
        "blocked": "D",
        "closed": "C",
    }
    assert await inbox.org.get("/v1/services/crm/counts") == {
        "all": 4,
        "mine": 1,
        "unassigned": 2,
        "blocked": 1,
        "closed": 1,
        "unanswered": 3,
    }
    assert {view: await inbox.listed("desk", view=view) for view in views} == {
        "all": "EDCBA",
        "mine": "",
        "unassigned": "EDCBA",
        "blocked": "",
        "closed": "",
    }


async def test_each_filter_narrows_a_view_and_they_combine(trunkline: Trunkline) -> None:
    """Spec C1. From is inclusive, to exclusive."""
    inbox = await _five_chats(trunkline)
    chats = {chat["customer"]["name"]: chat for chat in await inbox.org.chats("crm")}
    await inbox.hear("B", "again", hours_ago=0.5)
    first_of_b = chats["B"]["started_at"]
    newest_of_c = chats["C"]["last_activity_at"]
    queries: dict[str, tuple[dict[str, Any], str]] = {
        "answered": ({"filter": "answered"}, "E"),
        "unanswered": ({"filter": "unanswered"}, "BCA"),
        "any answer": ({"filter": "all"}, "EBCA"),
        "open": ({"status": "open"}, "EBA"),
        "closed": ({"status": "closed"}, "C"),
        "owner": ({"owner": inbox.chats["other"]}, "B"),
        "platform": ({"platform": "whatsapp"}, "EBCA"),
        "another platform": ({"platform": "line"}, ""),
        "channel": ({"channel": inbox.channel_id}, "EBCA"),
        "another channel": ({"channel": "2" * 26}, ""),
        "first from": ({"first_from": first_of_b}, "EBC"),
        "first to": ({"first_to": first_of_b}, "A"),
        "last from": ({"last_from": newest_of_c}, "EBC"),
        "last to": ({"last_to": newest_of_c}, "A"),
        "first and last": ({"first_to": newest_of_c, "last_from": hours_ago(1)}, "B"),
        "view and filters": (
            {"view": "unassigned", "filter": "unanswered", "status": "closed"},
            "C",
        ),
    }
    found = {name: await inbox.listed(**query) for name, (query, _) in queries.items()}
    assert found == {name: expected for name, (_, expected) in queries.items()}


async def test_a_filter_that_is_not_understood_is_refused_with_its_name(
    trunkline: Trunkline,
) -> None:
    org = await trunkline.organisation()
    await org.services("crm")
    named = {}
    for name, value in (
        ("view", "everything"),
        ("filter", "maybe"),
        ("status", "half-open"),
        ("first_from", "yesterday"),
        ("last_to", "2026-11-21T12:00:00"),
        ("limit", "201"),
        ("cursor", "not-one-of-ours"),
        ("colour", "blue"),
    ):
        refused = await org.get("/v1/services/crm/chats", params={name: value}, expect=400)
        named[name] = refused["errors"][0]["field"]
    assert named == {name: name for name in named}


# Pages.


async def test_pages_hold_every_chat_once_while_new_messages_arrive(trunkline: Trunkline) -> None:
    """Spec C1. A chat that moved up is on the pages that were read before, and on no other."""
    inbox = await inbox_of(trunkline)
    for number, customer in enumerate("GFEDCBA"):
        await inbox.hear(customer, hours_ago=10 - number)
    pages, cursor = [], None
    for minutes_ago, arrival in ((3, "H"), (2, "G"), (1, "A")):
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = await inbox.org.get("/v1/services/crm/chats", params=query)
        pages.append("".join(chat["customer"]["name"] for chat in page["items"]))
        cursor = page["next_cursor"]
        await inbox.hear(arrival, "new", hours_ago=minutes_ago / 60)
    assert (pages, cursor) == (["ABC", "DEF", ""], None)
    assert await inbox.listed() == "AGHBCDEF"


async def test_pages_of_a_timeline_stay_as_they_are_while_new_messages_arrive(
    trunkline: Trunkline,
) -> None:
    """Spec C1: messages come newest first."""
    inbox = await inbox_of(trunkline)
    for number in range(7):
        await inbox.hear("A", str(number), hours_ago=7 - number)
    path = f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    pages, cursor = [], None
    for arrival in ("new", "newer", "newest"):
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = await inbox.org.get(path, params=query)
        pages.append([each["content"]["text"] for each in page["items"]])
        cursor = page["next_cursor"]
        await inbox.hear("A", arrival)
    assert (pages, cursor) == ([["6", "5", "4"], ["3", "2", "1"], ["0"]], None)


# Answered.


async def test_a_chat_is_answered_when_its_newest_message_is_ours_whichever_service_sent_it(
    trunkline: Trunkline,
) -> None:
    """Spec C1."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    await inbox.hear("A", hours_ago=1)
    await inbox.hear("B", hours_ago=1)
    assert await inbox.listed(filter="unanswered") in ("AB", "BA")
    await inbox.org.reply("desk", inbox.chats["A"], "hi")
    assert await inbox.listed(filter="answered") == "A"
    await inbox.hear("A", "thanks", hours_ago=-1 / 60)
    assert await inbox.listed(filter="answered") == ""


async def test_a_failed_reply_falls_back_to_what_was_before_it(trunkline: Trunkline) -> None:
    """Spec C1: reactions and failed messages aside."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(org, account)
    inbox = Inbox(trunkline, org, account, channel_id)
    await inbox.hear("A", hours_ago=1)
    trunkline.fake.next_requests(fails(131026))
    failing = await org.reply("crm", inbox.chats["A"], "never arrives")

    async def answered() -> Any:
        await org.settled()
        (chat,) = await org.chats("crm")
        return chat["answered"], chat["last_message"]["id"], chat["last_message"]["failure"]

    failure = {"reason": "undeliverable", "code": 131026}
    await eventually(answered, (False, failing["id"], failure))
    sent = await org.reply("crm", inbox.chats["A"], "this one does")
    await eventually(answered, (True, sent["id"], None))


# Status.


async def test_a_customers_message_opens_a_chat_everywhere_and_a_reply_in_its_service_only(
    trunkline: Trunkline,
) -> None:
    """Spec C4."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    await inbox.hear("A", hours_ago=1)

    async def status() -> list[str]:
        return [(await inbox.org.chats(each))[0]["status"] for each in ("crm", "desk")]

    for service in ("crm", "desk"):
        await inbox.act("A", "close", service=service)
    assert await status() == ["closed", "closed"]
    await inbox.org.reply("crm", inbox.chats["A"], "hi")
    assert await status() == ["open", "closed"]
    await inbox.act("A", "close")
    await inbox.hear("A", "again")
    assert await status() == ["open", "open"]
    await inbox.act("A", "close")
    assert (await inbox.act("A", "open"))["status"] == "open"
    assert await status() == ["open", "open"]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
