"""The inbox: every service's list of chats, and the timelines behind them (S2–S4, C0–C4, C15, C17).

A batch is sorted (fold.py), written set by set, and then the chats it touched are looked up
again. So the order of arrival shows in nothing but the positions.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from msgspec.structs import astuple
from psycopg import AsyncCursor

from domain.event import Recorded
from projections.engine.bulk import arrays, named_arrays
from projections.engine.named_sql import compact, load
from projections.engine.projection import Connection
from projections.inbox.filling import InboxFilling
from projections.inbox.fold import Changes, merge_settlements, note_customers
from projections.inbox.records import Thread
from projections.inbox.services import Channel, Decided, Seats, ServiceConnection, decide

SQL = load(__file__)
for _chats in ("touched", "seated"):
    SQL[f"refresh_{_chats}"] = compact(SQL["refresh_chats"].format(chats=SQL[f"{_chats}_chats"]))


class Inbox:
    """The projection."""

    name = "inbox"
    version = 3
    is_watched = True
    tables = SQL["tables"] + SQL["indexes"]
    filling = InboxFilling(
        tables=SQL["tables"],
        indexes=SQL["indexes"],
        seats=(SQL["read_channels"], SQL["read_connections"]),
    )

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """Fold a batch into the tables: one round trip to read, one to write."""
        changes = Changes(batch)
        if changes.is_empty:
            return
        concerned = changes.touched | changes.threads.keys() | changes.customer_wrote.keys()
        known = await _load(connection, org, concerned)
        writer = _Writer(connection, org)
        changed_seats = await _write_seats(writer, known.seats, changes)
        await _write_threads(writer, known.threads, changes)
        await _write_messages(writer, changes)
        await _write_contacts(writer, changes)
        dropped = await _join_by_key(writer, changes)
        await _refresh(writer, _decided_rows(known, changes), changed_seats)
        chat_ids = [chat_id for (chat_id,) in await dropped.fetchall()] if dropped else []
        if chat_ids:
            await _count_reads_anew(writer, chat_ids)


class _Writer:
    """Runs a statement for one org, unless there is nothing to write."""

    def __init__(self, connection: Connection, org: int) -> None:
        self.connection = connection
        self.org = org

    async def write(self, name: str, rows: Collection[Sequence[Any]]) -> AsyncCursor[Any] | None:
        """The fields of a row stand in the order of the statement's placeholders."""
        if not rows:
            return None
        parameters = {"org": self.org, **arrays(SQL[name], rows)}
        return await self.connection.execute(SQL[name], parameters)

    async def write_column(self, name: str, values: Collection[Any]) -> AsyncCursor[Any] | None:
        """Where a row has one field."""
        return await self.write(name, [(value,) for value in values])


# What is known already.


class _Known(msgspec.Struct):
    """What a batch is folded into."""

    seats: Seats
    threads: dict[str, Thread]
    decided: dict[tuple[str, str], Decided]


async def _load(connection: Connection, org: int, chat_ids: Collection[str]) -> _Known:
    parameters = {"org": org, **named_arrays(SQL["read_threads"], {"chat_ids": list(chat_ids)})}
    await connection.execute(SQL["plan_look_ups"])
    channels = await connection.execute(SQL["read_channels"], parameters)
    connections = await connection.execute(SQL["read_connections"], parameters)
    threads = await connection.execute(SQL["read_threads"], parameters)
    decided = await connection.execute(SQL["read_decided"], parameters)
    seats = Seats(
        [Channel(*row) for row in await channels.fetchall()],
        [ServiceConnection(*row) for row in await connections.fetchall()],
    )
    return _Known(
        seats,
        {row[0]: Thread(*row) for row in await threads.fetchall()},
        {row[:2]: Decided(*row) for row in await decided.fetchall()},
    )


# What the batch says.


async def _write_seats(
    writer: _Writer, seats: Seats, changes: Changes
) -> list[tuple[str, Channel]]:
    joined = seats.take(changes.channels, changes.connections)
    await writer.write("write_channels", [astuple(each) for each in changes.channels])
    await writer.write("write_connections", [astuple(each) for each in joined])
    return seats.settle()


async def _write_threads(writer: _Writer, threads: dict[str, Thread], changes: Changes) -> None:
    for chat_id, thread in changes.threads.items():
        threads.setdefault(chat_id, thread)
    note_customers(threads, changes)
    changed = changes.threads.keys() | changes.customer_wrote.keys()
    await writer.write("write_threads", [astuple(threads[chat_id]) for chat_id in changed])


async def _write_messages(writer: _Writer, changes: Changes) -> None:
    merge_settlements(changes)
    await writer.write("write_messages", [astuple(each) for each in changes.messages.values()])
    await writer.write("settle_by_id", [astuple(each) for each in changes.settlements.values()])
    await writer.write("write_receipts", [astuple(each) for each in changes.receipts])
    await writer.write("write_edits", [(*name, *edit) for name, edit in changes.edits.items()])
    await writer.write("write_unsends", [(*name, at) for name, at in changes.unsends.items()])
    await writer.write("forget_edits", changes.edits.keys() | changes.unsends.keys())
    await writer.write(
        "write_reactions", [(*name, *reaction) for name, reaction in changes.reactions.items()]
    )


async def _write_contacts(writer: _Writer, changes: Changes) -> None:
    await writer.write("write_names", [(name, *row) for name, row in changes.names.items()])
    added = [(*key, *address) for key, address in changes.addresses.items() if address]
    await writer.write("write_addresses", added)
    removed = [key for key, address in changes.addresses.items() if not address]
    await writer.write("remove_addresses", removed)
    await writer.write(
        "write_preferences", [(*name, *said) for name, said in changes.preferences.items()]
    )


# What follows from it.


async def _join_by_key(writer: _Writer, changes: Changes) -> AsyncCursor[Any] | None:
    """Join what names a message by its key to that message; returns the chats of echoes dropped."""
    dropped = await writer.write("drop_echoes", changes.outbound_keys)
    await writer.write("settle_by_key", changes.keys)
    return dropped


async def _count_reads_anew(writer: _Writer, chat_ids: list[str]) -> None:
    """What was read of a dropped echo was read of the message itself."""
    cursor = await writer.write_column("forget_reads", chat_ids)
    if cursor is not None:
        await writer.write("settle_by_key", await cursor.fetchall())


def _decided_rows(known: _Known, changes: Changes) -> list[tuple[Decided, Channel]]:
    """For every touched chat, what each service with a seat has decided about it by now."""
    rows: list[tuple[Decided, Channel]] = []
    for chat_id in changes.touched:
        thread = known.threads[chat_id]
        events = changes.decisive.get(chat_id, ())
        for service, channel in known.seats.on(thread.account).items():
            row = known.decided.get((chat_id, service)) or Decided(chat_id, service)
            for recorded in events:
                decide(row, recorded)
            rows.append((row, channel))
    return rows


async def _refresh(
    writer: _Writer,
    rows: list[tuple[Decided, Channel]],
    changed_seats: list[tuple[str, Channel]],
) -> None:
    """Look up what follows from the messages, for these rows and for those of changed seats."""
    if rows:
        touched = [(*astuple(row), channel.channel_id, channel.sees_from) for row, channel in rows]
        await writer.write("refresh_touched", touched)
    if changed_seats:
        seats = [
            (service, channel.channel_id, channel.sees_from, *channel.account)
            for service, channel in changed_seats
        ]
        await writer.write("refresh_seated", seats)
