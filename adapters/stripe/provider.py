"""Stripe as the composition root plugs it in: with this installation's secrets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import httpx

from adapters.stripe import webhook
from adapters.stripe.client import STRIPE, StripePayments
from domain.inbound import NotUnderstood
from domain.payment import PaymentNotice


class StripeSettings(Protocol):
    """What this installation pays with; None where it is not configured."""

    @property
    def stripe_secret_key(self) -> str | None: ...  # noqa: D102

    @property
    def stripe_customer(self) -> str | None: ...  # noqa: D102

    @property
    def stripe_payment_method(self) -> str | None: ...  # noqa: D102

    @property
    def stripe_api_base(self) -> str: ...  # noqa: D102


def stripe_payments(client: httpx.AsyncClient, settings: StripeSettings) -> StripePayments | None:
    """Stripe's client; None where it is not configured."""
    secret_key, customer = settings.stripe_secret_key, settings.stripe_customer
    payment_method = settings.stripe_payment_method
    if not (secret_key and customer and payment_method):
        return None
    return StripePayments(
        client,
        secret_key=secret_key,
        customer=customer,
        payment_method=payment_method,
        base_address=settings.stripe_api_base,
    )


class Stripe:
    """What the HTTP side needs of Stripe."""

    provider = STRIPE.name

    def __init__(self, *, secrets: Sequence[str]) -> None:
        """Without a secret nothing is authentic."""
        self._secrets = [secret.encode() for secret in secrets]

    def verify(self, body: bytes, signatures: Sequence[bytes], *, now: datetime) -> bool:
        """Whether the body was signed with one of our secrets, not long ago."""
        return webhook.verify(body, signatures, secrets=self._secrets, now=now)

    def parse(self, body: bytes) -> PaymentNotice | NotUnderstood:
        """What it says of a purchase, or that it says nothing of one."""
        return webhook.parse(body)

    def not_understood(self, body: bytes) -> NotUnderstood:
        """The body as one that says nothing of ours."""
        return webhook.not_understood(body)
