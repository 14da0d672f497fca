"""What a page costs: it follows its length and not the number of chats (C1)."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import ClientCursor

from projections.engine.bulk import columns_of
from projections.inbox.projection import SQL
from projections.inbox.queries import (
    ChatFilters,
    Counts,
    View,
    chats_page,
    chats_page_sql,
    counts,
    messages_page,
    messages_page_sql,
)
from projections.inbox.rows import ChannelView, ChatCursor, MessageCursor
from tests.conftest import BUILDS, Database
from tests.projections.histories import ORGS

CHATS = 50_000
LIMIT = 50
CHANNELS = 3
# Each channel gives one page; twice that leaves room for filters that leave a chat out.
ROWS_READ_MAX = 2 * CHANNELS * LIMIT

# Three channels on which crm is active, one with as many chats on which it is not.
FILL = """
INSERT INTO inbox_channels
SELECT %(org)s, 'channel' || n, 'whatsapp', 'account' || n, true, n FROM generate_series(0, 3) n;
INSERT INTO inbox_connections
SELECT %(org)s, 'crm', 'channel' || n, n < 3, n FROM generate_series(0, 3) n;
INSERT INTO inbox_threads
SELECT %(org)s, 'chat' || n, 'whatsapp', 'account' || n %% 4, 'contact' || n, false, n, %(start)s
  FROM generate_series(1, %(chats)s) n;
INSERT INTO inbox_chats
SELECT %(org)s, 'chat' || n, 'crm', 'channel' || n %% 4,
       CASE WHEN n %% 5 = 0 THEN '' ELSE 'user' || n %% 7 END, %(start)s, n %% 3 = 0, n %% 11 = 0,
       NULL, NULL, n, 'message' || n, %(start)s + n * interval '1 second', %(start)s, n %% 13 < 6
  FROM generate_series(1, %(chats)s) n;
INSERT INTO inbox_counts
SELECT org, service, channel_id, owner, answered, closed, blocked, count(*)
  FROM inbox_chats WHERE org = %(org)s GROUP BY 1, 2, 3, 4, 5, 6, 7;
INSERT INTO inbox_messages
       (org, chat_id, message_id, channel_id, position, at, rank, kind, content, content_key,
        content_type, key)
SELECT %(org)s, 'chat' || n, 'message' || n, '', n, %(start)s + n * interval '1 second', -1,
       'text', '{"key":"contact:x","id":"","box":""}', 'contact:x', 'chat.message_received',
       n::text::bytea
  FROM generate_series(1, %(chats)s) n;
INSERT INTO inbox_messages
       (org, chat_id, message_id, channel_id, position, at, rank, kind, service, content,
        content_key, content_type)
SELECT %(org)s, 'chat1', 'long' || n, CASE WHEN n %% 2 = 0 THEN '' ELSE 'channel1' END,
       1000000 + n, %(start)s + n * interval '1 minute', 2, 'text', 'crm',
       '{"key":"contact:x","id":"","box":""}', 'contact:x', 'chat.reply_requested'
  FROM generate_series(1, 20000) n;
"""
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def org(projected_database: Database) -> int:
    number = next(ORGS)
    with psycopg.connect(projected_database.superuser) as connection:
        connection.execute(f"SET search_path = {BUILDS}")
        parameters = {"org": number, "chats": CHATS, "start": START}
        ClientCursor(connection).execute(FILL, parameters)
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")
    return number


async def plan(
    reader: psycopg.AsyncConnection, statement: str, parameters: dict[str, Any], *, generic: bool
) -> dict[str, Any]:
    """How the server runs a prepared statement, as the API's role, with row security."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for index, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${index}")
    mode = "force_generic_plan" if generic else "force_custom_plan"
    await reader.execute(f"SET plan_cache_mode = {mode}")
    await reader.execute(f"PREPARE page AS {statement}")
    placeholders = ", ".join(["%s"] * len(names))
    cursor = psycopg.AsyncClientCursor(reader)
    await cursor.execute(
        f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE page ({placeholders})",
        [parameters[name] for name in names],
    )
    row = await cursor.fetchone()
    await reader.execute("DEALLOCATE page")
    assert row is not None
    root: dict[str, Any] = row[0][0]["Plan"]
    return root


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def assert_cheap(root: dict[str, Any]) -> None:
    for node in nodes(root):
        kind, table = node["Node Type"], node.get("Relation Name", "")
        large = ("inbox_chats", "inbox_messages", "inbox_threads")
        assert kind != "Seq Scan" or table not in large, node
        read = node["Actual Rows"] * node["Actual Loops"]
        read += node.get("Rows Removed by Filter", 0) * node["Actual Loops"]
        assert read <= ROWS_READ_MAX, node


