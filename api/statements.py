"""Statements: a month of a business account, its lines with their proofs, and what if (L6, L7)."""

import csv
import io
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from api.answers import Listing, Page, cursor_of, known_account
from api.authentication import Principal
from api.commands.credits import CreditAccounts
from api.credits import PROJECTION, moment_of
from api.names import Names
from api.parts import Part
from api.reading import Reading
from api.views import Author
from domain.organisation import require_role
from domain.refusal import Invalid, NotFound
from projections.projection import Connection
from projections.statements import Proof
from projections.statements_queries import (
    NOW,
    Line,
    lines,
    position_at,
    statement,
)
from projections.statements_queries import (
    Part as Sum,
)

AnyRequest = Request[Any, Any, Any]
MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
# Nothing was billed before; and each has a month before it and behind it, in every time zone.
MONTH_FIRST, MONTH_LAST = "2000-01", "9998-12"
# In the order in which a statement shows them.
MOVEMENT_KINDS = ("purchase", "recharge", "charge", "refund", "adjustment")
CSV_LINES_AT_ONCE = 2_000

CSV_COLUMNS = (
    "position",
    "at",
    "kind",
    "micro_usd",
    "free",
    "refunded",
    "unit",
    "category",
    "country",
    "service",
    "user_id",
    "account_id",
    "chat_id",
    "conversation_id",
    "subject",
    "rule",
    "card",
    "note",
)


class Movement(msgspec.Struct, kw_only=True):
    """What one kind of movement did to the balance."""

    kind: str
    count: int
    micro_usd: int


class Total(msgspec.Struct, kw_only=True):
    """How much was charged; what was given back counts under `refunded` only."""

    name: str
    count: int
    free: int
    paid: int
    refunded: int
    micro_usd: int


class AgentTotal(msgspec.Struct, kw_only=True):
    """The same for what one user wrote first."""

    agent: Author
    count: int
    free: int
    paid: int
    refunded: int
    micro_usd: int


@dataclass(kw_only=True)
class StatementView:
    """A month: `closing` is `opening` and all movements."""

    account_id: str
    business_account_id: str
    month: str
    opening_balance_micro_usd: int
    closing_balance_micro_usd: int
    movements: list[Movement]
    conversations: Total
    messages: Total
    by_category: list[Total]
    by_country: list[Total]
    by_service: list[Total]
    by_agent: list[AgentTotal]


@dataclass(kw_only=True)
class LineView:
    """A movement, or something free. Its event stands in the log at `position`."""

    position: int
    at: datetime
    kind: str
    micro_usd: int
    free: bool
    refunded: bool
    subject: str
    unit: str | None
    category: str | None
    country: str | None
    service: str | None
    user_id: str | None
    account_id: str | None
    chat_id: str | None
    conversation_id: str | None
    note: str | None
    proof: Proof | None


@dataclass(frozen=True)
class Bill:
    """Which statement is asked for, and as of which position."""

    account_id: str
    business_account: str
    month: str
    as_of: int


def known_month(value: str) -> str:
    """A month from a path, such as 2026-11. Raises Invalid; NotFound for what names none."""
    if not MONTH.fullmatch(value):
        raise NotFound("There is no such month; write one as in 2026-11.")
    if not MONTH_FIRST <= value <= MONTH_LAST:
        raise Invalid("month", f"must be {MONTH_FIRST} to {MONTH_LAST}")
    return value


def require_statements(principal: Principal) -> None:
    """Raises Forbidden unless the principal may read statements (contract, Authentication)."""
    principal.require_scope("billing")
    require_role(principal.organisation, principal.user_id, "admin", "supervisor", "auditor")


async def bill_of(
    connection: Connection,
    principal: Principal,
    credit_accounts: CreditAccounts,
    account_id: str,
    month: str,
    as_of: str | None = None,
) -> Bill:
    """The statement that a path names. Raises NotFound, Forbidden, Invalid."""
    org, moment = principal.keys.org, moment_of(as_of)
    if moment is not None:
        require_role(principal.organisation, principal.user_id, "admin", "auditor")
    books = await credit_accounts.books(org, known_account(account_id))
    if isinstance(moment, datetime):
        moment = await position_at(
            connection,
            org=org.number,
            business_account=books.business_account,
            moment=moment,
        )
    position = NOW if moment is None else moment
    return Bill(account_id, books.business_account, known_month(month), position)


@get("/v1/statements/{account_id:str}/{month:str}")
async def get_statement(
    request: AnyRequest,
    account_id: FromPath[str],
    month: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
    credit_accounts: Part[CreditAccounts],
    names: Part[Names],
    as_of: Annotated[str | None, QueryParameter()] = None,
) -> StatementView:
    """A month by category, country, service and agent; free and paid; balances. Spec L6."""
    require_statements(principal)
    async with reading.of(request, principal, PROJECTION, scope="billing") as connection:
        bill = await bill_of(connection, principal, credit_accounts, account_id, month, as_of)
        sums = await statement(
            connection,
            org=principal.keys.org.number,
            business_account=bill.business_account,
            month=bill.month,
            as_of=bill.as_of,
        )
    agents = [each.name for each in sums if each.part == "agent"]
    profiles = await names.profiles(principal.keys, principal.organisation, agents)
    return statement_view(
        bill, sums, {user_id: profile.name for user_id, profile in profiles.items()}
    )


