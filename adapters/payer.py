"""Asks payment providers for what the log says is to be paid (L5).

A purchase is an event before anybody is asked, and its id is the idempotency key of every call. If
the process dies between a call and its result, the call is made again: it charges nobody twice, so
nothing has to be taken by an event first, and several processes may ask at once.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial

from adapters.lanes import RECORD_PAUSE_SECONDS, Lanes, Rounds
from adapters.outages import report
from domain.payment import (
    DuePayment,
    Payment,
    PaymentAnswer,
    PaymentCommands,
    PaymentProvider,
    PaymentQueue,
    PaymentUnsettled,
)
from domain.ports import Clock, Unavailable, Wakener

ASKING_MAX = 8  # At once.

logger = logging.getLogger(__name__)


class Payer:
    """One process's. What does not succeed is tried again as often as `domain/payment.py` says."""

    def __init__(
        self,
        queue: PaymentQueue,
        commands: PaymentCommands,
        providers: Mapping[str, PaymentProvider],
        wakener: Wakener,
        clock: Clock,
    ) -> None:
        """`providers` by name; what is to be paid through another one waits, and fails."""
        self._queue = queue
        self._commands = commands
        self._providers = providers
        self._wakener = wakener
        self._clock = clock
        self._lanes = Lanes(at_once_max=ASKING_MAX)

    async def run(self) -> None:
        """Ask until cancelled; what is on its way then has a moment to be answered."""
        rounds = Rounds(self._wakener, "Paying")
        try:
            while True:
                with rounds.survived():
                    await self._ask_anew()
                    await self._ask_due()
                await rounds.next()
        finally:
            await self._lanes.stop()

    async def _ask_anew(self) -> None:
        for due in await self._queue.due_recharges(self._clock.now()):
            await self._commands.recharge_anew(due)

    async def _ask_due(self) -> None:
        for due in await self._queue.due(self._clock.now()):
            lane = (due.org, due.purchase_id)
            if self._lanes.has_room(lane):
                self._lanes.start(lane, partial(self._pay, due))

    async def _pay(self, due: DuePayment) -> None:
        try:
            payment = await self._commands.payment(due)
            if payment is not None:
                await self._record(due, await self._answer(due, payment))
        except Exception as error:
            report(error, "A purchase could not be paid", purchase_id=due.purchase_id)

    async def _answer(self, due: DuePayment, payment: Payment) -> PaymentAnswer:
        provider = self._providers.get(due.provider)
        if provider is None:
            return PaymentUnsettled(reason="provider_not_configured")
        try:
            return await provider.pay(payment)
        except Exception:
            logger.exception("A provider failed", extra={"purchase_id": due.purchase_id})
            return PaymentUnsettled(reason="provider_failed")

    async def _record(self, due: DuePayment, answer: PaymentAnswer) -> None:
        """The answer must reach the log, however long the log is away."""
        while True:
            try:
                return await self._commands.record_answer(due, answer)
            except Unavailable:
                await asyncio.sleep(RECORD_PAUSE_SECONDS)
