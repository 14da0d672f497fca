"""Stripe's settings: complete or refused, and never shown."""

import pytest

from api.settings import SettingsError, describe, load

COMPLETE = {
    "TRUNKLINE_PAYMENT_PROVIDER": "stripe",
    "TRUNKLINE_STRIPE_SECRET_KEY": "sk_live_1",
    "TRUNKLINE_STRIPE_CUSTOMER": "cus_1",
    "TRUNKLINE_STRIPE_PAYMENT_METHOD": "pm_1",
    "TRUNKLINE_STRIPE_WEBHOOK_SECRET": "whsec_1,whsec_2",
}


def test_all_that_stripe_needs_is_listed_and_secrets_are_hidden() -> None:
    settings = load(COMPLETE)
    assert settings.stripe_webhook_secrets == ("whsec_1", "whsec_2")
    shown = {each.variable: each.value for each in describe(settings, COMPLETE)}
    assert {name: shown[name] for name in COMPLETE} == {
        "TRUNKLINE_PAYMENT_PROVIDER": "stripe",
        "TRUNKLINE_STRIPE_SECRET_KEY": "(hidden)",
        "TRUNKLINE_STRIPE_CUSTOMER": "cus_1",
        "TRUNKLINE_STRIPE_PAYMENT_METHOD": "pm_1",
        "TRUNKLINE_STRIPE_WEBHOOK_SECRET": "(hidden)",
    }
    assert shown["TRUNKLINE_STRIPE_API_BASE"] == "https://api.stripe.com"


@pytest.mark.parametrize("missing", [each for each in COMPLETE if "STRIPE" in each])
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.raises(SettingsError, match=f"stripe needs {missing}"):
        load({name: value for name, value in COMPLETE.items() if name != missing})
    assert load({}).payment_provider == "manual"
