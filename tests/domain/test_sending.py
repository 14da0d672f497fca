"""What is written to a customer: requested, sent, settled (C5, C7, C15, N1–N4, S14)."""

from datetime import datetime, timedelta
from typing import Any, get_args

import pytest

from domain.channel import (
    Channel,
    ConnectionDeleted,
    ConnectionDisabled,
    ConnectionEnabled,
)
from domain.chat import Chat, find_outbound
from domain.chat_events import (
    CustomerBlocked,
    CustomerUnblocked,
    MessageFailed,
    MessageSent,
    ReceiptReceived,
    ReplyRequested,
    SendDeferred,
    SendUncertain,
    WindowOpened,
)
from domain.event import Event, Sealed
from domain.organisation import Organisation, ReplyOwnershipChanged
from domain.outbound import (
    Accepted,
    AccountUnusable,
    Deferred,
    Rejected,
    SendAnswer,
    Unsettled,
)
from domain.refusal import (
    AnsweredMeanwhile,
    ChatBlocked,
    Forbidden,
    NotConnected,
    NotFound,
    NotOwner,
    OptedOut,
    Refusal,
    ViewOnly,
    WindowClosed,
)
from domain.sending import (
    NotSettled,
    RequestReply,
    confirm_sent,
    discard,
    end_if_over,
    give_up_claim,
    record_answer,
    record_receipt,
    request_reply,
    require_retryable,
    start_sending,
)
from domain.windows import WindowRule, window_rule
from tests.domain.world import (
    A_BIT,
    CHAT_EVENTS,
    CONTENT,
    DAY,
    HOUR,
    MINUTE,
    NOON,
    ORGANISATION,
    ORGANISATION_EVENTS,
    SECOND,
    SHARED,
    SHARED_EVENTS,
    STARTED,
    assigned,
    reply,
    sent,
    started,
    uncertain,
    wrote,
)
from tests.scenario import Given, fold, given

SOON = NOON + HOUR
LATE = NOON + DAY
APPROVED = ["shipped", "welcome"]
WHATSAPP = window_rule("whatsapp")

# Asking for a reply.


def wish(
    user: str = "ann",
    *,
    service: str = "crm",
    now: datetime = SOON,
    channel: Channel = SHARED,
    organisation: Organisation = ORGANISATION,
    rule: WindowRule = WHATSAPP,
    **message: Any,
) -> dict[str, Any]:
    """The arguments of a reply that a user wants to send."""
    written: dict[str, Any] = {"message_id": "reply", "kind": "text", "content": CONTENT}
    return {
        "channel": channel,
        "organisation": organisation,
        "command": RequestReply(service=service, **(written | message)),
        "rule": rule,
        "approved_templates": APPROVED,
        "user_id": user,
        "now": now,
    }


def chat(*events: Event) -> Given:
    return given(*CHAT_EVENTS, *events)


def test_n3_a_reply_is_written_down_before_it_is_sent() -> None:
    chat().when(request_reply, **wish(quotes=b"hello")).then(
        ReplyRequested(
            message_id="reply",
            channel_id="shared",
            service="crm",
            user_id="ann",
            kind="text",
            at=SOON,
            content=CONTENT,
            quotes=b"hello",
        )
    )


@pytest.mark.parametrize(
    ("user", "service", "refused"),
    [
        ("ann", "crm", None),
        ("bob", "crm", None),
        ("admin", "crm", None),
        ("supervisor", "crm", None),
        ("viewer", "crm", ViewOnly),
        ("dora", "salesiq", ViewOnly),
        ("supervisor", "salesiq", ViewOnly),
        ("bob", "salesiq", Forbidden),
        ("auditor", "crm", Forbidden),
        ("stranger", "crm", Forbidden),
        ("admin", "bigin", NotConnected),
    ],
)
def test_c5_who_may_reply(user: str, service: str, refused: type[Refusal] | None) -> None:
    decided = chat().when(request_reply, **wish(user, service=service))
    if refused is None:
        decided.then(reply(user_id=user, service=service, at=SOON))
    else:
        decided.then_refused(refused)


