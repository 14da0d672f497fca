"""What the fake Stripe says by webhook: repeated, and out of order."""

import json
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from adapters.stripe.webhook import sign

# Stripe tries for three days; nobody who develops waits as long.
RETRY_DELAYS_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
ANSWER_SECONDS_MAX = 10.0

KINDS = {
    "succeeded": "payment_intent.succeeded",
    "requires_payment_method": "payment_intent.payment_failed",
    "canceled": "payment_intent.canceled",
    "processing": "payment_intent.processing",
    "requires_action": "payment_intent.requires_action",
}


class WebhookPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How badly webhooks travel."""

    delay_seconds: float = 0.0  # Before the first and between any two.
    twice: float = 0.0  # Probability that one comes twice.
    out_of_order: float = 0.0  # Probability that a payment's webhooks are shuffled.

    def schedule(self, status: str, random: Random) -> list[tuple[float, str]]:
        """The events of one payment in the order of their delivery, with seconds from now."""
        kinds = [
            kind
            for kind in ("payment_intent.created", KINDS[status])
            for _ in range(2 if random.random() < self.twice else 1)
        ]
        if random.random() < self.out_of_order:
            random.shuffle(kinds)
        return [((place + 1) * self.delay_seconds, each) for place, each in enumerate(kinds)]


def event(number: int, kind: str, intent: dict[str, Any], *, at: datetime) -> bytes:
    """The body of a webhook; `number` tells one about the same payment from another."""
    document = {
        "id": f"evt_{intent['id']}_{number}",
        "object": "event",
        "type": kind,
        "created": int(at.timestamp()),
        "data": {"object": intent},
    }
    return json.dumps(document, indent=2).encode()


def signed(body: bytes, secret: bytes, *, at: int) -> dict[str, str]:
    """The headers of a delivery as Stripe signs it at a time."""
    signature = f"t={at},v1={sign(body, secret=secret, at=at)},v0={'0' * 64}"
    return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}
