"""What the unread counters cost: rows per message, and look-ups instead of scans (C6)."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import psycopg
import pytest

from projections.unread import batch as unread_batch
from projections.unread import projection as unread
from tests.conftest import BUILDS, Database
from tests.projections.unread_scenario import (
    Counters,
    chat_visit,
    connected,
    created,
    message,
    started,
    user_added,
    visit,
)

ROWS_WRITTEN = """
    SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables
     WHERE schemaname = 'unread_1_1'
"""


@pytest.fixture(scope="module")
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("SET ROLE trunkline_project")
        await connection.execute(f"SET search_path = {BUILDS}")
        yield connection


async def rows_written_by_a_message(connection: psycopg.AsyncConnection, *, user_count: int) -> int:
    counters = Counters(connection)
    users = [f"user{i}" for i in range(user_count)]
    await counters.happened_at_once(
        *(user_added(user) for user in users),
        created("shared"),
        connected("crm"),
        connected("desk"),
        started("a"),
        started("b"),
        message("a"),
        message("b"),
    )
    await counters.happened_at_once(*(visit(user, "crm") for user in users))
    await counters.happened_at_once(*(chat_visit("a", user, "desk") for user in users))
    async with connection.transaction():
        before = await rows_written(connection)
        await counters.happened(message("a"))
        rows = await rows_written(connection) - before
    assert await counters.total(users[-1], "crm") == 1
    assert await counters.total(users[-1], "desk") == 2
    return rows


async def rows_written(connection: psycopg.AsyncConnection) -> int:
    cursor = await connection.execute(ROWS_WRITTEN)
    ((rows,),) = await cursor.fetchall()
    return int(rows)


async def test_c6_a_message_costs_the_same_for_1_and_for_10000_users(
    connection: psycopg.AsyncConnection,
) -> None:
    # Per service: its newest ordinal, the chat and the message.
    assert await rows_written_by_a_message(connection, user_count=1) == 6
    assert await rows_written_by_a_message(connection, user_count=10_000) == 6


FILL = """
INSERT INTO unread_lanes
SELECT 1000 + i / 20, 'crm', 'channel' || i % 20, 'line:' || i % 20, 0, true
  FROM generate_series(0, 19999) i;
INSERT INTO unread_tallies
SELECT 1000 + i / 20, 'crm', 'line:' || i % 20, 5000 FROM generate_series(0, 19999) i;
INSERT INTO unread_customers
SELECT 1000 + i % 5, 'chat' || i, 'line:' || i % 20 FROM generate_series(0, 99999) i;
INSERT INTO unread_channels
SELECT 1000 + i / 20, 'channel' || i % 20, 'line:' || i % 20 FROM generate_series(0, 19999) i;
INSERT INTO unread_users
SELECT 1000 + i / 20, 'user' || i % 20, 'agent', '{crm}' FROM generate_series(0, 19999) i;
INSERT INTO unread_chats
SELECT 1000 + i % 5, 'chat' || i, 'crm', 'line:' || i % 20, 1, i / 20, i, i % 50 = 0
  FROM generate_series(0, 99999) i;
INSERT INTO unread_messages
SELECT 1000 + i % 5, 'chat' || i, 'crm', i / 20, 1 FROM generate_series(0, 99999) i;
INSERT INTO unread_readers
SELECT 1000 + i % 5, 'user' || i / 20, 'crm', 'channel' || i % 20, 4000, 0
  FROM generate_series(0, 99999) i;
INSERT INTO unread_visits
SELECT 1000 + i % 5, 'user0', 'crm', 'line:' || i % 20, 'chat' || i, 1
  FROM generate_series(0, 99999, 3) i;
"""


@pytest.fixture(scope="module")
async def filled(
    connection: psycopg.AsyncConnection, database: Database
) -> psycopg.AsyncConnection:
    """About 100,000 rows in the tables that grow."""
    await connection.execute(FILL)
    async with await psycopg.AsyncConnection.connect(
        database.superuser, autocommit=True
    ) as superuser:
        await superuser.execute("ANALYZE")
    return connection


READER = {"user_id": "user0", "service": "crm"}
SOME = ["chat5", "chat105"]
QUERIES: dict[str, tuple[Mapping[str, str], dict[str, Any]]] = {
    "unread": (unread.SQL, {**READER, "chat_count_max": 200}),
    "unread_of_chats": (
        unread.SQL,
        {"user_ids": ["user0", "user1"], "service": "crm", "chat_ids": SOME},
    ),
    "load_accounts": (unread_batch.SQL, {"chat_ids": SOME, "channel_ids": ["channel1"]}),
    "load_lanes": (
        unread_batch.SQL,
        {"accounts": ["line:1"], "services": [], "everything": False},
    ),
    "load_chats": (unread_batch.SQL, {"chat_ids": SOME}),
    "load_users": (unread_batch.SQL, {"user_ids": ["user0"]}),
    "load_readers": (
        unread_batch.SQL,
        {"user_ids": ["user0"], "services": ["crm"], "channel_ids": ["channel0"]},
    ),
    "load_visits": (
        unread_batch.SQL,
        {"user_ids": ["user0"], "services": ["crm"], "accounts": ["line:5"], "chat_ids": ["chat5"]},
    ),
    "load_earlier": (
        unread_batch.SQL,
        {"services": ["crm"], "chat_ids": ["chat5"], "ordinals": [7]},
    ),
    "clear_visits": (
        unread_batch.SQL,
        {"user_ids": ["user0"], "services": ["crm"], "accounts": ["line:5"]},
    ),
}


@pytest.mark.parametrize("query", QUERIES)
async def test_every_query_is_served_by_indexes(
    filled: psycopg.AsyncConnection, query: str
) -> None:
    sql, arguments = QUERIES[query]
    cursor = await filled.execute("EXPLAIN " + sql[query], {"org": 1000, **arguments})
    plan = "\n".join(line for (line,) in await cursor.fetchall())
    assert "Seq Scan" not in plan, plan


@pytest.mark.parametrize("query", ["unread", "unread_of_chats"])
async def test_row_security_leaves_the_indexes_in_use(
    filled: psycopg.AsyncConnection, query: str
) -> None:
    sql, arguments = QUERIES[query]
    async with filled.transaction():
        await filled.execute("SET LOCAL ROLE trunkline_read")
        await filled.execute("SET LOCAL app.org = '1000'")
        cursor = await filled.execute("EXPLAIN " + sql[query], {"org": 1000, **arguments})
        plan = "\n".join(line for (line,) in await cursor.fetchall())
    assert "Seq Scan" not in plan, plan