@pytest.mark.parametrize(
    ("owner", "user", "refused_with"),
    [
        ("dora", "dora", None),
        ("dora", "admin", {"owner": "dora"}),
        (None, "dora", {"owner": None}),
        (None, "admin", {"owner": None}),
    ],
)
def test_c5_where_only_the_owner_replies_it_is_the_owner_alone(
    owner: str | None, user: str, refused_with: dict[str, Any] | None
) -> None:
    owned = [assigned("desk", owner)] if owner else []
    decided = chat(*owned, assigned("crm", "ann")).when(request_reply, **wish(user, service="desk"))
    if refused_with is None:
        decided.then(reply(user_id=user, service="desk", at=SOON))
    else:
        decided.then_refused(NotOwner, **refused_with)


def test_c5_which_services_demand_the_owner_is_a_setting() -> None:
    organisation = fold(
        Organisation,
        *ORGANISATION_EVENTS,
        ReplyOwnershipChanged(service="desk", required=False),
        ReplyOwnershipChanged(service="crm", required=True),
    )
    chat().when(request_reply, **wish("dora", service="desk", organisation=organisation)).then(
        reply(user_id="dora", service="desk", at=SOON)
    )
    chat().when(request_reply, **wish("ann", organisation=organisation)).then_refused(
        NotOwner, owner=None
    )


def test_c7_nothing_is_sent_to_a_customer_whom_this_service_has_blocked() -> None:
    blocked = chat(CustomerBlocked(service="crm"))
    blocked.when(request_reply, **wish()).then_refused(ChatBlocked)
    blocked.when(request_reply, **wish(template="shipped/ja")).then_refused(ChatBlocked)
    blocked.when(request_reply, **wish(service="salesiq")).then(reply(service="salesiq", at=SOON))
    chat(CustomerBlocked(service="crm"), CustomerUnblocked(service="crm")).when(
        request_reply, **wish()
    ).then(reply(at=SOON))


@pytest.mark.parametrize(
    ("user", "service", "refused"),
    [
        # Each is refused for what comes first: connection, right, owner, block, answer, window.
        ("viewer", "bigin", NotConnected),
        ("auditor", "desk", Forbidden),
        ("supervisor", "desk", ViewOnly),
        ("admin", "desk", NotOwner),
        ("dora", "desk", ChatBlocked),
        ("ann", "crm", AnsweredMeanwhile),
        ("ann", "salesiq", AnsweredMeanwhile),
    ],
)
def test_what_is_refused_for_several_reasons_names_the_first(
    user: str, service: str, refused: type[Refusal]
) -> None:
    state = fold(
        Chat,
        *CHAT_EVENTS,
        assigned("desk", "dora"),
        CustomerBlocked(service="desk"),
        reply("other", user_id="bob"),
    )
    with pytest.raises(Refusal) as caught:
        request_reply(state, **wish(user, service=service, now=LATE, seen_version=2))
    assert type(caught.value) is refused


# N1, N2: the window.


@pytest.mark.parametrize(
    ("events", "now", "closed_at"),
    [
        ((), NOON + DAY - A_BIT, None),
        ((), NOON + DAY, NOON + DAY),
        ((), NOON + DAY + A_BIT, NOON + DAY),
        ((wrote(NOON + HOUR),), NOON + DAY, None),
        ((wrote(NOON + HOUR),), NOON + DAY + HOUR, NOON + DAY + HOUR),
        ((wrote(NOON - HOUR),), NOON + DAY - A_BIT, None),  # It came late.
        ((wrote(NOON - HOUR),), NOON + DAY, NOON + DAY),
    ],
)
def test_n1_free_form_text_is_sent_within_24_hours_of_the_customers_last_message(
    events: tuple[Event, ...], now: datetime, closed_at: datetime | None
) -> None:
    decided = chat(*events).when(request_reply, **wish(now=now))
    if closed_at is None:
        decided.then(reply(at=now))
    else:
        decided.then_refused(WindowClosed, closed_at=closed_at, templates=APPROVED)


def test_n1_what_counts_like_a_message_keeps_the_window_open() -> None:
    opened = WindowOpened(at=NOON + HOUR, by="reaction")
    for events in ((opened,), (opened, wrote(NOON - HOUR))):
        chat(*events).when(request_reply, **wish(now=LATE)).then(reply(at=LATE))
        chat(*events).when(request_reply, **wish(now=LATE + HOUR)).then_refused(
            WindowClosed, closed_at=LATE + HOUR, templates=APPROVED
        )


