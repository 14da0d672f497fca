"""Brings a database to the current schema: roles, then SQL files, then projections' builds.

Safe to run twice, and at once from two places: an advisory lock makes the second one wait.
"""

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

import psycopg
from psycopg import sql

from migrations.builds import OWNER, Tables, become_owner, make_build

FOLDER = Path(__file__).parent
LOCK = 0x7472756E6B  # "trunk"
ROLES = (
    "trunkline_append",
    "trunkline_read",
    "trunkline_project",
    "trunkline_audit",
    "trunkline_directory",
)


# How often a role that is being made elsewhere is tried again.
RACES_MAX = 20
RACE_PAUSE_SECONDS = 0.05


class MigrationError(Exception):
    """The database cannot be brought to the current schema; the text says what to do."""


def migrate(url: str, *, login: str | None, projections: Iterable[Tables]) -> list[str]:
    """Apply what is missing and return the names of the files applied.

    `login` is the database user that the servers use, where it differs from the one in `url`;
    it may take on the roles. A projection that has no build of its version gets one, which is
    live and empty: it is filled from the first event on. Where nothing is missing, nothing is
    written, so that commands which only read go on where that is all one may.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        login = login or connection.info.user
        _require_login(connection, login)
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            _make_roles(connection, login)
            _make_schemas(connection)
        except psycopg.errors.InsufficientPrivilege as error:
            raise MigrationError(_to_be_done(connection, login)) from error
        applied = [path.name for path in _files() if _apply(connection, path)]
        _make_first_builds(connection, projections)
        return applied


def _files() -> list[Path]:
    return sorted(FOLDER.glob("[0-9]*.sql"))


def _require_login(connection: psycopg.Connection, login: str) -> None:
    query = "SELECT FROM pg_roles WHERE rolname = %s"
    if connection.execute(query, [login]).fetchone() is None:
        raise MigrationError(
            f"There is no database user {login}, whom TRUNKLINE_DATABASE_URL names. Have an"
            " administrator run this, then try again:\n"
            f"  CREATE ROLE \"{login}\" LOGIN PASSWORD '…';"
        )


def _make_roles(connection: psycopg.Connection, login: str) -> None:
    for role in _missing_roles(connection):
        _execute(connection, "CREATE ROLE {} NOLOGIN", role)
    for member, roles in ((login, ROLES), (connection.info.user, (OWNER,))):
        for role in roles:
            if not _may_become(connection, member, role):
                _execute(connection, "GRANT {} TO {}", role, member)


def _missing_roles(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute("SELECT rolname FROM pg_roles").fetchall()
    return [role for role in (OWNER, *ROLES) if (role,) not in rows]


def _may_become(connection: psycopg.Connection, member: str, role: str) -> bool:
    # Since PostgreSQL 16, who makes a role is a member of it and yet may not become it.
    how = "SET" if connection.info.server_version >= 160_000 else "MEMBER"
    row = connection.execute("SELECT pg_has_role(%s, %s, %s)", [member, role, how]).fetchone()
    return row == (True,)


def _execute(connection: psycopg.Connection, statement: str, *names: str) -> None:
    """Roles are the server's: another database's migration may do the same at this moment."""
    query = sql.SQL(statement).format(*map(sql.Identifier, names))
    for _ in range(RACES_MAX):
        try:
            connection.execute(query)
        except psycopg.errors.DuplicateObject:
            return
        except (psycopg.errors.UniqueViolation, psycopg.errors.InternalError_):
            time.sleep(RACE_PAUSE_SECONDS)
        else:
            return
    connection.execute(query)


def _make_schemas(connection: psycopg.Connection) -> None:
    rows = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
    # `projections` is empty since each build has a schema of its own; 0003 still speaks of it.
    for schema in ("trunkline", "projections"):
        if (schema,) not in rows:
            _execute(connection, "CREATE SCHEMA {} AUTHORIZATION {}", schema, OWNER)
    with connection.transaction():
        become_owner(connection)
        # Looked for first: a database that may only be read refuses even what changes nothing.
        if connection.execute("SELECT to_regclass('migrations')").fetchone() == (None,):
            connection.execute(
                "CREATE TABLE migrations (name text PRIMARY KEY, sha256 bytea NOT NULL,"
                " applied_at timestamptz NOT NULL DEFAULT now())"
            )


def _to_be_done(connection: psycopg.Connection, login: str) -> str:
    user, database = connection.info.user, connection.info.dbname
    statements = [
        *(f"CREATE ROLE {role} NOLOGIN;" for role in _missing_roles(connection)),
        f'GRANT {", ".join(ROLES)} TO "{login}";',
        f'GRANT {OWNER} TO "{user}";',
        f'GRANT CREATE ON DATABASE "{database}" TO "{user}";',
    ]
    return (
        f"The database user {user} may not make the roles and schemas of Trunkline. "
        "Have an administrator run this, or let TRUNKLINE_MIGRATION_DATABASE_URL name a user who"
        " may, then try again:\n  " + "\n  ".join(statements)
    )


def _apply(connection: psycopg.Connection, path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).digest()
    with connection.transaction():
        become_owner(connection)
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


def _make_first_builds(connection: psycopg.Connection, projections: Iterable[Tables]) -> None:
    with connection.transaction():
        become_owner(connection)
        rows = connection.execute("SELECT projection, version FROM builds").fetchall()
    for projection in projections:
        if (projection.name, projection.version) not in rows:
            tables = projection.tables
            with connection.transaction():
                make_build(connection, projection, 1, tables=tables, state="live", complete=True)
