"""How many messages a customer may be sent, where a platform counts them (N1, N2)."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given as any_of
from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.channel import Channel, ChannelCreated, ConnectionCreated
from domain.chat import Chat
from domain.chat_events import ChatStarted, MessageFailed, ReplyRequested, SendStarted
from domain.event import Event
from domain.quota import IN_WINDOW_MAX, next_month
from domain.refusal import QuotaExceeded, WindowClosed
from domain.sending import RequestReply, end_if_over, request_reply, start_sending
from domain.windows import WINDOW_RULES, WindowRule
from tests.domain.world import (
    A_BIT,
    CONTENT,
    DAY,
    HOUR,
    MINUTE,
    NOON,
    ORGANISATION,
    reply,
    sent,
    uncertain,
    wrote,
)
from tests.scenario import Given, fold, given

DEFAULT, FIVE = WINDOW_RULES["wechat/1"], WINDOW_RULES["wechat/2023-06"]
HUMAN = WINDOW_RULES["messenger/human-agent"]
CLOSED = NOON + 2 * DAY
APRIL = datetime(2026, 4, 1, tzinfo=UTC)

CHANNEL = fold(
    Channel,
    ChannelCreated(
        channel_id="shared", platform="wechat", account_id="gh_1", shared=True, name="WeChat"
    ),
    ConnectionCreated(service="crm"),
)


def wechat(*events: Event, platform: str = "wechat") -> Given:
    began = ChatStarted(chat_id="chat", platform=platform, account_id="gh_1", contact_id="kim")
    return given(began, *events)


def wish(now: datetime, rule: WindowRule = DEFAULT, message_id: str = "reply") -> dict[str, Any]:
    return {
        "channel": CHANNEL,
        "organisation": ORGANISATION,
        "command": RequestReply(message_id=message_id, service="crm", kind="text", content=CONTENT),
        "rule": rule,
        "approved_templates": [],
        "user_id": "ann",
        "now": now,
    }


def replies(count: int, *, at: datetime, name: str = "m") -> list[Event]:
    return [reply(f"{name}{number}", at=at + number * A_BIT) for number in range(count)]


def failed(message_id: str, reason: str = "undeliverable") -> Event:
    return MessageFailed(message_id=message_id, reason=reason)


# After the window: so many a month.


def test_n1_four_messages_a_month_are_sent_after_the_window() -> None:
    chat = wechat(wrote())
    for number in range(4):
        message_id = f"m{number}"
        chat = chat.when(request_reply, **wish(CLOSED + HOUR, message_id=message_id)).then(
            reply(message_id, at=CLOSED + HOUR)
        )
    chat.when(request_reply, **wish(CLOSED + HOUR)).then_refused(QuotaExceeded, resets_at=APRIL)
    chat.when(request_reply, **wish(APRIL - A_BIT)).then_refused(QuotaExceeded, resets_at=APRIL)
    chat.when(request_reply, **wish(APRIL)).then(reply(at=APRIL))


def test_n1_what_is_sent_in_the_window_is_free_and_the_customer_opens_it_again() -> None:
    free = wechat(wrote(), *replies(60, at=NOON), *replies(4, at=CLOSED, name="late"))
    free.when(request_reply, **wish(CLOSED + HOUR)).then_refused(QuotaExceeded, resets_at=APRIL)
    # Within the window again nothing is counted, and nothing is forgotten.
    again = wechat(
        *free.events, wrote(CLOSED + DAY), *replies(IN_WINDOW_MAX + 20, at=CLOSED + DAY, name="x")
    )
    again.when(request_reply, **wish(CLOSED + 3 * DAY - A_BIT)).then(
        reply(at=CLOSED + 3 * DAY - A_BIT)
    )
    again.when(request_reply, **wish(CLOSED + 3 * DAY)).then_refused(QuotaExceeded, resets_at=APRIL)


@pytest.mark.parametrize(
    ("settled", "refused"),
    [
        ([], True),
        ([SendStarted(message_id="m0", attempt=1, dispatcher="one"), uncertain("m0")], True),
        ([sent("m0")], True),
        ([failed("m0")], False),
        ([failed("m0", "window_closed")], False),
        ([uncertain("m0"), failed("m0", "discarded")], True),  # The platform may have it.
    ],
)
@pytest.mark.parametrize(("rule", "at"), [(DEFAULT, CLOSED), (FIVE, NOON)])
def test_n1_what_failed_does_not_count_and_what_is_uncertain_does(
    settled: list[Event], refused: bool, rule: WindowRule, at: datetime
) -> None:
    limit = rule.monthly_max or rule.replies_max or 0
    chat = wechat(wrote(), *replies(limit, at=at), *settled)
    decided = chat.when(request_reply, **wish(at + HOUR, rule))
    if refused:
        decided.then_refused(QuotaExceeded, resets_at=APRIL if rule is DEFAULT else None)
    else:
        decided.then(reply(at=at + HOUR))


def test_n1_nobody_starts_a_wechat_chat() -> None:
    wechat().when(request_reply, **wish(NOON)).then_refused(
        WindowClosed, closed_at=None, templates=[]
    )


def test_n1_a_template_after_the_window_is_one_of_the_months_messages() -> None:
    late = replies(3, at=CLOSED)
    asked, template = wish(CLOSED + HOUR), "shipped/zh_CN"
    asked["command"] = replace(asked["command"], kind="template", template=template)
    fourth = reply(at=CLOSED + HOUR, kind="template", template=template)
    four = wechat(wrote(), *late).when(request_reply, **asked).then(fourth)
    for fifth in (asked, wish(CLOSED + HOUR)):
        four.when(request_reply, **fifth).then_refused(QuotaExceeded, resets_at=APRIL)
    # Today's rule counts free messages in the window alone.
    of_today = {**asked, "rule": FIVE}
    in_window = {**of_today, "now": NOON + HOUR}
    sent = reply(at=NOON + HOUR, kind="template", template=template)
    wechat(wrote(), *late, fourth).when(request_reply, **of_today).then(fourth)
    wechat(wrote(), *replies(5, at=NOON)).when(request_reply, **in_window).then(sent)


def test_n1_a_template_in_the_window_takes_nobodys_place() -> None:
    templates = [
        reply(f"t{number}", at=NOON, kind="template", template="shipped/zh_CN")
        for number in range(5)
    ]
    wechat(wrote(), *templates).when(request_reply, **wish(NOON + HOUR, FIVE)).then(
        reply(at=NOON + HOUR)
    )
    wechat(wrote(), *templates).when(request_reply, **wish(CLOSED)).then(reply(at=CLOSED))


def test_n1_a_month_is_one_of_utc() -> None:
    end = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert next_month(end) == datetime(2027, 1, 1, tzinfo=UTC)
    assert next_month(end.astimezone(timezone(9 * HOUR))) == next_month(end)


# In the window: so many until the customer writes again.


def test_n1_five_messages_answer_a_customers_message() -> None:
    five = wechat(wrote(), *replies(5, at=NOON))
    five.when(request_reply, **wish(NOON + HOUR, FIVE)).then_refused(QuotaExceeded, resets_at=None)
    wechat(*five.events, wrote(NOON + MINUTE)).when(request_reply, **wish(NOON + HOUR, FIVE)).then(
        reply(at=NOON + HOUR)
    )
    # The window closes all the same.
    wechat(wrote()).when(request_reply, **wish(CLOSED, FIVE)).then_refused(
        WindowClosed, closed_at=CLOSED, templates=[]
    )


def test_n1_an_answer_counts_for_what_it_was_written_after_in_whatever_order_they_come() -> None:
    """The customer's message is on its way while we write: by the platform's clock we are later."""
    five = replies(5, at=NOON + MINUTE)
    wechat(wrote(NOON - HOUR), *five, wrote(NOON)).when(
        request_reply, **wish(NOON + HOUR, FIVE)
    ).then_refused(QuotaExceeded, resets_at=None)


def test_n1_another_rule_counts_what_was_sent_before_it_held() -> None:
    chat = wechat(wrote(), *replies(5, at=NOON))
    chat.when(request_reply, **wish(NOON + HOUR)).then(reply(at=NOON + HOUR))
    chat.when(request_reply, **wish(NOON + HOUR, FIVE)).then_refused(QuotaExceeded, resets_at=None)


# Waiting to be sent.


def over(message_id: str = "reply") -> Event:
    return MessageFailed(message_id=message_id, reason="window_closed")


def waiting(rule: WindowRule, now: datetime) -> dict[str, Any]:
    return {"channel": CHANNEL, "message_id": "reply", "rule": rule, "now": now}


@pytest.mark.parametrize(
    ("rule", "asked", "ends"),
    [
        (DEFAULT, CLOSED - HOUR, CLOSED),  # It was to be free: it does not become one of the four.
        (DEFAULT, CLOSED + HOUR, CLOSED + HOUR + DAY),
        (FIVE, CLOSED - HOUR, CLOSED),
    ],
)
def test_n3_how_long_a_message_waits(rule: WindowRule, asked: datetime, ends: datetime) -> None:
    chat = wechat(wrote(), reply(at=asked))
    chat.when(end_if_over, **waiting(rule, ends - A_BIT)).then_nothing()
    chat.when(end_if_over, **waiting(rule, ends)).then(over())
    chat.when(start_sending, dispatcher="one", **waiting(rule, ends)).then(over())


def test_n3_a_month_that_ends_takes_no_time_from_what_waits() -> None:
    """Of last month's messages one still waits when another is written in the new month."""
    asked = APRIL - MINUTE
    chat = wechat(wrote(), reply(at=asked), *replies(1, at=APRIL + MINUTE))
    chat.when(end_if_over, **waiting(DEFAULT, asked + DAY - A_BIT)).then_nothing()
    chat.when(end_if_over, **waiting(DEFAULT, asked + DAY)).then(over())


