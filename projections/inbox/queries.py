"""Questions to the inbox: one indexed statement each, and nothing is opened here."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal

import msgspec
from psycopg.rows import dict_row

from projections.engine.named_sql import compact, load
from projections.engine.projection import Connection
from projections.inbox.rows import (
    ChannelView,
    ChatCursor,
    ChatRow,
    MessageCursor,
    MessageRow,
    ReceiptRow,
    chat_row,
    message_row,
    receipt_row,
)

SQL = {name: compact(statement) for name, statement in load(__file__).items()}

# A message has a handful of receipts; in a group, some for each member.
RECEIPTS_MAX = 1_000

View = Literal["all", "mine", "unassigned", "blocked", "closed"]

# The words of the partial indexes, so that the planner can take them.
_VIEWS: dict[View, str] = {
    "all": "NOT c.blocked",
    "mine": "NOT c.blocked AND c.owner = %(viewer)s",
    "unassigned": "NOT c.blocked AND c.owner = ''",
    "blocked": "c.blocked",
    "closed": "c.closed AND NOT c.blocked",
}


class ChatFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What is None does not filter. Times: `from` inclusive, `to` exclusive (C1)."""

    answered: bool | None = None
    status: Literal["open", "closed"] | None = None
    owner: str | None = None
    platform: str | None = None
    channel_id: str | None = None
    first_from: datetime | None = None
    first_to: datetime | None = None
    last_from: datetime | None = None
    last_to: datetime | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many chats each view holds; `unanswered` counts within `all`."""

    all: int
    mine: int
    unassigned: int
    blocked: int
    closed: int
    unanswered: int


_ON_CHATS = {
    "owner": "c.owner = %(owner)s",
    "first_from": "c.started_at >= %(first_from)s",
    "first_to": "c.started_at < %(first_to)s",
    "last_from": "c.last_activity_at >= %(last_from)s",
    "last_to": "c.last_activity_at < %(last_to)s",
}
_ON_CHANNELS = {
    "platform": "a.platform = %(platform)s",
    "channel_id": "a.channel_id = %(channel_id)s",
}


def chats_page_sql(view: View, filters: ChatFilters, *, after: bool, limit: int) -> str:
    """The statement for a page; another one for each combination, so each has its own plan.

    The limit is a part of it: a plan for any limit expects a tenth of all chats, and then each page
    of a large inbox would be planned anew, which takes longer than to read it.
    """
    given = {name for name, value in msgspec.structs.asdict(filters).items() if value is not None}
    chats = [_VIEWS[view], *(text for name, text in _ON_CHATS.items() if name in given)]
    if filters.answered is not None:
        chats.append("c.answered" if filters.answered else "NOT c.answered")
    if filters.status is not None:
        chats.append("c.closed" if filters.status == "closed" else "NOT c.closed")
    if after:
        chats.append("(c.last_activity_at, c.chat_id) < (%(after_at)s, %(after_chat)s)")
    channels = [text for name, text in _ON_CHANNELS.items() if name in given]
    return _with_columns(
        "chats_page",
        chats=" AND ".join(chats),
        channels=" AND ".join(channels) or "true",
        limit=str(limit),
    )


async def chats_page(
    connection: Connection,
    *,
    org: int,
    service: str,
    view: View,
    viewer: str,
    filters: ChatFilters = ChatFilters(),  # noqa: B008 - it is frozen.
    after: ChatCursor | None = None,
    limit: int,
) -> list[ChatRow]:
    """Chats of one service, newest activity first; `viewer` is the user whose chats are `mine`."""
    parameters = msgspec.structs.asdict(filters) | {
        "org": org,
        "service": service,
        "viewer": viewer,
        "after_at": after.last_activity_at if after else None,
        "after_chat": after.chat_id if after else None,
    }
    statement = chats_page_sql(view, filters, after=after is not None, limit=limit)
    return [chat_row(row) for row in await _rows(connection, statement, parameters)]


async def chat(connection: Connection, *, org: int, service: str, chat_id: str) -> ChatRow | None:
    """One chat; None where the service sees none. Look at `connected` before showing it (S16)."""
    rows = await _rows(connection, _CHAT, {"org": org, "service": service, "chat_id": chat_id})
    return chat_row(rows[0]) if rows else None


async def chats_named(
    connection: Connection, *, org: int, service: str, chat_ids: Collection[str]
) -> dict[str, ChatRow]:
    """Chats by id; those that the service is not shown now are missing. Spec S16."""
    parameters = {"org": org, "service": service, "chat_ids": list(chat_ids)}
    rows = await _rows(connection, _CHATS_NAMED, parameters)
    return {row["chat_id"]: chat_row(row) for row in rows}


async def counts(connection: Connection, *, org: int, service: str, viewer: str) -> Counts:
    """How many chats stand in each view."""
    parameters = {"org": org, "service": service, "viewer": viewer}
    (row,) = await _rows(connection, SQL["counts"], parameters)
    return Counts(**row)


async def messages_page(
    connection: Connection,
    *,
    org: int,
    chat_id: str,
    view: ChannelView,
    after: MessageCursor | None = None,
    limit: int,
) -> list[MessageRow]:
    """A chat's timeline as a channel sees it (`ChatRow.view`), newest first."""
    parameters = {
        "org": org,
        "chat_id": chat_id,
        "channel_id": view.channel_id,
        "sees_from": view.sees_from,
        "after_at": after.at if after else None,
        "after_position": after.position if after else None,
    }
    statement = messages_page_sql(after=after is not None, limit=limit)
    return [message_row(row) for row in await _rows(connection, statement, parameters)]


