"""`trunkline projections …`: rebuild beside the live build, compare, switch, go back (E3)."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from api import settings as configuration
from api.jobs import as_projector, compare, drop, rebuild
from api.main import PROJECTIONS, Database, database
from projections.engine.builds import Build
from projections.engine.comparison import TableComparison
from projections.engine.projection import Projection, filling_of
from projections.engine.rebuild import Report
from projections.engine.standing import Standing, parked, standings
from projections.engine.switch import roll_back, switch

# Without a terminal, progress is a line so often.
LINE_SECONDS = 1.0

console = Console(highlight=False)


def _named(_context: click.Context, _parameter: click.Parameter, name: str) -> Projection:
    projections = {each.name: each for each in PROJECTIONS}
    if name not in projections:
        raise click.BadParameter(f"{name!r} is none of {', '.join(projections)}")
    return projections[name]


_name = click.argument("projection", metavar="NAME", callback=_named)


@click.group("projections", short_help="Read models: rebuild, compare, switch, go back.")
def projections_group() -> None:
    """Read models: where they stand, rebuilding them, comparing, switching and going back."""


@projections_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_command(as_json: bool) -> None:
    """List the projections and their builds."""
    with database(configuration.load()) as where:
        where.migrate()
        found = asyncio.run(_standings(where))[0]
    listed = [_listed(projection, found) for projection in PROJECTIONS]
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return
    table = _table("Projection", "Version", "Live", "Other builds", "Rebuilt")
    for each in listed:
        others = [f"{b['build']} {b['state']}" for b in each["builds"] if b["state"] != "live"]
        live, rebuilt = str(each["live"] or ""), each["rebuilt"]
        table.add_row(each["projection"], str(each["version"]), live, ", ".join(others), rebuilt)
    console.print(table)


def _listed(projection: Projection, found: list[Standing]) -> dict[str, Any]:
    builds = [each for each in found if each.projection == projection.name]
    return {
        "projection": projection.name,
        "version": projection.version,
        "live": next((each.build for each in builds if each.state == "live"), None),
        "builds": [{"build": each.build, "state": each.state} for each in builds],
        "rebuilt": "from streams" if filling_of(projection) else "from events",
    }


@projections_group.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status_command(as_json: bool) -> None:
    """Show how far every build is behind the log, and what is parked."""
    with database(configuration.load()) as where:
        where.migrate()
        builds, waiting = asyncio.run(_standings(where))
    if as_json:
        status = {"builds": builds, "parked": waiting}
        click.echo(msgspec.json.format(msgspec.json.encode(status), indent=2).decode())
        return
    table = _table("Build", "State", "Organisations", "Events behind", "Seconds behind", "Parked")
    for each in builds:
        table.add_row(
            f"{each.projection}_{each.version}_{each.build}",
            each.state,
            str(each.orgs),
            str(each.events_behind),
            f"{each.seconds_behind:.1f}",
            str(each.parked),
        )
    console.print(table)
    for org in waiting:
        console.print(
            f"{org.projection}_{org.version}_{org.build} waits in organisation {org.organisation}"
            f" before position {org.position} since {org.since:%Y-%m-%d %H:%M:%S} ({org.error}).",
            soft_wrap=True,
        )


async def _standings(where: Database) -> tuple[list[Standing], list[Any]]:
    async with as_projector(where) as connection:
        return (
            await standings(connection, PROJECTIONS),
            list(await parked(connection, PROJECTIONS)),
        )


@projections_group.command("rebuild", short_help="Fill a new build of NAME beside the live one.")
@_name
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that share the work, also within one organisation where streams allow it.",
)
@click.option("--afresh", is_flag=True, help="Drop what was begun instead of going on with it.")
def rebuild_command(projection: Projection, workers: int, afresh: bool) -> None:
    """Fill a new build of NAME beside the live one, or go on with the one that was begun.

    Nothing is switched. A previous build, or one that was ready, makes room for it.
    """
    with database(configuration.load()) as where:
        where.migrate()
        began = time.monotonic()
        with _Shown() as shown:
            build = asyncio.run(
                rebuild(where, projection, workers=workers, report=shown.report, afresh=afresh)
            )
        seconds = round(time.monotonic() - began, 3)
    _tell(
        {"build": build.schema, "state": "ready", "seconds": seconds},
        f"{build.schema} is ready after {seconds:.1f} s. Compare it with `trunkline projections"
        f" diff {projection.name}`, then `trunkline projections switch {projection.name}`.",
    )


class _Shown:
    """Progress: a bar on a terminal, else JSON lines."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)
        self._step = ""
        self._told_at = 0.0

    def __enter__(self) -> "_Shown":
        if console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self._bar.stop()

    def report(self, report: Report) -> None:
        """Show it, if it is news."""
        if console.is_terminal:
            text = f"{report.build} {report.step}"
            self._bar.update(
                self._task,
                description=text,
                completed=report.events_done,
                total=report.events or None,
            )
        elif report.step != self._step or time.monotonic() - self._told_at >= LINE_SECONDS:
            self._step, self._told_at = report.step, time.monotonic()
            click.echo(msgspec.json.encode(report))


