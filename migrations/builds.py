"""Makes and drops builds: complete sets of a projection's tables, each in a schema of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import psycopg
from psycopg import sql

OWNER = "trunkline_owner"

# How long those who still read a build that is to be dropped or changed are waited for.
LEAVE_SECONDS_MAX = 30.0
LEAVE_PAUSE_SECONDS = 0.02

# A projection's rows are seen by one organisation at a time, and written by projectors alone.
_GUARDS = (
    "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
    "CREATE POLICY project ON {table} TO trunkline_project USING (true)",
    "CREATE POLICY one_org ON {table} TO trunkline_read, trunkline_audit"
    " USING (org = trunkline.current_org())",
    "GRANT SELECT ON {table} TO trunkline_read, trunkline_audit",
)
_WRITE = "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} TO trunkline_project"
_TABLES = (
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = %s AND c.relkind IN ('r', 'p')"
)
# Whoever entered a build holds a lock on `builds` until the end of that transaction.
_INSIDE = (
    "SELECT l.virtualtransaction FROM pg_locks l WHERE l.relation = 'trunkline.builds'::regclass"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND l.pid <> pg_backend_pid()"
)


class StillRead(Exception):
    """Transactions that began long ago read a build that is to be dropped or changed."""

    def __init__(self, schema: str) -> None:
        super().__init__(
            f"Somebody has been reading {schema} for more than {LEAVE_SECONDS_MAX:.0f} seconds. "
            "Nothing was changed; end that transaction (pg_stat_activity names it) and try again."
        )


class Tables(Protocol):
    """What a projection's builds are made of."""

    name: str
    version: int
    tables: str  # SQL that creates them, with their keys and indexes.


def become_owner(connection: psycopg.Connection) -> None:
    """Own what is made in the rest of this transaction."""
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER)))
    connection.execute("SET LOCAL search_path = trunkline")


def make_build(
    connection: psycopg.Connection,
    projection: Tables,
    number: int,
    *,
    tables: str,
    state: Literal["building", "live"],
    complete: bool,
) -> None:
    """Make an empty build in this transaction, whose user may create schemas in the database.

    An incomplete one has bare tables that projectors alone can reach, so that they can be copied
    into; `Workshop.complete` ends that.
    """
    schema = f"{projection.name}_{projection.version}_{number}"
    owner = sql.Identifier(OWNER)
    connection.execute(
        sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(schema), owner)
    )
    become_owner(connection)
    connection.execute(
        "INSERT INTO builds (projection, version, build, state, complete)"
        " VALUES (%s, %s, %s, %s, %s)",
        [projection.name, projection.version, number, state, complete],
    )
    _on_schema(connection, schema, "SET LOCAL search_path = {}")
    connection.execute(tables.encode())
    _on_schema(connection, schema, "GRANT USAGE ON SCHEMA {} TO trunkline_project")
    _on_tables(connection, schema, _WRITE)
    if complete:
        _guard(connection, schema)


def _guard(connection: psycopg.Connection, schema: str) -> None:
    _on_schema(connection, schema, "GRANT USAGE ON SCHEMA {} TO trunkline_read, trunkline_audit")
    _on_tables(connection, schema, *_GUARDS)


def _on_schema(connection: psycopg.Connection, schema: str, statement: str) -> None:
    connection.execute(sql.SQL(statement).format(sql.Identifier(schema)))


def _on_tables(connection: psycopg.Connection, schema: str, *statements: str) -> None:
    for (table,) in connection.execute(_TABLES, [schema]).fetchall():
        for statement in statements:
            name = sql.Identifier(schema, table)
            connection.execute(sql.SQL(statement).format(table=name))


class Workshop:
    """Makes, completes and drops builds, each in one transaction."""

    def __init__(self, url: str) -> None:
        """`url` is that of a user who may make schemas and become their owner, as migrations do."""
        self._url = url

    def make(self, projection: Tables, number: int, *, tables: str, complete: bool) -> None:
        """Make an empty build that is to be filled."""
        with psycopg.connect(self._url) as connection:
            make_build(
                connection, projection, number, tables=tables, state="building", complete=complete
            )

    def complete(self, schema: str, indexes: str) -> None:
        """Give bare tables that are full their keys, indexes and row security. Raises StillRead."""
        with self._owning(schema) as connection:
            _on_schema(connection, schema, "SET LOCAL search_path = {}")
            connection.execute(indexes.encode())
            _guard(connection, schema)
            connection.execute(
                "UPDATE trunkline.builds SET complete = true WHERE schema = %s", [schema]
            )

    def analyze(self, schema: str) -> None:
        """Let the planner know what the tables hold."""
        with self._owning(schema) as connection:
            _on_tables(connection, schema, "ANALYZE {table}")

    def drop(self, schema: str, *, live_too: bool = False) -> None:
        """Remove a build, once the last who reads it has left. Raises StillRead.

        A live one goes only with `live_too`: of a version that no server has any more.
        Who follows it finds its checkpoints gone: both cannot move one, so nobody is in the middle.
        """
        with self._owning(schema) as connection:
            dropped = connection.execute(
                "DELETE FROM builds WHERE schema = %s AND (state <> 'live' OR %s)",
                [schema, live_too],
            )
            if dropped.rowcount != 1:
                raise LookupError(f"There is no build {schema} that could be dropped.")
            _wait_for_readers(connection, schema)
            _on_schema(connection, schema, "DROP SCHEMA {} CASCADE")

    @contextmanager
    def _owning(self, schema: str) -> Iterator[psycopg.Connection]:
        """A transaction of the build's owner. Raises StillRead where somebody is in its way."""
        try:
            with psycopg.connect(self._url) as connection:
                become_owner(connection)
                connection.execute(
                    "SELECT set_config('lock_timeout', %s, true)", [f"{LEAVE_SECONDS_MAX}s"]
                )
                yield connection
        except psycopg.errors.LockNotAvailable:
            raise StillRead(schema) from None


def _wait_for_readers(connection: psycopg.Connection, schema: str) -> None:
    """Those who enter from now on find the build that is live, so only earlier ones matter."""
    deadline = time.monotonic() + LEAVE_SECONDS_MAX
    inside = _rows(connection, _INSIDE)
    while inside & _rows(connection, _INSIDE):
        if time.monotonic() > deadline:
            raise StillRead(schema)
        time.sleep(LEAVE_PAUSE_SECONDS)


def _rows(connection: psycopg.Connection, query: str) -> set[Any]:
    return set(connection.execute(query.encode()).fetchall())
