"""What a PaymentIntent says, in an answer as in a webhook: read in one place, so both agree."""

import msgspec

from domain.payment import PaymentAnswer, PaymentRefused, PaymentTaken, PaymentUnsettled

MICRO_USD_PER_CENT = 10_000

# With these the same card may do better another day; anything else needs a person.
PASSING_DECLINES = frozenset(
    {
        "approve_with_id",
        "card_declined",
        "card_velocity_exceeded",
        "do_not_honor",
        "generic_decline",
        "insufficient_funds",
        "issuer_not_available",
        "processing_error",
        "reenter_transaction",
        "try_again_later",
        "withdrawal_count_limit_exceeded",
    }
)


class LastError(msgspec.Struct, frozen=True):
    """Why the last try failed."""

    code: str | None = None
    decline_code: str | None = None


class PaymentIntent(msgspec.Struct, frozen=True):
    """Only what we use."""

    id: str
    status: str
    currency: str = ""
    amount_received: int = 0
    metadata: dict[str, str] = {}
    last_payment_error: LastError | None = None


def settled(intent: PaymentIntent) -> PaymentAnswer:
    """What its status means."""
    match intent.status:
        case "succeeded":
            return PaymentTaken(micro_usd=received(intent))
        case "canceled" | "requires_action":
            # No card was declined: it is over, or waits for somebody who is not there.
            return PaymentRefused(reason=intent.status)
        case "requires_payment_method":
            return refused(reason_of(intent))
        case "processing":
            return PaymentUnsettled(reason="processing", payment_id=intent.id)
        case _:
            return PaymentUnsettled(reason="answer_not_understood")


def received(intent: PaymentIntent) -> int:
    """The money that Stripe has; other currencies are no money of ours."""
    return intent.amount_received * MICRO_USD_PER_CENT if intent.currency == "usd" else 0


def reason_of(intent: PaymentIntent) -> str:
    """Why it failed, in Stripe's word."""
    error = intent.last_payment_error or LastError()
    return error.decline_code or error.code or "card_declined"


def refused(reason: str) -> PaymentRefused:
    """A card that was declined."""
    return PaymentRefused(reason=reason, may_ask_anew=reason in PASSING_DECLINES)
