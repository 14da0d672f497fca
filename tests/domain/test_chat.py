"""What the facts of a chat leave behind for its decisions (C0, C4, C15, C19, S14)."""

from datetime import datetime
from itertools import permutations
from typing import Any

import pytest

from domain.chat import Chat, Owner, evolve, find_outbound, stream_of
from domain.chat_events import (
    ChatStarted,
    ChatUnassigned,
    EchoReceived,
    EditReceived,
    MessageFailed,
    ReactionReceived,
    ReceiptReceived,
    SendDeferred,
    UnsendReceived,
)
from domain.event import Event
from domain.outgoing import (
    OUTBOUND_REMEMBERED_MAX,
    STATUS_RANK,
    UNCERTAIN_REMEMBERED_MAX,
    Outbound,
    Reply,
    greatest,
)
from domain.sending import record_receipt, require_retryable
from tests.domain.world import (
    CHAT_EVENTS,
    CONTENT,
    HOUR,
    NOON,
    SHARED,
    STARTED,
    assigned,
    reply,
    sent,
    started,
    uncertain,
    wrote,
)
from tests.scenario import fold


def chat(*events: Event) -> Chat:
    """The chat to which the customer wrote at noon, and then this happened."""
    return fold(Chat, *CHAT_EVENTS, *events)


def receipt(
    status: str, *, key: bytes = b"key", mark: str | None = None, **more: Any
) -> ReceiptReceived:
    return ReceiptReceived(key=key, status=status, at=NOON, message_id=mark, **more)


def failed(message_id: str = "reply", reason: str = "undeliverable") -> MessageFailed:
    return MessageFailed(message_id=message_id, reason=reason)


def test_the_stream_is_named_after_the_chat() -> None:
    assert stream_of("chat") == "chat:chat"


def test_a_chat_is_one_customer_on_one_account() -> None:
    assert fold(Chat, STARTED) == Chat(
        version=1, chat_id="chat", platform="whatsapp", account_id="1055", contact_id="kim"
    )


def test_c19_a_group_is_a_customer_of_its_own() -> None:
    of_a_group = ChatStarted(
        chat_id="chat", platform="whatsapp", account_id="1055", contact_id="choir", group=True
    )
    assert (fold(Chat, of_a_group).contact_id, fold(Chat, of_a_group).group) == ("choir", True)


# C0: times.


@pytest.mark.parametrize(
    ("times", "last"),
    [
        ([NOON], NOON),
        ([NOON, NOON + HOUR], NOON + HOUR),
        ([NOON + HOUR, NOON], NOON + HOUR),
        ([NOON, NOON], NOON),
    ],
)
def test_c0_the_greatest_time_of_the_customers_messages_counts_in_whatever_order_they_come(
    times: list[datetime], last: datetime
) -> None:
    state = fold(Chat, STARTED, *map(wrote, times))
    assert state.last_customer_message_at == last


def test_n1_only_messages_of_the_customer_count() -> None:
    later = NOON + HOUR
    others = (
        EchoReceived(message_id="echo", kind="text", at=later, content=CONTENT, key=b"echo"),
        ReactionReceived(target=b"hello", at=later),
        EditReceived(target=b"hello", at=later, content=CONTENT),
        UnsendReceived(target=b"hello", at=later),
        reply(at=later),
    )
    assert chat(*others).last_customer_message_at == NOON


def test_c17_what_decisions_do_not_look_at_only_moves_the_version() -> None:
    for event in (
        EchoReceived(message_id="echo", kind="text", at=NOON, content=CONTENT, key=b"echo"),
        ReactionReceived(target=b"hello", at=NOON),
        EditReceived(target=b"hello", at=NOON, content=CONTENT),
        UnsendReceived(target=b"hello", at=NOON),
    ):
        assert chat(event) == evolve(chat(), event)
        assert (chat(event).version, chat().version) == (3, 2)


# A reply on its way.


def test_a_reply_is_remembered_with_what_decisions_need_of_it() -> None:
    assert chat(reply(template="shipped/ja")).outbound == {
        "reply": Outbound(
            service="crm",
            channel_id="shared",
            requested=3,
            requested_at=NOON,
            template="shipped/ja",
            status="queued",
        )
    }


def test_n4_messages_wait_in_the_order_in_which_they_were_asked_for() -> None:
    state = chat(reply("b"), reply("a"), reply("c"), started("b"), sent("b"))
    assert state.queue == ["a", "c"]


def test_n3_a_deferred_message_waits_again_and_keeps_its_attempts() -> None:
    deferred = SendDeferred(message_id="reply", reason="limited", retry_at=NOON + HOUR)
    message = chat(reply(), started(attempt=3), deferred).outbound["reply"]
    assert (message.status, message.sending, message.attempt) == ("queued", False, 3)


