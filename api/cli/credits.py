"""`trunkline credits adjust`: the operator corrects a balance, and says why (L3)."""

import asyncio

import click

from api import settings as configuration
from api.cli.history import organisation_of
from api.cli.words import usd
from api.commands.credits import CreditAccounts
from api.main import core, database
from domain.refusal import Refusal


@click.group("credits")
def credits_group() -> None:
    """Prepaid credits of business accounts."""


@credits_group.command(
    "adjust",
    context_settings={"ignore_unknown_options": True},
    short_help="Correct the balance of ACCOUNT.",
)
@click.argument("account")
@click.argument("micro_usd", type=int)
@click.option("--reason", required=True, help="Why; it stands in the statement.")
@click.option("--org", "org_id", help="Organisation id; needed when there are several.")
def adjust_command(account: str, micro_usd: int, reason: str, org_id: str | None) -> None:
    """Add MICRO_USD (millionths of a dollar, may be negative) to the balance of ACCOUNT."""
    settings = configuration.load()
    with database(settings) as where:
        where.migrate()

        async def adjust() -> int:
            async with core(settings, where) as parts:
                org = await organisation_of(parts, org_id)
                accounts = CreditAccounts(parts.context)
                await accounts.adjust(org, account, micro_usd=micro_usd, reason=reason)
                return (await accounts.books(org, account)).credits.balance

        try:
            balance = asyncio.run(adjust())
        except Refusal as refusal:
            raise click.ClickException(refusal.detail) from refusal
    click.echo(f"The balance is {usd(balance)} now.")