def messages_page_sql(*, after: bool, limit: int) -> str:
    """The statement for a page of a timeline; for the limit, see `chats_page_sql`."""
    older = "(m.at, m.position) < (%(after_at)s, %(after_position)s)" if after else "true"
    return _with_columns("messages_page", older=older, limit=str(limit))


async def message(
    connection: Connection, *, org: int, chat_id: str, view: ChannelView, message_id: str
) -> MessageRow | None:
    """One message; None where the channel sees none of this id."""
    parameters = {
        "org": org,
        "chat_id": chat_id,
        "channel_id": view.channel_id,
        "sees_from": view.sees_from,
        "message_id": message_id,
    }
    rows = await _rows(connection, _MESSAGE, parameters)
    return message_row(rows[0]) if rows else None


class MessageName(msgspec.Struct, frozen=True, kw_only=True):
    """A message by our id or else by its key, and the channel it is looked at through."""

    chat_id: str
    message_id: str | None
    key: bytes | None
    view: ChannelView


async def messages_named(
    connection: Connection, *, org: int, names: Collection[MessageName]
) -> list[MessageRow]:
    """The messages; those that their channel does not see are missing."""
    parameters = {
        "org": org,
        "chat_ids": [name.chat_id for name in names],
        "message_ids": [name.message_id for name in names],
        "keys": [name.key for name in names],
        "channel_ids": [name.view.channel_id for name in names],
        "sees_from": [name.view.sees_from for name in names],
    }
    return [message_row(row) for row in await _rows(connection, _MESSAGES_NAMED, parameters)]


async def receipts(
    connection: Connection, *, org: int, chat_id: str, message_id: str
) -> list[ReceiptRow]:
    """What the platform said about a message; ask `message` first whether it may be seen."""
    parameters = {
        "org": org,
        "chat_id": chat_id,
        "message_id": message_id,
        "limit": RECEIPTS_MAX,
    }
    rows = await _rows(connection, SQL["receipts"], parameters)
    return [receipt_row(row, chat_id) for row in rows]


async def _rows(
    connection: Connection, statement: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchall()


def _with_columns(name: str, **texts: str) -> str:
    shared = ("chat_columns", "chat_joins", "message_columns", "message_joins")
    return SQL[name].format(**texts, **{each: SQL[each] for each in shared})


_CHAT = _with_columns("chat")
_CHATS_NAMED = _with_columns("chats_named")
_MESSAGE = _with_columns("message")
_MESSAGES_NAMED = _with_columns("messages_named")
