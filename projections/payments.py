"""What waits for a payment provider, and recharges that failed, over all organisations (L5)."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from psycopg.rows import class_row

from domain.event import Event, Recorded
from domain.payment import DuePayment, DueRecharge
from domain.purchase import (
    CreditsPurchased,
    PurchaseDeferred,
    PurchaseFailed,
    PurchaseRequested,
    RechargeLapsed,
)
from projections.engine import named_sql
from projections.engine.projection import Connection

SQL = named_sql.load(__file__)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """For operators."""

    waiting: int  # Purchases that no provider has settled yet.
    failed_recharges: int  # Business accounts whose newest recharge failed.


async def due(connection: Connection, *, now: datetime, limit: int) -> list[DuePayment]:
    """Purchases whose provider is to be asked, the longest waiting first."""
    cursor = connection.cursor(row_factory=class_row(DuePayment))
    await cursor.execute(SQL["due"], {"now": now, "limit": limit})
    return await cursor.fetchall()


async def due_recharges(connection: Connection, *, now: datetime, limit: int) -> list[DueRecharge]:
    """Failed recharges that are to be asked for anew."""
    cursor = connection.cursor(row_factory=class_row(DueRecharge))
    await cursor.execute(SQL["due_recharges"], {"now": now, "limit": limit})
    return await cursor.fetchall()


async def counts(connection: Connection) -> Counts:
    """How many wait, and how many business accounts have a failed recharge."""
    cursor = connection.cursor(row_factory=class_row(Counts))
    await cursor.execute(SQL["counts"])
    row = await cursor.fetchone()
    assert row is not None
    return row


class Payments:
    """A purchase is due when it is asked for, later when it was deferred, and gone when settled."""

    name = "payments"
    version = 1
    is_watched = False
    tables = SQL["tables"]

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """These events are rare: a few statements each."""
        for recorded in batch:
            event = recorded.event
            if not isinstance(event, _FOLDED):
                continue
            parameters = {
                "org": org,
                "business_account": recorded.stream.partition(":")[2],
                "purchase_id": event.purchase_id,
                "provider": getattr(event, "provider", None),
                "recharge": getattr(event, "recharge", None),
                "tries": getattr(event, "tries", 0),
                "due_at": getattr(event, "retry_at", event.at),
            }
            for name in _statements(event):
                await connection.execute(SQL[name], parameters)


_FOLDED = (
    PurchaseRequested,
    PurchaseDeferred,
    CreditsPurchased,
    PurchaseFailed,
    RechargeLapsed,
)


def _statements(event: Event) -> tuple[str, ...]:
    match event:
        case PurchaseRequested(recharge=recharge):
            return ("ask", "note_asked_anew") if recharge else ("ask",)
        case PurchaseDeferred():
            return ("ask_later",)
        case CreditsPurchased(recharge=recharge):
            return ("settle", "forget_failed_recharge") if recharge else ("settle",)
        case PurchaseFailed():
            return ("note_failed_recharge", "settle")
        case RechargeLapsed():
            return ("forget_failed_recharge",)
        case _:
            return ()
