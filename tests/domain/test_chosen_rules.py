"""Which pricing holds for whom, and from when (L7)."""

from datetime import datetime

import pytest
from msgspec.structs import replace

from domain.chosen_rules import (
    CHOICES_MAX,
    DEFAULT_PRICING,
    RATES_CHOSEN_MAX,
    ChosenRules,
    PricingChosen,
    WindowChosen,
    choose_pricing,
    choose_window,
    pricing_for,
    window_for,
)
from domain.rate_card import DEFAULT_CARD, Rate, RateCard
from domain.refusal import Invalid
from tests.domain.world import A_BIT, DAY, NOON
from tests.scenario import fold, given

GENERAL = replace(DEFAULT_PRICING, rule="per-message/2025-07", effective_from=NOON)
OWN = replace(
    GENERAL, rule="service-message/2026-10", business_account="waba", effective_from=NOON + DAY
)


def rule_for(account: str, at: datetime, *chosen: PricingChosen) -> str:
    return pricing_for(fold(ChosenRules, *chosen), account, at=at).rule


def test_l7_without_a_choice_it_is_the_default_whatever_the_calendar_says() -> None:
    assert pricing_for(ChosenRules(), "waba", at=NOON + 10_000 * DAY) == DEFAULT_PRICING


@pytest.mark.parametrize(
    ("account", "at", "rule"),
    [
        ("waba", NOON - A_BIT, "conversation/1"),
        ("waba", NOON, "per-message/2025-07"),
        ("waba", NOON + DAY - A_BIT, "per-message/2025-07"),
        ("waba", NOON + DAY, "service-message/2026-10"),
        ("another", NOON + DAY, "per-message/2025-07"),
    ],
)
@pytest.mark.parametrize("chosen", [(GENERAL, OWN), (OWN, GENERAL)])
def test_l7_an_accounts_own_choice_comes_before_the_organisations(
    account: str, at: datetime, rule: str, chosen: tuple[PricingChosen, ...]
) -> None:
    assert rule_for(account, at, *chosen) == rule


def test_l7_a_choice_for_the_same_moment_takes_the_place_of_the_one_before() -> None:
    corrected = replace(GENERAL, rule="conversation/1")
    assert rule_for("waba", NOON, GENERAL, corrected) == "conversation/1"
    assert len(fold(ChosenRules, GENERAL, corrected).pricing) == 1


def test_l7_the_same_choice_again_is_no_event() -> None:
    given().when(choose_pricing, chosen=OWN).then(OWN).when(
        choose_pricing, chosen=replace(OWN, user_id="ada")
    ).then_nothing()


JAPAN = Rate(country="JP", category="any", micro_usd=9_000)
CARD = RateCard(name="acme/1", rates=(*DEFAULT_CARD.rates, JAPAN))
OTHER = replace(CARD, rates=DEFAULT_CARD.rates)


def test_l7_the_name_of_a_card_says_its_rates() -> None:
    chosen, later = replace(OWN, card=CARD), NOON + 2 * DAY
    refused = replace(OWN, card=OTHER, effective_from=later)
    with pytest.raises(Invalid, match="acme/1 was chosen with other rates"):
        choose_pricing(fold(ChosenRules, chosen), refused)
    renamed = replace(refused, card=replace(OTHER, name="acme/2"))
    turned = replace(chosen, card=replace(CARD, rates=CARD.rates[::-1]), effective_from=later)
    for allowed in (renamed, turned):
        given(chosen).when(choose_pricing, chosen=allowed).then(allowed)


def test_l7_also_where_another_choice_has_taken_its_place() -> None:
    chosen, corrected = replace(OWN, card=CARD), OWN
    with pytest.raises(Invalid, match="card"):
        choose_pricing(fold(ChosenRules, chosen, corrected), replace(OWN, card=OTHER))


