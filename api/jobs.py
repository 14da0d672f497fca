"""Composition root of `trunkline projections …`: what each job on builds needs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from adapters.postgres.connections import Connection, connected
from adapters.postgres.verification import first_broken_log
from api.main import PROJECTIONS, Database
from api.rebuilding import RebuildJob, comparison_of
from migrations.builds import Workshop
from projections.engine.builds import Build
from projections.engine.comparison import TableComparison
from projections.engine.jobs import JobError
from projections.engine.projection import Projection
from projections.engine.rebuild import Report
from projections.engine.retired import drop_build, drop_retired


@asynccontextmanager
async def as_projector(where: Database) -> AsyncIterator[Connection]:
    """A connection of its own that sees all organisations and may write projections."""
    async with connected(where.url, "trunkline_project") as connection:
        yield connection


async def rebuild(
    where: Database,
    projection: Projection,
    *,
    workers: int,
    report: Callable[[Report], None],
    afresh: bool = False,
) -> Build:
    """Fill a new build beside the one that serves, with processes of its own. Raises JobError."""
    # The workers' processes load what this names, so it is nothing of this file or main.py.
    connect = partial(connected, where.url, "trunkline_project")
    workshop = Workshop(where.migration_url)
    job = RebuildJob(projection, workshop, connect, partial(_verify_logs, where.url))
    return await job.run(workers=workers, report=report, afresh=afresh)


async def _verify_logs(url: str) -> None:
    found = await first_broken_log(url)
    if found is not None:
        org, broken = found
        raise JobError(f"Organisation {org.id}: {broken} Nothing was switched.")


def compare(where: Database, projection: Projection) -> AsyncIterator[TableComparison]:
    """The live build and the one that is ready, else the previous one. Raises JobError."""
    return comparison_of(projection, partial(as_projector, where))


async def drop(where: Database, name: str | None) -> list[Build]:
    """Drop a build by its name, or all of versions that the code does not know. Raises JobError."""
    workshop = Workshop(where.migration_url)
    async with as_projector(where) as connection:
        if name is None:
            return await drop_retired(connection, workshop, PROJECTIONS)
        return [await drop_build(connection, workshop, PROJECTIONS, name)]
