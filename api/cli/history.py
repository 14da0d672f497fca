"""`trunkline history`: what happened to one thing, in words, or how it stood at a moment."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
import msgspec
from rich.console import Console

from api import settings as configuration
from api.cli.words import Messages, sentence, without_sealed
from api.commands.credits import CreditAccounts
from api.main import Core, core, database
from domain import ledger
from domain.aggregates import AGGREGATES, aggregate_of
from domain.event import Recorded, UndecodedEvent, decode_if_known
from domain.ports import Org
from domain.refusal import NotFound

console = Console(highlight=False)


@click.command("history", short_help="Show the history of one stream (channel, chat, ledger …).")
@click.argument("subject")
@click.option("--as-of", help="A position or a time: show the state as it was then.")
@click.option("--org", "org_id", help="Organisation id; needed when there are several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: events, or the state.")
def history_command(subject: str, as_of: str | None, org_id: str | None, as_json: bool) -> None:
    """Show the history of SUBJECT: organisation, channel:ID, chat:ID, credits:ACCOUNT, …"""
    if subject.partition(":")[0] not in AGGREGATES:
        known = ", ".join(sorted(AGGREGATES))
        raise click.BadParameter(f"{subject!r} is none of {known}", param_hint="SUBJECT")
    settings = configuration.load()
    with database(settings) as where:
        where.migrate()

        async def read() -> tuple[list[Recorded], int]:
            async with core(settings, where, only_reads=True) as parts:
                log, org = parts.context.log, await organisation_of(parts, org_id)
                stream = await _stream(parts, org, subject)
                recorded = await log.read_stream(org, stream, read=decode_if_known)
                return recorded, await log.position(org)

        try:
            recorded, head = asyncio.run(read())
        except NotFound as refusal:
            raise click.ClickException(refusal.detail) from refusal
    if not recorded:
        raise click.ClickException(f"There is no {subject} in this organisation.")
    if as_of is None:
        _show_events(recorded, as_json=as_json)
    else:
        _show_state(subject, _until(recorded, as_of, head=head), as_json=as_json)


async def _stream(parts: Core, org: Org, subject: str) -> str:
    """The stream that is meant: a ledger may be named after any account that it pays for."""
    kind, _, account_id = subject.partition(":")
    if kind != "credits":
        return subject
    books = await CreditAccounts(parts.context).books(org, account_id)
    return ledger.stream_of(books.business_account)


async def organisation_of(parts: Core, org_id: str | None) -> Org:
    """The organisation of this id; without one, the only one there is."""
    known = await parts.directory.organisation_ids()
    if not known:
        raise click.ClickException(
            "There is no organisation; `trunkline org create NAME` makes one."
        )
    if org_id is None and len(known) == 1:
        org_id = known[0]
    if org_id is None:
        listed = "\n  ".join(known)
        raise click.ClickException(f"Say which organisation with --org. There are:\n  {listed}")
    org = await parts.directory.organisation(org_id)
    if org is None:
        raise click.ClickException(f"There is no organisation {org_id}.")
    return org


def _until(recorded: Sequence[Recorded], as_of: str, *, head: int) -> list[Recorded]:
    if as_of.isdecimal():
        if int(as_of) > head:
            message = f"the organisation's log ends at position {head}"
            raise click.BadParameter(message, param_hint="--as-of")
        return [each for each in recorded if each.position <= int(as_of)]
    example = "such as 2026-11-21T12:00:00Z"
    try:
        moment = datetime.fromisoformat(as_of)
    except ValueError as error:
        message = f"must be a position or a time {example}"
        raise click.BadParameter(message, param_hint="--as-of") from error
    if moment.tzinfo is None:
        raise click.BadParameter(f"must be a time with its zone, {example}", param_hint="--as-of")
    return [each for each in recorded if each.recorded_at <= moment]


def _show_events(recorded: Sequence[Recorded], *, as_json: bool) -> None:
    messages = Messages()
    for each in recorded:
        words = sentence(messages.named(each.event))
        if as_json:
            click.echo(msgspec.json.encode(_line(each, words)).decode())
        else:
            at = each.recorded_at.strftime("%Y-%m-%d %H:%M:%S")
            console.print(f"[dim]{each.position:>6}  {at}[/dim]  {words}", soft_wrap=True)


def _line(each: Recorded, words: str) -> dict[str, Any]:
    unknown = each.event if isinstance(each.event, UndecodedEvent) else None
    return {
        "position": each.position,
        "stream": each.stream,
        "version": each.version,
        "recorded_at": each.recorded_at,
        "type": unknown.type if unknown else each.event.stored_type,
        # Which parts of it are personal is not known either.
        "data": None if unknown else without_sealed(each.event),
        "words": words,
    }


def _show_state(subject: str, recorded: Sequence[Recorded], *, as_json: bool) -> None:
    if not recorded:
        raise click.ClickException(f"{subject} did not exist then.")
    state, evolve = aggregate_of(subject)
    for each in recorded:
        if isinstance(each.event, UndecodedEvent):
            raise click.ClickException(
                f"What {each.event.type}/{each.event.version} at position {each.position} changes,"
                f" a newer Trunkline knows; up to --as-of {each.position - 1} this one can tell."
            )
        state = evolve(state, each.event)
    shown = {
        "position": recorded[-1].position,
        "recorded_at": msgspec.to_builtins(recorded[-1].recorded_at),
        "state": without_sealed(state),
    }
    if as_json:
        click.echo(json.dumps(shown, ensure_ascii=False))
    else:
        console.print_json(data=shown)
