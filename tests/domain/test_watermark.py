"""Receipts that name no message: whatever the order, the same is read (C11, C15)."""

from datetime import datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from domain.watermark import (
    MESSAGES_REMEMBERED_MAX,
    MessageDated,
    Reached,
    WatermarkRaised,
    Watermarks,
    date,
    evolve,
    raise_to,
    stream_of,
)
from tests.domain.world import A_BIT, HOUR, MINUTE, NOON

A, B = b"a" * 16, b"b" * 16


def test_the_stream_is_named_after_the_chat() -> None:
    assert stream_of("kim") == "watermark:kim"


def test_a_watermark_reaches_what_was_sent_until_then() -> None:
    marks = after(MessageDated(key=A, at=NOON), MessageDated(key=B, at=NOON + HOUR))
    events, reached = raise_to(marks, status="read", up_to=NOON)
    assert events == [WatermarkRaised(status="read", up_to=NOON)]
    assert reached == [Reached(A, "read", NOON)]


def test_a_late_lower_watermark_changes_nothing() -> None:
    marks = after(MessageDated(key=A, at=NOON), WatermarkRaised(status="read", up_to=NOON + HOUR))
    assert raise_to(marks, status="read", up_to=NOON + HOUR) == ([], [])
    assert raise_to(marks, status="read", up_to=NOON) == ([], [])
    events, reached = raise_to(marks, status="delivered", up_to=NOON)
    assert (len(events), reached) == (1, [Reached(A, "delivered", NOON)])


def test_a_higher_one_says_again_when_the_newest_was_read() -> None:
    """Spec C11: the customer looked again; the messages before it were read already."""
    marks = after(
        MessageDated(key=A, at=NOON),
        MessageDated(key=B, at=NOON + MINUTE),
        WatermarkRaised(status="read", up_to=NOON + MINUTE),
    )
    _, reached = raise_to(marks, status="read", up_to=NOON + HOUR)
    assert reached == [Reached(B, "read", NOON + HOUR)]


def test_a_message_that_is_known_later_was_reached_already() -> None:
    marks = after(
        WatermarkRaised(status="read", up_to=NOON),
        WatermarkRaised(status="delivered", up_to=NOON + HOUR),
    )
    assert date(marks, key=A, at=NOON) == (
        [MessageDated(key=A, at=NOON)],
        [Reached(A, "delivered", NOON + HOUR), Reached(A, "read", NOON)],
    )
    assert date(marks, key=A, at=NOON + A_BIT)[1] == [Reached(A, "delivered", NOON + HOUR)]
    assert date(after(MessageDated(key=A, at=NOON)), key=A, at=NOON) == ([], [])


def test_it_remembers_the_newest_messages_only() -> None:
    dated = [
        MessageDated(key=bytes([number // 256, number % 256]), at=NOON + number * MINUTE)
        for number in range(MESSAGES_REMEMBERED_MAX + 5)
    ]
    marks = after(*reversed(dated))
    assert list(marks.sent) == [each.key for each in dated[5:]]


TIMES = st.integers(0, 8).map(lambda hours: NOON + hours * HOUR)
SENT = st.lists(TIMES, max_size=5)
RAISED = st.lists(st.tuples(st.sampled_from(["delivered", "read"]), TIMES), max_size=5)


@given(SENT, RAISED, st.randoms(use_true_random=False))
def test_in_whatever_order_they_come_the_same_is_known(
    sent: list[datetime], raised: list[tuple[str, datetime]], random: Random
) -> None:
    """Which messages have which status, and when the customer last read."""
    said: list[tuple[str, bytes | str, datetime]] = [
        ("sent", bytes([number]), at) for number, at in enumerate(sent)
    ]
    said += [("raised", status, at) for status, at in raised]
    in_order = outcome(said)
    random.shuffle(said)
    assert outcome(said) == in_order
    for status, up_to in raised:
        highest = max(at for each, at in raised if each == status)
        assert up_to <= highest
        reached = {key for key, each in in_order[0] if each == status}
        assert reached == {bytes([n]) for n, at in enumerate(sent) if at <= highest}


def outcome(
    said: list[tuple[str, bytes | str, datetime]],
) -> tuple[set[tuple[bytes, str]], datetime | None]:
    marks, known, read_at = Watermarks(), set(), None
    for what, which, at in said:
        if isinstance(which, bytes):
            events, reached = date(marks, key=which, at=at)
        else:
            events, reached = raise_to(marks, status=which, up_to=at)
        assert what in ("sent", "raised")
        for event in events:
            marks = evolve(marks, event)
        for each in reached:
            known.add((each.key, each.status))
            if each.status == "read":
                read_at = max(read_at or each.at, each.at)
    return known, read_at


def after(*events: WatermarkRaised | MessageDated) -> Watermarks:
    marks = Watermarks()
    for event in events:
        marks = evolve(marks, event)
    return marks