def test_n1_our_own_messages_do_not_keep_the_window_open() -> None:
    chat(reply(at=SOON), sent()).when(request_reply, **wish(now=LATE)).then_refused(
        WindowClosed, closed_at=NOON + DAY, templates=APPROVED
    )


def test_n1_a_customer_who_never_wrote_gets_templates_only() -> None:
    given(STARTED).when(request_reply, **wish()).then_refused(
        WindowClosed, closed_at=None, templates=APPROVED
    )
    given(STARTED).when(request_reply, **wish(template="shipped/ja")).then(
        reply(template="shipped/ja", at=SOON)
    )


def test_n1_a_template_is_sent_outside_the_window() -> None:
    chat().when(
        request_reply,
        **wish(now=NOON + 30 * DAY, kind="template", template="shipped/ja", category="utility"),
    ).then(reply(at=NOON + 30 * DAY, kind="template", template="shipped/ja", category="utility"))


def test_n5_who_opted_out_is_sent_no_marketing() -> None:
    marketing = wish(template="sale/ja", category="marketing")
    chat().when(request_reply, **marketing, unwanted=OptedOut()).then_refused(OptedOut)
    chat().when(request_reply, **marketing).then(
        reply(template="sale/ja", category="marketing", at=SOON)
    )


def test_c19_any_members_message_opens_a_groups_window() -> None:
    chat(wrote(NOON + HOUR, member="lee")).when(request_reply, **wish(now=LATE)).then(
        reply(at=LATE)
    )


# S14: answering twice.

ANSWERED = reply("first", user_id="bob")  # The chat's third event.


@pytest.mark.parametrize(
    ("seen", "confirm", "conflict"),
    [
        (None, False, False),  # Who does not say what they saw is believed.
        (3, False, False),
        (9, False, False),
        (2, False, True),
        (0, False, True),
        (2, True, False),
    ],
)
def test_s14_a_reply_to_what_was_answered_meanwhile_needs_to_be_confirmed(
    seen: int | None, confirm: bool, conflict: bool
) -> None:
    decided = chat(ANSWERED).when(request_reply, **wish(seen_version=seen, confirm=confirm))
    if conflict:
        decided.then_refused(AnsweredMeanwhile, message_id="first")
    else:
        decided.then(reply(at=SOON))


def test_s14_the_newest_reply_is_shown_whichever_service_sent_it() -> None:
    second = reply("second", service="desk", user_id="dora")
    chat(ANSWERED, second).when(request_reply, **wish(seen_version=2)).then_refused(
        AnsweredMeanwhile, message_id="second"
    )
    chat(ANSWERED, second).when(request_reply, **wish(seen_version=3)).then_refused(
        AnsweredMeanwhile, message_id="second"
    )


def test_s14_what_happened_otherwise_is_no_answer() -> None:
    since = (wrote(NOON + MINUTE), assigned("crm", "ann"))
    chat(*since).when(request_reply, **wish(seen_version=2)).then(reply(at=SOON))


def test_s14_a_reply_through_another_channel_of_the_account_does_not_exist_here() -> None:
    elsewhere = reply("first", service="bigin", channel_id="of-bigin")
    chat(elsewhere).when(request_reply, **wish(seen_version=2)).then(reply(at=SOON))


# Sending again, and giving up.


def receipt(
    status: str, *, key: bytes = b"key", mark: str | None = None, at: datetime = SOON
) -> ReceiptReceived:
    return ReceiptReceived(key=key, status=status, at=at, message_id=mark)


def failed(message_id: str = "reply", reason: str = "undeliverable") -> MessageFailed:
    return MessageFailed(message_id=message_id, reason=reason)


ASKED = (reply(),)
SENDING = (reply(), started())
UNCERTAIN = (*SENDING, uncertain())
FAILED = (*SENDING, failed())


def retryable(*events: Event, service: str = "crm", message_id: str = "reply") -> str:
    state = fold(Chat, *CHAT_EVENTS, *events)
    return require_retryable(state, SHARED, message_id, service=service).status


@pytest.mark.parametrize(("events", "status"), [(UNCERTAIN, "uncertain"), (FAILED, "failed")])
def test_n3_what_is_uncertain_or_failed_can_be_sent_again(
    events: tuple[Event, ...], status: str
) -> None:
    assert retryable(*events) == status


