"""Connections to a database with every table that these tests need, one for each role."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from adapters.postgres.connections import Pool, pool
from api.main import Database as Where
from migrations.apply import migrate
from tests.conftest import BUILDS, Database
from tests.projections.diaries import Diary, Log
from tests.projections.library import Library


@pytest.fixture(scope="module")
def projected_database(database: Database) -> Database:
    """The database; each projection has an empty build."""
    return database


async def _connected(url: str, role: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"SET ROLE {role}")
        await connection.execute(f"SET search_path = {BUILDS}")
        yield connection


@pytest.fixture(scope="module")
async def projector(projected_database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    """As the runner has it: sees all orgs, writes projections."""
    async for connection in _connected(projected_database.url, "trunkline_project"):
        yield connection


@pytest.fixture(scope="module")
async def reader(projected_database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    """As the API has it: row security shows one org, whose number a test sets."""
    async for connection in _connected(projected_database.url, "trunkline_read"):
        yield connection


# For rebuilds: a log that tests fill, and projections of their own.


@pytest.fixture
def where(database: Database) -> Where:
    """A database with nothing in its log, and a build of each of these projections."""
    with psycopg.connect(database.superuser, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("TRUNCATE trunkline.events, trunkline.heads")
        connection.execute("DELETE FROM trunkline.builds WHERE projection IN ('diary', 'library')")
        for name in ("diary", "library"):
            for build in (1, 2, 3):
                connection.execute(f"DROP SCHEMA IF EXISTS {name}_1_{build} CASCADE")
        connection.execute("SET session_replication_role = origin")
        for table in ("checkpoints", "pieces", "parked"):
            connection.execute(f"DELETE FROM trunkline.{table}")
    migrate(database.superuser, login="trunkline", projections=[Diary(), Library()])
    return Where(database.url, database.superuser, "trunkline", False)


@pytest.fixture
def log(where: Where) -> Log:
    return Log(where.migration_url)


@pytest.fixture
async def projectors(where: Where) -> AsyncIterator[Pool]:
    async with pool(where.url, "trunkline_project", size_max=8) as connections:
        yield connections
