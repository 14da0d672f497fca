"""Snapshots: states of long streams, so that a cold one is read from near its end.

They are a cache and can never lie: one counts only for the code that folded it, only if the log
still has the event that it ends with, and only if a server of this installation wrote it. They are
written behind; whoever waits for a command never waits for one.
"""

import asyncio
import hmac
import logging
from collections import OrderedDict
from datetime import datetime

import msgspec
import psycopg
from psycopg_pool import PoolTimeout

from adapters.postgres.connections import Pool, lent
from adapters.postgres.keys import MasterKey
from adapters.postgres.log import PostgresLog
from domain.event import Recorded, decode
from domain.ports import NewSnapshot, Org, Snapshot

WAITING_MAX = 1_000
PAUSE_SECONDS = 1.0  # While the database is away.

# The snapshot is the first row: it has no type, and no version if the log does not bear it out.
_RESTORE = """
WITH kept AS MATERIALIZED (
    SELECT s.version, s.state, s.proof, e.hash IS NOT DISTINCT FROM s.hash AS is_borne_out
      FROM snapshots s
      LEFT JOIN events e ON e.org = s.org AND e.stream = s.stream AND e.version = s.version
     WHERE s.org = %(org)s AND s.stream = %(stream)s AND s.code = %(code)s
)
SELECT 0::bigint AS position, CASE WHEN is_borne_out THEN version ELSE 0 END AS version,
       NULL::timestamptz AS recorded_at, '' AS type, 0::smallint AS schema_version, state AS data,
       proof
  FROM kept
 UNION ALL
(SELECT position, version, recorded_at, type, schema_version, data, NULL
   FROM events
  WHERE org = %(org)s AND stream = %(stream)s
    AND version > coalesce((SELECT version FROM kept WHERE is_borne_out), 0)
  ORDER BY version LIMIT %(limit)s)
 ORDER BY version
"""
_KEEP = (
    "SELECT keep_snapshot(%(org)s::int, %(stream)s, %(code)s, %(version)s::int,"
    " %(position)s::bigint, %(recorded_at)s::timestamptz, %(state)s, %(proof)s)"
)
_FORGET = "SELECT forget_snapshot(%(org)s::int, %(stream)s, %(code)s)"

logger = logging.getLogger(__name__)


class _Row(msgspec.Struct):
    """What `keep_snapshot` takes; without a state, what `forget_snapshot` takes."""

    org: int
    stream: str
    code: bytes
    version: int = 0
    position: int = 0
    recorded_at: datetime | None = None
    state: bytes | None = None
    proof: bytes | None = None


class PostgresSnapshots:
    """Finds snapshots, and keeps those it is given when there is time."""

    def __init__(self, log: PostgresLog, readers: Pool, writers: Pool, master: MasterKey) -> None:
        """Pools of the roles trunkline_project and trunkline_append."""
        self._log = log
        self._readers = readers
        self._writers = writers
        self._master = master
        self._waiting: OrderedDict[tuple[int, str, bool], _Row] = OrderedDict()
        self._arrival = asyncio.Event()

    async def restore(
        self, org: Org, stream: str, *, code: bytes, limit: int
    ) -> tuple[Snapshot | None, list[Recorded]]:
        """The newest state that this code has kept of a stream, and the events behind it."""
        await self._log.know(org)
        parameters = {"org": org.number, "stream": stream, "code": code, "limit": limit}
        async with lent(self._readers) as connection:
            cursor = await connection.execute(_RESTORE, parameters, binary=True)
            rows = await cursor.fetchall()
        snapshot = None
        if rows and not rows[0][3]:
            _, version, _, _, _, state, proof = rows.pop(0)
            if not hmac.compare_digest(proof, self._proof(org, stream, code, version, state)):
                self.forget(org, stream, code=code)
                return None, await self._log.read_stream(org, stream, limit=limit)
            snapshot = Snapshot(version, state)
        return snapshot, [
            Recorded(position, stream, version, recorded_at, decode(name, schema, data))
            for position, version, recorded_at, name, schema, data, _ in rows
        ]

    def keep(self, org: Org, stream: str, snapshot: NewSnapshot) -> None:
        """Keep a state, some time later, if the log bears it out and none is newer."""
        proof = self._proof(org, stream, snapshot.code, snapshot.version, snapshot.state)
        self._enqueue(
            _Row(
                org=org.number,
                stream=stream,
                code=snapshot.code,
                version=snapshot.version,
                position=snapshot.position,
                recorded_at=snapshot.recorded_at,
                state=snapshot.state,
                proof=proof,
            )
        )

    def forget(self, org: Org, stream: str, *, code: bytes) -> None:
        """Delete a snapshot that is no use, some time later."""
        logger.warning("A snapshot was not borne out", extra={"org": org.id, "stream": stream})
        self._enqueue(_Row(org=org.number, stream=stream, code=code))

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        while True:
            await self._arrival.wait()
            self._arrival.clear()
            while self._waiting:
                _, row = self._waiting.popitem(last=False)
                try:
                    await self._write(row)
                except (psycopg.Error, PoolTimeout) as error:
                    reason = getattr(error, "sqlstate", None) or type(error).__name__
                    logger.warning("A snapshot was not kept", extra={"error": reason})
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _write(self, row: _Row) -> None:
        statement = _FORGET if row.state is None else _KEEP
        async with self._writers.connection() as connection:
            await connection.execute(statement, msgspec.structs.asdict(row))

    def _enqueue(self, row: _Row) -> None:
        """The newest of a stream is enough; when there is too much, the oldest is not written."""
        self._waiting[row.org, row.stream, row.state is None] = row
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)
        self._arrival.set()

    def _proof(self, org: Org, stream: str, code: bytes, version: int, state: bytes) -> bytes:
        about = f"snapshot/{org.id}/{stream}/{code.hex()}/{version}"
        return self._master.proof(state, about=about)
