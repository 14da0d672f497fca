"""Questions to the statements projection."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Literal

import msgspec
from psycopg import AsyncClientCursor
from psycopg.rows import class_row, dict_row

from domain.pricing import FreeBecause
from domain.recount import Billable
from projections.engine.projection import Connection
from projections.statements.projection import SQL, Proof

NOW = 2**63 - 1
ROWS_AT_ONCE = 2_000
FETCH = f"FETCH {ROWS_AT_ONCE} FROM charges".encode()

_proof = msgspec.json.Decoder(Proof)
_BILLABLE = Billable.__struct_fields__


PurchaseState = Literal["paid", "pending", "failed"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One sum of a statement: of a unit, a category, a movement; or the opening balance."""

    part: str
    name: str
    count: int
    free: int
    refunded: int
    micro_usd: int


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One movement, or something free, with the event that it comes from."""

    position: int
    kind: str
    at: datetime
    micro_usd: int
    subject: str
    user_id: str | None
    note: str | None
    chat_id: str | None
    conversation_id: str | None
    platform: str | None
    account_id: str | None
    unit: str | None
    category: str | None
    country: str | None
    service: str | None
    free: bool
    free_because: FreeBecause | None
    proof: Proof | None
    refunded_position: int | None


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """Credits that were bought, or are to be."""

    position: int
    business_account: str
    purchase_id: str
    at: datetime
    state: PurchaseState
    credits: int
    micro_usd: int
    provider: str
    recharge: bool
    user_id: str | None
    reason: str | None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and what was charged for it."""

    answer: Billable
    chat_id: str
    service: str
    user_id: str
    is_charged: bool
    charged_micro_usd: int  # Nothing, where it was given back.
    is_refunded: bool


async def statement(
    connection: Connection, *, org: int, business_account: str, month: str, as_of: int = NOW
) -> list[Part]:
    """A month in one query. Spec L6."""
    opening = SQL["opening_now" if as_of == NOW else "opening_then"]
    cursor = connection.cursor(row_factory=class_row(Part))
    await cursor.execute(
        SQL["statement"].format(opening=opening),
        {"org": org, "business_account": business_account, "month": month, "as_of": as_of},
    )
    return await cursor.fetchall()


async def lines(
    connection: Connection,
    *,
    org: int,
    business_account: str,
    month: str,
    after: int = 0,
    as_of: int = NOW,
    limit: int,
) -> list[Line]:
    """A month's lines in the order of the log, behind the position `after`."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(
        SQL["lines"],
        {
            "org": org,
            "business_account": business_account,
            "month": month,
            "after": after,
            "as_of": as_of,
            "limit": limit,
        },
    )
    return [_line(row) for row in await cursor.fetchall()]


def _line(row: dict[str, Any]) -> Line:
    proof = row.pop("proof")
    return Line(proof=_proof.decode(proof) if proof else None, **row)


async def purchases(
    connection: Connection,
    *,
    org: int,
    business_account: str | None = None,
    before: int = NOW,
    limit: int,
) -> list[Purchase]:
    """Purchases and recharges, newest first."""
    cursor = connection.cursor(row_factory=class_row(Purchase))
    await cursor.execute(
        SQL["purchases"],
        {"org": org, "business_account": business_account, "before": before, "limit": limit},
    )
    return await cursor.fetchall()


async def purchase(connection: Connection, *, org: int, purchase_id: str) -> Purchase | None:
    """One of them."""
    cursor = connection.cursor(row_factory=class_row(Purchase))
    await cursor.execute(SQL["purchase"], {"org": org, "purchase_id": purchase_id})
    return await cursor.fetchone()


async def position_at(
    connection: Connection, *, org: int, business_account: str, moment: datetime
) -> int:
    """The position of a ledger's last line that was recorded by then."""
    cursor = await connection.execute(
        SQL["newest_position"],
        {"org": org, "business_account": business_account, "as_of": moment},
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def charges(
    connection: Connection,
    *,
    org: int,
    business_account: str,
    start: datetime,
    end: datetime,
) -> AsyncIterator[Charge]:
    """The answers of a stretch of time in the order of the log, a few at a time. Spec L7."""
    parameters = {
        "org": org,
        "business_account": business_account,
        "start": start,
        "end": end,
    }
    # A cursor of the server's takes its parameters as text only.
    query = AsyncClientCursor(connection).mogrify(SQL["billable"], parameters)
    await connection.execute(f"DECLARE charges NO SCROLL CURSOR FOR {query}".encode())
    cursor = connection.cursor(row_factory=dict_row)
    while True:
        await cursor.execute(FETCH)
        rows = await cursor.fetchall()
        for row in rows:
            yield Charge(answer=Billable(**{name: row.pop(name) for name in _BILLABLE}), **row)
        if len(rows) < ROWS_AT_ONCE:
            return