# Messenger: people have seven days.


def test_n1_a_person_writes_to_messenger_for_seven_days_with_a_tag() -> None:
    chat = wechat(wrote(), platform="messenger")
    in_time = reply(at=NOON + HOUR)
    chat.when(request_reply, **wish(NOON + HOUR, HUMAN)).then(in_time)
    late = ReplyRequested(
        message_id="reply",
        channel_id="shared",
        service="crm",
        user_id="ann",
        kind="text",
        at=NOON + DAY,
        content=CONTENT,
        tag="HUMAN_AGENT",
    )
    tagged = chat.when(request_reply, **wish(NOON + DAY, HUMAN)).then(late)
    chat.when(request_reply, **wish(NOON + 7 * DAY, HUMAN)).then_refused(
        WindowClosed, closed_at=NOON + 7 * DAY, templates=[]
    )
    # What waits has the time that it was written for.
    tagged.when(end_if_over, **waiting(HUMAN, NOON + 7 * DAY - A_BIT)).then_nothing()
    tagged.when(end_if_over, **waiting(HUMAN, NOON + 7 * DAY)).then(over())
    plain = wechat(wrote(), in_time, platform="messenger")
    plain.when(end_if_over, **waiting(HUMAN, NOON + DAY)).then(over())


def test_n1_without_that_choice_messenger_is_closed_after_a_day() -> None:
    usual = WINDOW_RULES["messenger/1"]
    wechat(wrote(), platform="messenger").when(
        request_reply, **wish(NOON + DAY, usual)
    ).then_refused(WindowClosed, closed_at=NOON + DAY, templates=[])


