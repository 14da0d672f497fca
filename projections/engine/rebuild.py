"""Fills a new build of a projection beside the one that serves (E3).

What is left to do stands in the database (pieces.py), so a rebuild that was ended, even by
`kill -9`, is gone on with by the same command; but not one that was filled from a damaged log. At
its end the build is `ready`: runners follow it, and it may be compared and switched to.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from projections.engine import pieces
from projections.engine.builds import Build, builds_of
from projections.engine.jobs import JobError, build_in, take_turn
from projections.engine.pieces import Progress
from projections.engine.projection import Connection, Projection, filling_of

POLL_SECONDS = 0.1
# How long somebody else may hold a row that the job itself wants to write.
HELD_SECONDS_MAX = 30.0
# A build that is so close behind the log is left to the runners.
BEHIND_EVENTS_MAX = 5_000

_GOES_ON = (
    "When the cause is mended, run the same command again: it goes on from there, or with --afresh"
    " from the beginning."
)
_BE_PATIENT = "SELECT set_config('lock_timeout', %s, false)"
_THROWN_AWAY = (
    "What was filled is thrown away: when the log is mended, run the same command again; it begins"
    " afresh."
)
_BUILDS = (
    "SELECT coalesce(max(build), 0) + 1 FROM trunkline.builds"
    " WHERE projection = %s AND version = %s"
)
_IS_COMPLETE = "SELECT complete FROM trunkline.builds WHERE schema = %s"
_BEHIND = """
SELECT coalesce(sum(h.position - coalesce(c.position, 0)), 0)::bigint
  FROM trunkline.heads h
  LEFT JOIN trunkline.checkpoints c
    ON c.projection = %(projection)s AND c.version = %(version)s AND c.build = %(build)s
   AND c.org = h.org
"""
_READY = """
UPDATE trunkline.builds SET state = 'ready', ready_at = now()
 WHERE projection = %(projection)s AND version = %(version)s AND build = %(build)s
"""


class Workshop(Protocol):
    """Makes, completes and drops builds, as their owner."""

    def make(self, projection: Projection, number: int, *, tables: str, complete: bool) -> None:
        """Make an empty build that is to be filled."""

    def complete(self, schema: str, indexes: str) -> None:
        """Give bare tables their keys, indexes and row security."""

    def analyze(self, schema: str) -> None:
        """Let the planner know what the tables hold."""

    def drop(self, schema: str, *, live_too: bool = False) -> None:
        """Remove a build, a live one only where that is asked for."""


class WorkerProcess(Protocol):
    """A process that runs `rebuild_worker.Worker.work`."""

    @property
    def exitcode(self) -> int | None:
        """What it ended with."""

    def is_alive(self) -> bool:
        """Whether it still works."""

    def terminate(self) -> None:
        """End it; what it has in hand is undone."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is told while it runs."""

    build: str
    step: str
    events_done: int
    events: int


StartWorker = Callable[[Build], WorkerProcess]


