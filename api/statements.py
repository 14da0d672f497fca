"""Statements: a month of a business account, its lines with their proofs, and what if (L6, L7)."""

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from api.answers import Listing, Page, known_account
from api.authentication import Principal
from api.commands.credits import CreditAccounts
from api.credits import PROJECTION, moment_of
from api.names import Names
from api.parts import Part
from api.reading import Reading
from api.spreadsheets import csv_row
from api.views import Author
from domain.organisation import Role, require_role
from domain.pricing import FreeBecause
from domain.refusal import Invalid, NotFound
from projections.engine.projection import Connection
from projections.statements.projection import Proof
from projections.statements.queries import (
    NOW,
    Line,
    lines,
    position_at,
    statement,
)
from projections.statements.queries import (
    Part as Sum,
)

AnyRequest = Request[Any, Any, Any]
AsOf = Annotated[str | None, QueryParameter()]
# Who may read statements.
READERS: tuple[Role, ...] = ("admin", "supervisor", "auditor")
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
    "free_because",
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


class FreeCount(msgspec.Struct, kw_only=True):
    """How much was free for this reason: `allowance`, or `entry_point`."""

    name: str
    count: int


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
    free: list[FreeCount]
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
    free_because: FreeBecause | None
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

    org: int
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


@dataclass(frozen=True)
class Bills:
    """Opens the statement that a path names, for those who may read it."""

    request: AnyRequest
    reading: Reading
    credit_accounts: CreditAccounts

    @asynccontextmanager
    async def opened(
        self, principal: Principal, account_id: str, month: str, as_of: str | None = None
    ) -> AsyncIterator[tuple[Connection, Bill]]:
        """With a connection that has seen what was asked for.

        Raises NotFound, Forbidden, Invalid, Behind.
        """
        org = principal.keys.org
        require_role(principal.organisation, principal.user_id, *READERS)
        moment = moment_of(as_of)
        if moment is not None:
            require_role(principal.organisation, principal.user_id, "admin", "auditor")
        known, month = known_account(account_id), known_month(month)
        async with self.reading.of(
            self.request, principal, PROJECTION, scope="billing"
        ) as connection:
            business_account = (await self.credit_accounts.books(org, known)).business_account
            position = NOW if moment is None else moment
            if isinstance(position, datetime):
                position = await position_at(
                    connection, org=org.number, business_account=business_account, moment=position
                )
            yield connection, Bill(org.number, account_id, business_account, month, position)


def bills(
    request: AnyRequest, reading: Part[Reading], credit_accounts: Part[CreditAccounts]
) -> Bills:
    """The dependency of everything that reads a statement."""
    return Bills(request, reading, credit_accounts)


@get("/v1/statements/{account_id:str}/{month:str}")
async def get_statement(
    account_id: FromPath[str],
    month: FromPath[str],
    principal: Part[Principal],
    bills: Part[Bills],
    names: Part[Names],
    as_of: AsOf = None,
) -> StatementView:
    """A month by category, country, service and agent; free and paid; balances. Spec L6."""
    async with bills.opened(principal, account_id, month, as_of) as (connection, bill):
        sums = await statement(
            connection,
            org=bill.org,
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
    account_id: FromPath[str],
    month: FromPath[str],
    principal: Part[Principal],
    bills: Part[Bills],
    page: Part[Page],
    as_of: AsOf = None,
) -> Listing[LineView]:
    """Every line of a month with its proof, in the order of the log. Spec L6, E7."""
    after = page.after(int)
    async with bills.opened(principal, account_id, month, as_of) as (connection, bill):
        rows = await lines(
            connection,
            org=bill.org,
            business_account=bill.business_account,
            month=bill.month,
            after=after[0] if after else 0,
            as_of=bill.as_of,
            limit=page.limit + 1,
        )
    shown = rows[: page.limit]
    more = page.cursor_of(shown[-1].position) if len(rows) > len(shown) else None
    return Listing([_line_view(row, as_of=bill.as_of) for row in shown], more)


@get("/v1/statements/{account_id:str}/{month:str}/lines.csv", media_type="text/csv")
async def export_lines(
    account_id: FromPath[str],
    month: FromPath[str],
    principal: Part[Principal],
    bills: Part[Bills],
    reading: Part[Reading],
    as_of: AsOf = None,
) -> Stream:
    """The same as a table for spreadsheets; no cell of it is ever taken for a formula."""
    async with bills.opened(principal, account_id, month, as_of) as (_, bill):
        pass  # What follows is read page by page, each on a connection of its own.

    async def table() -> AsyncIterator[bytes]:
        yield csv_row(CSV_COLUMNS)
        after = 0
        while True:
            async with reading.now(bill.org) as connection:
                rows = await lines(
                    connection,
                    org=bill.org,
                    business_account=bill.business_account,
                    month=bill.month,
                    after=after,
                    as_of=bill.as_of,
                    limit=CSV_LINES_AT_ONCE,
                )
            yield b"".join(csv_row(_cells(_line_view(row, as_of=bill.as_of))) for row in rows)
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
        free=[FreeCount(name=each.name, count=each.count) for each in of("free") if each.count],
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
        free_because=row.free_because,
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


HANDLERS = (
    get_statement,
    list_lines,
    export_lines,
)
