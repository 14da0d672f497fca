"""The log of one organisation over connections that block, for whoever has no event loop.

Every append holds the organisation's head from before it is numbered until it is committed: the
writers of other processes notice that the head has moved, as they do with each other.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Condition
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.adapt import Dumper
from psycopg.errors import Diagnostic
from psycopg.pq import Format
from psycopg_pool import ConnectionPool

from adapters.postgres import arguments
from adapters.postgres.appender import NEVER, changes
from adapters.postgres.batch import Batch, Entry, Head, Packed
from adapters.postgres.connections import POOL_TIMEOUT_SECONDS, Role, TooPowerful
from adapters.postgres.wire import PERHAPS_NOT_REPLICATED
from domain import chain
from domain.ports import Clock, Org

CHUNK_EVENTS = 1_000  # As many go in one statement; a longer append is still one transaction.
READERS_MAX = 4

_ORG = "SELECT org FROM trunkline.organisations WHERE id = %s"
_LOCK = "SELECT * FROM lock_heads(%s::int[], %s::bigint[], 0)"
_APPEND = "SELECT append_batch(" + ", ".join(["%b"] * 22) + ")"
_MARK = (
    "INSERT INTO applications (application, org, position) VALUES (%s, %s, %s)"
    " ON CONFLICT (org, application) DO UPDATE SET position = excluded.position"
    " WHERE applications.position < excluded.position"
)
_POWERS = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"

Mark = tuple[str, int]  # How far somebody has processed something: a name and a position.


def find_org(url: str, org_id: str) -> Org | None:
    """Find an organisation by its id."""
    with psycopg.connect(url, connect_timeout=int(POOL_TIMEOUT_SECONDS)) as connection:
        connection.execute("SET LOCAL ROLE trunkline_project")
        row = connection.execute(_ORG, [org_id]).fetchone()
    return Org(row[0], org_id) if row else None


class BlockingLog:
    """Appends to one organisation and reads from it; for any number of threads."""

    def __init__(self, url: str, org: Org, *, clock: Clock | None = None) -> None:
        """`url` is that of a user who may take on the roles append, read and project."""
        self.org = org
        self.grown = Condition()  # Told after each append of this process.
        self._clock = clock
        # Who appends has the head for itself, so one connection is enough.
        self._writers = self._pool(url, "trunkline_append", 1)
        self._readers = self._pool(url, "trunkline_read", READERS_MAX)

    def close(self) -> None:
        """Hang up."""
        self._writers.close()
        self._readers.close()

    def rows(self, query: str, parameters: Any) -> list[tuple[Any, ...]]:
        """What a query finds, of this organisation only. Raises psycopg.Error."""
        with self._readers.connection() as connection:
            return connection.execute(query, parameters, binary=True).fetchall()

    def append(self, events: Sequence[Packed], mark: Mark | None = None) -> list[int]:
        """Append events and set a mark, both or neither; the events' positions.

        Raises psycopg.Error: IntegrityError where a version is not new, or the mark not further.
        """
        positions: list[int] = []
        with (
            self._writers.connection() as connection,
            _replicated(connection),
            connection.transaction(),
        ):
            if events:
                positions = self._append(connection, events)
            if mark is not None:
                self._mark(connection, mark)
        with self.grown:
            self.grown.notify_all()
        return positions

    def _append(self, connection: Connection, events: Sequence[Packed]) -> list[int]:
        number = self.org.number
        head = self._lock(connection)
        first = head.position + 1
        now = chain.microseconds(self._clock.now() if self._clock else datetime.now(UTC))
        for start in range(0, len(events), CHUNK_EVENTS):
            chunk = list(events[start : start + CHUNK_EVENTS])
            entry = Entry(self.org, secrets.token_bytes(16), chunk)
            batch = Batch([entry], {number: head}, now=now)
            packed = [_Array(each) for each in arguments.of_append(batch, {})]
            connection.execute(_APPEND, packed)
            head = batch.next[number]
        return list(range(first, head.position + 1))

    def _lock(self, connection: Connection) -> Head:
        rows = connection.execute(_LOCK, [[self.org.number], [NEVER]], binary=True).fetchall()
        if not rows:
            raise psycopg.ProgrammingError(f"There is no organisation {self.org.id}.")
        return changes(rows)[self.org.number].head

    def _mark(self, connection: Connection, mark: Mark) -> None:
        name, position = mark
        connection.execute("SET LOCAL ROLE trunkline_project")
        if connection.execute(_MARK, [name, self.org.number, position]).rowcount != 1:
            raise psycopg.IntegrityError(f"{name} has processed {position} already.")

    def _pool(self, url: str, role: Role, size_max: int) -> ConnectionPool[Connection]:
        def configure(connection: Connection) -> None:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            connection.execute("SET search_path = trunkline")
            connection.execute("SELECT set_config('app.org', %s, false)", [str(self.org.number)])
            # Who holds the head and is suspended would keep everybody from writing.
            connection.execute("SET idle_in_transaction_session_timeout = '5s'")
            connection.execute("SET lock_timeout = '5s'")
            connection.adapters.register_dumper(_Array, _ArrayDumper)
            if connection.execute(_POWERS).fetchone() != (False,):
                raise TooPowerful(f"{role} may not be a superuser nor bypass row security.")

        return ConnectionPool(
            url,
            min_size=1,
            max_size=size_max,
            open=True,
            configure=configure,
            kwargs={"autocommit": True},
            timeout=POOL_TIMEOUT_SECONDS,
            name=role,
        )


class _Array(bytes):
    """An array as the server reads it, of the type that the function wants."""


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


@contextmanager
def _replicated(connection: Connection) -> Iterator[None]:
    """Raises OperationalError where the server gave up its wait for a standby."""
    states: list[str | None] = []

    def note(diagnostic: Diagnostic) -> None:
        states.append(diagnostic.sqlstate)

    connection.add_notice_handler(note)
    try:
        yield
    finally:
        connection.remove_notice_handler(note)
    if PERHAPS_NOT_REPLICATED in states:
        raise psycopg.OperationalError("It is written here, and perhaps nowhere else.")
