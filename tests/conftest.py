"""What every test may ask for: a real PostgreSQL, and fresh databases on it."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import make_conninfo

from adapters.postgres.embedded import embedded_postgres
from api.main import PROJECTIONS
from migrations.apply import migrate

# No example is wrong because a machine is busy; and what outlives one here is made to bear many.
settings.register_profile(
    "busy",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("busy")

# Of whose tests each takes the longest.
LONG_FIRST = ("failures", "api", "projections", "simulation")
# Many databases and servers at once; and here nobody cuts the power, which alone asks for flushes.
SERVER_SETTINGS = {"max_connections": "400", "fsync": "off"}
# The search_path that finds every projection's first build.
BUILDS = ", ".join([f"{each.name}_{each.version}_1" for each in PROJECTIONS] + ["trunkline"])


@dataclass(frozen=True)
class Database:
    """A migrated database."""

    superuser: str  # Connection string of the server's superuser.
    url: str  # Connection string that the application uses.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long stories first: short tests fill what time is left at the end of several workers."""
    items.sort(key=lambda item: _place(item.path))


def _place(path: Path) -> int:
    return next((place for place, folder in enumerate(LONG_FIRST) if folder in path.parts), 9)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Connection string of a superuser on a server of this test run."""
    given = os.environ.get("TRUNKLINE_TEST_SERVER_URL")
    if given:
        yield given
        return
    # A folder that the server's own user can reach: so all of it goes away with the folder.
    folder = Path(tempfile.mkdtemp(prefix="trunkline-test-"))
    folder.chmod(0o755)
    try:
        with embedded_postgres(folder / "home", settings=SERVER_SETTINGS) as embedded:
            yield embedded.superuser_url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(server: str) -> str:
    """The name of a migrated database that tests copy."""
    name = f"template_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE trunkline LOGIN NOINHERIT; "
            "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = make_conninfo(server, dbname=name)
    migrate(url, login="trunkline", projections=PROJECTIONS)
    return name


@contextmanager
def fresh_database(server: str, template: str) -> Iterator[Database]:
    """A migrated database of its own, until the end."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        superuser = make_conninfo(server, dbname=name)
        yield Database(superuser=superuser, url=make_conninfo(superuser, user="trunkline"))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def database(server: str, template: str) -> Iterator[Database]:
    """A fresh migrated database."""
    with fresh_database(server, template) as database:
        yield database


@pytest.fixture(scope="session")
def repository() -> Path:
    """The project's own folder."""
    return Path(__file__).parent.parent
