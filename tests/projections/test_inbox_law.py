"""The law of the inbox: it is what working it out by hand gives, in whatever batches it came."""

import os
from collections import Counter
from typing import Any

import msgspec
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import chat as chats
from projections.inbox_queries import chat, chats_page, counts, messages_page
from projections.inbox_rows import MessageRow
from projections.sealed_parts import SealedPart
from tests.projections.histories import History, Projected, at
from tests.projections.inbox_by_hand import ByHand

LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"
LAW = settings(
    max_examples=600 if LONG else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

SERVICES = ("crm", "desk", "bigin")
CHATS = ("a", "b")
# Which services may connect to it, and whether it is shared.
CHANNELS = {
    "shared": (("crm", "desk"), True),
    "of-bigin": (("bigin",), False),
    "of-desk": (("desk",), False),
}
PLACES = [(name, channel_id) for channel_id, (names, _) in CHANNELS.items() for name in names]
STATUSES = ("sent", "delivered", "read", "played", "failed", "odd")
TABLES = (
    "channels",
    "connections",
    "threads",
    "chats",
    "counts",
    "messages",
    "receipts",
    "edits",
    "unsends",
    "reactions",
    "reads",
    "contacts",
    "addresses",
    "preferences",
)

chat_ids = st.sampled_from(CHATS)
minutes = st.integers(0, 9)
numbers = st.integers(0, 1)  # Few names, so that much happens to each.
services = st.sampled_from(SERVICES)
STEPS = st.one_of(
    st.tuples(st.just("join"), st.sampled_from(PLACES)),
    st.tuples(st.just("leave"), st.sampled_from(PLACES), st.booleans()),
    st.tuples(st.just("customer"), chat_ids, numbers, minutes),
    st.tuples(st.just("reply"), chat_ids, numbers, minutes, services),
    st.tuples(st.just("echo"), chat_ids, numbers, minutes, st.booleans()),
    st.tuples(st.just("answer"), chat_ids, numbers, st.sampled_from(["sent", "failed", "lost"])),
    st.tuples(st.just("receipt"), chat_ids, st.sampled_from("re"), numbers, minutes,
              st.sampled_from(STATUSES), st.booleans()),
    st.tuples(st.just("edit"), chat_ids, st.sampled_from("mre"), numbers, minutes),
    st.tuples(st.just("unsend"), chat_ids, st.sampled_from("mre"), numbers),
    st.tuples(st.just("react"), chat_ids, st.sampled_from("mre"), numbers, minutes,
              st.sampled_from(["+", "-", None])),
    st.tuples(st.just("decide"), chat_ids, services,
              st.sampled_from(["assigned", "unassigned", "closed", "opened", "blocked",
                               "unblocked"])),
)  # fmt: skip


class Story:
    """Tells steps as a history that the log could hold, leaving out what could not happen."""

    def __init__(self, steps: list[Any]) -> None:
        self.history = History()
        self.active: dict[str, str] = {}  # Service -> channel.
        self.disabled: set[tuple[str, str]] = set()
        self.channels: set[str] = set()
        self.written: set[str] = set()
        self.join(("crm", "shared"))
        for chat_id in CHATS:
            self.history.chat(chat_id, f"contact-{chat_id}")
        for name, *arguments in steps:
            getattr(self, name)(*arguments)

    def join(self, place: tuple[str, str]) -> None:
        service, channel_id = place
        if service in self.active:
            return
        if channel_id not in self.channels:
            self.channels.add(channel_id)
            self.history.channel(channel_id, shared=CHANNELS[channel_id][1])
        if place in self.disabled:
            self.history.enabled(service, channel_id)
        else:
            self.history.connected(service, channel_id)
        self.disabled.discard(place)
        self.active[service] = channel_id

    def leave(self, place: tuple[str, str], deletes: bool) -> None:
        service, channel_id = place
        if self.active.get(service) != channel_id:
            return
        del self.active[service]
        if deletes:
            self.history.deleted(service, channel_id)
        else:
            self.disabled.add(place)
            self.history.disabled(service, channel_id)

    def _is_new(self, name: str) -> bool:
        is_new = name not in self.written
        self.written.add(name)
        return is_new

    def customer(self, chat_id: str, number: int, minute: int) -> None:
        name = f"{chat_id}m{number}"
        if self._is_new(name):
            self.history.customer(name, minute, chat_id)

    def reply(self, chat_id: str, number: int, minute: int, service: str) -> None:
        name = f"{chat_id}r{number}"
        if service in self.active and self._is_new(name):
            channel_id = self.active[service]
            self.history.reply(name, service, minute, chat_id, channel_id=channel_id)

    def echo(self, chat_id: str, number: int, minute: int, of_ours: bool) -> None:
        name = f"{chat_id}e{number}"
        if self._is_new(name):
            self.history.echo(name, minute, chat_id, of=f"{chat_id}r{number}" if of_ours else None)

    def answer(self, chat_id: str, number: int, answer: str) -> None:
        name = f"{chat_id}r{number}"
        if name not in self.written:
            return
        if answer == "sent":
            self.history.sent(name, chat_id)
        elif answer == "failed":
            self.history.failed(name, chat_id=chat_id)
        else:
            lost = chats.SendUncertain(message_id=name, reason="timeout")
            self.history.on_chat(lost, chat_id)

    def receipt(
        self, chat_id: str, letter: str, number: int, minute: int, status: str, marked: bool
    ) -> None:
        name = f"{chat_id}{letter}{number}"
        is_ours = letter == "r" and name in self.written
        facts = {"message_id": name} if marked and is_ours else {}
        self.history.receipt(name, status, minute, chat_id, error_code=131026, **facts)

    def edit(self, chat_id: str, letter: str, number: int, minute: int) -> None:
        text = f"edit {len(self.history.log)}"
        self.history.edited(f"{chat_id}{letter}{number}", text, minute, chat_id)

    def unsend(self, chat_id: str, letter: str, number: int) -> None:
        self.history.unsent(f"{chat_id}{letter}{number}", chat_id=chat_id)

    def react(self, chat_id: str, letter: str, number: int, minute: int, emoji: str | None) -> None:
        self.history.reacted(f"{chat_id}{letter}{number}", emoji, minute, chat_id)

    def decide(self, chat_id: str, service: str, what: str) -> None:
        if service not in self.active:
            return
        arguments = ("someone",) if what == "assigned" else ()
        getattr(self.history, what)(service, *arguments, chat_id=chat_id)


histories = st.lists(STEPS, min_size=25, max_size=60).map(lambda steps: Story(steps).history)


async def _rows(connection: psycopg.AsyncConnection, org: int) -> dict[str, list[Any]]:
    rows = {}
    for table in TABLES:
        # A count of 0 says nothing.
        cursor = await connection.execute(
            f"SELECT to_jsonb(t) - 'org' FROM inbox_{table}_v1 t"
            " WHERE org = %s AND to_jsonb(t) ->> 'chats' IS DISTINCT FROM '0'",
            [org],
        )
        rows[table] = sorted((row for (row,) in await cursor.fetchall()), key=str)
    return rows


def _text(part: SealedPart | None) -> str | None:
    return part.sealed.box.decode() if part else None


def _shown(message: MessageRow) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "status": message.status,
        "text": _text(message.content),
        "edited": _text(message.edited),
        "unsent": message.unsent,
        "reactions": {each.author: _text(each.content) for each in message.reactions},
    }