@get("/v1/statements/{account_id:str}/{month:str}/lines")
async def list_lines(
    request: AnyRequest,
    account_id: FromPath[str],
    month: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
    credit_accounts: Part[CreditAccounts],
    page: Part[Page],
    as_of: Annotated[str | None, QueryParameter()] = None,
) -> Listing[LineView]:
    """Every line of a month with its proof, in the order of the log. Spec L6, E7."""
    require_statements(principal)
    after = page.after(int)
    async with reading.of(request, principal, PROJECTION, scope="billing") as connection:
        bill = await bill_of(connection, principal, credit_accounts, account_id, month, as_of)
        rows = await lines(
            connection,
            org=principal.keys.org.number,
            business_account=bill.business_account,
            month=bill.month,
            after=after[0] if after else 0,
            as_of=bill.as_of,
            limit=page.limit + 1,
        )
    shown = rows[: page.limit]
    more = cursor_of(shown[-1].position) if len(rows) > len(shown) else None
    return Listing([_line_view(row, as_of=bill.as_of) for row in shown], more)


@get("/v1/statements/{account_id:str}/{month:str}/lines.csv", media_type="text/csv")
async def export_lines(
    request: AnyRequest,
    account_id: FromPath[str],
    month: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
    credit_accounts: Part[CreditAccounts],
) -> Stream:
    """The same as a table for spreadsheets; no cell of it is ever taken for a formula."""
    require_statements(principal)
    async with reading.of(request, principal, PROJECTION, scope="billing") as connection:
        bill = await bill_of(connection, principal, credit_accounts, account_id, month)
    org = principal.keys.org.number

    async def table() -> AsyncIterator[bytes]:
        yield csv_row(CSV_COLUMNS)
        after = 0
        while True:
            async with reading.now(org) as connection:
                rows = await lines(
                    connection,
                    org=org,
                    business_account=bill.business_account,
                    month=bill.month,
                    after=after,
                    limit=CSV_LINES_AT_ONCE,
                )
            yield b"".join(csv_row(_cells(_line_view(row, as_of=NOW))) for row in rows)
            if len(rows) < CSV_LINES_AT_ONCE:
                return
            after = rows[-1].position

    name = f"{bill.business_account}-{bill.month}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(table(), media_type="text/csv; charset=utf-8", headers=headers)


def statement_view(bill: Bill, sums: list[Sum], agents: dict[str, str]) -> StatementView:
    """A statement of its sums; `agents` are names by user."""

    def of(part: str) -> list[Sum]:
        return [each for each in sums if each.part == part]

    def total(name: str, unit: str) -> Total:
        found = [each for each in of("unit") if each.name == unit]
        empty = Sum(part="unit", name=unit, count=0, free=0, refunded=0, micro_usd=0)
        return msgspec.structs.replace(_total(found[0] if found else empty), name=name)

    (opening,) = of("opening")
    movements = sorted(of("movement"), key=lambda each: MOVEMENT_KINDS.index(each.name))
    return StatementView(
        account_id=bill.account_id,
        business_account_id=bill.business_account,
        month=bill.month,
        opening_balance_micro_usd=opening.micro_usd,
        closing_balance_micro_usd=opening.micro_usd + sum(each.micro_usd for each in movements),
        movements=[
            Movement(kind=each.name, count=each.count, micro_usd=each.micro_usd)
            for each in movements
        ],
        conversations=total("conversations", "conversation"),
        messages=total("messages", "message"),
        by_category=[_total(each) for each in of("category")],
        by_country=[_total(each) for each in of("country")],
        by_service=[_total(each) for each in of("service")],
        by_agent=[_agent_total(each, agents) for each in of("agent")],
    )


def _total(row: Sum) -> Total:
    return Total(
        name=row.name,
        count=row.count,
        free=row.free,
        paid=row.count - row.free,
        refunded=row.refunded,
        micro_usd=row.micro_usd,
    )


def _agent_total(row: Sum, agents: dict[str, str]) -> AgentTotal:
    return AgentTotal(
        agent=Author(row.name, agents.get(row.name)),
        count=row.count,
        free=row.free,
        paid=row.count - row.free,
        refunded=row.refunded,
        micro_usd=row.micro_usd,
    )


def _line_view(row: Line, *, as_of: int) -> LineView:
    return LineView(
        position=row.position,
        at=row.at,
        kind=row.kind,
        micro_usd=row.micro_usd,
        free=row.free,
        refunded=row.refunded_position is not None and row.refunded_position <= as_of,
        subject=row.subject,
        unit=row.unit,
        category=row.category,
        country=row.country,
        service=row.service,
        user_id=row.user_id,
        account_id=row.account_id,
        chat_id=row.chat_id,
        conversation_id=row.conversation_id,
        note=row.note,
        proof=row.proof,
    )


def _cells(view: LineView) -> Iterable[Any]:
    proof = view.proof
    named = {"rule": proof.rule if proof else None, "card": proof.card if proof else None}
    return (named[name] if name in named else getattr(view, name) for name in CSV_COLUMNS)


# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_row(cells: Iterable[Any]) -> bytes:
    """One line of CSV. A text that a spreadsheet would run is kept a text by an apostrophe."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(map(_cell, cells))
    return buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case str() if value.startswith(_FORMULA):
            return f"'{value}"
        case _:
            return value


HANDLERS = (
    get_statement,
    list_lines,
    export_lines,
)
