"""Brings a database to the current schema: roles, then SQL files, then projections' tables.

Safe to run twice, and at once from two places: an advisory lock makes the second one wait.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import psycopg
from psycopg import sql

FOLDER = Path(__file__).parent
LOCK = 0x7472756E6B  # "trunk"
OWNER = "trunkline_owner"
ROLES = (
    "trunkline_append",
    "trunkline_read",
    "trunkline_project",
    "trunkline_audit",
    "trunkline_directory",
)


class MigrationError(Exception):
    """The database cannot be brought to the current schema; the text says what to do."""


def migrate(url: str, *, login: str | None, projection_tables: Iterable[str]) -> list[str]:
    """Apply what is missing and return the names of the files applied.

    `login` is the database user that the servers use, where it differs from the one in `url`;
    it may take on the roles. `projection_tables` are SQL texts that create tables if they are
    missing, in the schema `projections`.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        _make_roles(connection, login)
        _make_schemas(connection)
        applied = [path.name for path in _files() if _apply(connection, path)]
        _make_projection_tables(connection, projection_tables)
        return applied


def _files() -> list[Path]:
    return sorted(FOLDER.glob("[0-9]*.sql"))


def _make_roles(connection: psycopg.Connection, login: str | None) -> None:
    try:
        for role in (OWNER, *ROLES):
            # Another database of the same server may make the same role at this moment.
            connection.execute(
                sql.SQL(
                    "DO $$ BEGIN CREATE ROLE {} NOLOGIN; "
                    "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
                ).format(sql.Identifier(role))
            )
        user = sql.Identifier(login) if login else sql.SQL("CURRENT_USER")
        roles = sql.SQL(", ").join(map(sql.Identifier, ROLES))
        connection.execute(sql.SQL("GRANT {} TO {}").format(roles, user))
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(OWNER)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise MigrationError(
            "This database user may not make roles. Have an administrator run:\n"
            + "\n".join(f"  CREATE ROLE {role} NOLOGIN;" for role in (OWNER, *ROLES))
            + f"\n  GRANT {', '.join((OWNER, *ROLES))} TO {login or 'the user of this address'};"
        ) from error


def _make_schemas(connection: psycopg.Connection) -> None:
    for schema in ("trunkline", "projections"):
        connection.execute(
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(
                sql.Identifier(schema), sql.Identifier(OWNER)
            )
        )
    with connection.transaction():
        _become_owner(connection)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, sha256 bytea NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )


def _become_owner(connection: psycopg.Connection) -> None:
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER)))
    connection.execute("SET LOCAL search_path = trunkline")


def _apply(connection: psycopg.Connection, path: Path) -> bool:
    text = path.read_text()
    digest = hashlib.sha256(text.encode()).digest()
    with connection.transaction():
        _become_owner(connection)
        known = connection.execute(
            "SELECT sha256 FROM migrations WHERE name = %s", [path.name]
        ).fetchone()
        if known is None:
            connection.execute(text.encode())
            connection.execute(
                "INSERT INTO migrations (name, sha256) VALUES (%s, %s)", [path.name, digest]
            )
            return True
    if bytes(known[0]) != digest:
        raise MigrationError(
            f"{path.name} was changed after it ran here. Put it back and add a new file instead."
        )
    return False


def _make_projection_tables(connection: psycopg.Connection, texts: Iterable[str]) -> None:
    with connection.transaction():
        _become_owner(connection)
        connection.execute("SET LOCAL search_path = projections")
        for text in texts:
            connection.execute(text.encode())
        unguarded = connection.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'projections'::regnamespace"
            " AND c.relkind = 'r' AND NOT c.relforcerowsecurity"
        ).fetchall()
        for (table,) in unguarded:
            for statement in _GUARDS:
                connection.execute(sql.SQL(statement).format(table=sql.Identifier(table)))


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
