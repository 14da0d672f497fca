"""Getting the money for a purchase: what a provider is asked, and what its answers mean (L5).

The purchase stands in the log before the provider is asked, and its id is the idempotency key of
every call. So a call may be repeated after a crash, a time-out or a lost answer, and the customer
is charged once. The answer to a call and the provider's webhook say the same thing: whichever
comes first is written down, and the other changes nothing.
"""

from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from domain import ledger
from domain.event import Event
from domain.ledger import Credits
from domain.purchase import (
    OpenPurchase,
    ProviderTerms,
    PurchaseDeferred,
    PurchaseFailed,
    RechargeLapsed,
    paid,
)

# Eight tries within eleven hours: one more than there are pauses.
TRY_PAUSES = tuple(timedelta(seconds=each) for each in (5, 30, 120, 600, 3_600, 10_800, 21_600))
RETRY_AFTER_MAX = timedelta(hours=1)

# Stripe remembers an idempotency key for a day at least; behind that a repetition would be a
# second payment. So a payment that was never seen is not asked for when it is older than this.
ASKED_FOR_AT_MOST = timedelta(hours=20)

# Four recharges for one crossing, where each of them was certainly refused.
RECHARGE_PAUSES = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))


class PaymentTaken(msgspec.Struct, frozen=True, kw_only=True):
    """The provider has this much money."""

    micro_usd: int


class PaymentRefused(msgspec.Struct, frozen=True, kw_only=True):
    """There is no money for this purchase."""

    reason: str
    # Certainly none was taken nor will be, and the same card may do better another day.
    may_ask_anew: bool = False


