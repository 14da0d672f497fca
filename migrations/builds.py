"""Makes and drops builds: complete sets of a projection's tables, each in a schema of its own."""

from typing import Literal, Protocol

import psycopg
from psycopg import sql

OWNER = "trunkline_owner"

# A projection's rows are seen by one organisation at a time, and written by projectors alone.
_GUARDS = (
    "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
    "CREATE POLICY project ON {table} TO trunkline_project USING (true)",
    "CREATE POLICY one_org ON {table} TO trunkline_read, trunkline_audit"
    " USING (org = trunkline.current_org())",
    "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} TO trunkline_project",
    "GRANT SELECT ON {table} TO trunkline_read, trunkline_audit",
)
_TABLES = (
    "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p')"
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
) -> None:
    """Make an empty build in this transaction, whose user may create schemas in the database."""
    schema = sql.Identifier(f"{projection.name}_{projection.version}_{number}")
    connection.execute(
        sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, sql.Identifier(OWNER))
    )
    become_owner(connection)
    connection.execute(
        "INSERT INTO builds (projection, version, build, state) VALUES (%s, %s, %s, %s)",
        [projection.name, projection.version, number, state],
    )
    connection.execute(
        sql.SQL(
            "GRANT USAGE ON SCHEMA {} TO trunkline_project, trunkline_read, trunkline_audit"
        ).format(schema)
    )
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(schema))
    connection.execute(tables.encode())
    for (table,) in connection.execute(_TABLES, [schema.as_string(connection)]).fetchall():
        for statement in _GUARDS:
            connection.execute(sql.SQL(statement).format(table=sql.Identifier(table)))
