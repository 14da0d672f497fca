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
from api.cli.statement_tables import StatementTable, plain, tables_of
from api.commands.context import Actor
from api.commands.credits import CreditAccounts
from api.commands.organisations import Organisations
from api.credits import PROJECTION
from api.main import Core, core, database
from api.names import Names
from api.processes import projecting
from api.statements import Bill, StatementView, known_month, statement_view
from domain.refusal import Refusal
from projections.statements.queries import NOW, statement

console = Console(highlight=False)

CATCHING_UP_WAITS_MAX = 24

# In 80 columns a statement of usual size is not folded.
FIRST_COLUMN_WIDTH, NUMBER_WIDTH = 28, 6
# So much room there is in any case: a narrower terminal breaks lines, and no amount is shortened.
WIDTH_MIN = 120


@click.command("statement", short_help="Show a month's bill.")
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
        file.write_text(page(organisation, bill), encoding="utf-8")
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
    """Print a statement. What is wider than the terminal goes on in its next line, uncut."""
    console.width = max(console.width, WIDTH_MIN)
    console.print()
    console.print(Text(f"{plain(organisation)}: statement for {bill.month}", style="bold"))
    console.print(Text(f"Business account {bill.business_account_id}", style="dim"))
    for each in tables_of(bill):
        console.print()
        console.print(_table(each))


def _table(shown: StatementTable) -> Table:
    """First columns are alike wide, so that the tables stand under each other."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(shown.title, min_width=FIRST_COLUMN_WIDTH, overflow="fold")
    for each in shown.head:
        table.add_column(each, justify="right", no_wrap=True, min_width=NUMBER_WIDTH)
    for row in shown.rows:
        is_total = shown.has_total and row is shown.rows[-1]
        # What people named things is no markup.
        table.add_row(*map(Text, row), style="bold" if is_total else None)
    return table
