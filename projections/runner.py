"""Feeds the log to projections: in order, exactly once, each at its own pace.

An org's batch, its rows and the projection's checkpoint are one transaction. The checkpoint moves
by compare-and-set, so any number of runners may run: one wins each batch, the others look again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import msgspec
import psycopg
from psycopg_pool import AsyncConnectionPool

from domain.event import Recorded, decode
from domain.ports import Wakener
from projections.projection import Connection, Projection

BATCH_EVENTS_MAX = 5_000
POLL_SECONDS = 1.0
# While the database is away.
DATABASE_PAUSE_SECONDS = 1.0
# How long an org whose event a projection cannot take waits for the next try.
PARKED_SECONDS_FIRST = 1.0
PARKED_SECONDS_MAX = 300.0

_BEHIND = """
SELECT h.org, coalesce(c.position, 0) AS position, h.position AS head
  FROM trunkline.heads h
  LEFT JOIN trunkline.checkpoints c
    ON c.projection = %(projection)s AND c.version = %(version)s AND c.org = h.org
 WHERE h.position > coalesce(c.position, 0)
 ORDER BY h.org
"""
_EVENTS = """
SELECT position, stream, version, recorded_at, type, schema_version, data
  FROM trunkline.events
 WHERE org = %(org)s AND position > %(position)s
 ORDER BY position
 LIMIT %(limit)s
"""
_BEGIN = """
INSERT INTO trunkline.checkpoints (projection, version, org, position)
VALUES (%(projection)s, %(version)s, %(org)s, 0)
ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE trunkline.checkpoints SET position = %(next)s
 WHERE projection = %(projection)s AND version = %(version)s AND org = %(org)s
   AND position = %(position)s
"""

# Classes of SQLSTATE that tell of the server and not of the work: connection, serialisation and
# deadlock, resources, shutdown, system.
_SERVER_TROUBLE = ("08", "40", "53", "57", "58")

logger = logging.getLogger(__name__)


class GapInLog(Exception):
    """Positions do not follow each other. That must never be: nothing goes on behind a gap."""


class Backlog(msgspec.Struct, frozen=True):
    """An org that is ahead of a projection."""

    org: int
    position: int  # Of the projection.
    head: int


class _Parked(msgspec.Struct):
    """An org that a projection failed on. In memory only: a restart tries at once."""

    limit: int  # The batches are cut down until the event that cannot be taken stands alone.
    pause_seconds: float
    until: float = 0.0


class ProjectionRunner:
    """Runs projections until it is cancelled."""

    def __init__(
        self,
        pool: AsyncConnectionPool[Connection],
        projections: Sequence[Projection],
        bell: Callable[[], Wakener],
    ) -> None:
        """The pool's connections have role trunkline_project; `bell` makes one for each task."""
        self._followers = [_Follower(pool, projection, bell()) for projection in projections]

    async def run(self) -> None:
        """Follow the log with every projection; they do not wait for each other."""
        async with asyncio.TaskGroup() as tasks:
            for follower in self._followers:
                tasks.create_task(follower.follow(), name=f"projection {follower.name}")

    @property
    def stopped(self) -> list[str]:
        """The projections that found a gap in the log and follow no more."""
        return [follower.name for follower in self._followers if follower.is_stopped]