class PaymentUnsettled(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody knows yet: a lost answer, a limit, or a bank that takes its time."""

    reason: str
    retry_after_seconds: float | None = None
    payment_id: str | None = None


PaymentAnswer = PaymentTaken | PaymentRefused | PaymentUnsettled


class PaymentNotice(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's webhook says of a purchase."""

    organisation_id: str
    business_account: str
    purchase_id: str
    answer: PaymentTaken | PaymentRefused


class DuePayment(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase whose provider is to be asked; what is seen of it may be old."""

    org: int
    business_account: str
    purchase_id: str
    provider: str
    tries: int  # How many there had been when it was seen.


class DueRecharge(msgspec.Struct, frozen=True, kw_only=True):
    """A failed recharge that is to be asked for anew."""

    org: int
    business_account: str
    purchase_id: str


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is asked for, the same at every try."""

    purchase_id: str
    organisation_id: str
    business_account: str
    credits: int
    micro_usd: int
    payment_id: str | None = None  # Of a payment that the provider has begun.


class PaymentProvider(Protocol):
    """Takes money; it is asked for what its terms do not confirm at once."""

    @property
    def terms(self) -> ProviderTerms: ...  # noqa: D102

    async def pay(self, payment: Payment) -> PaymentAnswer:
        """Take the money once, however often this is called. Whatever happens is an answer."""


class PaymentQueue(Protocol):
    """What waits for a provider, over all organisations."""

    async def due(self, now: datetime) -> list[DuePayment]:
        """Purchases whose provider is to be asked now."""

    async def due_recharges(self, now: datetime) -> list[DueRecharge]:
        """Failed recharges whose time has come."""


class PaymentCommands(Protocol):
    """What the payer writes down."""

    async def payment(self, due: DuePayment) -> Payment | None:
        """What to ask for; None if there is nothing to ask any more."""

    async def record_answer(self, due: DuePayment, answer: PaymentAnswer) -> None:
        """Write down what the provider answered."""

    async def recharge_anew(self, due: DueRecharge) -> None:
        """Ask for a failed recharge anew, or let it lapse."""


# Decisions.


def is_known(credits_: Credits, notice: PaymentNotice) -> bool:
    """Whether a webhook speaks of a purchase of this ledger, and of its money."""
    requested = credits_.purchases.payable(notice.purchase_id)
    if requested is None:
        return notice.purchase_id in credits_.purchases.paid
    taken = notice.answer
    return isinstance(taken, PaymentRefused) or taken.micro_usd == requested.micro_usd


def is_too_old(purchase: OpenPurchase, *, now: datetime) -> bool:
    """Whether the provider may have forgotten the purchase's idempotency key."""
    return purchase.payment_id is None and now - purchase.requested.at > ASKED_FOR_AT_MOST


def record_answer(
    credits_: Credits,
    purchase_id: str,
    answer: PaymentAnswer,
    *,
    at: datetime,
    month: str,
    tries: int | None = None,
) -> list[Event]:
    """What an answer means. Said again, or by the webhook too, it changes nothing. Spec L5.

    `tries` is how many there had been before the call that is answered; None for a webhook.
    """
    match answer:
        case PaymentTaken():
            return _taken(credits_, purchase_id, answer, at=at, month=month)
        case PaymentRefused():
            return fail(credits_, purchase_id, answer, at=at)
        case PaymentUnsettled():
            return _unsettled(credits_, purchase_id, answer, tries=tries, at=at)


def _taken(
    credits_: Credits, purchase_id: str, taken: PaymentTaken, *, at: datetime, month: str
) -> list[Event]:
    """Also for a purchase that we gave up: the money is there."""
    requested = credits_.purchases.payable(purchase_id)
    if requested is None:
        return []
    if taken.micro_usd != requested.micro_usd:
        return fail(credits_, purchase_id, PaymentRefused(reason="amount_differs"), at=at)
    return [paid(requested, at=at, month=month)]


def fail(
    credits_: Credits, purchase_id: str, refused: PaymentRefused, *, at: datetime
) -> list[Event]:
    """There is no money for it. Said again, or too late, it changes nothing. Spec L5.

    A recharge is asked for anew only where it was certainly refused: what may still be paid, or
    would need the cardholder, must not be asked for twice.
    """
    waiting = credits_.purchases.waiting.get(purchase_id)
    if waiting is None:
        return []
    retry_at = None
    if waiting.requested.recharge and refused.may_ask_anew:
        earlier = credits_.purchases.failed_recharge
        pause = RECHARGE_PAUSES[earlier.tries if earlier else 0 :][:1]
        retry_at = at + pause[0] if pause else None
    failed = PurchaseFailed(
        purchase_id=purchase_id, reason=refused.reason, at=at, retry_at=retry_at
    )
    return [failed]


def _unsettled(
    credits_: Credits,
    purchase_id: str,
    answer: PaymentUnsettled,
    *,
    tries: int | None,
    at: datetime,
) -> list[Event]:
    waiting = credits_.purchases.waiting.get(purchase_id)
    if waiting is None or waiting.tries != tries:
        return []
    if waiting.tries >= len(TRY_PAUSES):
        return fail(credits_, purchase_id, PaymentRefused(reason=answer.reason), at=at)
    asked_to_wait = timedelta(seconds=answer.retry_after_seconds or 0)
    pause = max(TRY_PAUSES[waiting.tries], min(asked_to_wait, RETRY_AFTER_MAX))
    deferred = PurchaseDeferred(
        purchase_id=purchase_id,
        tries=waiting.tries + 1,
        reason=answer.reason,
        at=at,
        retry_at=at + pause,
        payment_id=answer.payment_id,
    )
    return [deferred]


def recharge_anew(
    credits_: Credits,
    failed_purchase_id: str,
    *,
    purchase_id: str,
    provider: ProviderTerms,
    at: datetime,
    month: str,
) -> list[Event]:
    """Ask for a failed recharge as a new purchase, if it is still needed. Spec L5."""
    failed, configured = credits_.purchases.failed_recharge, credits_.auto_recharge
    if failed is None or failed.purchase_id != failed_purchase_id:
        return []
    if failed.retry_at is None or at < failed.retry_at:
        return []
    needed = failed.needed_micro_usd
    if configured is None or not ledger.needs_recharge(credits_, needed_micro_usd=needed):
        return [RechargeLapsed(purchase_id=failed_purchase_id, at=at)]
    return ledger.request_recharge(
        credits_,
        configured,
        purchase_id=purchase_id,
        provider=provider,
        at=at,
        month=month,
        needed_micro_usd=needed,
    )
