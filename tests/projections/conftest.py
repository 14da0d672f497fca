"""Connections to a database with every table that these tests need, one for each role."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.conftest import BUILDS, Database


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
