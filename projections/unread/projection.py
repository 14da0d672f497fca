"""How many customer messages arrived since a user's last visit, per service and chat (C6, C7).

A message costs a few rows per service on its account, whether 1 user reads there or 10,000.
"""

from collections.abc import Collection, Sequence

from domain.event import Recorded
from projections.engine import named_sql
from projections.engine.projection import Connection
from projections.unread.batch import load, save, touched_by

SQL = named_sql.load(__file__)

# An answer lists so many: the chats with the newest messages.
CHAT_COUNT_MAX = 200


async def unread(
    connection: Connection, *, org: int, user_id: str, service: str
) -> tuple[int, dict[str, int]]:
    """The exact total, and the chats with the newest unread messages, newest first. Spec C6."""
    cursor = await connection.execute(
        SQL["unread"],
        {"org": org, "user_id": user_id, "service": service, "chat_count_max": CHAT_COUNT_MAX},
    )
    rows = await cursor.fetchall()
    return rows[0][0], {chat_id: count for _, chat_id, count in rows if chat_id is not None}


async def unread_of_chats(
    connection: Connection, *, org: int, user_id: str, service: str, chat_ids: Sequence[str]
) -> dict[str, int]:
    """The number of every chat that is asked for, 0 where there is nothing unread. Spec C6."""
    by_user = await unread_of_users(
        connection, org=org, user_ids=[user_id], service=service, chat_ids=chat_ids
    )
    return {**dict.fromkeys(chat_ids, 0), **by_user.get(user_id, {})}


async def unread_of_users(
    connection: Connection,
    *,
    org: int,
    user_ids: Collection[str],
    service: str,
    chat_ids: Collection[str],
) -> dict[str, dict[str, int]]:
    """The same for many users at once; a chat in which nothing is unread is missing."""
    cursor = await connection.execute(
        SQL["unread_of_chats"],
        {"org": org, "user_ids": list(user_ids), "service": service, "chat_ids": list(chat_ids)},
    )
    by_user: dict[str, dict[str, int]] = {}
    for user_id, chat_id, count in await cursor.fetchall():
        by_user.setdefault(user_id, {})[chat_id] = count
    return by_user


class Unread:
    """Unread counters as subtractions."""

    name = "unread"
    version = 1
    is_watched = True
    tables = SQL["tables"]

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """Count a batch: what it touches is loaded, counted in memory and written as sets."""
        touched = touched_by(batch)
        if touched.is_empty:
            return
        counting = await load(connection, org, touched)
        for recorded in batch:
            counting.take(recorded)
        await save(connection, org, counting)
