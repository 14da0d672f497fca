"""The laws of the outbox: it agrees with the domain, and its queries are look-ups."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import channel as channels
from domain import chat as chats
from domain import chat_events
from projections.outbox import batch as outbox_batch
from projections.outbox import projection as outbox
from tests.conftest import BUILDS, Database
from tests.projections.outbox_scenario import (
    CHANNEL_CREATED,
    LATER,
    LEAVE,
    NEW_CREDENTIALS,
    NOON,
    RESUMED,
    STOPPED,
    Mail,
    Step,
    deferred,
    failed,
    on_account,
    on_channel,
    receipt,
    requested,
    sending,
    sent,
    started,
    uncertain,
)


@pytest.fixture(scope="module")
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("SET ROLE trunkline_project")
        await connection.execute(f"SET search_path = {BUILDS}")
        yield connection


# Batches.
MESSAGES = st.sampled_from(["m", "n"])
CHATS = st.sampled_from(["a", "b"])
STEPS = st.one_of(
    st.builds(lambda message, chat: requested(message, chat=chat), MESSAGES, CHATS),
    st.builds(lambda message, chat: sending(message, chat=chat), MESSAGES, CHATS),
    st.builds(lambda message, chat: deferred(message, chat=chat, until=LATER), MESSAGES, CHATS),
    st.builds(
        lambda step, message, chat: step(message, chat=chat),
        st.sampled_from([sent, uncertain, failed, receipt]),
        MESSAGES,
        CHATS,
    ),
    st.sampled_from([on_account(STOPPED), on_account(RESUMED), on_account(NEW_CREDENTIALS)]),
    st.sampled_from([on_channel(each) for each in LEAVE]),
    st.just(on_channel(channels.ConnectionEnabled(service="crm"))),
)


@settings(max_examples=60)
@given(steps=st.lists(STEPS, min_size=8, max_size=40), size=st.integers(2, 12))
async def test_n3_what_the_domain_calls_queued_waits_in_whatever_batches_events_come(
    connection: psycopg.AsyncConnection, database: Database, steps: list[Step], size: int
) -> None:
    begin = [CHANNEL_CREATED, started("a"), started("b")]
    singly, batched = Mail(connection, database), Mail(connection, database)
    history = begin + with_fresh_ids(steps)
    await singly.happened(*history)
    for i in range(0, len(history), size):
        # The time of an event is its own, not its batch's.
        await batched.happened_at_once(*history[i : i + size])
    query = "SELECT to_jsonb(o) - 'org' FROM outbox o WHERE org = %s ORDER BY chat_id, version"
    rows = [row for (row,) in await (await connection.execute(query, [singly.org])).fetchall()]
    assert rows == [
        row for (row,) in await (await connection.execute(query, [batched.org])).fetchall()
    ]
    found = [(row["chat_id"], row["message_id"], row["state"]) for row in rows]
    assert found == queued_by_the_domain(history)
    await connection.execute("DELETE FROM outbox")


def queued_by_the_domain(history: list[Step]) -> list[tuple[str, str, str]]:
    found = []
    for chat_id in ("a", "b"):
        chat = chats.Chat()
        for stream, event in history:
            if stream == f"chat:{chat_id}":
                chat = chats.evolve(chat, event)
        for message_id in chat.queue:
            is_sent = chat.outbound[message_id].sending
            found.append((chat_id, message_id, "sending" if is_sent else "waiting"))
    return found


def with_fresh_ids(steps: list[Step]) -> list[Step]:
    """A message id is requested once; what follows is about the newest of its name."""
    newest: dict[tuple[str, str], str] = {}
    fresh = []
    for number, (stream, event) in enumerate(steps):
        name = getattr(event, "message_id", None)
        if isinstance(event, chat_events.ReplyRequested):
            newest[stream, event.message_id] = f"{name}{number}"
        if name is not None:
            message_id = newest.get((stream, name), "unknown")
            event = type(event)(
                **{
                    each: message_id if each == "message_id" else getattr(event, each)
                    for each in event.__struct_fields__
                }
            )
        fresh.append((stream, event))
    return fresh


# Cost.

FILL = """
INSERT INTO outbox
SELECT i / 1000, 'chat' || i / 2, i % 2 + 1, i, 'm' || i, 'whatsapp', 'account' || i / 2 % 10,
       'contact' || i / 2, 'channel' || i / 2 % 10, 'crm', 'text', now(),
       '{"key":"contact:x","id":"AAAA","box":""}', 'contact:' || i / 2, NULL, NULL, NULL,
       i % 2 = 0, CASE WHEN i % 100 = 0 THEN 'sending' ELSE 'waiting' END, 0, NULL,
       CASE WHEN i % 100 = 0 THEN now() END, now() + i * interval '1 minute', false, i % 7 = 0
  FROM generate_series(2000000, 2099999) i;
