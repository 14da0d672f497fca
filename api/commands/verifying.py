"""What is written down once platforms were asked about an account (S10, S15)."""

from collections.abc import Sequence
from functools import partial

import msgspec

from api.commands.context import Context
from api.commands.inbound import Inbound
from api.commands.unit import Unit
from domain import account as accounts
from domain import unrouted
from domain.account import Account, AccountVerified, VerificationFailed
from domain.dispatch_ports import WaitingAccount
from domain.event import Recorded
from domain.inbound import AnyOccurrence
from domain.outbound import NotVerified, VerificationAnswer, Verified
from domain.ports import Keys, Unreadable
from domain.subscription import DeliveryCheck, HeldAccount
from domain.unrouted import DeliveriesHandedOver, DeliveryKept


class Verifying:
    """Commands of the processes that ask platforms about accounts."""

    def __init__(self, context: Context, inbound: Inbound, *, system: Keys) -> None:
        """`system`: those of the organisation that keeps what is nobody's yet."""
        self._context = context
        self._inbound = inbound
        self._system = system

    async def record_subscription(self, account: HeldAccount, found: DeliveryCheck) -> None:
        """Whether the platform delivers for this account. An event only when it is news."""
        keys = await self._context.directory.keys(account.org)
        stream = accounts.stream_of(account.platform, account.account_id)

        def decide(unit: Unit) -> None:
            unit.record(stream, accounts.note_subscription(unit.state(stream, Account), found))

        await self._context.executor.execute(keys.org, decide)

    async def record_verification(
        self, account: WaitingAccount, answer: VerificationAnswer
    ) -> None:
        """Hand over what waited, then write down whether the credentials hold. Spec S10, S15.

        In this order, so that a hand-over that ends half-way is begun again with the next check.
        """
        keys = await self._context.directory.keys(account.org)
        stream = accounts.stream_of(account.platform, account.account_id)

        def decide(unit: Unit, *, handed_over: bool) -> bool:
            """Whether that is all; if not, what waits is to be handed over first."""
            present = unit.state(stream, Account)
            if not present.claimed or present.verification != "pending":
                return True
            match answer:
                case Verified() if not handed_over:
                    return False
                case Verified():
                    unit.record(stream, [AccountVerified()])
                case NotVerified():
                    unit.record(stream, [VerificationFailed(reason=answer.reason)])
            return True

        # Decided, not looked at: another process may have taken the account since it was seen here.
        first = await self._context.executor.execute(keys.org, partial(decide, handed_over=False))
        if not first.value:
            await self.hand_over(keys, account.platform, account.account_id)
            await self._context.executor.execute(keys.org, partial(decide, handed_over=True))

    async def hand_over(self, keys: Keys, platform: str, account_id: str) -> None:
        """Append what waited for this account as ordinary messages; safe to repeat. Spec S10."""
        stream = unrouted.stream_of(platform, account_id)
        while recorded := await self._context.log.read_stream(self._system.org, stream):
            waiting = await self._opened(recorded, stream)
            if not waiting:
                return
            for occurrence in waiting:
                await self._inbound.receive_for(keys, platform, occurrence)
            handed = DeliveriesHandedOver(organisation_id=keys.org.id, count=len(waiting))
            await self._end_waiting(stream, recorded[-1].version, handed)

    async def _end_waiting(self, stream: str, version: int, handed: DeliveriesHandedOver) -> None:
        """Only if nothing has come since: a delivery may have been on its way here."""

        def decide(unit: Unit) -> None:
            unit.state(stream, object)
            if dict(unit.read)[stream] == version:
                unit.record(stream, [handed])

        await self._context.executor.execute(self._system.org, decide)

    async def _opened(self, recorded: Sequence[Recorded], stream: str) -> list[AnyOccurrence]:
        kept: list[DeliveryKept] = []
        for each in recorded:
            if isinstance(each.event, DeliveriesHandedOver):
                kept.clear()
            elif isinstance(each.event, DeliveryKept):
                kept.append(each.event)
        ids = [event.delivery.key for event in kept]
        wrapped = await self._context.people.wrapped_keys(self._system.org, ids)
        waiting: list[AnyOccurrence] = []
        for event in kept:
            try:
                data = self._system.open(
                    event.delivery,
                    stream=stream,
                    stored_type=DeliveryKept.stored_type,
                    wrapped=wrapped.get(event.delivery.key),
                )
            except Unreadable:
                continue  # It waited for more than 30 days (E4).
            waiting.append(msgspec.json.decode(data, type=AnyOccurrence))
        return waiting
