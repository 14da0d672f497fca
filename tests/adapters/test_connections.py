"""A pool in an outage, and after it: nobody waits for what does not come."""

import asyncio

import pytest
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from psycopg_pool.base import AttemptWithBackoff

from adapters.postgres import connections
from adapters.postgres.connections import Pool, pool
from tests.adapters.proxy import proxy_to
from tests.conftest import Database

RECONNECT_SECONDS = 0.1


@pytest.fixture(autouse=True)
def after_a_long_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pauses have grown to an hour."""
    monkeypatch.setattr(AttemptWithBackoff, "INITIAL_DELAY", 3600.0)
    monkeypatch.setattr(connections, "POOL_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(connections, "POOL_RECONNECT_SECONDS", RECONNECT_SECONDS)


async def ask(asked: Pool) -> None:
    async with asked.connection() as connection:
        await connection.execute("SELECT 1")


async def ask_after_an_outage(database: Database) -> None:
    async with (
        proxy_to(database.url) as proxy,
        pool(proxy.url, "trunkline_read", size_max=2) as asked,
    ):
        await ask(asked)
        await proxy.shut()
        for _ in range(2):  # One whose connection breaks, and one who waits for a new one.
            with pytest.raises(OperationalError):
                await ask(asked)
        await asyncio.sleep(RECONNECT_SECONDS)
        await proxy.open()
        await ask(asked)


async def test_who_asks_when_the_database_is_back_is_answered(database: Database) -> None:
    await ask_after_an_outage(database)


async def test_control_a_pool_that_never_gives_up_an_attempt_is_away_for_longer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "POOL_RECONNECT_SECONDS", 7200.0)
    with pytest.raises(PoolTimeout):
        await ask_after_an_outage(database)


async def test_a_server_that_answers_no_more_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections stand, and nothing comes: its machine has stopped, or its disk."""
    monkeypatch.setattr(connections, "ANSWER_SECONDS_MAX", 0.2)
    async with (
        proxy_to(database.url) as proxy,
        pool(proxy.url, "trunkline_read", size_max=2) as asked,
    ):
        await ask(asked)
        proxy.flowing.clear()
        async with asyncio.timeout(5):
            with pytest.raises(OperationalError):
                await ask(asked)
        proxy.flowing.set()
        await asyncio.sleep(RECONNECT_SECONDS)
        await ask(asked)
