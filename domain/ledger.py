"""The prepaid credits of a business account. Stream `credits:{business account}` (L2–L5).

Money is integer micro-USD. Every movement is booked twice, on two sides of the books, so that the
sum of all sides is zero at all times (L3). What is charged is decided in `pricing.py`; which
conversation a charge covers stands in `conversation.py`; how a provider is asked for the money, in
`payment.py`.
"""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from domain import purchase
from domain.event import Event, stored_as
from domain.pricing import Inputs, Price, allowance_key
from domain.purchase import (
    CREDIT_MICRO_USD,
    CREDITS_PER_PURCHASE_MAX,
    CreditsPurchased,
    ProviderTerms,
    PurchaseRequested,
    Purchases,
    paid,
)
from domain.refusal import Invalid, Refusal

# Far from what 64 bits hold.
BALANCE_MICRO_USD_MAX = 10**18

# Allowances of so many newest months can still be given back by a refund.
MONTHS_REMEMBERED_MAX = 3

Side = Literal["balance", "payments", "charges", "adjustments"]


def stream_of(business_account: str) -> str:
    """The stream that holds one business account's ledger."""
    return f"credits:{business_account}"


class Charge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chat has to know of a charge, to have it refunded (L4)."""

    business_account: str
    micro_usd: int
    allowance: str | None = None  # What it was counted against, where it was free.


@stored_as("credits.charged")
class Charged(Event, frozen=True, kw_only=True):
    """A conversation or a message has its price: all it was decided from, and what came out.

    `charge_id` is the message that caused it; its request is committed together with this.
    """

    charge_id: str
    chat_id: str
    conversation_id: str
    platform: str
    account_id: str
    service: str
    user_id: str
    country: str | None
    at: datetime
    month: str  # Of the opening answer, in the rule's time zone (L2, L7).
    kind: str
    rule: str
    card: str
    inputs: Inputs
    price: Price


@stored_as("credits.refunded")
class ChargeRefunded(Event, frozen=True, kw_only=True):
    """The platform refused all that a charge was for (L4)."""

    charge_id: str
    chat_id: str
    micro_usd: int
    at: datetime
    month: str
    allowance: str | None = None  # What is free again.


@stored_as("credits.adjusted")
class BalanceAdjusted(Event, frozen=True, kw_only=True):
    """Somebody corrected the balance, and says why."""

    micro_usd: int
    reason: str
    at: datetime
    month: str
    user_id: str | None = None


@stored_as("credits.auto_recharge_configured")
class AutoRechargeConfigured(Event, frozen=True, kw_only=True):
    """When credits are to be bought by themselves (L5)."""

    enabled: bool
    threshold_credits: int
    credits: int
    service: str
    user_id: str | None = None


class AutoRecharge(msgspec.Struct, frozen=True, kw_only=True):
    """Buy so many credits whenever the balance is at or under the threshold."""

    enabled: bool
    threshold_credits: int
    credits: int

    @property
    def threshold_micro_usd(self) -> int:
        """The threshold as money."""
        return self.threshold_credits * CREDIT_MICRO_USD


class Credits(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger as decisions see it. Bounded: it remembers no charge, and the newest purchases."""

    sides: dict[str, int] = {}  # The books. Their sum is zero.
    used: dict[str, int] = {}  # Of each allowance of the newest months.
    purchases: Purchases = Purchases()
    auto_recharge: AutoRecharge | None = None
    recharged: bool = False  # Since the balance was last enough: above the threshold.

    @property
    def balance(self) -> int:
        """What can still be spent, in micro-USD."""
        return self.sides.get("balance", 0)


class InsufficientCredits(Refusal):
    """The balance does not cover this; buy credits first."""

    code = "insufficient_credits"
    business_account: str | None = None  # Whose balance; for us, not for the answer.


def evolve(credits_: Credits, event: Event) -> Credits:
    """The ledger after one more fact."""
    booked = replace(credits_, sides=_booked(credits_.sides, event))
    booked = replace(booked, purchases=purchase.evolve(booked.purchases, event))
    match event:
        case Charged():
            booked = _with_used(booked, _allowance_of(event), +1)
        case ChargeRefunded():
            booked = _with_used(booked, event.allowance, -1)
        case AutoRechargeConfigured():
            configured = AutoRecharge(
                enabled=event.enabled,
                threshold_credits=event.threshold_credits,
                credits=event.credits,
            )
            booked = replace(booked, auto_recharge=configured)
    recharged = _is_recharged(credits_, booked, event)
    purchases = booked.purchases if recharged else purchase.crossed(booked.purchases)
    return replace(booked, purchases=purchases, recharged=recharged)