VIEWS: list[tuple[View, ChatFilters]] = [
    ("all", ChatFilters()),
    ("all", ChatFilters(answered=False)),
    ("all", ChatFilters(answered=True)),
    ("all", ChatFilters(owner="user2")),
    ("all", ChatFilters(channel_id="channel1")),
    ("all", ChatFilters(platform="whatsapp", status="open")),
    ("all", ChatFilters(last_to=datetime(2026, 1, 1, 6, tzinfo=UTC))),
    ("mine", ChatFilters()),
    ("unassigned", ChatFilters()),
    ("blocked", ChatFilters()),
    ("closed", ChatFilters()),
]


@pytest.mark.parametrize(("view", "filters"), VIEWS)
@pytest.mark.parametrize("generic", [False, True])
async def test_a_page_reads_as_much_as_it_shows(
    reader: psycopg.AsyncConnection, org: int, view: View, filters: ChatFilters, generic: bool
) -> None:
    await reader.execute("SELECT set_config('app.org', %s, false)", [str(org)])
    asked: dict[str, Any] = {
        "org": org,
        "service": "crm",
        "view": view,
        "viewer": "user3",
        "filters": filters,
    }
    first = await chats_page(reader, **asked, limit=LIMIT)
    assert len(first) == LIMIT
    second = await chats_page(reader, **asked, limit=LIMIT, after=first[-1].cursor)
    assert len(second) == LIMIT
    keys = [(row.last_activity_at, row.chat_id) for row in [*first, *second]]
    assert keys == sorted(set(keys), reverse=True)
    middle = ChatCursor(START.replace(hour=7), "chat")
    for after in (None, first[-1].cursor, middle):
        parameters = {name: getattr(filters, name) for name in filters.__struct_fields__} | {
            "org": org,
            "service": "crm",
            "viewer": "user3",
            "after_at": after.last_activity_at if after else None,
            "after_chat": after.chat_id if after else None,
        }
        statement = chats_page_sql(view, filters, after=after is not None, limit=LIMIT)
        assert_cheap(await plan(reader, statement, parameters, generic=generic))


@pytest.mark.parametrize("generic", [False, True])
async def test_a_timeline_page_reads_as_much_as_it_shows(
    reader: psycopg.AsyncConnection, org: int, generic: bool
) -> None:
    await reader.execute("SELECT set_config('app.org', %s, false)", [str(org)])
    view = ChannelView("channel1", 0)
    asked: dict[str, Any] = {"org": org, "chat_id": "chat1", "view": view, "limit": LIMIT}
    first = await messages_page(reader, **asked)
    second = await messages_page(reader, **asked, after=first[-1].cursor)
    positions = [row.position for row in [*first, *second]]
    assert positions == list(range(1_020_000, 1_020_000 - 2 * LIMIT, -1))
    middle = MessageCursor(START.replace(day=7), 0)
    for after in (None, first[-1].cursor, middle):
        parameters = {
            "org": org,
            "chat_id": "chat1",
            "channel_id": "channel1",
            "sees_from": 0,
            "after_at": after.at if after else None,
            "after_position": after.position if after else None,
        }
        statement = messages_page_sql(after=after is not None, limit=LIMIT)
        assert_cheap(await plan(reader, statement, parameters, generic=generic))


