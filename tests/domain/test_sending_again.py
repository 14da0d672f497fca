"""Where a platform knows a message again by its key, a lost answer is asked for again (N3)."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.channel import Channel, ConnectionDisabled
from domain.chat import Chat
from domain.chat_events import ChatStarted, MessageFailed, SendDeferred, SendStarted, SendUncertain
from domain.event import Event
from domain.outbound import (
    Accepted,
    AccountUnusable,
    Deferred,
    Rejected,
    SendAnswer,
    Unsettled,
)
from domain.sending import (
    KNOWN_AGAIN,
    end_if_over,
    give_up_claim,
    record_answer,
    start_sending,
)
from domain.windows import DEFAULT_WINDOW_RULES, window_rule
from tests.domain.world import (
    A_BIT,
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    SHARED,
    SHARED_EVENTS,
    reply,
    sent,
    started,
    wrote,
)
from tests.scenario import Given, fold, given

LIFETIME = KNOWN_AGAIN["line"]
LOST = Unsettled(reason="answer_lost")
LEFT = fold(Channel, *SHARED_EVENTS, ConnectionDisabled(service="crm"))


def chat(*events: Event, platform: str = "line") -> Given:
    begun = ChatStarted(chat_id="chat", platform=platform, account_id="1055", contact_id="kim")
    return given(begun, wrote(), reply(), *events)


def tried(at: datetime = NOON, *, attempt: int = 1) -> SendStarted:
    return SendStarted(message_id="reply", attempt=attempt, dispatcher="one", at=at)


def unanswered(
    *, reason: str = "answer_lost", retry_at: datetime, since: datetime = NOON
) -> SendDeferred:
    return SendDeferred(
        message_id="reply", reason=reason, retry_at=retry_at, unanswered_since=since
    )


def answered(answer: SendAnswer, *, now: datetime) -> dict[str, Any]:
    """The arguments of a platform's answer."""
    key = b"key" if isinstance(answer, Accepted) else None
    return {"message_id": "reply", "answer": answer, "key": key, "platform": None, "now": now}


def take(*, now: datetime, channel: Channel = SHARED) -> dict[str, Any]:
    rule = window_rule("line")
    return {
        "channel": channel,
        "message_id": "reply",
        "rule": rule,
        "dispatcher": "one",
        "now": now,
    }


def test_only_platforms_that_there_are_know_messages_again() -> None:
    assert KNOWN_AGAIN.keys() <= DEFAULT_WINDOW_RULES.keys()
    # LINE forgets its keys after 24 hours.
    assert KNOWN_AGAIN["line"] < timedelta(hours=24)


def test_n3_when_it_was_tried_is_kept_where_it_decides() -> None:
    chat().when(start_sending, **take(now=NOON)).then(tried())
    chat(platform="telegram").when(start_sending, **take(now=NOON)).then(started())


def test_n3_a_lost_answer_is_asked_for_again_and_the_key_says_that_it_was_taken() -> None:
    later = NOON + SECOND
    chat(tried()).when(record_answer, **answered(LOST, now=NOON)).then(
        unanswered(retry_at=later)
    ).when(start_sending, **take(now=later)).then(tried(later, attempt=2)).when(
        record_answer, **answered(Accepted(platform_id="1"), now=later)
    ).then(sent())


@pytest.mark.parametrize("platform", sorted(DEFAULT_WINDOW_RULES.keys() - KNOWN_AGAIN.keys()))
def test_n3_elsewhere_it_is_uncertain(platform: str) -> None:
    chat(started(), platform=platform).when(record_answer, **answered(LOST, now=NOON)).then(
        SendUncertain(message_id="reply", reason="answer_lost")
    )


def test_n3_the_message_of_a_lost_dispatcher_is_sent_again_at_once() -> None:
    now = NOON + MINUTE
    chat(tried()).when(give_up_claim, message_id="reply", now=now).then(
        unanswered(reason="dispatcher_lost", retry_at=now)
    ).when(give_up_claim, message_id="reply", now=now).then_nothing()