def postings(event: Event) -> tuple[tuple[Side, int], ...]:
    """What a fact books, on which sides; what moves no money books nothing. Spec L3."""
    match event:
        case CreditsPurchased():
            return ("payments", -event.micro_usd), ("balance", event.micro_usd)
        case Charged():
            return ("balance", -event.price.micro_usd), ("charges", event.price.micro_usd)
        case ChargeRefunded():
            return ("charges", -event.micro_usd), ("balance", event.micro_usd)
        case BalanceAdjusted():
            return ("adjustments", -event.micro_usd), ("balance", event.micro_usd)
        case _:
            return ()


def _booked(sides: dict[str, int], event: Event) -> dict[str, int]:
    moved = dict(sides)
    for side, micro_usd in postings(event):
        moved[side] = moved.get(side, 0) + micro_usd
    return moved


def _allowance_of(event: Charged) -> str | None:
    return allowance_key(event.price.allowance, month=event.month, account_id=event.account_id)


def _with_used(credits_: Credits, allowance: str | None, count: int) -> Credits:
    if allowance is None:
        return credits_
    used = {**credits_.used, allowance: max(credits_.used.get(allowance, 0) + count, 0)}
    months = sorted({key.partition("/")[0] for key in used})[-MONTHS_REMEMBERED_MAX:]
    kept = {key: each for key, each in used.items() if key.partition("/")[0] in months}
    return replace(credits_, used=kept)


def _is_recharged(before: Credits, credits_: Credits, event: Event) -> bool:
    """L5: one recharge per crossing; the next only after the balance was above."""
    configured = credits_.auto_recharge
    if configured is None:
        return False
    asked = isinstance(event, PurchaseRequested | CreditsPurchased) and event.recharge
    is_low = credits_.balance <= configured.threshold_micro_usd
    # Above the threshold it was asked for because of a price: that holds until the balance rises.
    is_short = credits_.balance <= before.balance and not isinstance(event, AutoRechargeConfigured)
    return (before.recharged or asked) and (is_low or is_short)


# Decisions.


def charge(credits_: Credits, charged: Charged) -> list[Event]:
    """Book a price, or refuse what the balance does not cover. Spec L3, L4."""
    if charged.price.micro_usd > credits_.balance:
        raise InsufficientCredits(
            needed_micro_usd=charged.price.micro_usd, balance_micro_usd=credits_.balance
        )
    return [charged]


def charge_of(charged: Charged, *, business_account: str) -> Charge:
    """The charge as the chat keeps it."""
    return Charge(
        business_account=business_account,
        micro_usd=charged.price.micro_usd,
        allowance=_allowance_of(charged),
    )


def used(credits_: Credits, *, month: str, account_id: str) -> tuple[int, int]:
    """How much of the month's allowances is used: the business account's, and this number's."""
    by_account = allowance_key("account", month=month, account_id=account_id) or ""
    return credits_.used.get(month, 0), credits_.used.get(by_account, 0)


def require_count_of_credits(value: int, *, field: str, least: int = 1) -> None:
    """Raises Invalid for a number of credits that nobody can mean."""
    if not least <= value <= CREDITS_PER_PURCHASE_MAX:
        raise Invalid(field, f"must be {least} to {CREDITS_PER_PURCHASE_MAX} whole credits")


def request_purchase(
    credits_: Credits,
    *,
    purchase_id: str,
    credits_bought: int,
    provider: ProviderTerms,
    at: datetime,
    month: str,
    recharge: bool = False,
    user_id: str | None = None,
    needed_micro_usd: int = 0,
) -> list[Event]:
    """Buy credits: booked at once where the request is the confirmation. Spec L5."""
    require_count_of_credits(credits_bought, field="credits")
    requested = PurchaseRequested(
        purchase_id=purchase_id,
        credits=credits_bought,
        micro_usd=credits_bought * CREDIT_MICRO_USD,
        provider=provider.name,
        at=at,
        recharge=recharge,
        user_id=user_id,
        needed_micro_usd=needed_micro_usd,
    )
    if credits_.balance + requested.micro_usd > BALANCE_MICRO_USD_MAX:
        raise Invalid("credits", "would make the balance larger than can be kept")
    if provider.confirms_at_once:
        return [paid(requested, at=at, month=month)]
    if credits_.purchases.are_too_many:
        raise Invalid("credits", "too many purchases wait for the provider")
    return [requested]


