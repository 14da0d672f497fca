"""What a batch of events needs of the unread counters: loaded before, written behind."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from psycopg import AsyncCursor

from domain import channel as channels
from domain import chat_events
from domain import organisation as organisations
from domain import reader as readers
from domain.event import Recorded
from projections.engine import named_sql
from projections.engine.bulk import columns_by_name
from projections.engine.projection import Connection
from projections.unread.counting import ChatCount, Counting, Lane, Reader, User

SQL = named_sql.load(__file__)


class Touched(msgspec.Struct):
    """What a batch is about."""

    is_empty: bool = True
    accounts: set[str] = set()
    chats: set[str] = set()
    channels: set[str] = set()
    users: set[str] = set()
    services: set[str] = set()  # Of which all lanes are needed.
    service_visits: set[tuple[str, str]] = set()  # By user and service.
    chat_visits: set[tuple[str, str, str]] = set()  # By user, service and chat.


def touched_by(batch: Sequence[Recorded]) -> Touched:
    """What has to be known before the batch can be counted."""
    touched = Touched()
    for recorded in batch:
        subject = recorded.stream.partition(":")[2]
        match recorded.event:
            case (
                chat_events.MessageReceived()
                | chat_events.CustomerBlocked()
                | chat_events.CustomerUnblocked()
            ):
                touched.chats.add(subject)
            case chat_events.ChatStarted() | channels.ChannelCreated() as event:
                touched.accounts.add(f"{event.platform}:{event.account_id}")
            case chat_events.ReplyRequested() as event:
                touched.chats.add(subject)
                touched.chat_visits.add((event.user_id, event.service, subject))
            case readers.ChatVisited() as event:
                touched.chats.add(event.chat_id)
                touched.chat_visits.add((event.user_id, event.service, event.chat_id))
            case readers.ServiceVisited() as event:
                touched.services.add(event.service)
                touched.service_visits.add((event.user_id, event.service))
            case (
                channels.ConnectionCreated()
                | channels.ConnectionEnabled()
                | channels.ConnectionDisabled()
                | channels.ConnectionDeleted()
            ):
                touched.channels.add(subject)
            case organisations.UserAdded() as event:
                touched.users.add(event.added_user_id)
            case organisations.UserRoleChanged() | organisations.UserServicesChanged() as event:
                touched.users.add(event.changed_user_id)
            case _:
                continue
        touched.is_empty = False
    return touched


# Loading. Each step asks only for what the steps before have shown to be needed.


async def load(connection: Connection, org: int, touched: Touched) -> Counting:
    """The numbers as they stand before the batch."""
    counting = Counting()
    accounts = await _ask(
        connection, org, "load_accounts", chat_ids=touched.chats, channel_ids=touched.channels
    )
    # Sent along with the first question, whose answer they do not need.
    chats = await _ask(connection, org, "load_chats", chat_ids=touched.chats)
    users = await _ask(connection, org, "load_users", user_ids=touched.users)
    for subject, account, is_chat in await _rows(accounts):
        by_subject = counting.chat_accounts if is_chat else counting.channel_accounts
        by_subject[subject] = account
        touched.accounts.add(account)
    lanes = await _ask(
        connection,
        org,
        "load_lanes",
        accounts=touched.accounts,
        services=touched.services,
        everything=bool(touched.users),  # A change of access may gain any service.
    )
    for service, channel_id, account, begins_after, active, ordinal in await _rows(lanes):
        counting.add_lane(service, channel_id, Lane(account, begins_after, active))
        counting.tallies[account][service] = ordinal
    for service, chat_id, account, messages, ordinal, position, blocked in await _rows(chats):
        counting.chats[service, chat_id] = ChatCount(
            account, messages, ordinal, position, blocked, messages, ordinal
        )
    for user_id, role, services in await _rows(users):
        counting.users[user_id] = User(role, frozenset(services))
    await _load_readers(connection, org, touched, counting)
    return counting


async def _load_readers(
    connection: Connection, org: int, touched: Touched, counting: Counting
) -> None:
    visits = {
        (user_id, service, counting.chats[service, chat_id].account, chat_id)
        for user_id, service, chat_id in touched.chat_visits
        if (service, chat_id) in counting.chats
    }
    marks = await _ask(
        connection,
        org,
        "load_readers",
        **columns_by_name("user_ids services channel_ids", _lanes(touched, counting)),
    )
    # Sent along with the question before.
    visited = await _ask(
        connection,
        org,
        "load_visits",
        **columns_by_name("user_ids services accounts chat_ids", visits),
    )
    for user_id, service, channel_id, ordinal, seen_in_chats in await _rows(marks):
        counting.readers[user_id, service, channel_id] = Reader(ordinal, seen_in_chats)
    for user_id, service, account, chat_id, messages in await _rows(visited):
        counting.visits[user_id, service, account][chat_id] = messages
    await _load_earlier(connection, org, counting, visits)


def _lanes(touched: Touched, counting: Counting) -> set[tuple[str, str, str]]:
    """The lanes that visits may concern: those of every account that the batch touches.

    A chat may be begun and visited in the same batch.
    """
    visitors = touched.service_visits | {
        (user_id, service) for user_id, service, _ in touched.chat_visits
    }
    return {
        (user_id, service, channel_id)
        for user_id, service in visitors
        for (name, _), channel_ids in counting.channels.items()
        if name == service
        for channel_id in channel_ids
    }


async def _load_earlier(
    connection: Connection, org: int, counting: Counting, visits: set[tuple[str, str, str, str]]
) -> None:
    """How many messages each visited chat had when its visitor last saw the service."""
    earlier = {
        (service, chat_id, ordinal)
        for user_id, service, account, chat_id in visits
        for channel_id in counting.channels.get((service, account), ())
        if (ordinal := counting.reader(user_id, service, channel_id).ordinal)
        < counting.chats[service, chat_id].stored_ordinal
    }
    messages_then = await _ask(
        connection, org, "load_earlier", **columns_by_name("services chat_ids ordinals", earlier)
    )
    for service, chat_id, ordinal, messages in await _rows(messages_then):
        counting.earlier[service, chat_id, ordinal] = messages


async def _ask(
    connection: Connection, org: int, query: str, **wanted: Iterable[Any] | bool
) -> AsyncCursor[Any] | None:
    """Nothing is asked where nothing is wanted."""
    if not any(wanted.values()):
        return None
    arguments = {
        name: each if isinstance(each, bool) else list(each) for name, each in wanted.items()
    }
    return await connection.execute(SQL[query], {"org": org, **arguments})


async def _rows(asked: AsyncCursor[Any] | None) -> list[Any]:
    return await asked.fetchall() if asked else []


# Writing.


async def save(connection: Connection, org: int, counting: Counting) -> None:
    """Write what the batch has changed, one statement a table."""
    for statement, names, rows in _changes(counting):
        columns = columns_by_name(names, rows)
        if any(columns.values()):
            await connection.execute(SQL[statement], {"org": org, **columns})


def _changes(counting: Counting) -> Iterator[tuple[str, str, Iterable[tuple[Any, ...]]]]:
    users = [(user_id, counting.users[user_id]) for user_id in counting.changed_users]
    yield (
        "save_users",
        "user_ids roles services",
        [(user_id, user.role, " ".join(sorted(user.services))) for user_id, user in users],
    )
    yield "save_channels", "channel_ids accounts", counting.new_channels.items()
    yield "save_customers", "chat_ids accounts", counting.new_chats.items()
    lanes = [(key, counting.lanes[key]) for key in counting.changed_lanes]
    yield (
        "save_lanes",
        "services channel_ids accounts begins_after active",
        [(*key, lane.account, lane.begins_after, lane.active) for key, lane in lanes],
    )
    yield (
        "save_tallies",
        "services accounts ordinals",
        [(service, on, counting.tallies[on][service]) for service, on in counting.changed_tallies],
    )
    changed = [(key, counting.chats[key]) for key in counting.changed_chats]
    yield (
        "save_chats",
        "services chat_ids accounts messages ordinals positions blocked",
        [
            (*key, chat.account, chat.messages, chat.ordinal, chat.position, chat.blocked)
            for key, chat in changed
        ],
    )
    yield "save_messages", "services chat_ids ordinals messages", counting.messages
    marks = [(key, counting.readers[key]) for key in counting.changed_readers]
    yield (
        "save_readers",
        "user_ids services channel_ids ordinals seen_in_chats",
        [(*key, reader.ordinal, reader.seen_in_chats) for key, reader in marks],
    )
    yield "clear_visits", "user_ids services accounts", counting.cleared_visits
    yield (
        "save_visits",
        "user_ids services accounts chat_ids messages",
        [
            (*key, chat_id, messages)
            for key, visited in counting.new_visits.items()
            for chat_id, messages in visited.items()
        ],
    )
