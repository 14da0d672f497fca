"""What an answer costs: the rules of kind `pricing` (L1, L2, L7).

A rule looks at nothing but its `Inputs`, which are recorded with every charge, so that anyone can
replay it and get the same cent.
"""

from datetime import datetime, timedelta, tzinfo
from typing import Literal

import msgspec

DEFAULT_RULE = "conversation/1"

# L1: from the business's first answer, whatever is said in it; half open.
CONVERSATION_LENGTH = timedelta(hours=24)

# L2: for a business account. In the platform's later model: for each of its numbers.
FREE_PER_MONTH = 1_000

Unit = Literal["conversation", "message"]
Allowance = Literal["business", "account"]
FreeBecause = Literal["allowance", "entry_point"]


class Inputs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a pricing rule may look at."""

    category: str  # Of the template; what is no template is `service`.
    is_template: bool
    in_window: bool  # Whether free text was possible at that moment (L0: the other clock).
    opens_conversation: bool
    rate_micro_usd: int  # Of the card, for the customer's country and this category.
    used_by_business: int  # Of the month's free allowance, so far.
    used_by_account: int
    in_entry_point: bool = False  # Whether the customer came by an ad lately (entry_point.py).


class Price(msgspec.Struct, frozen=True):
    """What is to be charged, for the conversation or this message alone."""

    unit: Unit
    micro_usd: int
    allowance: Allowance | None = None  # Free, and counted against this allowance.


def conversation(inputs: Inputs) -> Price | None:
    """One charge for all that is said in 24 hours; 1,000 a month about service are free. L1, L2."""
    if not inputs.opens_conversation:
        return None
    if inputs.category == "service" and inputs.used_by_business < FREE_PER_MONTH:
        return Price("conversation", 0, "business")
    return Price("conversation", inputs.rate_micro_usd)


def per_message(inputs: Inputs) -> Price | None:
    """Each template, but in a free entry point; about utility also in the customer's window."""
    if not inputs.is_template:
        return None
    if inputs.category == "utility" and inputs.in_window:
        return None
    if inputs.in_entry_point:
        return Price("message", 0)
    return Price("message", inputs.rate_micro_usd)


def service_message(inputs: Inputs) -> Price | None:
    """Each message: templates always, others behind a number's first 1,000 of the month.

    In a free entry point all are free, and none is counted among those.
    """
    if inputs.in_entry_point:
        return Price("message", 0)
    if not inputs.is_template and inputs.used_by_account < FREE_PER_MONTH:
        return Price("message", 0, "account")
    return Price("message", inputs.rate_micro_usd)


def free_because(inputs: Inputs, price: Price) -> FreeBecause | None:
    """Why a charge is free. What the card prices at zero is not free, but costs nothing."""
    if price.allowance is not None:
        return "allowance"
    # Conversations know no entry points (L1).
    return "entry_point" if inputs.in_entry_point and price.unit == "message" else None


def free_conversations_left(rule: str, *, used: int) -> int | None:
    """Of a business account's month; None under the rules that have no such allowance. L2, L7."""
    return max(FREE_PER_MONTH - used, 0) if rule == DEFAULT_RULE else None


def month_of(moment: datetime, zone: tzinfo) -> str:
    """The calendar month that a moment belongs to, as `2026-11`. Spec L2, L7."""
    return moment.astimezone(zone).strftime("%Y-%m")


def allowance_key(allowance: Allowance | None, *, month: str, account_id: str) -> str | None:
    """The allowance that something free is counted against: a month's, or a number's month's."""
    match allowance:
        case "business":
            return month
        case "account":
            return f"{month}/{account_id}"
        case None:
            return None