@projections_group.command("diff", short_help="Compare the live build of NAME with the other.")
@_name
def diff_command(projection: Projection) -> None:
    """Compare the live build of NAME with the one that is ready, else with the previous one.

    At the same position, by count and digest of every table, then row by row. Exit code 1 where
    they differ.
    """
    with database(configuration.load()) as where:
        where.migrate()
        same = asyncio.run(_diff(where, projection))
    sys.exit(0 if same else 1)


async def _diff(where: Database, projection: Projection) -> bool:
    rows = differing = orgs = 0
    last = None
    async for table in compare(where, projection):
        orgs += table.organisation != last
        last = table.organisation
        rows += table.live_rows
        differing += not table.equal
        if not console.is_terminal:
            click.echo(msgspec.json.encode(table))
        elif not table.equal:
            _show_difference(table)
    summary = {"organisations": orgs, "rows": rows, "tables_that_differ": differing}
    verdict = f"Tables that differ: {differing}" if differing else "Nothing differs"
    _tell(summary, f"{verdict}. Rows compared: {rows}; organisations: {orgs}.")
    return not differing


def _show_difference(table: TableComparison) -> None:
    console.print(
        f"[bold]{table.table}[/bold] of organisation {table.organisation} at position"
        f" {table.position}: {table.live_rows} rows live, {table.other_rows} rebuilt,"
        f" {table.differing_rows} differ"
    )
    for each in table.differences:
        key = " ".join(f"{name}={value}" for name, value in each.key.items())
        if each.in_live and each.in_other:
            what = "differs in " + ", ".join(each.columns)
        else:
            what = "is only live" if each.in_live else "is only rebuilt"
        console.print(f"  {key} {what}")
        for event in each.events:
            console.print(f"      {event.position:>8}  {event.type}  {event.stream}")
    if table.differing_rows > len(table.differences):
        console.print(f"  … and {table.differing_rows - len(table.differences)} more")


@projections_group.command("switch", short_help="Let the build of NAME that is ready serve.")
@_name
def switch_command(projection: Projection) -> None:
    """Let the build of NAME that is ready serve; the live one stays as the previous."""
    _exchange(projection, switch)


@projections_group.command("rollback", short_help="Let the previous build of NAME serve again.")
@_name
def rollback_command(projection: Projection) -> None:
    """Let the previous build of NAME serve again; the live one is ready once more."""
    _exchange(projection, roll_back)


@projections_group.command("drop", short_help="Drop BUILD, or all that are retired.")
@click.argument("build", metavar="BUILD", required=False)
@click.option(
    "--retired", is_flag=True, help="All builds of versions that this code does not know."
)
def drop_command(build: str | None, retired: bool) -> None:
    """Drop BUILD, such as inbox_1_2: one that is ready, previous or unfinished, or retired.

    After an upgrade, builds of the old version stay, so that old servers and new ones can run side
    by side. Drop them when the last old server has ended. What serves is never dropped.
    """
    if (build is None) != retired:
        raise click.UsageError("Name one BUILD, or say --retired.")
    with database(configuration.load()) as where:
        where.migrate()
        dropped = asyncio.run(drop(where, build))
    for each in dropped:
        _tell({"build": each.schema, "state": "dropped"}, f"{each.schema} was dropped.")
    if not dropped:
        _tell({"dropped": 0}, "Nothing is retired.")


def _exchange(projection: Projection, exchange: Callable[..., Any]) -> None:
    async def run(where: Database) -> Build:
        async with as_projector(where) as connection:
            build: Build = await exchange(connection, projection)
            return build

    with database(configuration.load()) as where:
        where.migrate()
        build = asyncio.run(run(where))
    _tell({"build": build.schema, "state": "live"}, f"{build.schema} is live.")


def _tell(line: dict[str, Any], text: str) -> None:
    if console.is_terminal:
        console.print(text, soft_wrap=True)  # A command in it can be copied.
    else:
        click.echo(json.dumps(line))


def _table(name: str, *titles: str) -> Table:
    """What stands in the first column is typed into other commands, so it is never shortened."""
    table = Table(box=None, header_style="bold")
    table.add_column(name, no_wrap=True)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
