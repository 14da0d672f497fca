"""What every payment provider is to the decisions, and how it is found (L5)."""

from adapters.exchange import new_http_client
from adapters.manual import ManualPayments
from adapters.payment_providers import TERMS, payment_providers
from adapters.stripe.client import StripePayments
from api.settings import PAYMENT_PROVIDERS, Settings, load
from domain.payment import Payment, PaymentTaken
from tests.api.test_stripe_settings import COMPLETE

PAYMENT = Payment(
    purchase_id="p", organisation_id="o", business_account="w", credits=2, micro_usd=4_000_000
)


def test_every_provider_that_can_be_chosen_has_its_terms() -> None:
    assert tuple(TERMS) == PAYMENT_PROVIDERS
    assert {name: each.confirms_at_once for name, each in TERMS.items()} == {
        "manual": True,
        "stripe": False,
    }


async def test_what_is_configured_can_be_asked() -> None:
    """Stripe also where new purchases go another way, for those that are open."""
    async with new_http_client() as client:
        assert payment_providers(client, load({})).keys() == {"manual"}
        configured: Settings = load({**COMPLETE, "TRUNKLINE_PAYMENT_PROVIDER": "manual"})
        providers = payment_providers(client, configured)
        assert {name: type(each) for name, each in providers.items()} == {
            "manual": ManualPayments,
            "stripe": StripePayments,
        }
        assert {name: each.terms for name, each in providers.items()} == TERMS


async def test_l5_manual_answers_what_the_request_has_said() -> None:
    assert await ManualPayments().pay(PAYMENT) == PaymentTaken(micro_usd=4_000_000)
