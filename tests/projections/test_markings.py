"""Which messages are still to be marked as read; the log alone tells, so a restart loses none."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from domain.event import Event, Recorded
from domain.read_marking import ReadMarkingEnded, ReadMarkingRequested, WaitingMarking
from projections import markings
from projections.markings import Markings
from tests.conftest import BUILDS, Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("SET ROLE trunkline_project")
        await connection.execute(f"SET search_path = {BUILDS}")
        yield connection


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def requested(version: int, *, minute: int = 0, platform: str = "whatsapp") -> Event:
    return ReadMarkingRequested(
        platform=platform,
        account_id="1",
        message_version=version,
        service="crm",
        user_id="ann",
        at=at(minute),
    )


def ended(version: int) -> Event:
    return ReadMarkingEnded(message_version=version, outcome="marked")


async def waiting_after(
    connection: psycopg.AsyncConnection, *events: tuple[str, Event], times: int = 1
) -> list[tuple[str, int]]:
    batch = [
        Recorded(place, f"marking:{chat}", place, NOON, event)
        for place, (chat, event) in enumerate(events, 1)
    ]
    async with connection.transaction(force_rollback=True):
        for _ in range(times):
            await Markings().apply(connection, 1, batch)
        found = await markings.waiting(connection, platforms=("whatsapp",), limit=10)
    assert all(isinstance(each, WaitingMarking) for each in found)
    return [(each.chat_id, each.message_version) for each in found]


async def test_the_newest_wish_of_a_chat_waits_until_it_is_over(
    connection: psycopg.AsyncConnection,
) -> None:
    a, b = ("a", requested(2)), ("b", requested(3, minute=1))
    assert await waiting_after(connection, a, b) == [("b", 3), ("a", 2)]
    assert await waiting_after(connection, a, b, ("a", ended(2))) == [("b", 3)]
    newer = ("a", requested(9, minute=2))
    assert await waiting_after(connection, a, newer, b) == [("a", 9), ("b", 3)]
    # What was marked meanwhile was the older one.
    assert await waiting_after(connection, a, newer, ("a", ended(2))) == [("a", 9)]
    assert await waiting_after(connection, a, newer, ("a", ended(9))) == []


async def test_other_platforms_wait_for_those_who_can(connection: psycopg.AsyncConnection) -> None:
    assert await waiting_after(connection, ("a", requested(2, platform="line"))) == []


async def test_a_batch_that_comes_twice_changes_nothing(
    connection: psycopg.AsyncConnection,
) -> None:
    events = [("a", requested(2)), ("a", ended(2)), ("b", requested(3)), ("b", requested(4))]
    assert await waiting_after(connection, *events, times=2) == [("b", 4)]
