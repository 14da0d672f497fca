"""Takes money through Stripe: one PaymentIntent for each purchase, confirmed off session."""

import logging
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import msgspec

from adapters.exchange import NoReply, Reply, TimeLimits, exchange
from adapters.stripe.payment_intent import MICRO_USD_PER_CENT, PaymentIntent, refused, settled
from domain.payment import Payment, PaymentAnswer, PaymentRefused, PaymentUnsettled
from domain.purchase import ProviderTerms

STRIPE = ProviderTerms(name="stripe", confirms_at_once=False)
DEFAULT_BASE_ADDRESS = "https://api.stripe.com"

# The shapes below are those of this version, whatever the account's own default is.
STRIPE_VERSION = "2024-06-20"

# Said of the request or the account, not of the money: what was sent before may have been taken.
UNSETTLED_STATUSES = {
    401: "credentials",
    403: "credentials",
    408: "answer_lost",
    409: "in_progress",
    425: "in_progress",
    429: "rate_limited",
}

logger = logging.getLogger(__name__)


class _Error(msgspec.Struct, frozen=True):
    type: str = ""
    code: str | None = None
    decline_code: str | None = None


class _Failure(msgspec.Struct, frozen=True):
    error: _Error


_failure = msgspec.json.Decoder(_Failure)
_payment_intent = msgspec.json.Decoder(PaymentIntent)


class StripePayments:
    """Stripe, with the customer and the card that this installation pays with."""

    terms = STRIPE

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        secret_key: str,
        customer: str,
        payment_method: str,
        base_address: str = DEFAULT_BASE_ADDRESS,
        limits: TimeLimits | None = None,
    ) -> None:
        self._client = client
        self._secret_key = secret_key
        self._customer = customer
        self._payment_method = payment_method
        self._root = httpx.URL(f"{base_address.rstrip('/')}/v1/")
        self._limits = limits or TimeLimits()

    async def pay(self, payment: Payment) -> PaymentAnswer:
        """Take the money once, however often this is called. Whatever happens is an answer.

        A payment that Stripe has begun and not ended is only looked at.
        """
        if payment.payment_id is None:
            request = self._creation(payment)
        else:
            path = f"payment_intents/{quote(payment.payment_id, safe='')}"
            request = self._request("GET", path)
        reply = await exchange(self._client, request, limits=self._limits)
        answer = _read(reply)
        if not isinstance(reply, Reply) or reply.status >= 300:
            _log(answer, reply, payment)
        return answer

    def _creation(self, payment: Payment) -> httpx.Request:
        """The same bytes at every try: Stripe refuses a key that comes with something else."""
        fields = {
            "amount": payment.micro_usd // MICRO_USD_PER_CENT,
            "currency": "usd",
            "customer": self._customer,
            "payment_method": self._payment_method,
            "confirm": "true",
            "off_session": "true",
            "error_on_requires_action": "true",  # Nobody is there who could act.
            "automatic_payment_methods[enabled]": "true",
            "automatic_payment_methods[allow_redirects]": "never",
            "description": f"{payment.credits} messaging credits",
            "metadata[purchase_id]": payment.purchase_id,
            "metadata[organisation_id]": payment.organisation_id,
            "metadata[business_account]": payment.business_account,
        }
        return self._request("POST", "payment_intents", fields, key=payment.purchase_id)

    def _request(
        self, method: str, path: str, fields: dict[str, Any] | None = None, *, key: str = ""
    ) -> httpx.Request:
        headers = {
            "Authorization": f"Bearer {self._secret_key}",
            "Stripe-Version": STRIPE_VERSION,
            "Accept-Encoding": "identity",
            "User-Agent": "trunkline",
        }
        if fields is None:
            return httpx.Request(method, self._root.join(path), headers=headers)
        headers["Idempotency-Key"] = key
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        content = urlencode(fields).encode()
        return httpx.Request(method, self._root.join(path), headers=headers, content=content)


def _read(reply: Reply | NoReply) -> PaymentAnswer:
    if isinstance(reply, NoReply):
        return PaymentUnsettled(reason="answer_lost" if reply.written else "not_reached")
    wait = reply.retry_after_seconds
    if reply.status < 300:
        return _settled(reply.body)
    if reply.status in UNSETTLED_STATUSES:
        return PaymentUnsettled(reason=UNSETTLED_STATUSES[reply.status], retry_after_seconds=wait)
    error = _error(reply.body)
    if error is None or reply.status < 400 or reply.status >= 500:
        return PaymentUnsettled(reason="provider_failed", retry_after_seconds=wait)
    if error.type == "card_error":
        return refused(error.decline_code or error.code or "card_declined")
    # With another body than before: something was asked for under this key, and may be paid.
    return PaymentRefused(reason=error.code or error.type or "invalid")


def _settled(body: bytes | None) -> PaymentAnswer:
    try:
        return settled(_payment_intent.decode(body or b""))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return PaymentUnsettled(reason="answer_not_understood")


def _error(body: bytes | None) -> _Error | None:
    """Stripe's own words; None where something between us and Stripe has answered."""
    try:
        return _failure.decode(body or b"").error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _log(answer: PaymentAnswer, reply: Reply | NoReply, payment: Payment) -> None:
    facts = {
        "purchase_id": payment.purchase_id,
        "reason": getattr(answer, "reason", None),
        "http_status": reply.status if isinstance(reply, Reply) else None,
        "failure": reply.reason if isinstance(reply, NoReply) else None,
    }
    logger.warning("A payment was not taken", extra=facts)
