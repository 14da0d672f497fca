"""`trunkline statement`: a month's bill in the terminal, or as a page that prints well."""

import asyncio
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api import settings as configuration
from api.cli.history import organisation_of
from api.cli.statement_page import page
from api.cli.words import usd
from api.commands.context import Actor
from api.commands.credits import CreditAccounts
from api.commands.organisations import Organisations
from api.credits import PROJECTION
from api.main import Core, core, database
from api.names import Names
from api.processes import projecting
from api.statements import Bill, StatementView, Total, known_month, statement_view
from domain.refusal import Refusal
from projections.statements_queries import NOW, statement

console = Console(highlight=False)

CATCHING_UP_WAITS_MAX = 24

MOVEMENTS = {
    "purchase": "Credits bought",
    "recharge": "Credits bought by themselves",
    "charge": "Conversations and messages",
    "refund": "Given back",
    "adjustment": "Corrections",
}


@click.command("statement")
@click.argument("account")
@click.argument("month")
@click.option("--html", "file", type=click.Path(path_type=Path), help="Write one HTML page.")
@click.option("--org", "org_id", help="Organisation id; needed when there are several.")
def statement_command(account: str, month: str, file: Path | None, org_id: str | None) -> None:
    """Show the bill of ACCOUNT (a number's id, or a business account's) for MONTH (2026-11)."""
    settings = configuration.load()
    with database(settings) as where:
        where.migrate()

        async def read() -> tuple[str, StatementView]:
            async with core(settings, where) as parts, projecting(parts):
                return await _statement(parts, org_id, account, month)

        try:
            organisation, bill = asyncio.run(read())
        except Refusal as refusal:
            raise click.ClickException(refusal.detail) from refusal
    if file is None:
        show(organisation, bill)
    else:
        written = page(organisation, bill, movements=MOVEMENTS, parts=parts_of(bill))
        file.write_text(written, encoding="utf-8")
        click.echo(f"Written to {file}")


async def _statement(
    parts: Core, org_id: str | None, account: str, month: str
) -> tuple[str, StatementView]:
    org = await organisation_of(parts, org_id)
    keys = await parts.directory.keys(org.number)
    books = await CreditAccounts(parts.context).books(org, account)
    reading = parts.reading
    position = await parts.context.log.position(org)
    # Without a server nobody may have projected for a while; each wait has a limit of its own.
    for _ in range(CATCHING_UP_WAITS_MAX):
        if await reading.reached(org.number, position, PROJECTION):
            break
    else:
        raise click.ClickException("The bills have not caught up with the log; try again.")
    bill = Bill(org.number, account, books.business_account, known_month(month), NOW)
    async with reading.now(org.number) as connection:
        sums = await statement(
            connection,
            org=org.number,
            business_account=bill.business_account,
            month=bill.month,
        )
    actor = Actor(keys=keys, user_id="")
    organisation = await Organisations(parts.context).current(actor)
    agents = [each.name for each in sums if each.part == "agent"]
    profiles = await Names(parts.addresses).profiles(keys, organisation, agents)
    names = {user_id: profile.name for user_id, profile in profiles.items()}
    return organisation.name or org.id, statement_view(bill, sums, names)


def show(organisation: str, bill: StatementView) -> None:
    """Print a statement."""
    console.print()
    console.print(Text(f"{organisation}: statement for {bill.month}", style="bold"))
    console.print(Text(f"Business account {bill.business_account_id}", style="dim"))
    balances = _table("Balance", "Count", "Amount")
    balances.add_row("At the beginning", "", usd(bill.opening_balance_micro_usd))
    for each in bill.movements:
        balances.add_row(MOVEMENTS[each.kind], f"{each.count:,}", usd(each.micro_usd))
    balances.add_row(
        Text("At the end", style="bold"),
        "",
        Text(usd(bill.closing_balance_micro_usd), style="bold"),
    )
    console.print()
    console.print(balances)
    for title, totals in parts_of(bill):
        table = _table(title, "Count", "Free", "Paid", "Given back", "Amount")
        for total in totals:
            counts = (total.count, total.free, total.paid, total.refunded)
            table.add_row(total.name, *(f"{each:,}" for each in counts), usd(total.micro_usd))
        console.print()
        console.print(table)


def parts_of(bill: StatementView) -> list[tuple[str, list[Total]]]:
    """The tables of a statement; those that would be empty are left out."""
    agents = [
        Total(
            name=each.agent.name or each.agent.id,
            count=each.count,
            free=each.free,
            paid=each.paid,
            refunded=each.refunded,
            micro_usd=each.micro_usd,
        )
        for each in bill.by_agent
    ]
    whole = [each for each in (bill.conversations, bill.messages) if each.count or each.refunded]
    tables = [
        ("Charged", whole),
        ("By category", bill.by_category),
        ("By country", bill.by_country),
        ("By service", bill.by_service),
        ("By who answered first", agents),
    ]
    return [(title, totals) for title, totals in tables if totals]


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 3, 0, 0), title_justify="left")
    table.add_column(first, min_width=30)
    for each in others:
        table.add_column(each, justify="right")
    return table
