"""Fills the inbox's tables from whole streams: what a rebuild runs instead of `Inbox.apply`.

A chat's whole history is folded in memory, and each row is written once, into tables that have
neither keys nor indexes yet. Memory is bounded by what `fill` is given.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from msgspec.structs import astuple

from domain.event import Recorded
from projections.engine.bulk import copy
from projections.engine.named_sql import load
from projections.engine.projection import Connection
from projections.inbox.fold import EVENT_TYPES, Changes, merge_settlements, note_customers
from projections.inbox.services import Channel, Seats, ServiceConnection
from projections.inbox.whole import (
    drop_echoes,
    forget_edits,
    refresh_chats,
    settle_by_key,
)

SQL = load(__file__)


class InboxFilling:
    """How a rebuild fills the inbox."""

    # A chat's rows depend on who is on its account, so channels come first.
    stream_order = ("channel", "contact", "chat")
    event_types = EVENT_TYPES

    def __init__(self, *, tables: str, indexes: str, seats: tuple[str, str]) -> None:
        """SQL: the bare tables; their keys and indexes; what reads channels and connections."""
        self.tables = tables
        self.indexes = indexes
        self._seats = seats

    async def fill(
        self, connection: Connection, org: int, streams: Sequence[Sequence[Recorded]]
    ) -> None:
        """Whole streams up to the build's position, into tables that hold nothing of them yet."""
        changes = Changes(chain.from_iterable(streams))
        copies = _Copies(connection, org, self.tables)
        if changes.channels:
            await _fill_channels(copies, changes)
        if changes.names or changes.addresses or changes.preferences:
            await _fill_contacts(copies, changes)
        if changes.threads:
            await _fill_chats(copies, changes, await self._read_seats(connection, org))

    async def finish(self, connection: Connection, org: int) -> None:
        """Once all streams of the org are filled: the counts over its chats."""
        await connection.execute(SQL["count"], {"org": org})

    async def _read_seats(self, connection: Connection, org: int) -> Seats:
        channels, connections = [
            await (await connection.execute(statement, {"org": org})).fetchall()
            for statement in self._seats
        ]
        return Seats(
            [Channel(*row) for row in channels], [ServiceConnection(*row) for row in connections]
        )


class _Copies:
    """Copies rows of one org into a table."""

    def __init__(self, connection: Connection, org: int, tables: str) -> None:
        self._connection = connection
        self._org = org
        self._tables = tables

    async def write(self, name: str, rows: Iterable[Iterable[Any]]) -> None:
        """The fields of a row stand as in the table, behind the org."""
        of_org = ((self._org, *row) for row in rows)
        await copy(self._connection, SQL[name], self._tables, of_org)


async def _fill_channels(copies: _Copies, changes: Changes) -> None:
    joined = Seats([], []).take(changes.channels, changes.connections)
    await copies.write("copy_channels", map(astuple, changes.channels))
    await copies.write("copy_connections", map(astuple, joined))


async def _fill_contacts(copies: _Copies, changes: Changes) -> None:
    await copies.write("copy_contacts", ((name, *row) for name, row in changes.names.items()))
    addresses = ((*key, *address) for key, address in changes.addresses.items() if address)
    await copies.write("copy_addresses", addresses)
    await copies.write("copy_preferences", _joined(changes.preferences))


async def _fill_chats(copies: _Copies, changes: Changes, seats: Seats) -> None:
    note_customers(changes.threads, changes)
    merge_settlements(changes)
    drop_echoes(changes)
    forget_edits(changes)
    reads = settle_by_key(changes, seats)
    await copies.write("copy_threads", map(astuple, changes.threads.values()))
    await copies.write("copy_messages", map(astuple, changes.messages.values()))
    await copies.write("copy_receipts", map(astuple, changes.receipts))
    await copies.write("copy_edits", _joined(changes.edits))
    await copies.write("copy_unsends", ((*name, at) for name, at in changes.unsends.items()))
    await copies.write("copy_reactions", _joined(changes.reactions))
    await copies.write("copy_reads", ((*name, at) for name, at in reads.items()))
    await copies.write("copy_chats", _chats(changes, seats))


def _joined(rows: dict[Any, tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Rows from their keys and the rest of their fields."""
    return ((*key, *row) for key, row in rows.items())


def _chats(changes: Changes, seats: Seats) -> Iterator[tuple[Any, ...]]:
    for row, channel, seen in refresh_chats(changes, seats):
        chat_id, service, *decided = astuple(row)
        yield chat_id, service, channel.channel_id, *decided, *astuple(seen)