@pytest.mark.parametrize(
    ("events", "status"),
    [
        (ASKED, "queued"),
        (SENDING, "queued"),
        ((*SENDING, sent()), "sent"),
        ((*UNCERTAIN, receipt("delivered", mark="reply")), "delivered"),
    ],
)
def test_n3_what_is_on_its_way_or_has_arrived_cannot(
    events: tuple[Event, ...], status: str
) -> None:
    with pytest.raises(NotSettled) as caught:
        retryable(*events)
    assert caught.value.facts == {"message_status": status}


def test_n3_a_message_is_sent_again_only_once() -> None:
    again = reply("again", retry_of="reply")
    with pytest.raises(NotSettled):
        retryable(*UNCERTAIN, again)
    # The new one in its turn can be.
    assert retryable(*UNCERTAIN, again, failed("again"), message_id="again") == "failed"


def test_n3_retrying_is_a_new_reply_that_names_the_old_one() -> None:
    chat(*UNCERTAIN).when(request_reply, **wish(message_id="again", retry_of="reply")).then(
        reply("again", at=SOON, retry_of="reply")
    )


@pytest.mark.parametrize(
    ("service", "message_id"), [("desk", "reply"), ("crm", "unknown"), ("crm", "hello")]
)
def test_s5_a_service_retries_and_discards_its_own_messages_only(
    service: str, message_id: str
) -> None:
    with pytest.raises(NotFound):
        retryable(*UNCERTAIN, service=service, message_id=message_id)
    chat(*UNCERTAIN).when(
        discard, **give_up("admin", service=service, message_id=message_id)
    ).then_refused(NotFound)


def test_s2_what_a_service_wrote_through_another_channel_is_neither_sent_again_nor_discarded() -> (
    None
):
    elsewhere = (reply(channel_id="of-crm"), started(), uncertain())
    with pytest.raises(NotFound):
        retryable(*elsewhere)
    chat(*elsewhere).when(discard, **give_up()).then_refused(NotFound)


def give_up(
    user: str = "ann", *, service: str = "crm", message_id: str = "reply", channel: Any = SHARED
) -> dict[str, Any]:
    """The arguments of giving a message up."""
    return {
        "channel": channel,
        "organisation": ORGANISATION,
        "message_id": message_id,
        "service": service,
        "user_id": user,
    }


def test_c15_an_uncertain_message_is_discarded_once() -> None:
    chat(*UNCERTAIN).when(discard, **give_up()).then(
        MessageFailed(message_id="reply", reason="discarded", user_id="ann")
    ).when(discard, **give_up()).then_nothing()


def test_c15_what_failed_needs_no_discarding() -> None:
    chat(*FAILED).when(discard, **give_up()).then_nothing()


@pytest.mark.parametrize(
    ("events", "status"),
    [(ASKED, "queued"), (SENDING, "queued"), ((*SENDING, sent()), "sent")],
)
def test_c15_what_is_not_uncertain_is_not_discarded(events: tuple[Event, ...], status: str) -> None:
    chat(*events).when(discard, **give_up()).then_refused(NotSettled, message_status=status)


@pytest.mark.parametrize(("user", "refused"), [("viewer", ViewOnly), ("auditor", Forbidden)])
def test_c5_who_may_not_reply_discards_nothing(user: str, refused: type[Refusal]) -> None:
    chat(*UNCERTAIN).when(discard, **give_up(user)).then_refused(refused)


def test_s16_a_service_that_left_discards_nothing() -> None:
    left = fold(Channel, *SHARED_EVENTS, ConnectionDisabled(service="crm"))
    chat(*UNCERTAIN).when(discard, **give_up(channel=left)).then_refused(NotConnected)


# The dispatcher: whose turn it is.


def take(
    message_id: str = "reply",
    *,
    channel: Channel = SHARED,
    rule: WindowRule = WHATSAPP,
    now: datetime = SOON,
) -> dict[str, Any]:
    """The arguments of a dispatcher that wants to send a message."""
    return {
        "channel": channel,
        "message_id": message_id,
        "rule": rule,
        "dispatcher": "one",
        "now": now,
    }


def test_n4_the_next_message_is_taken_once() -> None:
    chat(*ASKED).when(start_sending, **take()).then(started()).when(
        start_sending, **take()
    ).then_nothing()


