"""A Stripe to develop against: it takes money like the real one, and fails on demand.

async with FakeStripe(webhook_url="http://127.0.0.1:8000/webhooks/stripe") as fake:
    fake.base_url                        # For TRUNKLINE_STRIPE_API_BASE.
    fake.cards["pm_card_visa"] = "insufficient_funds"
    fake.next_requests(accepts_then_drops(), answers(500))
    await fake.settled()
    fake.charges                         # All money it took, doubles included.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from adapters.fakes.courier import Courier
from adapters.fakes.fake import Fake
from adapters.fakes.server import Answer, Request, json_answer
from adapters.stripe.fake_webhooks import (
    ANSWER_SECONDS_MAX,
    RETRY_DELAYS_SECONDS,
    WebhookPlan,
    event,
    signed,
)

SECRET_KEY = "sk_test_fake"  # noqa: S105 - It guards nothing.
WEBHOOK_SECRET = "whsec_fake"  # noqa: S105 - It guards nothing.
CUSTOMER = "cus_fake"

GOOD = "good"
AUTHENTICATION_REQUIRED = "authentication_required"

# Stripe's test cards by what they do; any other word is the reason of a decline.
CARDS = {
    "pm_card_visa": GOOD,
    "pm_card_visa_chargeDeclined": "generic_decline",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_visa_chargeDeclinedExpiredCard": "expired_card",
    "pm_card_authenticationRequired": AUTHENTICATION_REQUIRED,
}
AMOUNT_CENTS_MAX = 99_999_999
NEEDED = ("amount", "currency", "customer", "payment_method", "confirm", "off_session")

JsonObject = dict[str, Any]


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """Money that was taken, whether or not anybody learnt so."""

    payment_id: str
    purchase_id: str
    cents: int


class StripeRefusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, kind: str, **error: Any) -> None:
        super().__init__(kind)
        self.answer = json_answer({"error": {"type": kind, **error}}, status=status)


class FakeStripe(Fake):
    """The fake, running between `async with` and its end; one `seed`, one course of events."""

    SENDS = "/payment_intents"

    def __init__(
        self,
        *,
        webhook_url: str | None = None,
        webhook_secret: str = WEBHOOK_SECRET,
        plan: WebhookPlan | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seed: int = 0,
        retry_delays_seconds: Sequence[float] = RETRY_DELAYS_SECONDS,
    ) -> None:
        self.charges: list[Charge] = []
        self.cards = dict(CARDS)
        self.plan = plan or WebhookPlan()
        self._random = Random(seed)  # noqa: S311 - A plan that can be repeated, not a secret.
        self._intents: dict[str, JsonObject] = {}
        self._keys: dict[str, tuple[bytes, Answer]] = {}
        self._numbers = itertools.count(1)
        self._now = now
        secret = webhook_secret.encode()
        courier = Courier(
            webhook_url=webhook_url,
            sign=lambda body: signed(body, secret, at=int(now().timestamp())),
            retry_delays_seconds=retry_delays_seconds,
            answer_seconds_max=ANSWER_SECONDS_MAX,
        )
        super().__init__(courier)

    # What a test does to it.

    def send(self, kind: str, intent: JsonObject, *, after_seconds: float = 0.0) -> None:
        """Post an event about a payment, whatever the payment says."""
        body = event(next(self._numbers), kind, intent, at=self._now())
        self._courier.post(body, after_seconds=after_seconds)

    def intent_of(self, purchase_id: str) -> JsonObject:
        """The newest payment of a purchase."""
        intents = reversed(self._intents.values())
        return next(each for each in intents if each["metadata"]["purchase_id"] == purchase_id)

    def finish(self, purchase_id: str, card: str = GOOD) -> None:
        """Let the bank decide on a payment that is being processed, or was declined."""
        intent = self.intent_of(purchase_id)
        self._decide(intent, card)
        self._post_events(intent)

    def forget_keys(self) -> None:
        """As Stripe may do after a day: the same key is a new payment."""
        self._keys.clear()

    # What it answers.

    def answer(self, request: Request) -> Answer:
        """What Stripe answers."""
        try:
            if request.headers.get("authorization") != f"Bearer {SECRET_KEY}":
                raise StripeRefusal(401, "invalid_request_error", message="Invalid API Key.")
            match (request.method, *request.path.strip("/").split("/")):
                case ("POST", "v1", "payment_intents"):
                    return self._once(request)
                case ("GET", "v1", "payment_intents", payment_id) if payment_id in self._intents:
                    return json_answer(self._intents[payment_id])
                case _:
                    raise StripeRefusal(404, "invalid_request_error", code="resource_missing")
        except StripeRefusal as refusal:
            return refusal.answer

    def _once(self, request: Request) -> Answer:
        """The first answer to a key is the answer to all; not so if nothing was begun."""
        key = request.headers.get("idempotency-key")
        if key is None:
            return self._begin(request)
        if key in self._keys:
            body, answer = self._keys[key]
            if body != request.body:
                raise StripeRefusal(400, "idempotency_error")
            replayed = (*answer.headers, ("Idempotent-Replayed", "true"))
            return msgspec.structs.replace(answer, headers=replayed)
        answer = self._begin(request)
        self._keys[key] = (request.body, answer)
        return answer

    def _begin(self, request: Request) -> Answer:
        fields = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        intent = self._new_intent(fields)
        self._intents[intent["id"]] = intent
        self._decide(intent, self.cards[fields["payment_method"]])
        self._post_events(intent)
        error = intent["last_payment_error"]
        if error is not None:
            refused = {"type": "card_error", **error, "payment_intent": intent}
            return json_answer({"error": refused}, status=402)
        return json_answer(intent)

    def _new_intent(self, fields: dict[str, str]) -> JsonObject:
        for name in NEEDED:
            if name not in fields:
                code = "parameter_missing"
                raise StripeRefusal(400, "invalid_request_error", code=code, param=name)
        if fields["customer"] != CUSTOMER or fields["payment_method"] not in self.cards:
            raise StripeRefusal(400, "invalid_request_error", code="resource_missing")
        if not fields["amount"].isdigit() or int(fields["amount"]) > AMOUNT_CENTS_MAX:
            raise StripeRefusal(400, "invalid_request_error", code="amount_too_large")
        return {
            "id": f"pi_{self._random.getrandbits(64):016x}",
            "object": "payment_intent",
            "amount": int(fields["amount"]),
            "amount_received": 0,
            "currency": fields["currency"],
            "customer": fields["customer"],
            "payment_method": fields["payment_method"],
            "status": "requires_confirmation",
            "last_payment_error": None,
            "livemode": False,
            "metadata": {
                name.removeprefix("metadata[").removesuffix("]"): value
                for name, value in fields.items()
                if name.startswith("metadata[")
            },
        }

    def _decide(self, intent: JsonObject, card: str) -> None:
        """What the card does; a payment that has succeeded has no second end."""
        if intent["status"] == "succeeded":
            return
        match card:
            case "good":
                self._take(intent)
            case "processing" | "requires_action" | "canceled":
                intent["status"] = card
            case _:
                codes = {"code": card, "decline_code": card}
                if card != AUTHENTICATION_REQUIRED and card != "expired_card":
                    codes["code"] = "card_declined"
                intent.update(status="requires_payment_method", last_payment_error=codes)

    def _take(self, intent: JsonObject) -> None:
        intent.update(status="succeeded", amount_received=intent["amount"], last_payment_error=None)
        purchase_id = intent["metadata"].get("purchase_id", "")
        taken = Charge(payment_id=intent["id"], purchase_id=purchase_id, cents=intent["amount"])
        self.charges.append(taken)

    def _post_events(self, intent: JsonObject) -> None:
        for after_seconds, kind in self.plan.schedule(intent["status"], self._random):
            # As it is now: a later event does not change an earlier one.
            self.send(kind, json.loads(json.dumps(intent)), after_seconds=after_seconds)