INSERT INTO outbox_addresses
SELECT i / 500, 'contact' || i, 'key', 'phone', 1,
       '{"key":"contact:x","id":"AAAA","box":""}', 'contact:' || i
  FROM generate_series(1000000, 1049999) i;
INSERT INTO outbox_chats
SELECT i / 500, 'chat' || i, 'whatsapp', 'account' || i % 10, 'contact' || i
  FROM generate_series(1000000, 1049999) i;
INSERT INTO outbox_channels
SELECT 2000 + i / 20, 'channel' || i % 20, 'whatsapp', 'account' || i % 20
  FROM generate_series(0, 19999) i;
INSERT INTO outbox_accounts
SELECT 2000 + i / 20, 'whatsapp', 'account' || i % 20, false FROM generate_series(0, 19999) i;
INSERT INTO trunkline.keys SELECT i / 500, 'contact:' || i, 'wrapped'
  FROM generate_series(1000000, 1049999) i;
"""

TO_ACCOUNT = {"platform": "whatsapp", "account_id": "account1", "at": NOON}
TO_CHANNEL = {"channel_id": "channel1", "service": "crm", "at": NOON}
CHAT_IDS = {"chat_ids": ["chat1000000", "chat1000001"]}
PASSED_OVER = {
    "orgs": [2000],
    "platforms": ["whatsapp"],
    "account_ids": ["account1"],
    "chat_orgs": [2000],
    "chat_ids": ["chat1000000"],
}
QUERIES: dict[str, tuple[Mapping[str, str], dict[str, Any]]] = {
    "due": (
        {"due": outbox.DUE},
        {"now": NOON, "limit": 100, "limit_per_account": 10, **PASSED_OVER},
    ),
    "outgoing": (
        {"outgoing": outbox.OUTGOING},
        {"chat_id": "chat1000000", "message_id": "m2000000"},
    ),
    "orphans": (outbox.SQL, {"claimed_before": NOON, "limit": 100}),
    "next_due": (outbox.SQL, {}),
    "waiting": (outbox.SQL, {"chat_id": "b", "limit": 100}),
    "load_chats": (outbox_batch.SQL, CHAT_IDS),
    "load_messages": (outbox_batch.SQL, CHAT_IDS),
    "load_accounts": (
        outbox_batch.SQL,
        {"platforms": ["whatsapp"], "account_ids": ["account1"]},
    ),
    "drop_messages": (outbox_batch.SQL, {**CHAT_IDS, "versions": [1, 1]}),
    "drop_addresses": (outbox_batch.SQL, {"contact_ids": ["contact1"], "keys": [b"key"]}),
    "hold_messages": (outbox_batch.SQL, TO_ACCOUNT),
    "release_messages": (outbox_batch.SQL, TO_ACCOUNT),
    "leave_channel": (outbox_batch.SQL, TO_CHANNEL),
    "return_to_channel": (outbox_batch.SQL, TO_CHANNEL),
}


@pytest.fixture(scope="module")
async def filled(
    connection: psycopg.AsyncConnection, database: Database
) -> AsyncIterator[psycopg.AsyncConnection]:
    """100,000 messages of 100 orgs."""
    async with await psycopg.AsyncConnection.connect(
        database.superuser, autocommit=True
    ) as superuser:
        await superuser.execute(f"SET search_path = {BUILDS}")
        await superuser.execute(FILL)
        await superuser.execute("ANALYZE")
        yield connection
        await superuser.execute("TRUNCATE outbox")


@pytest.mark.parametrize("query", QUERIES)
async def test_every_query_is_served_by_indexes(
    filled: psycopg.AsyncConnection, query: str
) -> None:
    sql, arguments = QUERIES[query]
    cursor = await filled.execute("EXPLAIN " + sql[query], {"org": 2000, **arguments})
    plan = "\n".join(line for (line,) in await cursor.fetchall())
    assert "Seq Scan" not in plan, plan