def test_s14_the_newest_reply_of_each_channel_is_known() -> None:
    state = chat(reply("a"), reply("b", channel_id="of-bigin"), reply("c", service="desk"))
    assert state.last_reply == {"shared": Reply(5, "c"), "of-bigin": Reply(4, "b")}


def test_s5_owners_are_kept_by_service_and_ordered_by_the_log() -> None:
    state = chat(assigned("desk", "dora", at=NOON + HOUR), assigned("crm", "ann"))
    assert state.owners == {"desk": Owner("dora", NOON + HOUR, 3), "crm": Owner("ann", NOON, 4)}
    without = evolve(state, ChatUnassigned(service="desk", previous="dora"))
    assert without.owners == {"crm": Owner("ann", NOON, 4)}


@pytest.mark.parametrize(
    "event",
    [
        started("unknown"),
        sent("unknown"),
        uncertain("unknown"),
        failed("unknown"),
        SendDeferred(message_id="unknown", reason="limited", retry_at=NOON),
        receipt("read", mark="unknown"),
        ChatUnassigned(service="crm", previous="ann"),
    ],
)
def test_a_fact_about_what_is_forgotten_changes_nothing_else(event: Event) -> None:
    assert chat(reply(), event) == evolve(chat(reply()), event)
    assert chat(reply(), event).outbound == chat(reply()).outbound


# C15: the status is the greatest of what is known.


def test_c15_the_order_of_the_statuses() -> None:
    order = ["queued", "uncertain", "sent", "delivered", "read", "played", "failed"]
    assert sorted(STATUS_RANK, key=STATUS_RANK.__getitem__) == order
    for known in order:
        for reported in order:
            assert greatest(known, reported) == max(known, reported, key=order.index)
        assert greatest(known, "something new") == known


TOLD = ("sent", "delivered", "read", "played", "failed", "something new")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_c15_receipts_give_the_same_status_in_whatever_order_they_come(count: int) -> None:
    for told in permutations(TOLD, count):
        state = chat(reply(), started(), sent(), *map(receipt, told))
        assert state.outbound["reply"].status == _greatest("sent", *told)


def _greatest(*statuses: str) -> str:
    return max(statuses, key=lambda status: STATUS_RANK.get(status, -1))


@pytest.mark.parametrize("mark", [None, "reply"])
@pytest.mark.parametrize("told", [("delivered",), ("read", "sent"), ("failed",), ("sent", "read")])
def test_c15_receipts_count_wherever_the_sends_answer_comes_between_them(
    told: tuple[str, ...], mark: str | None
) -> None:
    receipts = [receipt(status, mark=mark) for status in told]
    for place in range(len(receipts) + 1):
        events = [*receipts[:place], sent(), *receipts[place:]]
        state = chat(reply(), started(), *events)
        assert state.outbound["reply"].status == _greatest("sent", *told)
        assert state.outbound["reply"].key == b"key"
        assert state.early == {}


def test_c15_each_answer_takes_the_early_receipts_of_its_own_message() -> None:
    awaited = (reply("a"), started("a"), uncertain("a"), reply("b"), started("b"))
    early = (receipt("read", key=b"a"), receipt("delivered", key=b"b"))
    one_answer = chat(*awaited, *early, sent("b", key=b"b"))
    assert one_answer.early == {b"a": "read"}
    both = evolve(one_answer, sent("a", key=b"a"))
    assert {key: each.status for key, each in both.outbound.items()} == {
        "a": "read",
        "b": "delivered",
    }
    assert both.early == {}


def test_c15_a_message_that_failed_before_the_answer_came_can_be_sent_again() -> None:
    state = chat(reply(), started(), receipt("failed"), sent())
    assert require_retryable(state, SHARED, "reply", service="crm").status == "failed"


def test_c15_a_receipt_settles_an_uncertain_message_by_our_mark() -> None:
    state = chat(reply(), started(), uncertain())
    for event in record_receipt(state, receipt("delivered", mark="reply")):
        state = evolve(state, event)
    assert state.outbound["reply"].status == "delivered"


def test_c15_a_late_answer_joins_what_came_while_the_message_was_uncertain() -> None:
    state = chat(reply(), started(), uncertain(), receipt("read"), sent())
    assert state.outbound["reply"].status == "read"


@pytest.mark.parametrize("status", [status for status in STATUS_RANK if status != "failed"])
def test_c15_failed_is_the_end(status: str) -> None:
    state = chat(
        reply(), started(), failed(), sent(), receipt(status), receipt(status, mark="reply")
    )
    assert state.outbound["reply"].status == "failed"
    discarded = chat(reply(), started(), uncertain(), failed(reason="discarded"), receipt(status))
    assert discarded.outbound["reply"].status == "failed"


