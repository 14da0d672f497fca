"""Rate cards: which rate holds, and which cards are refused (L2)."""

from datetime import date, timedelta
from typing import Any

import pytest

from domain.rate_card import ANY, DEFAULT_CARD, Rate, RateCard, bills, rate_for, require_whole
from domain.refusal import Invalid

FIRST = date(2026, 10, 1)
GENERAL = Rate(country=ANY, category=ANY, micro_usd=8_000)
CARD = RateCard(
    name="test/1",
    rates=(
        GENERAL,
        Rate(country=ANY, category="marketing", micro_usd=30_000),
        Rate(country="JP", category=ANY, micro_usd=5_000),
        Rate(country="JP", category="marketing", micro_usd=70_000),
        Rate(country="JP", category="marketing", micro_usd=80_000, effective_from=FIRST),
        Rate(country="IN", category="service", micro_usd=1_400, effective_from=FIRST),
    ),
)


@pytest.mark.parametrize(
    ("country", "category", "on", "micro_usd"),
    [
        ("DE", "service", FIRST, 8_000),
        (None, "service", FIRST, 8_000),
        ("DE", "marketing", FIRST, 30_000),
        (None, "marketing", FIRST, 30_000),
        ("JP", "utility", FIRST, 5_000),
        ("JP", "marketing", FIRST - timedelta(days=1), 70_000),
        ("JP", "marketing", FIRST, 80_000),
        ("IN", "service", FIRST - timedelta(days=1), 8_000),
        ("IN", "service", FIRST, 1_400),
        ("IN", "utility", FIRST, 8_000),
    ],
)
def test_l2_the_most_exact_rate_that_holds_on_the_day(
    country: str | None, category: str, on: date, micro_usd: int
) -> None:
    rate = rate_for(CARD, platform="whatsapp", country=country, category=category, on=on)
    assert rate.micro_usd == micro_usd


def test_l2_the_default_card_has_one_row() -> None:
    assert DEFAULT_CARD.rates == (Rate(country=ANY, category=ANY, micro_usd=8_000),)
    require_whole(DEFAULT_CARD)


def test_l2_only_whatsapp_is_billed_unless_the_card_has_rows_for_another_platform() -> None:
    line = Rate(country=ANY, category=ANY, micro_usd=100, platform="line")
    both = RateCard(name="both/1", rates=(GENERAL, line))
    assert [bills(CARD, "whatsapp"), bills(CARD, "line"), bills(both, "line")] == [
        True,
        False,
        True,
    ]


def _rate(**other: Any) -> Rate:
    return Rate(**{"country": "JP", "category": "service", "micro_usd": 1, **other})


@pytest.mark.parametrize(
    ("rates", "field"),
    [
        ((), "rates"),
        ((_rate(),), "rates"),
        ((Rate(country=ANY, category=ANY, micro_usd=1, effective_from=FIRST),), "rates"),
        ((GENERAL, _rate(platform="line")), "rates"),
        ((GENERAL, GENERAL), "rates[1]"),
        ((GENERAL, _rate(country="Japan")), "rates[1].country"),
        ((GENERAL, _rate(country="jp")), "rates[1].country"),
        ((GENERAL, _rate(category="news")), "rates[1].category"),
        ((GENERAL, _rate(micro_usd=-1)), "rates[1].micro_usd"),
        ((GENERAL, _rate(micro_usd=1_000_000_001)), "rates[1].micro_usd"),
    ],
)
def test_l2_a_card_with_a_hole_or_a_fault_is_refused_with_the_fields_name(
    rates: tuple[Rate, ...], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        require_whole(RateCard(name="test/1", rates=rates))
    assert [each["field"] for each in refused.value.facts["errors"]] == [field]
