"""Feeds the log to the builds of projections: in order, exactly once, each at its own pace.

Any number of runners may run: they share the work org by org (see batches.py).
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from time import monotonic

import msgspec
import psycopg

from domain.ports import Wakener
from projections.engine.batches import GapInLog, Place, advance
from projections.engine.builds import Build, builds_of
from projections.engine.projection import Connection, Projection

BATCH_EVENTS_MAX = 5_000
# Rings name who has grown; all orgs are looked at this often.
POLL_SECONDS = 1.0
# Who is not watched leaves the beginning to those who are, and takes more at once.
PATIENCE_SECONDS = 0.01
# How often it is asked which builds there are.
BUILDS_SECONDS = 0.5
# Whoever freezes within a batch would keep its organisation from all others. A batch that takes
# longer by itself, as where a service joins an account of a million chats, gets twice as long next.
BATCH_SECONDS_MAX = 30
# While the database is away.
DATABASE_PAUSE_SECONDS = 1.0
# How long an org whose event a projection cannot take waits for the next try.
PARKED_SECONDS_FIRST = 1.0
PARKED_SECONDS_MAX = 300.0

_BEHIND = """
SELECT h.org, coalesce(c.position, 0), h.position
  FROM trunkline.heads h
  LEFT JOIN trunkline.checkpoints c
    ON c.projection = %(projection)s AND c.version = %(version)s AND c.build = %(build)s
   AND c.org = h.org
 WHERE h.position <> coalesce(c.position, 0)
   AND (%(org)s::int IS NULL OR h.org = %(org)s)
 ORDER BY h.org
"""
# Where there is one: PostgreSQL 17 and later.
_LIMIT_TRANSACTIONS = """
SELECT set_config(name, %s, false) FROM pg_settings WHERE name = 'transaction_timeout'
"""
_PARK = """
INSERT INTO trunkline.parked (projection, version, build, org, position, error)
VALUES (%(projection)s, %(version)s, %(build)s, %(org)s, %(position)s, %(error)s)
ON CONFLICT (projection, version, build, org) DO UPDATE
   SET position = excluded.position, error = excluded.error
"""

# SQLSTATEs, or their classes, that tell of the server and not of the work: connection,
# serialisation and deadlock, resources, shutdown, system; and a database that can only be read, as
# one that is no longer the primary.
_SERVER_TROUBLE = ("08", "40", "53", "57", "58", "25006")

# Makes a connection of role trunkline_project.
Connect = Callable[[], AbstractAsyncContextManager[Connection]]

logger = logging.getLogger(__name__)


class _Parked(msgspec.Struct):
    """An org that a projection failed on. Each process finds out and waits by itself."""

    limit: int  # The batches are cut down until the event that cannot be taken stands alone.
    pause_seconds: float
    until: float = 0.0


class ProjectionRunner:
    """Follows every build that is complete, until it is cancelled."""

    def __init__(
        self,
        connect: Connect,
        projections: Sequence[Projection],
        bell: Callable[[], Wakener],
    ) -> None:
        """Each build gets a connection and a bell of its own; one more connection finds builds."""
        self._connect = connect
        self._projections = {(each.name, each.version): each for each in projections}
        self._bell = bell
        self._followers: dict[str, _Follower] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Follow the log with every build; they do not wait for each other."""
        outage = _Outage("Looking for builds")
        async with asyncio.TaskGroup() as tasks:
            while True:
                with outage.survived():
                    async with self._connect() as connection:
                        await self._keep_up(connection, tasks, outage)
                await asyncio.sleep(DATABASE_PAUSE_SECONDS)

    async def _keep_up(
        self, connection: Connection, tasks: asyncio.TaskGroup, outage: "_Outage"
    ) -> None:
        while True:
            builds = await builds_of(connection, *self._projections.values())
            outage.end()
            # What is being filled is the rebuild's.
            complete = {build.schema: build for build in builds if build.state != "building"}
            self._follow(complete, tasks)
            await asyncio.sleep(BUILDS_SECONDS)

    def _follow(self, builds: dict[str, Build], tasks: asyncio.TaskGroup) -> None:
        for schema in self._followers.keys() - builds.keys():
            del self._followers[schema]
            self._tasks.pop(schema).cancel()
        new = [
            (self._projections[build.projection, build.version], build)
            for schema, build in builds.items()
            if schema not in self._followers
        ]
        # Those that people look at have their bells first, and so are rung first. A build that
        # comes later is rung last, which costs it a tenth of a millisecond.
        for projection, build in sorted(new, key=lambda each: not each[0].is_watched):
            follower = _Follower(self._connect, projection, build, self._bell())
            task = tasks.create_task(follower.follow(), name=f"build {build.schema}")
            self._followers[build.schema], self._tasks[build.schema] = follower, task