class Rebuild:
    """One rebuild, on a connection of role trunkline_project that is its own."""

    def __init__(
        self,
        connection: Connection,
        projection: Projection,
        workshop: Workshop,
        start_worker: StartWorker,
        report: Callable[[Report], None],
        verify_logs: Callable[[], Awaitable[None]],
    ) -> None:
        """`verify_logs` raises JobError where a log is not what was written."""
        self._connection = connection
        self._projection = projection
        self._workshop = workshop
        self._start_worker = start_worker
        self._report = report
        self._verify_logs = verify_logs

    async def run(self, *, workers: int, afresh: bool = False) -> Build:
        """Begin a build, or go on with the one that was begun, until it is ready. Raises JobError.

        The previous build, and one that was ready and never switched to, make room for a new one;
        `afresh`, so does the one that was begun, and where it may be of a damaged log.
        """
        await take_turn(self._connection, self._projection)
        await self._connection.execute(_BE_PATIENT, [f"{HELD_SECONDS_MAX}s"])
        build = await build_in(self._connection, self._projection, "building")
        if build is None or afresh or await self._is_doubtful(build):
            build = await self._begin()
        await pieces.forget_trouble(self._connection, build)
        if not (await pieces.progress(self._connection, build)).pieces:
            await self._plan(build)
        async with self._verified(build):
            await self._work_on(build, workers)
            await self._catch_up(build, workers)
        self._tell(build, "analyzing", await pieces.progress(self._connection, build))
        await asyncio.to_thread(self._workshop.analyze, build.schema)
        await self._connection.execute(_READY, build.key)
        return build

    @asynccontextmanager
    async def _verified(self, build: Build) -> AsyncIterator[None]:
        """What is built of a changed event would be as wrong as it looks right. Raises JobError."""
        verifying = asyncio.ensure_future(self._verify_logs())
        try:
            yield
            self._tell(build, "verifying", await pieces.progress(self._connection, build))
            await self._end(verifying, build)
        finally:
            verifying.cancel()
            await asyncio.gather(verifying, return_exceptions=True)

    async def _end(self, verifying: Awaitable[None], build: Build) -> None:
        try:
            await verifying
        except JobError as broken:
            await pieces.doubt(self._connection, build)
            raise JobError(f"{broken} {_THROWN_AWAY}") from broken

    async def _is_doubtful(self, build: Build) -> bool:
        self._tell(build, "checking", Progress())
        return await pieces.is_doubtful(self._connection, build)

    async def _begin(self) -> Build:
        projection = self._projection
        # Before any is dropped: who still follows that one must not take the new one for it.
        cursor = await self._connection.execute(_BUILDS, [projection.name, projection.version])
        (number,) = await cursor.fetchone() or (1,)
        for old in await builds_of(self._connection, projection):
            if old.state != "live":
                await asyncio.to_thread(self._workshop.drop, old.schema)
        filling = filling_of(projection)
        tables = filling.tables if filling else projection.tables
        self._workshop.make(projection, number, tables=tables, complete=filling is None)
        return Build(projection.name, projection.version, number, "building")

    async def _plan(self, build: Build) -> None:
        self._tell(build, "planning", Progress())
        cursor = await self._connection.execute(_IS_COMPLETE, [build.schema])
        is_complete = await cursor.fetchone() == (True,)
        filling = None if is_complete else filling_of(self._projection)
        async with self._connection.transaction():
            await pieces.plan(self._connection, build, filling)

    async def _work_on(self, build: Build, workers: int) -> None:
        processes = [self._start_worker(build) for _ in range(workers)]
        try:
            while any(process.is_alive() for process in processes):
                await self._look(build)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            for process in processes:
                process.terminate()
        if await self._look(build) is not None:
            codes = ", ".join(str(process.exitcode) for process in processes)
            raise JobError(
                f"The workers of {build.schema} ended before their work did (exit codes {codes})."
                " Was the database away? Run the same command again: it goes on where they stopped."
            )

    async def _look(self, build: Build) -> pieces.Work | None:
        """See how far it is and what is next; the tables get their indexes when they are full."""
        progress = await pieces.progress(self._connection, build)
        if progress.trouble is not None:
            next_step = _THROWN_AWAY if progress.is_spoiled else _GOES_ON
            raise JobError(
                f"{build.schema} cannot be filled: {progress.trouble}. Nothing was switched."
                f" {next_step}"
            )
        work = await pieces.next_work(self._connection, build)
        if work != "fill":
            await self._complete(build)
        self._tell(build, work or "done", progress)
        return work

    async def _complete(self, build: Build) -> None:
        """Bare tables get their indexes once they are full."""
        cursor = await self._connection.execute(_IS_COMPLETE, [build.schema])
        filling = filling_of(self._projection)
        if await cursor.fetchone() == (True,) or filling is None:
            return
        self._tell(build, "indexing", await pieces.progress(self._connection, build))
        await asyncio.to_thread(self._workshop.complete, build.schema, filling.indexes)

    async def _catch_up(self, build: Build, workers: int) -> None:
        """Follow what the log got meanwhile, until the rest is little."""
        while await self._behind(build) > BEHIND_EVENTS_MAX:
            await pieces.follow_again(self._connection, build)
            await self._work_on(build, workers)

    async def _behind(self, build: Build) -> int:
        row = await (await self._connection.execute(_BEHIND, build.key)).fetchone()
        return row[0] if row else 0

    def _tell(self, build: Build, step: str, progress: Progress) -> None:
        self._report(
            Report(
                build=build.schema,
                step=step,
                events_done=progress.events_done,
                events=progress.events,
            )
        )