# A law.

STEPS = st.lists(
    st.tuples(st.sampled_from(["customer", "reply", "fail"]), st.integers(0, 60 * 24 * 3)),
    max_size=40,
)


@settings(max_examples=150)
@any_of(STEPS, st.sampled_from([DEFAULT, FIVE]))
def test_n1_no_course_of_events_sends_more_than_the_rule_allows(
    steps: list[tuple[str, int]], rule: WindowRule
) -> None:
    """A plain count over all that was sent and did not fail, beside the chat's own."""
    events: list[Event] = [wrote(key=b"first")]
    heard, now, alive = [NOON], NOON, dict[str, datetime]()
    for number, (step, minutes) in enumerate(steps):
        now += timedelta(minutes=minutes)
        if step == "customer":
            heard.append(now)
            events.append(wrote(now, key=b"%d" % number))
        elif step == "fail" and alive:
            lost = next(iter(alive))
            del alive[lost]
            events.append(failed(lost))
        elif step == "reply":
            chat = wechat(*events)
            state = fold(Chat, *chat.events)
            try:
                requested = request_reply(state, **wish(now, rule, f"m{number}"))
            except (QuotaExceeded, WindowClosed):
                assert not _allowed(rule, heard, list(alive.values()), now)
            else:
                assert _allowed(rule, heard, list(alive.values()), now)
                events += requested
                alive[f"m{number}"] = now


def _allowed(
    rule: WindowRule, heard: list[datetime], written: list[datetime], now: datetime
) -> bool:
    def is_free(at: datetime) -> bool:
        return at < max(each for each in heard if each <= at) + 2 * DAY

    if is_free(now):
        answers = [at for at in written if at >= max(heard)]
        return rule.replies_max is None or len(answers) < rule.replies_max
    month = [at for at in written if not is_free(at) and at.month == now.month]
    return rule.monthly_max is not None and len(month) < rule.monthly_max
