"""Rate cards: what a conversation or a message costs, as data (L2).

A rate holds for a country, a category and from a date on; `any` stands for whatever has no rate of
its own. Amounts are integer micro-USD.
"""

import hashlib
from collections.abc import Sequence
from datetime import date

import msgspec

from domain.country import COUNTRY
from domain.refusal import Invalid

ANY = "any"
CATEGORIES = ("marketing", "utility", "authentication", "service")

RATE_MICRO_USD_MAX = 1_000_000_000
RATES_MAX = 10_000


class Rate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of a card."""

    country: str  # ISO 3166, or `any`.
    category: str  # Of a template, or `any`.
    micro_usd: int
    effective_from: date | None = None  # None: always.
    platform: str = "whatsapp"


class RateCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A card, complete: what it does not bill is no platform of any of its rates."""

    name: str
    rates: tuple[Rate, ...]
    note: str | None = None  # Where the figures come from.


DEFAULT_CARD = RateCard(name="default/1", rates=(Rate(country=ANY, category=ANY, micro_usd=8_000),))


def digest_of(card: RateCard) -> bytes:
    """What two cards have in common that have the same rates, in any order."""
    rates = sorted(msgspec.json.encode(rate) for rate in card.rates)
    return hashlib.sha256(b"".join(rates)).digest()


def bills(card: RateCard, platform: str) -> bool:
    """Whether the card has rates for a platform. Spec L2."""
    return any(rate.platform == platform for rate in card.rates)


def rate_for(
    card: RateCard, *, platform: str, country: str | None, category: str, on: date
) -> Rate:
    """The rate that holds on a date: the most exact one, and of several the newest."""
    found = [
        rate
        for rate in card.rates
        if rate.platform == platform
        and rate.country in (country, ANY)
        and rate.category in (category, ANY)
        and (rate.effective_from is None or rate.effective_from <= on)
    ]
    return max(found, key=_exactness)


def _exactness(rate: Rate) -> tuple[bool, bool, date]:
    return rate.country != ANY, rate.category != ANY, rate.effective_from or date.min


def require_whole(card: RateCard, *, field: str = "rates") -> None:
    """Raises Invalid, naming the field, for a card that could not price something. Spec L2."""
    if not 1 <= len(card.rates) <= RATES_MAX:
        raise Invalid(field, f"must hold 1 to {RATES_MAX} rates")
    for index, rate in enumerate(card.rates):
        _require_sound(rate, f"{field}[{index}]")
    _require_unlike(card.rates, field)
    for platform in dict.fromkeys(rate.platform for rate in card.rates):
        general = (platform, ANY, ANY, None)
        if general not in {_place(rate) for rate in card.rates}:
            raise Invalid(
                field,
                f"has a hole: {platform} needs a rate for country any, category any, without date",
            )


def _require_sound(rate: Rate, place: str) -> None:
    if rate.country != ANY and not COUNTRY.fullmatch(rate.country):
        raise Invalid(f"{place}.country", "must be two capital letters (ISO 3166) or any")
    if rate.category not in (*CATEGORIES, ANY):
        raise Invalid(f"{place}.category", f"must be one of {', '.join(CATEGORIES)} or any")
    if not 0 <= rate.micro_usd <= RATE_MICRO_USD_MAX:
        raise Invalid(f"{place}.micro_usd", f"must be 0 to {RATE_MICRO_USD_MAX}")


def _require_unlike(rates: Sequence[Rate], field: str) -> None:
    known: dict[tuple[str, str, str, date | None], int] = {}
    for index, rate in enumerate(rates):
        first = known.setdefault(_place(rate), index)
        if first != index:
            raise Invalid(f"{field}[{index}]", f"is for the same as {field}[{first}]")


def _place(rate: Rate) -> tuple[str, str, str, date | None]:
    return rate.platform, rate.country, rate.category, rate.effective_from
