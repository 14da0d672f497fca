"""What another pricing would have charged for the same answers (L7). Writes nothing.

Answers come in the order of the log, one by one, so that a month of any size needs little memory:
only charges that are still to be given back are remembered.
"""

import heapq
from collections import defaultdict
from datetime import date, datetime, tzinfo

import msgspec

from domain import pricing
from domain.pricing import Inputs, Price
from domain.rate_card import RateCard, rate_for
from domain.rules import RULES


class Billable(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, with everything that a pricing rule may ask, and what became of it."""

    position: int
    message_id: str
    conversation_id: str
    at: datetime
    platform: str
    account_id: str
    country: str | None
    category: str
    is_template: bool
    in_window: bool
    in_entry_point: bool
    message_void: int | None = None  # Where the platform had refused this message,
    conversation_void: int | None = None  # and where all of the conversation that it opens.


class Recounted(msgspec.Struct, frozen=True):
    """What an answer would have cost; a void charge is given back and costs nothing."""

    price: Price | None
    micro_usd: int


class Recount:
    """Prices answers under one rule and one card."""

    def __init__(self, rule: str, card: RateCard, zone: tzinfo) -> None:
        self._rule = RULES["pricing"][rule]
        self._card = card
        self._zone = zone
        self._used: dict[str, int] = defaultdict(int)
        self._voids: list[tuple[int, str]] = []  # Where an allowance is given back: a heap.
        self._rates: dict[tuple[str, str | None, str, date], int] = {}

    def price(self, answer: Billable) -> Recounted:
        """The next answer; they come in the order of their positions."""
        self._give_back(until=answer.position)
        month = pricing.month_of(answer.at, self._zone)
        by_account = pricing.allowance_key("account", month=month, account_id=answer.account_id)
        inputs = Inputs(
            category=answer.category,
            is_template=answer.is_template,
            in_window=answer.in_window,
            opens_conversation=answer.message_id == answer.conversation_id,
            rate_micro_usd=self._rate(answer),
            used_by_business=self._used[month],
            used_by_account=self._used[by_account or ""],
            in_entry_point=answer.in_entry_point,
        )
        price: Price | None = self._rule(inputs)
        if price is None:
            return Recounted(None, 0)
        is_whole = price.unit == "conversation"
        void = answer.conversation_void if is_whole else answer.message_void
        self._use(price, month, answer.account_id, void)
        return Recounted(price, 0 if void else price.micro_usd)

    def _use(self, price: Price, month: str, account_id: str, void: int | None) -> None:
        key = pricing.allowance_key(price.allowance, month=month, account_id=account_id)
        if key is not None:
            self._used[key] += 1
            if void is not None:
                heapq.heappush(self._voids, (void, key))

    def _give_back(self, *, until: int) -> None:
        while self._voids and self._voids[0][0] < until:
            self._used[heapq.heappop(self._voids)[1]] -= 1

    def _rate(self, answer: Billable) -> int:
        on = answer.at.astimezone(self._zone).date()
        asked = (answer.platform, answer.country, answer.category, on)
        if asked not in self._rates:
            self._rates[asked] = rate_for(
                self._card,
                platform=answer.platform,
                country=answer.country,
                category=answer.category,
                on=on,
            ).micro_usd
        return self._rates[asked]