def test_n4_a_later_reply_never_overtakes_an_earlier_one() -> None:
    two = chat(reply("first"), reply("second", service="desk", user_id="dora"))
    two.when(start_sending, **take("second")).then_nothing()
    taken = two.when(start_sending, **take("first")).then(started("first"))
    taken.when(start_sending, **take("second")).then_nothing()


@pytest.mark.parametrize(
    "ending",
    [
        (started("first"), sent("first")),
        (started("first"), uncertain("first")),
        (started("first"), failed("first")),
        (failed("first", "window_closed"),),
    ],
)
def test_n4_what_is_sent_uncertain_or_failed_frees_the_lane(ending: tuple[Event, ...]) -> None:
    chat(reply("first"), reply("second"), *ending).when(start_sending, **take("second")).then(
        started("second")
    )


def test_n4_a_deferred_message_keeps_its_turn() -> None:
    deferred = SendDeferred(message_id="first", reason="limited", retry_at=SOON)
    waiting = chat(reply("first"), reply("second"), started("first"), deferred)
    waiting.when(start_sending, **take("second")).then_nothing()
    waiting.when(start_sending, **take("first")).then(started("first", attempt=2))


def test_n4_an_uncertain_message_that_is_retried_comes_behind_those_that_wait() -> None:
    waiting = chat(*UNCERTAIN, reply("second"), reply("again", retry_of="reply"))
    waiting.when(start_sending, **take("again")).then_nothing()
    waiting.when(start_sending, **take("second")).then(started("second"))


@pytest.mark.parametrize(
    "events",
    [(), (*SENDING, sent()), UNCERTAIN, FAILED, (*SENDING, sent(), receipt("read"))],
)
def test_n3_what_does_not_wait_is_not_sent(events: tuple[Event, ...]) -> None:
    chat(*events).when(start_sending, **take()).then_nothing()
    chat(*events).when(
        end_if_over, channel=SHARED, message_id="reply", rule=WHATSAPP, now=LATE
    ).then_nothing()


# The dispatcher: whose time is over.


def over(reason: str) -> MessageFailed:
    return MessageFailed(message_id="reply", reason=reason)


@pytest.mark.parametrize(
    ("now", "ends"), [(NOON + DAY - A_BIT, False), (NOON + DAY, True), (NOON + 9 * DAY, True)]
)
def test_n3_a_queued_message_is_tried_until_its_window_closes(now: datetime, ends: bool) -> None:
    event = over("window_closed") if ends else started()
    chat(*ASKED).when(start_sending, **take(now=now)).then(event)


def test_n3_a_window_that_opened_again_keeps_the_message() -> None:
    chat(*ASKED, wrote(NOON + HOUR)).when(start_sending, **take(now=LATE)).then(started())


@pytest.mark.parametrize(
    ("now", "ends"), [(SOON + DAY - A_BIT, False), (SOON + DAY, True), (SOON + 9 * DAY, True)]
)
def test_n3_a_template_is_tried_for_24_hours_whatever_the_window(now: datetime, ends: bool) -> None:
    event = over("window_closed") if ends else started()
    asked = reply(template="shipped/ja", at=SOON)
    chat(asked).when(start_sending, **take(now=now)).then(event)
    # Also for a customer who never wrote, and for one who just did.
    given(STARTED, asked).when(start_sending, **take(now=now)).then(event)
    chat(asked, wrote(now)).when(start_sending, **take(now=now)).then(event)


def test_n3_what_waits_when_its_service_leaves_fails() -> None:
    left = fold(Channel, *SHARED_EVENTS, ConnectionDisabled(service="crm"))
    deleted = fold(Channel, *SHARED_EVENTS, ConnectionDeleted(service="crm"))
    for channel in (left, deleted):
        chat(*ASKED).when(start_sending, **take(channel=channel)).then(over("service_left"))
        chat(*ASKED).when(start_sending, **take(channel=channel, now=LATE)).then(
            over("service_left")
        )
    others = chat(reply(service="desk", user_id="dora"))
    others.when(start_sending, **take(channel=left)).then(started())


def test_n3_a_service_that_is_back_in_time_sends_what_waited() -> None:
    back = fold(
        Channel,
        *SHARED_EVENTS,
        ConnectionDisabled(service="crm"),
        ConnectionEnabled(service="crm"),
    )
    chat(*ASKED).when(start_sending, **take(channel=back)).then(started())