def test_c15_a_receipt_joins_its_own_message_and_no_other() -> None:
    state = chat(
        *(reply("a"), started("a"), sent("a", key=b"a")),
        *(reply("b"), started("b"), receipt("read", key=b"b"), sent("b", key=b"b")),
        *(reply("c"), started("c"), receipt("failed", key=b"another program's")),
        *(sent("c", key=b"c"), receipt("delivered", key=b"c")),
    )
    statuses = {key: message.status for key, message in state.outbound.items()}
    assert statuses == {"a": "sent", "b": "read", "c": "delivered"}


def test_c15_our_mark_comes_before_the_platforms_id() -> None:
    state = chat(reply("a"), started("a"), sent("a", key=b"a"), reply("b"), started("b"))
    assert find_outbound(state, key=b"a", mark="b") == "b"
    assert find_outbound(state, key=b"a", mark="forgotten") == "a"
    assert find_outbound(state, key=None, mark=None) is None


def test_c15_the_platforms_first_id_of_a_message_stays() -> None:
    state = chat(reply(), started(), sent(key=b"one"), sent(key=b"two"))
    assert state.outbound["reply"].key == b"one"


def test_n3_a_status_that_nobody_knows_does_not_free_what_is_being_sent() -> None:
    message = chat(reply(), started(), receipt("something new", mark="reply")).outbound["reply"]
    assert (message.status, message.sending) == ("queued", True)


def test_c19_receipts_of_a_groups_members_count_for_the_message() -> None:
    state = chat(
        *(reply(), started(), sent()),
        receipt("read", participant=b"lee"),
        receipt("delivered", participant=b"kim"),
    )
    assert state.outbound["reply"].status == "read"


# Bounded memory.


def many(count: int) -> list[Event]:
    return [reply(f"m{number}") for number in range(count)]


def fates_unknown(count: int) -> list[Event]:
    return [
        event
        for name in (f"u{number}" for number in range(count))
        for event in (reply(name), started(name), uncertain(name))
    ]


def test_the_outbound_memory_is_bounded_and_forgets_the_oldest() -> None:
    events: list[Event] = []
    for name in (f"m{number}" for number in range(OUTBOUND_REMEMBERED_MAX + 5)):
        events += [reply(name), started(name), sent(name)]
    state = chat(*events)
    assert list(state.outbound) == [f"m{number}" for number in range(5, 205)]


def test_the_outbound_memory_never_forgets_what_waits() -> None:
    state = chat(reply("settled"), failed("settled"), *many(OUTBOUND_REMEMBERED_MAX + 50))
    assert len(state.queue) == OUTBOUND_REMEMBERED_MAX + 50
    assert "settled" not in state.outbound


def test_the_outbound_memory_goes_back_to_its_bound_when_what_waited_is_settled() -> None:
    waited = many(OUTBOUND_REMEMBERED_MAX + 50)
    settled = [failed(f"m{number}") for number in range(OUTBOUND_REMEMBERED_MAX + 50)]
    state = chat(*waited, *settled, reply("new"))
    assert len(state.outbound) == OUTBOUND_REMEMBERED_MAX
    assert list(state.outbound)[-1] == "new"


def test_n3_what_is_uncertain_can_be_retried_long_after() -> None:
    unknown = fates_unknown(5)
    later = [
        event
        for number in range(OUTBOUND_REMEMBERED_MAX + 50)
        for event in (reply(f"m{number}"), started(f"m{number}"), sent(f"m{number}"))
    ]
    state = chat(*unknown, *later)
    assert list(state.outbound)[:5] == [f"u{number}" for number in range(5)]
    assert len(state.outbound) == OUTBOUND_REMEMBERED_MAX + 5


def test_what_is_uncertain_is_bounded_too() -> None:
    state = chat(*fates_unknown(UNCERTAIN_REMEMBERED_MAX + 5), reply("new"))
    assert len(state.outbound) == UNCERTAIN_REMEMBERED_MAX + 1
    assert next(iter(state.outbound)) == "u5"


def test_the_memory_of_early_receipts_is_bounded_and_empty_when_nothing_is_awaited() -> None:
    strays = [receipt("read", key=b"%d" % number) for number in range(500)]
    assert chat(*strays).early == {}
    assert chat(reply(), *strays).early == {}
    waiting = chat(reply(), started(), *strays)
    assert list(waiting.early) == [b"%d" % number for number in range(300, 500)]
    assert evolve(waiting, sent()).early == {}
