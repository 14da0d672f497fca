"""What an answer costs, by each rule (L1, L2, L7)."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from domain.pricing import DEFAULT_RULE, Inputs, Price, allowance_key, free_because, month_of
from domain.rules import RULES

TEXT = Inputs(
    category="service",
    is_template=False,
    in_window=True,
    opens_conversation=True,
    rate_micro_usd=8_000,
    used_by_business=0,
    used_by_account=0,
)
INSIDE = replace(TEXT, opens_conversation=False)
MARKETING = replace(TEXT, category="marketing", is_template=True)
UTILITY = replace(TEXT, category="utility", is_template=True)
FREE = Price("conversation", 0, "business")
PAID = Price("conversation", 8_000)
FREE_MESSAGE = Price("message", 0, "account")
PAID_MESSAGE = Price("message", 8_000)
IN_ENTRY_POINT = Price("message", 0)  # And counted against no allowance.


def referred(inputs: Inputs) -> Inputs:
    return replace(inputs, in_entry_point=True)


def test_l7_without_a_choice_it_is_the_conversation() -> None:
    assert DEFAULT_RULE == "conversation/1"
    assert sorted(RULES["pricing"]) == [
        "conversation/1",
        "per-message/2025-07",
        "service-message/2026-10",
    ]


@pytest.mark.parametrize(
    ("inputs", "price"),
    [
        (TEXT, FREE),
        (replace(TEXT, used_by_business=999), FREE),
        (replace(TEXT, used_by_business=1_000), PAID),
        (replace(TEXT, used_by_account=1_000), FREE),
        (MARKETING, PAID),
        (UTILITY, PAID),
        (replace(UTILITY, category="service"), FREE),
        (INSIDE, None),
        (replace(MARKETING, opens_conversation=False), None),
        (referred(TEXT), FREE),
        (referred(MARKETING), PAID),
    ],
)
def test_l2_conversation(inputs: Inputs, price: Price | None) -> None:
    """The 1,000th is free, the 1,001st is not; only `service` uses the allowance."""
    assert RULES["pricing"]["conversation/1"](inputs) == price


@pytest.mark.parametrize(
    ("inputs", "price"),
    [
        (TEXT, None),
        (INSIDE, None),
        (MARKETING, PAID_MESSAGE),
        (replace(MARKETING, opens_conversation=False), PAID_MESSAGE),
        (UTILITY, None),
        (replace(UTILITY, in_window=False), PAID_MESSAGE),
        (replace(MARKETING, category="authentication"), PAID_MESSAGE),
        (referred(TEXT), None),
        (referred(UTILITY), None),
        (referred(MARKETING), IN_ENTRY_POINT),
        (referred(replace(UTILITY, in_window=False)), IN_ENTRY_POINT),
    ],
)
def test_l7_per_message(inputs: Inputs, price: Price | None) -> None:
    assert RULES["pricing"]["per-message/2025-07"](inputs) == price


@pytest.mark.parametrize(
    ("inputs", "price"),
    [
        (TEXT, FREE_MESSAGE),
        (INSIDE, FREE_MESSAGE),
        (replace(INSIDE, used_by_account=999), FREE_MESSAGE),
        (replace(INSIDE, used_by_account=1_000), PAID_MESSAGE),
        (replace(INSIDE, used_by_business=1_000), FREE_MESSAGE),
        (MARKETING, PAID_MESSAGE),
        (UTILITY, PAID_MESSAGE),
        (referred(TEXT), IN_ENTRY_POINT),
        (referred(replace(INSIDE, used_by_account=1_000)), IN_ENTRY_POINT),
        (referred(UTILITY), IN_ENTRY_POINT),
        (referred(MARKETING), IN_ENTRY_POINT),
    ],
)
def test_l7_service_message(inputs: Inputs, price: Price | None) -> None:
    assert RULES["pricing"]["service-message/2026-10"](inputs) == price


@pytest.mark.parametrize(
    ("rule", "inputs", "because"),
    [
        ("conversation/1", TEXT, "allowance"),
        ("conversation/1", MARKETING, None),
        ("conversation/1", referred(replace(MARKETING, rate_micro_usd=0)), None),
        ("service-message/2026-10", TEXT, "allowance"),
        ("service-message/2026-10", referred(TEXT), "entry_point"),
        ("per-message/2025-07", referred(MARKETING), "entry_point"),
        ("per-message/2025-07", replace(MARKETING, rate_micro_usd=0), None),
    ],
)
def test_l6_a_charge_says_why_it_was_free(rule: str, inputs: Inputs, because: str | None) -> None:
    assert free_because(inputs, RULES["pricing"][rule](inputs)) == because


@pytest.mark.parametrize(
    ("moment", "zone", "month"),
    [
        (datetime(2026, 2, 28, 23, 59, 59, 999_999, UTC), "UTC", "2026-02"),
        (datetime(2026, 3, 1, tzinfo=UTC), "UTC", "2026-03"),
        (datetime(2028, 2, 29, 23, 59, tzinfo=UTC), "UTC", "2028-02"),
        (datetime(2026, 12, 31, 14, 59, tzinfo=UTC), "Asia/Tokyo", "2026-12"),
        (datetime(2026, 12, 31, 15, 0, tzinfo=UTC), "Asia/Tokyo", "2027-01"),
        (datetime(2026, 11, 1, 3, 59, tzinfo=UTC), "America/New_York", "2026-10"),
    ],
)
def test_l7_a_month_begins_in_the_rules_time_zone(moment: datetime, zone: str, month: str) -> None:
    assert month_of(moment, ZoneInfo(zone)) == month


def test_l2_allowances_are_a_months_or_a_numbers_months() -> None:
    keys = [
        allowance_key(each, month="2026-11", account_id="5277")
        for each in ("business", "account", None)
    ]
    assert keys == ["2026-11", "2026-11/5277", None]