def recharge(
    credits_: Credits,
    *,
    purchase_id: str,
    provider: ProviderTerms,
    at: datetime,
    month: str,
    needed_micro_usd: int = 0,
) -> list[Event]:
    """Buy what the recharge is to buy, once for each time the balance falls so low. Spec L5.

    A price that is not covered counts as such: refused, it would never bring the balance down.
    """
    configured = credits_.auto_recharge
    if configured is None or credits_.recharged:
        return []
    if not needs_recharge(credits_, needed_micro_usd=needed_micro_usd):
        return []
    is_covered = needed_micro_usd <= credits_.balance
    return request_recharge(
        credits_,
        configured,
        purchase_id=purchase_id,
        provider=provider,
        at=at,
        month=month,
        needed_micro_usd=0 if is_covered else needed_micro_usd,
    )


def request_recharge(
    credits_: Credits,
    configured: AutoRecharge,
    *,
    purchase_id: str,
    provider: ProviderTerms,
    at: datetime,
    month: str,
    needed_micro_usd: int,
) -> list[Event]:
    """Buy as much as was configured, as nobody's purchase. Spec L5."""
    return request_purchase(
        credits_,
        purchase_id=purchase_id,
        credits_bought=configured.credits,
        provider=provider,
        at=at,
        month=month,
        recharge=True,
        needed_micro_usd=needed_micro_usd,
    )


def needs_recharge(credits_: Credits, *, needed_micro_usd: int = 0) -> bool:
    """Whether the balance has fallen so low that credits are to be bought, and can be."""
    configured = credits_.auto_recharge
    if configured is None or not configured.enabled or credits_.purchases.are_too_many:
        return False
    is_low = credits_.balance <= configured.threshold_micro_usd
    return is_low or credits_.balance < needed_micro_usd


def configure_auto_recharge(
    credits_: Credits, wanted: AutoRecharge, *, service: str, user_id: str
) -> list[Event]:
    """Say when credits are to be bought by themselves. As it is already: no event."""
    require_count_of_credits(wanted.threshold_credits, field="threshold_credits", least=0)
    require_count_of_credits(wanted.credits, field="credits")
    if credits_.auto_recharge == wanted:
        return []
    return [
        AutoRechargeConfigured(
            enabled=wanted.enabled,
            threshold_credits=wanted.threshold_credits,
            credits=wanted.credits,
            service=service,
            user_id=user_id,
        )
    ]


def refund(
    refunded: Charge, *, charge_id: str, chat_id: str, at: datetime, month: str
) -> list[Event]:
    """Give a charge back; the chat knows that it has not been given back before. Spec L4."""
    return [
        ChargeRefunded(
            charge_id=charge_id,
            chat_id=chat_id,
            micro_usd=refunded.micro_usd,
            at=at,
            month=month,
            allowance=refunded.allowance,
        )
    ]


def adjust(
    credits_: Credits, *, micro_usd: int, reason: str, at: datetime, month: str, user_id: str | None
) -> list[Event]:
    """Correct the balance by hand; it never goes below zero. Spec L3."""
    if not micro_usd or abs(micro_usd) > BALANCE_MICRO_USD_MAX:
        raise Invalid("micro_usd", "must be an amount that is not zero, within range")
    if credits_.balance + micro_usd > BALANCE_MICRO_USD_MAX:
        raise Invalid("micro_usd", "would make the balance larger than can be kept")
    if not reason.strip():
        raise Invalid("reason", "must not be empty")
    if credits_.balance + micro_usd < 0:
        raise InsufficientCredits(needed_micro_usd=-micro_usd, balance_micro_usd=credits_.balance)
    adjusted = BalanceAdjusted(
        micro_usd=micro_usd, reason=reason.strip(), at=at, month=month, user_id=user_id
    )
    return [adjusted]
