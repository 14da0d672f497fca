"""Pipelined transactions: all of it or nothing, however it ends, and the connection goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import psycopg
import pytest

from projections.engine.projection import Connection
from projections.engine.transactions import transaction
from tests.conftest import Database


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with await psycopg.AsyncConnection.connect(
        database.superuser, autocommit=True
    ) as connection:
        await connection.execute("CREATE TEMP TABLE noted (what text PRIMARY KEY)")
        yield connection


async def note(connection: Connection, what: str) -> None:
    await connection.execute("INSERT INTO noted VALUES (%s)", [what])


async def noted(connection: Connection) -> list[str]:
    return [what for (what,) in await (await connection.execute("TABLE noted")).fetchall()]


async def test_what_is_done_in_it_is_committed(connection: Connection) -> None:
    for what in ("first", "second"):
        async with transaction(connection):
            await note(connection, what)
            assert what in await noted(connection)
    assert await noted(connection) == ["first", "second"]


async def test_nothing_is_left_of_one_that_raises(connection: Connection) -> None:
    async def fail() -> None:
        async with transaction(connection):
            await note(connection, "first")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await noted(connection) == []


async def test_an_error_of_the_server_comes_out_as_what_it_is(connection: Connection) -> None:
    """Also where nobody has waited for the answer."""

    async def note_twice() -> None:
        async with transaction(connection):
            await note(connection, "first")
            await note(connection, "first")

    with pytest.raises(psycopg.errors.UniqueViolation):
        await note_twice()
    assert await noted(connection) == []


async def test_it_stands_in_no_other(connection: Connection) -> None:
    """The inner one's end would be the outer one's."""

    async def stand_in_another() -> None:
        async with transaction(connection):
            await note(connection, "first")
            async with transaction(connection):
                await note(connection, "second")

    with pytest.raises(psycopg.ProgrammingError):
        await stand_in_another()
    with pytest.raises(psycopg.ProgrammingError):
        async with connection.transaction(), transaction(connection):
            pass
    assert await noted(connection) == []


async def test_who_swallows_an_error_of_the_server_is_told_that_nothing_is_committed(
    connection: Connection,
) -> None:
    async def swallow() -> None:
        async with transaction(connection):
            await note(connection, "first")
            with suppress(psycopg.errors.UniqueViolation):
                async with connection.pipeline():
                    await note(connection, "first")

    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await swallow()
    assert await noted(connection) == []


async def test_nothing_is_left_of_one_that_is_cancelled(connection: Connection) -> None:
    has_begun = asyncio.Event()

    async def wait_in_it() -> None:
        async with transaction(connection):
            await note(connection, "first")
            has_begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait_in_it())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await noted(connection) == []


async def test_a_connection_that_breaks_in_it_says_so(
    connection: Connection, database: Database
) -> None:
    async def lose_it() -> None:
        async with transaction(connection):
            await note(connection, "first")
            pid = connection.info.backend_pid
            with psycopg.connect(database.superuser, autocommit=True) as another:
                another.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            await noted(connection)

    with pytest.raises(psycopg.OperationalError):
        await lose_it()
    assert connection.closed
