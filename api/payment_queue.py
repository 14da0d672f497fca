"""What waits for a payment provider, read from the projection of that."""

from datetime import datetime

from domain.payment import DuePayment, DueRecharge
from projections import payments
from projections.engine.builds import LiveBuilds
from projections.payments import Counts

AT_ONCE_MAX = 64


class ProjectedPayments:
    """The payments projection, over all organisations."""

    def __init__(self, live: LiveBuilds) -> None:
        """`live` is of role trunkline_project."""
        self._live = live

    async def due(self, now: datetime) -> list[DuePayment]:
        """Purchases whose provider is to be asked now, as many as are asked at once."""
        async with self._live.within(None) as connection:
            return await payments.due(connection, now=now, limit=AT_ONCE_MAX)

    async def due_recharges(self, now: datetime) -> list[DueRecharge]:
        """Failed recharges whose time has come."""
        async with self._live.within(None) as connection:
            return await payments.due_recharges(connection, now=now, limit=AT_ONCE_MAX)

    async def counts(self) -> Counts:
        """How much waits, for operators."""
        async with self._live.within(None) as connection:
            return await payments.counts(connection)
