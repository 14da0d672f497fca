"""The fake Stripe's webhooks: signed anew at every try, repeated, and out of order."""

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random
from typing import Any

import httpx
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


class Delivery(msgspec.Struct, kw_only=True):
    """One webhook and what became of it: an HTTP status for each try, None for no answer."""

    kind: str
    body: bytes
    answers: list[int | None] = []

    @property
    def is_done(self) -> bool:
        """Whether it was acknowledged."""
        return bool(self.answers) and self.answers[-1] == 200


class Courier:
    """Posts webhooks to one address until they are acknowledged."""

    def __init__(
        self,
        *,
        webhook_secret: str,
        webhook_url: str | None,
        now: Callable[[], datetime],
        retry_delays_seconds: Sequence[float],
    ) -> None:
        self.webhook_url = webhook_url
        self.deliveries: list[Delivery] = []
        self._secret = webhook_secret.encode()
        self._now = now
        self._retry_delays_seconds = tuple(retry_delays_seconds)
        self._client = httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)

    def post(self, kind: str, intent: dict[str, Any], *, after_seconds: float = 0.0) -> None:
        """Deliver an event in the background; nothing where no address is registered."""
        if self.webhook_url is None:
            return
        event = {
            "id": f"evt_{intent['id']}_{next(self._numbers)}",
            "object": "event",
            "type": kind,
            "created": int(self._now().timestamp()),
            "data": {"object": intent},
        }
        delivery = Delivery(kind=kind, body=json.dumps(event, indent=2).encode())
        self.deliveries.append(delivery)
        task = asyncio.create_task(self._deliver(delivery, self.webhook_url, after_seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until every webhook is acknowledged or given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def aclose(self) -> None:
        """Give up what is not delivered yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def _deliver(self, delivery: Delivery, url: str, after_seconds: float) -> None:
        for delay_seconds in (after_seconds, *self._retry_delays_seconds):
            await asyncio.sleep(delay_seconds)
            at = int(self._now().timestamp())
            headers = signed(delivery.body, self._secret, at=at)
            try:
                response = await self._client.post(url, content=delivery.body, headers=headers)
                delivery.answers.append(response.status_code)
            except httpx.HTTPError:
                delivery.answers.append(None)
            if delivery.is_done:
                return


def signed(body: bytes, secret: bytes, *, at: int) -> dict[str, str]:
    """The headers of a delivery as Stripe signs it at a time."""
    signature = f"t={at},v1={sign(body, secret=secret, at=at)},v0={'0' * 64}"
    return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}
