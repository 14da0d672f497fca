"""Purchases of credits: asked for, tried, paid or failed. In the stream of their ledger (L5)."""

from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from domain.event import Event, stored_as

CREDIT_MICRO_USD = 2_000_000

# More than anybody needs.
CREDITS_PER_PURCHASE_MAX = 1_000_000
OPEN_PURCHASES_MAX = 100

# Money that comes after we gave up is still booked, for as many failed purchases as this; as many
# paid ones are known when their provider tells of them again.
REMEMBERED_MAX = 100

Value = TypeVar("Value")


class ProviderTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision has to know of a payment provider (L5)."""

    name: str
    confirms_at_once: bool  # Whether the request is the confirmation, and nobody has to be asked.


@stored_as("credits.purchase_requested")
class PurchaseRequested(Event, frozen=True, kw_only=True):
    """Credits are to be bought; they count once the provider has the money."""

    purchase_id: str
    credits: int
    micro_usd: int
    provider: str
    at: datetime
    recharge: bool = False
    user_id: str | None = None
    needed_micro_usd: int = 0  # Of a recharge: the price that was not covered, where it was one.


@stored_as("credits.purchase_deferred")
class PurchaseDeferred(Event, frozen=True, kw_only=True):
    """The provider was asked, and did not settle it: it is asked again."""

    purchase_id: str
    tries: int
    reason: str
    at: datetime
    retry_at: datetime
    payment_id: str | None = None  # The provider's own id, where it gave one.


@stored_as("credits.purchased")
class CreditsPurchased(Event, frozen=True, kw_only=True):
    """The money is there (L5)."""

    purchase_id: str
    credits: int
    micro_usd: int
    provider: str
    at: datetime
    month: str
    recharge: bool = False
    user_id: str | None = None


@stored_as("credits.purchase_failed")
class PurchaseFailed(Event, frozen=True, kw_only=True):
    """There is no money for it; if some comes all the same, it is booked then."""

    purchase_id: str
    reason: str
    at: datetime
    retry_at: datetime | None = None  # When a recharge is asked for anew.


@stored_as("credits.recharge_lapsed")
class RechargeLapsed(Event, frozen=True, kw_only=True):
    """A failed recharge is not asked for anew: it is switched off, or no longer needed."""

    purchase_id: str
    at: datetime


class OpenPurchase(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase that waits for the provider."""

    requested: PurchaseRequested
    tries: int = 0
    payment_id: str | None = None


class FailedRecharge(msgspec.Struct, frozen=True, kw_only=True):
    """The newest recharge, if it failed."""

    purchase_id: str
    reason: str
    at: datetime
    tries: int  # Since the balance was last above the threshold.
    retry_at: datetime | None
    needed_micro_usd: int = 0  # The price that it was asked for, where the balance was not low.


class Purchases(msgspec.Struct, frozen=True, kw_only=True):
    """What is not paid, as decisions see it."""

    waiting: dict[str, OpenPurchase] = {}
    failed: dict[str, PurchaseRequested] = {}  # The newest.
    paid: tuple[str, ...] = ()  # The newest that a provider was asked for.
    failed_recharge: FailedRecharge | None = None

    @property
    def are_too_many(self) -> bool:
        """Whether so many wait for the provider that no other can be asked for."""
        return len(self.waiting) >= OPEN_PURCHASES_MAX

    def payable(self, purchase_id: str) -> PurchaseRequested | None:
        """A purchase whose money may still come."""
        waiting = self.waiting.get(purchase_id)
        return waiting.requested if waiting is not None else self.failed.get(purchase_id)


def evolve(purchases: Purchases, event: Event) -> Purchases:
    """The purchases after one more fact."""
    match event:
        case PurchaseRequested():
            opened = {**purchases.waiting, event.purchase_id: OpenPurchase(requested=event)}
            recharge = _asked_anew(purchases) if event.recharge else purchases.failed_recharge
            return replace(purchases, waiting=opened, failed_recharge=recharge)
        case PurchaseDeferred():
            return _deferred(purchases, event)
        case CreditsPurchased():
            return _paid(purchases, event)
        case PurchaseFailed():
            return _failed(purchases, event)
        case RechargeLapsed():
            return replace(purchases, failed_recharge=None)
        case _:
            return purchases


def crossed(purchases: Purchases) -> Purchases:
    """The same where the balance is above the threshold: tries are counted from the start."""
    recharge = purchases.failed_recharge
    if recharge is None or not recharge.tries:
        return purchases
    return replace(purchases, failed_recharge=replace(recharge, tries=0))


def paid(requested: PurchaseRequested, *, at: datetime, month: str) -> CreditsPurchased:
    """The purchase as it is booked."""
    return CreditsPurchased(
        purchase_id=requested.purchase_id,
        credits=requested.credits,
        micro_usd=requested.micro_usd,
        provider=requested.provider,
        at=at,
        month=month,
        recharge=requested.recharge,
        user_id=requested.user_id,
    )


def _deferred(purchases: Purchases, event: PurchaseDeferred) -> Purchases:
    waiting = purchases.waiting.get(event.purchase_id)
    if waiting is None:
        return purchases
    payment_id = event.payment_id or waiting.payment_id
    tried = replace(waiting, tries=event.tries, payment_id=payment_id)
    return replace(purchases, waiting={**purchases.waiting, event.purchase_id: tried})


def _paid(purchases: Purchases, event: CreditsPurchased) -> Purchases:
    was_asked_for = purchases.payable(event.purchase_id) is not None
    newest = (*purchases.paid, event.purchase_id)[-REMEMBERED_MAX:]
    return replace(
        purchases,
        waiting=_without(purchases.waiting, event.purchase_id),
        failed=_without(purchases.failed, event.purchase_id),
        paid=newest if was_asked_for else purchases.paid,
        failed_recharge=None if event.recharge else purchases.failed_recharge,
    )


def _failed(purchases: Purchases, event: PurchaseFailed) -> Purchases:
    waiting = purchases.waiting.get(event.purchase_id)
    if waiting is None:
        return purchases
    failed = {**purchases.failed, event.purchase_id: waiting.requested}
    newest = dict(list(failed.items())[-REMEMBERED_MAX:])
    recharge = purchases.failed_recharge
    if waiting.requested.recharge:
        recharge = FailedRecharge(
            purchase_id=event.purchase_id,
            reason=event.reason,
            at=event.at,
            tries=(recharge.tries if recharge else 0) + 1,
            retry_at=event.retry_at,
            needed_micro_usd=waiting.requested.needed_micro_usd,
        )
    still_open = _without(purchases.waiting, event.purchase_id)
    return replace(purchases, waiting=still_open, failed=newest, failed_recharge=recharge)


def _asked_anew(purchases: Purchases) -> FailedRecharge | None:
    recharge = purchases.failed_recharge
    return replace(recharge, retry_at=None) if recharge is not None else None


def _without(known: dict[str, Value], purchase_id: str) -> dict[str, Value]:
    if purchase_id not in known:
        return known
    return {key: each for key, each in known.items() if key != purchase_id}
