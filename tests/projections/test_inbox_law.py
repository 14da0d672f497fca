"""The law of the inbox: it is what working it out by hand gives, in whatever batches it came."""

import os
from collections import Counter
from typing import Any

import msgspec
import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.outgoing import STATUS_RANK
from projections.engine.sealed_parts import SealedPart
from projections.inbox.queries import chat, chats_page, counts, messages_page
from projections.inbox.rows import MessageRow
from tests.projections.histories import History, Projected, at
from tests.projections.inbox_by_hand import ByHand
from tests.projections.inbox_stories import CHATS, SERVICES, histories
from tests.projections.inbox_tables import rows_of

LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"
LAW = settings(max_examples=600 if LONG else 60)


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
    expected = await rows_of(projector, at_once.org)
    assert await rows_of(projector, in_parts.org) == expected
    # Again from anywhere, up to the end: nothing changes.
    await in_parts.fold(log[data.draw(st.integers(0, len(log) - 1)) :])
    assert await rows_of(projector, in_parts.org) == expected


async def test_a_chat_of_which_a_service_sees_nothing_any_more_leaves_itsrows_of(
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
    assert await rows_of(projector, in_parts.org) == await rows_of(projector, at_once.org)


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
    expected = await rows_of(projector, inbox.org)
    await inbox.fold(history.log[-2:])
    assert await rows_of(projector, inbox.org) == expected


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
    ranks = [STATUS_RANK[status] for status, _ in [*order[:told], ("sent", 0)]]
    assert STATUS_RANK[row.last_message.status] == max(ranks)
    assert row.answered == (row.last_message.status != "failed")
    reads = [at(minute) for status, minute in order[:told] if status == "read"]
    assert row.customer_last_read_at == max(reads, default=None)
