"""Which rules an organisation has chosen, and from when they hold. Stream `rules` (L7)."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from domain import pricing
from domain.event import Event, stored_as
from domain.rate_card import DEFAULT_CARD, RateCard, digest_of
from domain.refusal import Invalid
from domain.windows import WINDOW_RULES, WindowRule, window_rule

STREAM = "rules"
CHOICES_MAX = 500
CARDS_MAX = 500
# Of all choices together: every server keeps them in memory, some 15 MB then.
RATES_CHOSEN_MAX = 50_000
UTC_NAME = "UTC"


@stored_as("rules.pricing_chosen")
class PricingChosen(Event, frozen=True, kw_only=True):
    """A pricing rule and its card, complete, so that the log alone can price again."""

    rule: str
    card: RateCard
    effective_from: datetime
    time_zone: str = UTC_NAME  # Of its months.
    business_account: str | None = None  # None: all that have no choice of their own.
    user_id: str | None = None


@stored_as("rules.window_chosen")
class WindowChosen(Event, frozen=True, kw_only=True):
    """When a platform's customers may be written to, by this rule from a moment on (N1)."""

    platform: str
    rule: str
    effective_from: datetime
    account_id: str | None = None  # None: all of the platform that have no choice of their own.
    user_id: str | None = None


Choice = TypeVar("Choice", PricingChosen, WindowChosen)

# L7: without a choice it is this one, whatever the calendar says.
DEFAULT_PRICING = PricingChosen(
    rule=pricing.DEFAULT_RULE,
    card=DEFAULT_CARD,
    effective_from=datetime.fromisoformat("1970-01-01T00:00:00+00:00"),
)


class ChosenRules(msgspec.Struct, frozen=True, kw_only=True):
    """The choices, in the order in which they were made."""

    pricing: tuple[PricingChosen, ...] = ()
    windows: tuple[WindowChosen, ...] = ()
    cards: dict[str, bytes] = {}  # Every card that was ever chosen: a digest of its rates.


def evolve(rules: ChosenRules, event: Event) -> ChosenRules:
    """The choices after one more fact."""
    match event:
        case PricingChosen():
            kept = _beside(rules, event)
            cards = {**rules.cards, event.card.name: digest_of(event.card)}
            return replace(rules, pricing=(*kept, event), cards=cards)
        case WindowChosen():
            others = [each for each in rules.windows if _window_place(each) != _window_place(event)]
            return replace(rules, windows=(*others, event))
        case _:
            return rules


def _pricing_place(chosen: PricingChosen) -> tuple[str | None, datetime]:
    return chosen.business_account, chosen.effective_from


def _beside(rules: ChosenRules, chosen: PricingChosen) -> list[PricingChosen]:
    """The choices whose place this one does not take."""
    return [each for each in rules.pricing if _pricing_place(each) != _pricing_place(chosen)]


def pricing_for(rules: ChosenRules, business_account: str, *, at: datetime) -> PricingChosen:
    """What prices an account at a moment: its own choice, else the organisation's. Spec L7."""
    for whose in (business_account, None):
        choices = (each for each in rules.pricing if each.business_account == whose)
        if chosen := _newest(choices, at=at):
            return chosen
    return DEFAULT_PRICING


def _newest(choices: Iterable[Choice], *, at: datetime) -> Choice | None:
    """Of the choices that have begun by a moment, the one that began last: it holds."""
    begun = [each for each in choices if each.effective_from <= at]
    return max(begun, key=lambda each: each.effective_from, default=None)


def choose_pricing(rules: ChosenRules, chosen: PricingChosen) -> list[Event]:
    """Set a rule and a card from a date on. As it is already: no event. Spec L7."""
    for each in rules.pricing:
        if replace(each, user_id=None) == replace(chosen, user_id=None):
            return []
    card = chosen.card
    # A charge names its card, and by that its rates.
    if rules.cards.get(card.name, digest_of(card)) != digest_of(card):
        raise Invalid("card", f"{card.name} was chosen with other rates; give these another name")
    if card.name not in rules.cards and len(rules.cards) >= CARDS_MAX:
        raise Invalid("card", f"there are {CARDS_MAX} cards already")
    kept = _beside(rules, chosen)
    if len(kept) >= CHOICES_MAX:
        raise Invalid("effective_from", f"there are {CHOICES_MAX} choices already")
    if sum(len(each.card.rates) for each in kept) + len(card.rates) > RATES_CHOSEN_MAX:
        raise Invalid("card", f"all choices together may hold {RATES_CHOSEN_MAX} rates")
    return [chosen]


def _window_place(chosen: WindowChosen) -> tuple[str, str | None, datetime]:
    return chosen.platform, chosen.account_id, chosen.effective_from


def window_for(rules: ChosenRules, platform: str, account_id: str, *, at: datetime) -> WindowRule:
    """By which rule an account's customers may be written to: its own, the org's, the default."""
    for whose in (account_id, None):
        choices = (each for each in rules.windows if _window_place(each)[:2] == (platform, whose))
        if chosen := _newest(choices, at=at):
            return WINDOW_RULES[chosen.rule]
    return window_rule(platform)


def choose_window(rules: ChosenRules, chosen: WindowChosen) -> list[Event]:
    """Set a rule from a moment on. As it is already: no event. Spec N1."""
    if any(replace(each, user_id=chosen.user_id) == chosen for each in rules.windows):
        return []
    others = [each for each in rules.windows if _window_place(each) != _window_place(chosen)]
    if len(others) >= CHOICES_MAX:
        raise Invalid("effective_from", f"there are {CHOICES_MAX} choices already")
    return [chosen]