def _views(chat: dict[str, Any]) -> list[str]:
    """Which of the counts a chat adds to."""
    if chat["blocked"]:
        return ["blocked"]
    counted = {
        "all": True,
        "mine": chat["owner"] == "someone",
        "unassigned": chat["owner"] is None,
        "closed": chat["status"] == "closed",
        "unanswered": not chat["answered"],
    }
    return [name for name, adds in counted.items() if adds]


@LAW
@given(history=histories)
async def test_it_is_what_working_it_out_by_hand_gives(
    projector: psycopg.AsyncConnection, history: History
) -> None:
    """S2, S3, S13, S16, C0, C1, C4, C7, C11, C15, C17."""
    inbox = Projected(projector)
    await inbox.project(history)
    by_hand = ByHand(history.log)
    for service in SERVICES:
        listed = set()
        counted = Counter[str]()
        for chat_id in CHATS:
            expected = by_hand.chat(service, chat_id)
            row = await chat(projector, org=inbox.org, service=service, chat_id=chat_id)
            if expected is None or row is None:
                assert (expected, row) == (None, None)
                continue
            names = expected.keys() - {"channel_id", "last_message"}
            shown = {name: getattr(row, name) for name in names}
            shown |= {
                "channel_id": row.view.channel_id,
                "last_message": row.last_message.message_id,
            }
            assert shown == expected
            if expected["connected"]:
                counted.update(_views(expected))
                if not expected["blocked"]:
                    listed.add((row.last_activity_at, chat_id))
            timeline = await messages_page(
                projector, org=inbox.org, chat_id=chat_id, view=row.view, limit=200
            )
            messages = by_hand.timeline(chat_id, row.view.channel_id, row.view.sees_from)
            assert [_shown(each) for each in timeline] == [by_hand.shown(m) for m in messages]
        page = await chats_page(
            projector, org=inbox.org, service=service, view="all", viewer="someone", limit=9
        )
        assert [(row.last_activity_at, row.chat_id) for row in page] == sorted(listed)[::-1]
        numbers = await counts(projector, org=inbox.org, service=service, viewer="someone")
        assert +Counter(msgspec.structs.asdict(numbers)) == counted


