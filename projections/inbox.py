"""The inbox: every service's list of chats, and the timelines behind them (S2–S4, C0–C4, C15, C17).

A batch is sorted (inbox_fold.py), written set by set, and then the chats it touched are looked up
again. So the order of arrival shows in nothing but the positions.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from psycopg.rows import class_row

from domain.event import Recorded
from projections.inbox_fold import Changes, NewMessage, Settlement, Thread
from projections.inbox_services import Channel, Connection, Decided, Seats, decide
from projections.named_sql import load
from projections.projection import Connection as Database

SQL = load(__file__)


class Inbox:
    """The projection."""

    name = "inbox"
    version = 1
    tables = SQL["tables"]

    async def apply(self, connection: Database, org: int, batch: Sequence[Recorded]) -> None:
        """Fold a batch into the tables."""
        changes = Changes(batch)
        writer = _Writer(connection, org)
        seats = await _load_seats(connection, org)
        changed_seats = await _write_seats(writer, seats, changes)
        chat_ids = list(changes.touched | set(changes.threads))
        threads = await _load_threads(connection, org, chat_ids)
        decided = await _load_decided(connection, org, chat_ids)
        async with connection.pipeline():
            await _write_threads(writer, threads, changes)
            await _write_messages(writer, changes)
            await _write_contacts(writer, changes)
        await _join_by_key(writer, changes)
        rows = _decided_rows(seats, threads, decided, changes)
        await _refresh(writer, seats, threads, rows, changed_seats)


class _Writer:
    """Runs a statement for one org, unless there is nothing to write."""

    def __init__(self, connection: Database, org: int) -> None:
        self.connection = connection
        self.org = org

    async def write(self, name: str, columns: Sequence[str], rows: Collection[Any]) -> None:
        if rows:
            await self.connection.execute(SQL[name], self.arrays(columns, rows))

    async def write_structs(
        self, name: str, struct: type[msgspec.Struct], rows: Collection[msgspec.Struct]
    ) -> None:
        columns = struct.__struct_fields__
        await self.write(name, columns, [msgspec.structs.astuple(row) for row in rows])

    def arrays(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
        transposed = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in columns]
        return {"org": self.org, **dict(zip(columns, transposed, strict=True))}


# What is known already.


async def _load_seats(connection: Database, org: int) -> Seats:
    async with connection.cursor(row_factory=class_row(Channel)) as channels:
        await channels.execute(SQL["read_channels"], {"org": org})
        known_channels = await channels.fetchall()
    async with connection.cursor(row_factory=class_row(Connection)) as connections:
        await connections.execute(SQL["read_connections"], {"org": org})
        return Seats(known_channels, await connections.fetchall())


async def _load_threads(connection: Database, org: int, chat_ids: list[str]) -> dict[str, Thread]:
    async with connection.cursor(row_factory=class_row(Thread)) as cursor:
        await cursor.execute(SQL["read_threads"], {"org": org, "chat_ids": chat_ids})
        return {thread.chat_id: thread for thread in await cursor.fetchall()}


async def _load_decided(
    connection: Database, org: int, chat_ids: list[str]
) -> dict[tuple[str, str], Decided]:
    async with connection.cursor(row_factory=class_row(Decided)) as cursor:
        await cursor.execute(SQL["read_decided"], {"org": org, "chat_ids": chat_ids})
        return {(row.chat_id, row.service): row for row in await cursor.fetchall()}


# What the batch says.


async def _write_seats(
    writer: _Writer, seats: Seats, changes: Changes
) -> list[tuple[str, Channel]]:
    for created in changes.channels:
        seats.channels.setdefault(created[0], Channel(*created))
    joined = {
        (connection.service, connection.channel_id): connection
        for connection in (seats.join(*each) for each in changes.connections)
    }
    await writer.write(
        "write_channels",
        ("channel_ids", "platforms", "account_ids", "shared", "positions"),
        changes.channels,
    )
    await writer.write(
        "write_connections",
        ("services", "channel_ids", "active", "joined"),
        [msgspec.structs.astuple(each) for each in joined.values()],
    )
    return seats.settle()


async def _write_threads(writer: _Writer, threads: dict[str, Thread], changes: Changes) -> None:
    for chat_id, thread in changes.threads.items():
        threads.setdefault(chat_id, thread)
    for chat_id, at in changes.customer_wrote.items():
        known = threads[chat_id].last_customer_message_at
        threads[chat_id].last_customer_message_at = max(known or at, at)
    changed = set(changes.threads) | set(changes.customer_wrote)
    columns = (
        "chat_ids",
        "platforms",
        "account_ids",
        "contact_ids",
        "groups",
        "positions",
        "times",
    )
    rows = [msgspec.structs.astuple(threads[chat_id]) for chat_id in changed]
    await writer.write("write_threads", columns, rows)


async def _write_messages(writer: _Writer, changes: Changes) -> None:
    for name, settlement in changes.settlements.items():
        message = changes.messages.get(name)
        if message is not None:
            _merge(message, settlement)
    await writer.write_structs("write_messages", NewMessage, changes.messages.values())
    await writer.write_structs("settle_by_id", Settlement, changes.settlements.values())
    receipt = (
        "chat_ids",
        "keys",
        "positions",
        "statuses",
        "ranks",
        "times",
        "participants",
        "error_codes",
        "details",
        "detail_keys",
    )
    await writer.write("write_receipts", receipt, changes.receipts)
    target = ("chat_ids", "targets")
    sealed = ("times", "positions", "contents", "content_keys")
    edits = [(*target, *edit) for target, edit in changes.edits.items()]
    await writer.write("write_edits", (*target, *sealed), edits)
    unsends = [(*target, at) for target, at in changes.unsends.items()]
    await writer.write("write_unsends", (*target, "times"), unsends)
    await writer.write("forget_edits", target, changes.edits.keys() | changes.unsends.keys())
    reactions = [(*target, *reaction) for target, reaction in changes.reactions.items()]
    await writer.write("write_reactions", (*target, "authors", *sealed), reactions)


def _merge(message: NewMessage, settlement: Settlement) -> None:
    """Write a message as the batch leaves it, instead of writing it and changing it."""
    message.rank = max(message.rank, settlement.rank)
    message.key = settlement.key
    message.failed_position = settlement.failed_position
    message.failure_reason = settlement.failure_reason
    message.failure_code = settlement.failure_code


async def _write_contacts(writer: _Writer, changes: Changes) -> None:
    names = [(contact_id, *name) for contact_id, name in changes.names.items()]
    await writer.write("write_names", ("contact_ids", "names", "name_keys", "positions"), names)
    columns = ("contact_ids", "keys", "kinds", "positions", "addresses", "address_keys")
    added = [(*key, *address) for key, address in changes.addresses.items() if address]
    await writer.write("write_addresses", columns, added)
    removed = [key for key, address in changes.addresses.items() if not address]
    await writer.write("remove_addresses", columns[:2], removed)


# What follows from it.


async def _join_by_key(writer: _Writer, changes: Changes) -> None:
    """Join what names a message by its key to that message, in whatever order they came."""
    columns = ("chat_ids", "keys")
    keys = changes.keys | changes.outbound_keys
    if changes.outbound_keys:
        of_ours = writer.arrays(columns, changes.outbound_keys)
        cursor = await writer.connection.execute(SQL["drop_echoes"], of_ours)
        dropped = {chat_id for (chat_id,) in await cursor.fetchall()}
        if dropped:
            parameters = {"org": writer.org, "chat_ids": list(dropped)}
            cursor = await writer.connection.execute(SQL["forget_reads"], parameters)
            keys |= set(await cursor.fetchall())
    await writer.write("settle_by_key", columns, keys)


def _decided_rows(
    seats: Seats,
    threads: dict[str, Thread],
    decided: dict[tuple[str, str], Decided],
    changes: Changes,
) -> list[Decided]:
    """For every touched chat, what each service with a seat has decided about it by now."""
    rows: list[Decided] = []
    for chat_id in changes.touched:
        thread = threads[chat_id]
        events = changes.decisive.get(chat_id, ())
        for service in seats.on((thread.platform, thread.account_id)):
            row = decided.get((chat_id, service)) or Decided(chat_id, service)
            for recorded in events:
                decide(row, recorded)
            rows.append(row)
    return rows


async def _refresh(
    writer: _Writer,
    seats: Seats,
    threads: dict[str, Thread],
    rows: list[Decided],
    changed_seats: list[tuple[str, Channel]],
) -> None:
    if not rows and not changed_seats:
        return
    channels = [
        seats.on((threads[row.chat_id].platform, threads[row.chat_id].account_id))[row.service]
        for row in rows
    ]
    parameters = {
        "touched": list({row.chat_id for row in rows}),
        "chat_ids": [row.chat_id for row in rows],
        "services": [row.service for row in rows],
        "channel_ids": [channel.channel_id for channel in channels],
        "sees_from": [channel.sees_from for channel in channels],
        "seat_services": [service for service, _ in changed_seats],
        "seat_channel_ids": [channel.channel_id for _, channel in changed_seats],
        "seat_sees_from": [channel.sees_from for _, channel in changed_seats],
        "seat_platforms": [channel.platform for _, channel in changed_seats],
        "seat_account_ids": [channel.account_id for _, channel in changed_seats],
    }
    columns = Decided.__struct_fields__[2:]
    decided = writer.arrays(columns, [msgspec.structs.astuple(row)[2:] for row in rows])
    await writer.connection.execute(SQL["refresh_chats"], decided | parameters)