@pytest.mark.parametrize(
    ("now", "event"),
    [
        (
            NOON + LIFETIME - A_BIT,
            unanswered(reason="dispatcher_lost", retry_at=NOON + LIFETIME - A_BIT),
        ),
        (NOON + LIFETIME, SendUncertain(message_id="reply", reason="dispatcher_lost")),
    ],
)
def test_n3_a_claim_that_is_found_too_late_is_uncertain(now: datetime, event: Event) -> None:
    """Nobody ran for a day: by now the platform may have forgotten the key."""
    chat(tried()).when(give_up_claim, message_id="reply", now=now).then(event)


def test_n3_an_attempt_of_before_there_were_keys_is_uncertain() -> None:
    uncertain = SendUncertain(message_id="reply", reason="dispatcher_lost")
    chat(started()).when(give_up_claim, message_id="reply", now=NOON).then(uncertain)


@pytest.mark.parametrize(
    "answer", [Deferred(reason="not_reached"), AccountUnusable(reason="credentials", code=401)]
)
def test_n3_that_it_may_have_been_taken_is_not_forgotten_by_later_attempts(
    answer: Deferred | AccountUnusable,
) -> None:
    """The lifetime counts from the first attempt that was not answered."""
    later = NOON + HOUR
    events = (unanswered(retry_at=later), tried(later, attempt=2))
    after = NOON + HOUR + 2 * SECOND
    chat(tried(), *events).when(record_answer, **answered(answer, now=later)).then(
        unanswered(reason=answer.reason, retry_at=after)
    )
    chat(tried(), *events).when(record_answer, **answered(LOST, now=later)).then(
        unanswered(retry_at=after)
    )


def test_n3_what_was_certainly_not_taken_counts_from_the_attempt_that_may_have_been() -> None:
    later = NOON + HOUR
    deferred = SendDeferred(message_id="reply", reason="rate_limited", retry_at=later)
    chat(tried(), deferred, tried(later, attempt=2)).when(
        record_answer, **answered(LOST, now=later)
    ).then(unanswered(retry_at=later + 2 * SECOND, since=later))


def test_n3_a_refusal_under_the_key_says_that_no_attempt_was_taken() -> None:
    refused = Rejected(reason="quota_exceeded", code=429, detail="")
    events = (tried(), unanswered(retry_at=NOON + SECOND), tried(NOON + SECOND, attempt=2))
    chat(*events).when(record_answer, **answered(refused, now=NOON + SECOND)).then(
        MessageFailed(message_id="reply", reason="quota_exceeded", error_code=429)
    )


def test_n3_what_may_have_been_taken_is_uncertain_when_we_cannot_ask_again() -> None:
    """It was erased, say, or its file is gone: that says nothing of the first attempt."""
    erased = Rejected(reason="erased", code=None, detail="")
    events = (tried(), unanswered(retry_at=NOON + SECOND), tried(NOON + SECOND, attempt=2))
    chat(*events).when(record_answer, **answered(erased, now=NOON + SECOND)).then(
        SendUncertain(message_id="reply", reason="erased")
    )
    chat(tried()).when(record_answer, **answered(erased, now=NOON)).then(
        MessageFailed(message_id="reply", reason="erased")
    )


@pytest.mark.parametrize("decide", [start_sending, end_if_over])
def test_n3_what_nobody_answered_for_as_long_as_the_key_lives_is_uncertain(decide: Any) -> None:
    """Also while its account is stopped."""
    arguments = take(now=NOON + LIFETIME)
    if decide is end_if_over:
        del arguments["dispatcher"]
    chat(tried(), unanswered(retry_at=NOON + HOUR)).when(decide, **arguments).then(
        SendUncertain(message_id="reply", reason="answer_lost")
    )


def test_n3_what_may_have_been_taken_does_not_fail_when_its_service_leaves() -> None:
    """It may have arrived: nobody is told that it was not sent."""
    waiting = chat(tried(), unanswered(retry_at=NOON + HOUR))
    waiting.when(start_sending, **take(now=NOON + HOUR, channel=LEFT)).then(
        SendUncertain(message_id="reply", reason="service_left")
    )


def test_n4_the_next_message_waits_until_it_is_known() -> None:
    two = chat(reply("second"), tried(), unanswered(retry_at=NOON + HOUR))
    arguments = take(now=NOON) | {"message_id": "second"}
    two.when(start_sending, **arguments).then_nothing()
    assert fold(Chat, *two.events).queue == ["reply", "second"]