@LAW
@given(history=histories, data=st.data())
async def test_batches_and_repetitions_leave_no_trace(
    projector: psycopg.AsyncConnection, history: History, data: st.DataObject
) -> None:
    at_once = Projected(projector)
    await at_once.project(history)
    in_parts = Projected(projector)
    log = history.log
    ends = data.draw(st.sets(st.integers(1, len(log)), max_size=6)) | {len(log)}
    begin = 0
    for end in sorted(ends):
        await in_parts.fold(log[begin:end])
        begin = end
    expected = await _rows(projector, at_once.org)
    assert await _rows(projector, in_parts.org) == expected
    # Again from anywhere, up to the end: nothing changes.
    await in_parts.fold(log[data.draw(st.integers(0, len(log) - 1)) :])
    assert await _rows(projector, in_parts.org) == expected


async def test_a_chat_of_which_a_service_sees_nothing_any_more_leaves_its_rows(
    projector: psycopg.AsyncConnection,
) -> None:
    """An echo turns out to be the reply of another channel (C17, S2)."""
    history = History()
    history.channel("shared")
    history.connected("crm")
    history.channel("own", shared=False)
    history.connected("bigin", "own")
    history.chat("a")
    history.reply("r", "bigin", channel_id="own")
    history.echo("echo", of="r")
    at_once, in_parts = Projected(projector), Projected(projector)
    await in_parts.project(history)
    history.sent("r")
    await in_parts.project(history)
    await at_once.project(history)
    assert await _rows(projector, in_parts.org) == await _rows(projector, at_once.org)


async def test_a_part_that_is_told_again_begins_no_session(
    projector: psycopg.AsyncConnection,
) -> None:
    history = History()
    history.channel("shared")
    history.connected("crm")
    history.chat("a")
    history.customer("m1")
    history.closed("crm")
    history.customer("m2")
    history.customer("m3")
    history.closed("crm")
    inbox = Projected(projector)
    await inbox.project(history)
    expected = await _rows(projector, inbox.org)
    await inbox.fold(history.log[-2:])
    assert await _rows(projector, inbox.org) == expected


RECEIPTS = [("sent", 1), ("delivered", 2), ("read", 3), ("failed", 4), ("read", 5)]


@LAW
@given(order=st.permutations(RECEIPTS), known_after=st.integers(0, 5), chosen=st.data())
async def test_receipts_give_the_same_status_in_any_order(
    projector: psycopg.AsyncConnection,
    order: list[tuple[str, int]],
    known_after: int,
    chosen: st.DataObject,
) -> None:
    """C15: the greatest status holds, also for receipts that come before the send's answer."""
    told = chosen.draw(st.integers(1, len(order)))
    history = History()
    history.channel("shared")
    history.connected("crm")
    history.chat("a")
    history.reply("r", "crm")
    for index, (status, minute) in enumerate(order[:told]):
        if index == known_after:
            history.sent("r")
        history.receipt("r", status, minute)
    if known_after >= told:
        history.sent("r")
    inbox = Projected(projector)
    for recorded in history.log:
        await inbox.fold([recorded])
    row = await chat(projector, org=inbox.org, service="crm", chat_id="a")
    assert row is not None
    ranks = [chats.STATUS_RANK[status] for status, _ in [*order[:told], ("sent", 0)]]
    assert chats.STATUS_RANK[row.last_message.status] == max(ranks)
    assert row.answered == (row.last_message.status != "failed")
    reads = [at(minute) for status, minute in order[:told] if status == "read"]
    assert row.customer_last_read_at == max(reads, default=None)
