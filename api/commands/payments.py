"""What is asked of payment providers, and what they answer, as commands (L5)."""

from api.commands.billing import credits_of, month_at
from api.commands.context import Context
from api.commands.unit import Unit
from domain import ledger
from domain import payment as payments
from domain.payment import (
    DuePayment,
    DueRecharge,
    Payment,
    PaymentAnswer,
    PaymentNotice,
    PaymentRefused,
)


class Payments:
    """Commands of the payer, and of providers' webhooks."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def payment(self, due: DuePayment) -> Payment | None:
        """What to ask the provider for; None if that is over, or was tried since it was seen.

        A purchase that is so old that its provider may have forgotten the idempotency key is
        given up instead: asking again could take the money twice.
        """
        org = (await self._context.directory.keys(due.org)).org

        def decide(unit: Unit) -> Payment | None:
            now = self._context.clock.now()
            present = credits_of(unit, due.business_account)
            waiting = present.purchases.waiting.get(due.purchase_id)
            if waiting is None or waiting.tries != due.tries:
                return None
            if payments.is_too_old(waiting, now=now):
                given_up = PaymentRefused(reason="given_up")
                failed = payments.fail(present, due.purchase_id, given_up, at=now)
                unit.record(ledger.stream_of(due.business_account), failed)
                return None
            return Payment(
                purchase_id=due.purchase_id,
                organisation_id=org.id,
                business_account=due.business_account,
                credits=waiting.requested.credits,
                micro_usd=waiting.requested.micro_usd,
                payment_id=waiting.payment_id,
            )

        return (await self._context.executor.execute(org, decide)).value

    async def record_answer(self, due: DuePayment, answer: PaymentAnswer) -> None:
        """Write down what the provider answered to a call."""
        org = (await self._context.directory.keys(due.org)).org

        def decide(unit: Unit) -> None:
            self._record(unit, due.business_account, due.purchase_id, answer, due.tries)

        await self._context.executor.execute(org, decide)

    async def notice(self, notice: PaymentNotice) -> bool:
        """Write down what a provider's webhook says; False for a purchase that nobody knows."""
        org = await self._context.directory.organisation(notice.organisation_id)
        if org is None:
            return False

        def decide(unit: Unit) -> bool:
            known = payments.is_known(credits_of(unit, notice.business_account), notice)
            self._record(unit, notice.business_account, notice.purchase_id, notice.answer, None)
            return known

        return (await self._context.executor.execute(org, decide)).value is True

    async def recharge_anew(self, due: DueRecharge) -> None:
        """Ask for a failed recharge anew, as a purchase of its own, or let it lapse."""
        org = (await self._context.directory.keys(due.org)).org

        def decide(unit: Unit) -> None:
            now = self._context.clock.now()
            asked = payments.recharge_anew(
                credits_of(unit, due.business_account),
                due.purchase_id,
                purchase_id=self._context.new_id(),
                provider=self._context.billing.provider,
                at=now,
                month=month_at(unit, due.business_account, now),
            )
            unit.record(ledger.stream_of(due.business_account), asked)

        await self._context.executor.execute(org, decide)

    def _record(
        self,
        unit: Unit,
        business_account: str,
        purchase_id: str,
        answer: PaymentAnswer,
        tries: int | None,
    ) -> None:
        now = self._context.clock.now()
        events = payments.record_answer(
            credits_of(unit, business_account),
            purchase_id,
            answer,
            at=now,
            month=month_at(unit, business_account, now),
            tries=tries,
        )
        unit.record(ledger.stream_of(business_account), events)
