"""Free entry points: 24 hours to answer, then 72 hours free, both half open."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from domain.chat import Chat
from domain.chat_events import MessageFailed, ReceiptReceived
from domain.entry_point import ANSWERED_MAX, is_free
from domain.event import Event
from tests.domain.world import A_BIT, CHAT_EVENTS, DAY, HOUR, MINUTE, NOON, reply, wrote
from tests.scenario import fold

THREE_DAYS = timedelta(hours=72)
A_WHILE = 365 * DAY


def came(at: datetime = NOON) -> Event:
    return replace(wrote(at=at), referred=True)


def answer(message_id: str = "m1", at: datetime = NOON) -> Event:
    return reply(message_id, at=at)


def refused(message_id: str = "m1") -> Event:
    return MessageFailed(message_id=message_id, reason="undeliverable")


def discarded(message_id: str = "m1") -> Event:
    return MessageFailed(message_id=message_id, reason="discarded", user_id="ann")


def chat(*events: Event) -> Chat:
    return fold(Chat, *CHAT_EVENTS, *events)


def free_until(*events: Event) -> datetime | None:
    """The end of what is free behind these events, found by asking; None where nothing is."""
    points = chat(*events).billing.entry_points
    ends = [each.free_until for each in points]
    for end in ends:
        assert is_free(points, end - A_BIT)
    assert not is_free(points, max(ends, default=NOON) + A_WHILE)
    return max((end for end in ends if not is_free(points, end)), default=None)


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ([], None),
        ([wrote(at=NOON)], None),
        ([wrote(at=NOON), answer()], None),
        # Who answers within 24 hours is free from the answer on.
        ([came()], NOON + DAY),
        ([came(), answer(at=NOON + HOUR)], NOON + HOUR + THREE_DAYS),
        ([came(), answer(at=NOON + DAY - A_BIT)], NOON + DAY - A_BIT + THREE_DAYS),
        ([came(), answer(at=NOON + DAY)], NOON + DAY),
        # The first answer counts, and what the customer writes then moves nothing.
        ([came(), answer(at=NOON), answer("m2", NOON + HOUR)], NOON + THREE_DAYS),
        ([came(), answer(at=NOON), wrote(at=NOON + HOUR)], NOON + THREE_DAYS),
        # A second ad has an entry point of its own.
        ([came(), answer(), came(NOON + DAY)], NOON + THREE_DAYS),
        (
            [came(), answer(), came(NOON + 60 * HOUR), answer("m2", NOON + 71 * HOUR)],
            NOON + 71 * HOUR + THREE_DAYS,
        ),
        ([came(), answer(), came(NOON + 60 * HOUR)], NOON + 84 * HOUR),
        ([came(), came(NOON + HOUR), answer(at=NOON + 2 * HOUR)], NOON + 74 * HOUR),
        ([came(NOON + HOUR), came(), answer(at=NOON + DAY + A_BIT)], NOON + 4 * DAY + A_BIT),
        # A clock that is ahead: whoever answers knew of it.
        ([came(NOON + 4 * MINUTE), answer()], NOON + THREE_DAYS),
    ],
)
def test_it_is_open_for_72_hours_from_an_answer_within_24(
    events: list[Event], end: datetime | None
) -> None:
    assert free_until(*events) == end


@pytest.mark.parametrize(
    ("events", "end"),
    [
        # It was answered before it was told.
        ([answer(at=NOON + HOUR), came()], NOON + HOUR + THREE_DAYS),
        ([answer(at=NOON), came()], NOON + THREE_DAYS),
        ([answer(at=NOON - A_BIT), came()], NOON + DAY),
        ([answer(at=NOON + DAY), came()], NOON + DAY),
        ([answer(at=NOON), answer("m2", NOON + HOUR), came()], NOON + THREE_DAYS),
        ([answer(), refused(), answer("m2", NOON + HOUR), came()], NOON + HOUR + THREE_DAYS),
        # The second of two ads is told first.
        ([came(NOON + 2 * HOUR), answer(at=NOON + 3 * HOUR), came()], NOON + 75 * HOUR),
        ([answer(at=NOON + HOUR), came(NOON + 2 * HOUR), came()], NOON + 73 * HOUR),
    ],
)
def test_c0_what_is_told_late_or_in_another_order_counts_from_the_platforms_time(
    events: list[Event], end: datetime
) -> None:
    assert free_until(*events) == end


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ([came(), answer(), refused()], NOON + DAY),
        ([came(), answer(), refused(), answer("m2", NOON + HOUR)], NOON + 73 * HOUR),
        ([came(), answer(), answer("m2", NOON + HOUR), refused()], NOON + 73 * HOUR),
        ([came(), answer(), answer("m2", NOON + DAY), refused()], NOON + DAY),
        ([came(NOON + MINUTE), answer("m0"), answer(), refused("m0")], NOON + THREE_DAYS),
        ([answer("m0"), came(NOON + MINUTE), answer(), refused()], NOON + MINUTE + DAY),
        # C15: who discards a message gives it up; the platform may have it.
        ([came(), answer(), discarded()], NOON + THREE_DAYS),
        ([came(), answer(), discarded("m1"), refused()], NOON + THREE_DAYS),
    ],
)
def test_l4_an_answer_that_the_platform_refused_was_none(
    events: list[Event], end: datetime
) -> None:
    assert free_until(*events) == end


def test_l4_a_receipt_that_says_so_is_as_good() -> None:
    receipt = ReceiptReceived(key=b"w", status="failed", at=NOON + HOUR, message_id="m1")
    assert free_until(came(), answer(), receipt) == NOON + DAY


def test_only_so_many_are_remembered_and_those_that_last_longest() -> None:
    events: list[Event] = []
    for number in range(50):
        at = NOON + number * HOUR
        events += [came(at), answer(f"m{number}", at), came(at + A_BIT), came(at + MINUTE)]
    points = chat(*events).billing.entry_points
    assert len(points) == ANSWERED_MAX + 1
    assert max(each.free_until for each in points) == NOON + 49 * HOUR + THREE_DAYS
