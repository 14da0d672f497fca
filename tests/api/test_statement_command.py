"""`trunkline statement` and `trunkline history credits:…`, as an accountant runs them."""

import asyncio
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from api.cli import statement
from api.cli.statement_page import page
from api.statements import Bill, StatementView, statement_view
from projections.statements.queries import NOW, Part
from tests.api.conftest import Trunkline
from tests.api.test_credits import Shop, shop, spent

TRUNKLINE = [sys.executable, "-c", "from api.cli import main; main()"]


async def run(shop: Shop, *arguments: str, expect: int = 0) -> str:
    """Run a command beside the server, which goes on meanwhile; its output."""
    trunkline = shop.trunkline
    environment = {
        **os.environ,
        "TRUNKLINE_DATABASE_URL": trunkline.database.url,
        "TRUNKLINE_MIGRATION_DATABASE_URL": trunkline.database.migration_url,
        "TRUNKLINE_MASTER_KEY": (trunkline.settings.home / "master.key").read_text(),
        "COLUMNS": "120",
    }
    command = [*TRUNKLINE, *arguments, "--org", shop.admin.organization_id]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == expect, done.stderr
    return done.stdout if expect == 0 else done.stderr


async def test_a_month_in_the_terminal_and_on_paper(trunkline: Trunkline, tmp_path: Path) -> None:
    """Issue: a monthly statement a person likes to read."""
    here = await spent(trunkline)
    month = f"{trunkline.parts.clock.now():%Y-%m}"
    shown = await run(here, "statement", here.account, month)
    words = [" ".join(line.split()) for line in shown.splitlines()]
    for line in (
        f"Acme: statement for {month}",
        f"Business account {here.payer}",
        "Credits bought 1 USD 2.000",
        "Conversations and messages 5 -USD 0.032",
        "Given back 1 USD 0.008",
        "At the end USD 1.976",
        "conversations 4 1 3 1 USD 0.024",
        "Within the month's allowance 1",
        "JP 3 0 3 1 USD 0.024",
        "Admin 4 1 3 1 USD 0.024",
    ):
        assert line in words, shown
    file = tmp_path / "bill.html"
    await run(here, "statement", here.payer, month, "--html", str(file))
    written = file.read_text()
    assert written.startswith("<!doctype html>")
    assert "<td>USD 1.976</td>" in written
    assert "There is no such account" in await run(here, "statement", "12345", month, expect=1)


async def test_the_history_of_a_ledger_in_words(trunkline: Trunkline) -> None:
    """`credits:ACCOUNT` takes the number's id and the business account's."""
    here = await spent(trunkline)
    by_number = await run(here, "history", f"credits:{here.account}")
    assert by_number == await run(here, "history", f"credits:{here.payer}")
    for words in (
        "A purchase of 1 credit for USD 2.00 was paid (manual).",
        "A marketing conversation (JP) in chat",
        "cost USD 0.008 by conversation/1 and default/1.",
        "was given back: USD 0.008.",
        "A service conversation (US) in chat",
        "was free, within the month's allowance, by conversation/1 and default/1.",
    ):
        assert words in by_number, by_number


async def test_the_operator_corrects_a_balance_with_a_reason(trunkline: Trunkline) -> None:
    """Spec L3: a movement like any other, and never below zero."""
    here = await shop(trunkline, bought=1)
    adjust = ("credits", "adjust", here.account)
    assert "USD 1.75" in await run(here, *adjust, "-250000", "--reason", "=Paid back")
    assert "does not cover" in await run(here, *adjust, "-1750001", "--reason", "No", expect=1)
    await here.admin.settled()
    statement = await here.statement()
    assert {each["kind"]: each["micro_usd"] for each in statement["movements"]} == {
        "purchase": 2_000_000,
        "adjustment": -250_000,
    }
    table = (await here.admin.call("GET", await here.path("/lines.csv"))).text
    assert table.splitlines()[-1].endswith(",'=Paid back")


def a_bill(agent: str) -> StatementView:
    """A month with one conversation."""
    row = {"count": 1, "free": 0, "refunded": 0, "micro_usd": 1_234_567_008_000}
    sums = [
        Part(part="opening", name="", count=0, free=0, refunded=0, micro_usd=0),
        Part(part="unit", name="conversation", **row),
        Part(part="agent", name="u1", **row),
    ]
    return statement_view(Bill(1, "1", "w<1>", "2026-11", NOW), sums, {"u1": agent})


def test_what_people_named_things_is_no_markup_on_the_page() -> None:
    written = page("<script>", a_bill("<img src=x>"))
    assert "<script" not in written
    assert "<img" not in written
    assert "&lt;img src=x&gt;" in written


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_shows_names_as_they_are_and_cuts_no_amount(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it obey what somebody wrote into a name."""
    console = Console(width=width, record=True, highlight=False, file=StringIO())
    monkeypatch.setattr(statement, "console", console)
    statement.show("Acme [/red]", a_bill("[bold]Yui\x1b[31m"))
    shown = console.export_text()
    assert "Acme [/red]: statement for 2026-11" in shown
    assert shown.count("USD 1,234,567.008") == 2
    assert "\x1b[31m" not in shown
    assert "[bold]Yui" in shown