def test_n3_a_message_whose_time_is_over_ends_also_when_it_is_not_its_turn() -> None:
    first = reply("first", template="shipped/ja", at=SOON)
    chat(first, *ASKED).when(start_sending, **take(now=LATE)).then(over("window_closed"))
    chat(first, *ASKED).when(
        end_if_over, channel=SHARED, message_id="reply", rule=WHATSAPP, now=LATE
    ).then(over("window_closed"))


def test_n3_what_a_dispatcher_has_is_not_ended_under_its_hands() -> None:
    chat(*SENDING).when(start_sending, **take(now=LATE)).then_nothing()
    chat(*SENDING).when(
        end_if_over, channel=SHARED, message_id="reply", rule=WHATSAPP, now=LATE
    ).then_nothing()


def test_n3_what_may_still_be_sent_is_not_ended() -> None:
    chat(*ASKED).when(
        end_if_over, channel=SHARED, message_id="reply", rule=WHATSAPP, now=SOON
    ).then_nothing()


# The dispatcher: it was lost, or it has an answer.


def test_n3_the_message_of_a_lost_dispatcher_is_uncertain() -> None:
    chat(*SENDING).when(give_up_claim, message_id="reply", now=SOON).then(
        SendUncertain(message_id="reply", reason="dispatcher_lost")
    ).when(give_up_claim, message_id="reply", now=SOON).then_nothing()


@pytest.mark.parametrize(
    "events",
    [
        (),
        ASKED,
        (*SENDING, sent()),
        FAILED,
        (*SENDING, receipt("sent", mark="reply")),
        (*SENDING, SendDeferred(message_id="reply", reason="limited", retry_at=SOON)),
    ],
)
def test_n3_what_no_dispatcher_has_is_not_given_up(events: tuple[Event, ...]) -> None:
    chat(*events).when(give_up_claim, message_id="reply", now=SOON).then_nothing()


PLATFORM_ID = Sealed("contact:kim", bytes(16), b"wamid")


ANSWERS: list[tuple[SendAnswer, Event, str]] = [
    (
        Accepted(platform_id="wamid"),
        MessageSent(message_id="reply", key=b"key", platform=PLATFORM_ID),
        "sent",
    ),
    (
        Rejected(reason="undeliverable", code=131026, detail="in the platform's words"),
        MessageFailed(message_id="reply", reason="undeliverable", error_code=131026),
        "failed",
    ),
    (
        Unsettled(reason="timeout"),
        SendUncertain(message_id="reply", reason="timeout"),
        "uncertain",
    ),
    (
        Deferred(reason="limited", retry_after_seconds=7.5),
        SendDeferred(message_id="reply", reason="limited", retry_at=SOON + timedelta(seconds=7.5)),
        "queued",
    ),
    (
        Deferred(reason="limited", retry_after_seconds=0),
        SendDeferred(message_id="reply", reason="limited", retry_at=SOON),
        "queued",
    ),
    (
        Deferred(reason="unavailable"),
        SendDeferred(message_id="reply", reason="unavailable", retry_at=SOON + SECOND),
        "queued",
    ),
    (
        AccountUnusable(reason="token", code=190),
        SendDeferred(message_id="reply", reason="token", retry_at=SOON + SECOND),
        "queued",
    ),
]


@pytest.mark.parametrize(("answer", "event", "status"), ANSWERS)
def test_n3_what_each_answer_of_the_platform_means(
    answer: SendAnswer, event: Event, status: str
) -> None:
    accepted = isinstance(answer, Accepted)
    history = (
        chat(*SENDING)
        .when(
            record_answer,
            message_id="reply",
            answer=answer,
            key=b"key" if accepted else None,
            platform=PLATFORM_ID if accepted else None,
            now=SOON,
        )
        .then(event)
    )
    message = fold(Chat, *history.events).outbound["reply"]
    assert (message.status, message.sending) == (status, False)


def test_n3_what_may_pass_when_it_is_tried_again_is_so_once() -> None:
    refused = Rejected(reason="media", code=131053, detail="", once_more=True)
    arguments = {"message_id": "reply", "answer": refused, "key": None, "platform": None}
    limited = SendDeferred(message_id="reply", reason="limited", retry_at=SOON)
    chat(*SENDING, limited, started(attempt=2)).when(record_answer, **arguments, now=SOON).then(
        SendDeferred(message_id="reply", reason="media", retry_at=SOON + 2 * SECOND)
    ).when(record_answer, **arguments, now=SOON).then(
        MessageFailed(message_id="reply", reason="media", error_code=131053)
    )