def test_an_organisation_has_a_bounded_number_of_cards() -> None:
    chosen = [replace(OWN, card=replace(CARD, name=f"acme/{n}")) for n in range(500)]
    rules = fold(ChosenRules, *chosen)
    assert choose_pricing(rules, chosen[0]) == [chosen[0]]
    with pytest.raises(Invalid, match="500 cards"):
        choose_pricing(rules, replace(OWN, card=replace(CARD, name="acme/500")))


def test_all_choices_together_hold_a_bounded_number_of_rates() -> None:
    """One that takes the place of another counts in its stead."""
    large = RateCard(name="large/1", rates=DEFAULT_CARD.rates * (RATES_CHOSEN_MAX // 5))
    chosen = [replace(OWN, card=large, effective_from=NOON + number * DAY) for number in range(5)]
    rules = fold(ChosenRules, *chosen)
    assert choose_pricing(rules, replace(chosen[0], rule="conversation/1"))
    with pytest.raises(Invalid, match="card") as refused:
        choose_pricing(rules, replace(OWN, effective_from=NOON + 5 * DAY))
    assert str(RATES_CHOSEN_MAX) in str(refused.value)


def test_an_organisation_has_a_bounded_number_of_choices() -> None:
    chosen = [replace(OWN, effective_from=NOON + number * DAY) for number in range(CHOICES_MAX)]
    rules = fold(ChosenRules, *chosen)
    assert choose_pricing(rules, replace(chosen[0], rule="conversation/1"))
    with pytest.raises(Invalid, match="effective_from"):
        choose_pricing(rules, replace(OWN, effective_from=NOON - DAY))


# N1: windows.

ALL = WindowChosen(platform="wechat", rule="wechat/2023-06", effective_from=NOON)
ONE = WindowChosen(platform="wechat", rule="wechat/1", effective_from=NOON + DAY, account_id="gh_1")


@pytest.mark.parametrize(
    ("platform", "account", "at", "rule"),
    [
        ("wechat", "gh_1", NOON - A_BIT, "wechat/1"),
        ("wechat", "gh_1", NOON, "wechat/2023-06"),
        ("wechat", "gh_1", NOON + DAY - A_BIT, "wechat/2023-06"),
        ("wechat", "gh_1", NOON + DAY, "wechat/1"),
        ("wechat", "gh_2", NOON + DAY, "wechat/2023-06"),
        ("messenger", "gh_1", NOON + DAY, "messenger/1"),
        ("whatsapp", "1055", NOON + DAY, "whatsapp/1"),
    ],
)
@pytest.mark.parametrize("chosen", [(ALL, ONE), (ONE, ALL)])
def test_n1_an_accounts_own_window_comes_before_its_platforms(
    platform: str, account: str, at: datetime, rule: str, chosen: tuple[WindowChosen, ...]
) -> None:
    assert window_for(fold(ChosenRules, *chosen), platform, account, at=at).name == rule


def test_n1_a_window_for_the_same_moment_takes_the_place_of_the_one_before() -> None:
    corrected = replace(ALL, rule="wechat/1")
    rules = fold(ChosenRules, ALL, corrected)
    assert rules.windows == (corrected,)
    assert window_for(rules, "wechat", "gh_2", at=NOON).name == "wechat/1"


def test_n1_one_that_takes_the_place_of_another_counts_in_its_stead() -> None:
    chosen = [replace(ALL, effective_from=NOON + number * DAY) for number in range(CHOICES_MAX)]
    rules = fold(ChosenRules, *chosen)
    corrected = replace(ALL, rule="wechat/1")
    assert choose_window(rules, corrected) == [corrected]
    with pytest.raises(Invalid, match="effective_from"):
        choose_window(rules, replace(ALL, effective_from=NOON - DAY))


def test_n1_the_same_window_again_is_no_event() -> None:
    given().when(choose_window, chosen=ONE).then(ONE).when(
        choose_window, chosen=replace(ONE, user_id="ada")
    ).then_nothing()