class _Follower:
    """One projection on its way through the log."""

    def __init__(
        self, pool: AsyncConnectionPool[Connection], projection: Projection, bell: Wakener
    ) -> None:
        self.name = projection.name
        self.is_stopped = False
        self._pool = pool
        self._projection = projection
        self._bell = bell
        self._parked: dict[int, _Parked] = {}
        self._named = {"projection": projection.name, "version": projection.version}

    async def follow(self) -> None:
        """Go on for ever; a gap in the log alone ends it."""
        while True:
            try:
                if not await self._round():
                    await self._bell.wait(POLL_SECONDS)  # Parked organisations wait so long, too.
            except GapInLog as gap:
                self.is_stopped = True
                logger.critical(
                    "A projection stopped at a gap in the log",
                    extra={"projection": self.name, "gap": str(gap)},
                )
                return
            except Exception as error:
                if not _is_server_trouble(error):
                    raise
                logger.warning(
                    "A projection waits for the database",
                    extra={"projection": self.name, "error": type(error).__name__},
                )
                await asyncio.sleep(DATABASE_PAUSE_SECONDS)

    async def _round(self) -> bool:
        """One batch for each org that is ahead. Returns whether there may be more at once."""
        worked = False
        for backlog in await self._behind():
            parked = self._parked.get(backlog.org)
            if parked is None or parked.until <= monotonic():
                worked |= await self._try(backlog)
        return worked

    async def _behind(self) -> list[Backlog]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_BEHIND, self._named)
            return [Backlog(*row) for row in await cursor.fetchall()]

    async def _try(self, backlog: Backlog) -> bool:
        """One batch; an org whose events cannot be taken is parked and holds nobody up."""
        parked = self._parked.get(backlog.org)
        limit = parked.limit if parked else BATCH_EVENTS_MAX
        try:
            await self._advance(backlog, limit=limit)
        except GapInLog:
            raise
        except Exception as error:
            if _is_server_trouble(error):
                raise
            return self._park(backlog, limit, error)
        self._parked.pop(backlog.org, None)
        return True

    async def _advance(self, backlog: Backlog, *, limit: int) -> None:
        """Fold the next batch of one org and move the checkpoint, or change nothing."""
        async with self._pool.connection() as connection, connection.transaction():
            rows = await _read(connection, backlog, limit)
            _require_no_gap(backlog, [row[0] for row in rows], limit)
            # First the checkpoint: another runner with the same batch waits here, and loses here.
            if not await self._move(connection, backlog, rows[-1][0]):
                return
            batch = [
                Recorded(position, stream, version, recorded_at, decode(name, schema, data))
                for position, stream, version, recorded_at, name, schema, data in rows
            ]
            await self._projection.apply(connection, backlog.org, batch)

    async def _move(self, connection: Connection, backlog: Backlog, position: int) -> bool:
        parameters = {
            **self._named,
            "org": backlog.org,
            "position": backlog.position,
            "next": position,
        }
        if backlog.position == 0:
            await connection.execute(_BEGIN, parameters)
        moved = await connection.execute(_MOVE, parameters)
        return moved.rowcount == 1

    def _park(self, backlog: Backlog, limit: int, error: Exception) -> bool:
        """Find the event that cannot be taken, then wait in front of it."""
        size = min(limit, backlog.head - backlog.position)
        parked = self._parked.setdefault(backlog.org, _Parked(limit, PARKED_SECONDS_FIRST))
        if size > 1:
            parked.limit = size // 2
            return True
        parked.until = monotonic() + parked.pause_seconds
        parked.pause_seconds = min(parked.pause_seconds * 2, PARKED_SECONDS_MAX)
        # No message and no traceback: they may hold what a customer wrote.
        logger.error(
            "A projection cannot take an event; its organisation is parked",
            extra={
                "projection": self.name,
                "org": backlog.org,
                "position": backlog.position + 1,
                "error": type(error).__name__,
            },
        )
        return False


async def _read(connection: Connection, backlog: Backlog, limit: int) -> list[tuple[Any, ...]]:
    parameters = {"org": backlog.org, "position": backlog.position, "limit": limit}
    async with connection.pipeline():
        # Compiling a statement that looks expensive costs more than running it on one batch.
        await connection.execute("SET LOCAL jit = off")
        cursor = await connection.execute(_EVENTS, parameters, binary=True)
        return await cursor.fetchall()


def _require_no_gap(backlog: Backlog, positions: list[int], limit: int) -> None:
    first = backlog.position + 1
    if positions != list(range(first, first + len(positions))):
        raise GapInLog(f"org {backlog.org}, behind position {backlog.position}")
    if len(positions) < min(limit, backlog.head - backlog.position):
        raise GapInLog(f"org {backlog.org}, before head {backlog.head}")


def _is_server_trouble(error: BaseException) -> bool:
    if isinstance(error, psycopg.InterfaceError):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    # Without a state it comes from the pool, or from a connection that broke.
    return error.sqlstate is None or error.sqlstate.startswith(_SERVER_TROUBLE)