def test_n3_every_kind_of_answer_is_recorded() -> None:
    assert {type(answer) for answer, _, _ in ANSWERS} == set(get_args(SendAnswer))


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60), (1_000, 60)],
)
def test_n3_attempts_are_further_and_further_apart_up_to_a_minute(
    attempt: int, seconds: int
) -> None:
    assert_tried_again("unavailable", attempt=attempt, seconds=seconds)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 4), (3, 16), (5, 256), (9, 256)])
def test_n3_one_customers_limit_is_asked_about_ever_less_often(attempt: int, seconds: int) -> None:
    assert_tried_again("pair_limited", attempt=attempt, seconds=seconds)


def assert_tried_again(reason: str, *, attempt: int, seconds: int) -> None:
    chat(reply(), started(attempt=attempt)).when(
        record_answer,
        message_id="reply",
        answer=Deferred(reason=reason),
        key=None,
        platform=None,
        now=SOON,
    ).then(SendDeferred(message_id="reply", reason=reason, retry_at=SOON + seconds * SECOND))


def test_an_answer_about_a_message_that_nobody_knows_is_dropped() -> None:
    chat().when(
        record_answer,
        message_id="reply",
        answer=Unsettled(reason="timeout"),
        key=None,
        platform=None,
        now=SOON,
    ).then_nothing()


def test_n3_an_answer_that_comes_after_the_claim_was_given_up_still_counts() -> None:
    history = (
        chat(*UNCERTAIN)
        .when(
            record_answer,
            message_id="reply",
            answer=Accepted(platform_id="wamid"),
            key=b"key",
            platform=None,
            now=SOON,
        )
        .then(sent())
    )
    assert fold(Chat, *history.events).outbound["reply"].status == "sent"


# Receipts and echoes.


@pytest.mark.parametrize("events", [ASKED, SENDING, UNCERTAIN, FAILED])
def test_c15_a_receipt_with_our_mark_tells_that_the_platform_has_the_message(
    events: tuple[Event, ...],
) -> None:
    told = receipt("delivered", mark="reply")
    chat(*events).when(record_receipt, receipt=told).then(sent(), told)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ((*SENDING, sent()), receipt("read", mark="reply")),
        ((*SENDING, sent()), receipt("read")),
        (SENDING, receipt("read")),  # Whose it is will turn out with the answer.
        ((), receipt("read", mark="forgotten")),
        ((*SENDING, sent()), receipt("something new")),
    ],
)
def test_c15_every_other_receipt_is_kept_as_it_is(
    events: tuple[Event, ...], told: ReceiptReceived
) -> None:
    chat(*events).when(record_receipt, receipt=told).then(told)


def test_n3_a_receipt_during_sending_ends_the_sending() -> None:
    told = receipt("something new", mark="reply")
    history = chat(*SENDING).when(record_receipt, receipt=told).then(sent(), told)
    history.when(start_sending, **take()).then_nothing()
    history.when(give_up_claim, message_id="reply", now=SOON).then_nothing()


@pytest.mark.parametrize(
    ("key", "mark", "own"),
    [
        (b"key", None, "reply"),
        (b"other", "reply", "reply"),
        (b"other", None, None),
        (b"other", "forgotten", None),
    ],
)
def test_c17_an_echo_of_our_own_message_is_known_by_key_or_mark(
    key: bytes, mark: str | None, own: str | None
) -> None:
    state = fold(Chat, *CHAT_EVENTS, *SENDING, sent())
    assert find_outbound(state, key=key, mark=mark) == own


def test_c17_an_echo_of_our_own_message_says_that_it_was_sent_if_that_is_news() -> None:
    echoed = {"message_id": "reply", "key": b"key"}
    history = chat(*SENDING).when(confirm_sent, **echoed).then(sent())
    history.when(confirm_sent, **echoed).then_nothing()


def test_c17_messages_without_a_key_are_not_mistaken_for_each_other() -> None:
    state = fold(Chat, *CHAT_EVENTS, *SENDING)
    assert find_outbound(state, key=b"key", mark=None) is None