class _Follower:
    """One build on its way through the log.

    It keeps its connection, on which its statements stay prepared: planning those of a lone event
    takes longer than running them.
    """

    def __init__(
        self, connect: Connect, projection: Projection, build: Build, bell: Wakener
    ) -> None:
        self.build = build
        self._connect = connect
        self._projection = projection
        self._bell = bell
        self._parked: dict[int, _Parked] = {}
        self._outage = _Outage(f"Following the log with {build.schema}")
        self._batch_seconds_max = BATCH_SECONDS_MAX

    async def follow(self) -> None:
        """Go on for ever, whatever happens."""
        while True:
            with self._outage.survived():
                async with self._connect() as connection:
                    await connection.execute(_LIMIT_TRANSACTIONS, [f"{self._batch_seconds_max}s"])
                    await self._follow(connection)
            await asyncio.sleep(DATABASE_PAUSE_SECONDS)

    async def _follow(self, connection: Connection) -> None:
        look_at_all = 0.0
        unfinished: set[int] = set()
        while True:
            grown = self._bell.grown()
            orgs = None if grown is None else unfinished | grown
            if orgs is None or monotonic() >= look_at_all:
                orgs, look_at_all = None, monotonic() + POLL_SECONDS
            unfinished = await self._round(connection, orgs)
            self._outage.end()
            if not unfinished:  # Parked organisations wait so long, too.
                await self._bell.wait(max(0.0, look_at_all - monotonic()))
                if not self._projection.is_watched:
                    await asyncio.sleep(PATIENCE_SECONDS)

    async def _round(self, connection: Connection, orgs: Collection[int] | None) -> set[int]:
        """One batch for each of these orgs that is ahead. Returns those that may have more."""
        if orgs is None:
            orgs = [place.org for place in await self._behind(connection)]
        unfinished = set()
        for org in orgs:
            parked = self._parked.get(org)
            if (parked is None or parked.until <= monotonic()) and await self._try(connection, org):
                unfinished.add(org)
        return unfinished

    async def _behind(self, connection: Connection, org: int | None = None) -> list[Place]:
        """Where all orgs are that are ahead, or this one if it is."""
        cursor = await connection.execute(_BEHIND, {**self.build.key, "org": org})
        return [Place(*row) for row in await cursor.fetchall()]

    async def _try(self, connection: Connection, org: int) -> bool:
        """One batch; an org whose events cannot be taken, or are missing, holds nobody else up."""
        parked = self._parked.get(org)
        limit = parked.limit if parked else BATCH_EVENTS_MAX
        began = monotonic()
        try:
            reached = await advance(connection, self._projection, self.build, org, limit=limit)
        except Exception as error:
            if monotonic() - began >= self._batch_seconds_max:
                self._batch_seconds_max *= 2
            if is_server_trouble(error):
                raise
            return await self._park(connection, org, limit, error)
        self._parked.pop(org, None)
        return reached is not None and reached.behind > 0

    async def _park(self, connection: Connection, org: int, limit: int, error: Exception) -> bool:
        """Find the event that cannot be taken, then wait in front of it."""
        places = await self._behind(connection, org)
        if not places:
            return False
        (place,) = places
        size = min(limit, place.behind)
        parked = self._parked.setdefault(org, _Parked(limit, PARKED_SECONDS_FIRST))
        if size > 1:
            parked.limit = size // 2
            return True
        parked.until = monotonic() + parked.pause_seconds
        parked.pause_seconds = min(parked.pause_seconds * 2, PARKED_SECONDS_MAX)
        if await self._note_parked(connection, place, error):
            # No message and no traceback: they may hold what a customer wrote.
            logger.log(
                logging.CRITICAL if isinstance(error, GapInLog) else logging.ERROR,
                "A projection cannot take an event; its organisation is parked",
                extra={
                    "projection": self.build.projection,
                    "org": org,
                    "position": place.position + 1,
                    "error": type(error).__name__,
                },
            )
        return False

    async def _note_parked(self, connection: Connection, place: Place, error: Exception) -> bool:
        """Write it down where everybody sees it; False if the build itself is gone."""
        parameters = {
            **self.build.key,
            "org": place.org,
            "position": place.position + 1,
            "error": type(error).__name__,
        }
        try:
            await connection.execute(_PARK, parameters)
        except psycopg.errors.ForeignKeyViolation:
            return False
        return True


class _Outage:
    """What keeps one loop from its work: said once, and once more when it is over."""

    def __init__(self, work: str) -> None:
        """`work`: what the loop cannot do meanwhile, as a log says it."""
        self._work = work
        self._is_on = False

    @contextmanager
    def survived(self) -> Iterator[None]:
        """All that the loop does on one connection."""
        try:
            yield
        except Exception as error:
            if not self._is_on:
                self._tell(error)
            self._is_on = True

    def _tell(self, error: Exception) -> None:
        name = type(error).__name__
        if is_server_trouble(error):
            reason = str(error).partition("\n")[0] or name
            logger.warning("%s waits for the database: %s", self._work, reason)
        else:
            # No message and no traceback: they may hold what a customer wrote.
            logger.error("%s fails, and is tried again: %s", self._work, name)

    def end(self) -> None:
        """The database has answered."""
        if self._is_on:
            logger.warning("%s goes on: the database is back", self._work)
        self._is_on = False


def is_server_trouble(error: BaseException) -> bool:
    """Whether an error tells of the database's server rather than of the work."""
    if isinstance(error, psycopg.InterfaceError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # From the pool, or from a connection that broke.
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_SERVER_TROUBLE)
