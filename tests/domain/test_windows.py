"""When a business may write freely (C0, N1)."""

from datetime import datetime, timedelta

import pytest

from domain.windows import (
    WINDOW_RULES,
    WindowRule,
    believed_time,
    closes_at,
    is_open,
    window_rule,
)
from tests.domain.world import A_BIT, DAY, HOUR, MINUTE, NOON

WHATSAPP = window_rule("whatsapp")
WITHOUT_END = WindowRule(name="line/1", length=None, business_may_start=False)


def test_n1_whatsapps_window_is_24_hours_and_a_template_may_start() -> None:
    rule = window_rule("whatsapp")
    assert rule == WindowRule(name="whatsapp/1", length=DAY, business_may_start=True)


@pytest.mark.parametrize(
    ("platform", "length"),
    [("messenger", DAY), ("line", None), ("telegram", None), ("wechat", 2 * DAY)],
)
def test_n1_elsewhere_only_customers_start(platform: str, length: timedelta | None) -> None:
    rule = window_rule(platform)
    assert (rule.length, rule.business_may_start) == (length, False)


def test_n1_rules_are_found_by_the_names_they_are_recorded_under() -> None:
    assert all(WINDOW_RULES[name].name == name for name in WINDOW_RULES)


@pytest.mark.parametrize(
    ("rule", "last", "now", "open_then"),
    [
        (WHATSAPP, NOON, NOON, True),
        (WHATSAPP, NOON, NOON + DAY - A_BIT, True),
        (WHATSAPP, NOON, NOON + DAY, False),
        (WHATSAPP, NOON, NOON + DAY + A_BIT, False),
        (WHATSAPP, NOON + 5 * MINUTE, NOON, True),  # Their clock is a little ahead.
        (WHATSAPP, None, NOON, False),
        (WITHOUT_END, NOON, NOON + 1_000 * DAY, True),
        (WITHOUT_END, None, NOON, False),
    ],
)
def test_c0_a_window_is_half_open_from_the_customers_last_message(
    rule: WindowRule, last: datetime | None, now: datetime, open_then: bool
) -> None:
    assert is_open(rule, last, now=now) is open_then


@pytest.mark.parametrize(
    ("rule", "last", "end"),
    [
        (WHATSAPP, NOON, NOON + DAY),
        (WHATSAPP, None, None),
        (WITHOUT_END, NOON, None),
    ],
)
def test_n2_when_it_closes(rule: WindowRule, last: datetime | None, end: datetime | None) -> None:
    assert closes_at(rule, last) == end


@pytest.mark.parametrize(
    ("ahead", "believed"),
    [
        (-1_000 * HOUR, True),  # Late, but it was written then.
        (timedelta(0), True),
        (5 * MINUTE, True),
        (5 * MINUTE + A_BIT, False),
        (1_000 * HOUR, False),
    ],
)
def test_c0_a_time_more_than_five_minutes_ahead_of_ours_is_taken_as_ours(
    ahead: timedelta, believed: bool
) -> None:
    assert believed_time(NOON + ahead, received_at=NOON) == (NOON + ahead if believed else NOON)


def test_c0_a_message_without_a_time_counts_from_when_it_came() -> None:
    assert believed_time(None, received_at=NOON) == NOON