async def test_counts_are_those_of_the_channels_where_the_service_is_s16(
    reader: psycopg.AsyncConnection, org: int
) -> None:
    await reader.execute("SELECT set_config('app.org', %s, false)", [str(org)])
    counted = await counts(reader, org=org, service="crm", viewer="user3")
    here = [n for n in range(1, CHATS + 1) if n % 4 < 3]
    shown = [n for n in here if n % 11]
    assert counted == Counts(
        all=len(shown),
        mine=sum(n % 5 > 0 and n % 7 == 3 for n in shown),
        unassigned=sum(n % 5 == 0 for n in shown),
        blocked=len(here) - len(shown),
        closed=sum(n % 3 == 0 for n in shown),
        unanswered=sum(n % 13 >= 6 for n in shown),
    )


# What a batch costs.

MANY_COUNTS = """
INSERT INTO inbox_counts
SELECT 1000000 + n, 'crm', 'channel', '', false, false, false, 1 FROM generate_series(1, 20000) n;
INSERT INTO inbox_counts
SELECT %(org)s, 'crm', 'channel', 'user' || n, false, false, false, least(n, 2)
  FROM generate_series(1, 3000) n;
INSERT INTO inbox_chats (org, chat_id, service, channel_id, owner, closed, blocked,
                         decided_position, last_activity_at, answered)
SELECT %(org)s, 'chat' || n, 'crm', 'channel', 'user' || n, false, false, n, now(), false
  FROM generate_series(1, 3000) n;
INSERT INTO inbox_messages (org, chat_id, message_id, channel_id, position, at, rank, kind,
                            content_type)
SELECT %(org)s, 'chat' || n %% 3000, 'counted' || n, '', n, now(), -1, 'text', ''
  FROM generate_series(1, 9000) n;
ANALYZE inbox_counts, inbox_chats, inbox_messages;
"""
CHATS_TOUCHED = 5
CACHED_LENGTH_MAX = 4_096  # Psycopg's.


async def test_counting_reads_the_counts_that_are_touched(projected_database: Database) -> None:
    """Also in an organisation with many, among others with few, which is what a plan expects."""
    org = next(ORGS)
    columns = columns_of(SQL["refresh_touched"])
    rows = [
        (f"chat{n}", "crm", f"another{n}", None, False, False, None, None, n, "channel", 0)
        for n in range(1, CHATS_TOUCHED + 1)
    ]
    parameters = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
    async with await psycopg.AsyncConnection.connect(projected_database.superuser) as connection:
        await connection.execute(f"SET search_path = {BUILDS}")
        await psycopg.AsyncClientCursor(connection).execute(MANY_COUNTS, {"org": org})
        await connection.execute(SQL["plan_look_ups"])
        root = await plan(
            connection, SQL["refresh_touched"], {"org": org, **parameters}, generic=True
        )
        cursor = await connection.execute(
            "SELECT chats, count(*) FROM inbox_counts WHERE org = %s GROUP BY 1 ORDER BY 1", [org]
        )
        # Each has another owner than before; that of the first had no other chat.
        changed = [(1, 2 * CHATS_TOUCHED - 1), (2, 3000 - CHATS_TOUCHED)]
        assert await cursor.fetchall() == changed
        await connection.rollback()
    scans = [node for node in nodes(root) if node["Node Type"].endswith("Scan")]
    # A chat's messages stand in two timelines: the account's and the channel's own.
    for table, each in (("inbox_chats", 1), ("inbox_counts", 1), ("inbox_messages", 2)):
        read = [node for node in scans if node.get("Relation Name") == table]
        assert sum(node["Actual Rows"] * node["Actual Loops"] for node in read) > 0
        for node in read:
            rows_read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            assert rows_read * node["Actual Loops"] <= each * CHATS_TOUCHED, node


def test_no_statement_of_the_fold_is_taken_apart_anew_each_time() -> None:
    assert max(map(len, (SQL["refresh_touched"], SQL["refresh_seated"]))) <= CACHED_LENGTH_MAX
