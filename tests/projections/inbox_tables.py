"""Every row of the inbox, to compare one way of filling its tables with another."""

from typing import Any

import psycopg

TABLES = (
    "channels",
    "connections",
    "threads",
    "chats",
    "counts",
    "messages",
    "receipts",
    "edits",
    "unsends",
    "reactions",
    "reads",
    "contacts",
    "addresses",
    "preferences",
)


async def rows_of(connection: psycopg.AsyncConnection, org: int) -> dict[str, list[Any]]:
    """By table; every column but the org."""
    rows = {}
    for table in TABLES:
        cursor = await connection.execute(
            f"SELECT to_jsonb(t) - 'org' FROM inbox_{table} t WHERE org = %s", [org]
        )
        rows[table] = sorted((row for (row,) in await cursor.fetchall()), key=str)
    return rows
