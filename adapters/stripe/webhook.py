"""Stripe's webhook: who may call it, and what a call says. Bytes in, notices out, no I/O."""

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from adapters.stripe.payment_intent import PaymentIntent, reason_of, received, refused
from adapters.tolerant import NotJson, decode
from domain.inbound import NotUnderstood
from domain.payment import PaymentNotice, PaymentRefused, PaymentTaken

# Stripe signs every try anew, so an older signature is somebody else's repetition.
TOLERANCE = timedelta(seconds=300)

# No real header comes near these.
SIGNATURE_LENGTH_MAX = 4_096
SIGNATURES_MAX = 16


class _Data(msgspec.Struct, frozen=True):
    object: PaymentIntent


class _Event(msgspec.Struct, frozen=True):
    type: str
    data: _Data


_event = msgspec.json.Decoder(_Event)


def sign(body: bytes, *, secret: bytes, at: int) -> str:
    """The signature of a body at a time, in seconds."""
    return hmac.digest(secret, f"{at}.".encode() + body, "sha256").hex()


def verify(
    body: bytes, headers: Sequence[bytes], *, secrets: Sequence[bytes], now: datetime
) -> bool:
    """Whether the body was signed with one of the secrets, not long ago.

    `headers` are all values of `Stripe-Signature`; two are as good as none. While a secret is being
    changed the header holds a signature for each.
    """
    if len(headers) != 1 or len(headers[0]) > SIGNATURE_LENGTH_MAX:
        return False
    parts = [part.strip().partition(b"=") for part in headers[0].split(b",")]
    times = [value for name, _, value in parts if name == b"t"]
    signatures = [value for name, _, value in parts if name == b"v1"][:SIGNATURES_MAX]
    if len(times) != 1 or not times[0].isdigit() or len(times[0]) > 12:
        return False
    at = int(times[0])
    expected = [sign(body, secret=secret, at=at).encode() for secret in secrets]
    # All are compared, so that the time taken says nothing.
    matches = [hmac.compare_digest(one, other) for one in expected for other in signatures]
    return any(matches) and abs(now.timestamp() - at) <= TOLERANCE.total_seconds()


def parse(body: bytes) -> PaymentNotice | NotUnderstood:
    """What a body says of a purchase; what it says of anything else is kept raw."""
    try:
        event = _event.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return not_understood(body)
    intent, answer = event.data.object, _answer(event)
    names = ("purchase_id", "organisation_id", "business_account")
    purchase_id, organisation_id, business_account = (
        intent.metadata.get(name, "") for name in names
    )
    if answer is None or not (purchase_id and organisation_id and business_account):
        return not_understood(body)
    return PaymentNotice(
        organisation_id=organisation_id,
        business_account=business_account,
        purchase_id=purchase_id,
        answer=answer,
    )


def not_understood(body: bytes) -> NotUnderstood:
    """An authentic body that says nothing of ours. Its id keeps repetitions out."""
    try:
        raw = decode(body).value
    except NotJson:
        raw = None
    known = raw.get("id") if isinstance(raw, dict) else None
    dedupe = known if isinstance(known, str) else hmac.digest(b"", body, "sha256").hex()
    return NotUnderstood(
        kind="unknown",
        account_id=None,
        business_account_id=None,
        at=None,
        dedupe=("event", dedupe),
        raw=raw,
    )


def _answer(event: _Event) -> PaymentTaken | PaymentRefused | None:
    intent = event.data.object
    match event.type:
        case "payment_intent.succeeded":
            return PaymentTaken(micro_usd=received(intent))
        case "payment_intent.payment_failed":
            return refused(reason_of(intent))
        case "payment_intent.canceled":
            return PaymentRefused(reason="canceled")
        case _:
            return None
