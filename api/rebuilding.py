"""Rebuilds in worker processes, which load this and nothing of `main`; and comparisons (E3)."""

import asyncio
import gc
import multiprocessing
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from multiprocessing import resource_tracker

import psycopg

import domain.every_event  # noqa: F401 - A log holds any, and a worker's process loads only this.
from projections.engine.builds import Build
from projections.engine.comparison import Comparison, TableComparison, builds_to_compare
from projections.engine.jobs import JobError
from projections.engine.projection import Connection, Projection
from projections.engine.rebuild import HELD_SECONDS_MAX, Rebuild, Report, Workshop
from projections.engine.rebuild_worker import PieceFailed, Worker

# Opens a connection of role trunkline_project; it can be pickled, to be handed to processes.
Connect = Callable[[], AbstractAsyncContextManager[Connection]]


class RebuildJob:
    """Fills a new build beside the one that serves."""

    def __init__(
        self,
        projection: Projection,
        workshop: Workshop,
        connect: Connect,
        verify_logs: Callable[[], Awaitable[None]],
    ) -> None:
        """`verify_logs` raises JobError where a log is not what was written."""
        self._projection = projection
        self._workshop = workshop
        self._connect = connect
        self._verify_logs = verify_logs
        self._processes = multiprocessing.get_context("spawn")

    async def run(
        self, *, workers: int, report: Callable[[Report], None], afresh: bool = False
    ) -> Build:
        """Until it is ready, with so many processes. Raises JobError."""
        try:
            async with self._connect() as connection:
                rebuild = Rebuild(
                    connection,
                    self._projection,
                    self._workshop,
                    self._start_worker,
                    report,
                    self._verify_logs,
                )
                return await rebuild.run(workers=workers, afresh=afresh)
        except psycopg.errors.LockNotAvailable:
            raise JobError(
                "Somebody has held a row of this rebuild, in `builds` or `pieces`, for more than"
                f" {HELD_SECONDS_MAX:.0f} seconds. Nothing was switched; end that transaction"
                " (pg_stat_activity names it) and run the same command again: it goes on where it"
                " stopped."
            ) from None
        except psycopg.OperationalError as error:
            raise JobError(
                "The database went away, or refuses to serve. Nothing was switched; when it is"
                " back, run the same command again: it goes on where it stopped."
            ) from error

    def _start_worker(self, build: Build) -> multiprocessing.process.BaseProcess:
        arguments = (self._connect, self._projection, build)
        process = self._processes.Process(target=_work, args=arguments, daemon=True)
        with _without_interruptions():
            process.start()
        return process


async def comparison_of(projection: Projection, connect: Connect) -> AsyncIterator[TableComparison]:
    """The live build and the one that is ready, else the previous one. Raises JobError."""
    async with connect() as holder, connect() as snapshot:
        builds = await builds_to_compare(holder, projection)
        comparison = Comparison(projection, builds, holder=holder, snapshot=snapshot)
        async for table in comparison.run():
            yield table


@contextmanager
def _without_interruptions() -> Iterator[None]:
    """Ctrl-C waits; and what is started here never hears of it, from its first instruction on.

    Who was interrupted ends its workers.
    """
    # Python's own process, started with the first worker, lets signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connect: Connect, projection: Projection, build: Build) -> None:
    """What a worker's process does; what went wrong is written in the database, or is its fault."""
    # Rows live for one batch and refer to each other in no circles.
    gc.freeze()
    gc.set_threshold(100_000)
    parent = multiprocessing.parent_process()

    async def work() -> None:
        async with connect() as connection, connect() as reader:
            worker = Worker(connection, reader, projection, build)
            await worker.work(is_wanted=lambda: parent is None or parent.is_alive())

    try:
        asyncio.run(work())
    except (PieceFailed, psycopg.OperationalError):
        sys.exit(1)
