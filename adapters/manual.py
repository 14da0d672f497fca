"""Buying without a bank: an admin's request is the confirmation (L5)."""

from domain.payment import Payment, PaymentTaken
from domain.purchase import ProviderTerms

MANUAL = ProviderTerms(name="manual", confirms_at_once=True)


class ManualPayments:
    """Whoever asks has the money already, and says so by asking."""

    terms = MANUAL

    async def pay(self, payment: Payment) -> PaymentTaken:
        """The same as the request said: all of it is there."""
        return PaymentTaken(micro_usd=payment.micro_usd)
