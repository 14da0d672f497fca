"""When a business may write freely (C0, N1)."""

from datetime import datetime, timedelta

import pytest

from domain.windows import (
    DEFAULT_WINDOW_RULES,
    WINDOW_RULES,
    WindowRule,
    believed_time,
    closes_at,
    is_open,
    is_selectable,
    tag_for,
    window_rule,
)
from tests.domain.world import A_BIT, DAY, HOUR, MINUTE, NOON

WHATSAPP = window_rule("whatsapp")
WITHOUT_END = WindowRule(name="line/1", platform="line", length=None)


def test_n1_whatsapps_window_is_24_hours_and_a_template_may_start() -> None:
    rule = window_rule("whatsapp")
    assert rule == WindowRule(
        name="whatsapp/1", platform="whatsapp", length=DAY, business_may_start=True
    )


@pytest.mark.parametrize(
    ("platform", "length"),
    [("messenger", DAY), ("line", None), ("telegram", None), ("wechat", 2 * DAY)],
)
def test_n1_elsewhere_only_customers_start(platform: str, length: timedelta | None) -> None:
    rule = window_rule(platform)
    assert (rule.length, rule.business_may_start) == (length, False)


def test_n1_rules_are_found_by_the_names_they_are_recorded_under() -> None:
    assert all(WINDOW_RULES[name].name == name for name in WINDOW_RULES)
    assert all(name.startswith(f"{rule.platform}/") for name, rule in WINDOW_RULES.items())


def test_n1_where_there_is_no_choice_nobody_need_look_for_one() -> None:
    selectable = {platform for platform in DEFAULT_WINDOW_RULES if is_selectable(platform)}
    assert selectable == {"messenger", "wechat"}


HUMAN = WINDOW_RULES["messenger/human-agent"]


@pytest.mark.parametrize(
    ("now", "for_a_program", "for_people", "tag"),
    [
        (NOON + DAY - A_BIT, True, True, None),
        (NOON + DAY, False, True, "HUMAN_AGENT"),
        (NOON + 7 * DAY - A_BIT, False, True, "HUMAN_AGENT"),
        (NOON + 7 * DAY, False, False, "HUMAN_AGENT"),
    ],
)
def test_n1_people_may_write_to_messenger_for_seven_days_with_a_tag(
    now: datetime, for_a_program: bool, for_people: bool, tag: str | None
) -> None:
    assert is_open(HUMAN, NOON, now=now) is for_a_program
    assert is_open(HUMAN, NOON, now=now, for_people=True) is for_people
    assert tag_for(HUMAN, NOON, now=now) == tag
    assert closes_at(HUMAN, NOON, for_people=True) == NOON + 7 * DAY


def test_n1_elsewhere_people_have_no_more_time_and_no_tag() -> None:
    assert closes_at(WHATSAPP, NOON, for_people=True) == NOON + DAY
    assert tag_for(WHATSAPP, NOON, now=NOON + DAY) is None


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
