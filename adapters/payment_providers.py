"""Who takes the money for credits: one line for each provider."""

from collections.abc import Mapping

import httpx

from adapters.manual import MANUAL, ManualPayments
from adapters.stripe.client import STRIPE
from adapters.stripe.provider import StripeSettings, stripe_payments
from domain.payment import PaymentProvider
from domain.purchase import ProviderTerms

TERMS: Mapping[str, ProviderTerms] = {each.name: each for each in (MANUAL, STRIPE)}


def payment_providers(
    client: httpx.AsyncClient, settings: StripeSettings
) -> dict[str, PaymentProvider]:
    """Those that can be asked, by name: also when new purchases go another way, so that those
    which are open are still paid."""
    known = (ManualPayments(), stripe_payments(client, settings))
    return {each.terms.name: each for each in known if each is not None}
