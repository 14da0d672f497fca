"""Reads an org's log stream by stream, for a projection that is filled from whole streams."""

import asyncio
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

import msgspec

from domain.event import EVENT_CLASSES, Recorded, UnknownEventType, decode
from projections.engine.batches import GapInLog
from projections.engine.named_sql import load
from projections.engine.pieces import Piece
from projections.engine.projection import Connection

SQL = load(__file__)

Row = tuple[Any, ...]


class UnknownEvent(UnknownEventType):
    """The log holds, at `position` for the first time, a type that this code does not know."""

    def __init__(self, position: int) -> None:
        super().__init__(f"at position {position}")
        self.position = position


class Page(msgspec.Struct, frozen=True):
    """Whole streams of a piece, about as many events as were asked for."""

    streams: Sequence[Sequence[Recorded]]  # With the events that are wanted, if there are any.
    events: int  # All, wanted or not.
    reached: str | None  # The name of the last stream.
    is_last: bool


class Pages:
    """Reads pages of streams, each while the one before it is written."""

    def __init__(self, connection: Connection, event_types: Collection[str]) -> None:
        """`connection` is this one's alone, of role trunkline_project."""
        self._connection = connection
        self._ignored = sorted({name for name, _ in EVENT_CLASSES}.difference(event_types))
        self._coming: tuple[Piece, int, asyncio.Task[Page]] | None = None

    async def next(self, piece: Piece, *, limit: int) -> Page:
        """What comes behind the stream that the piece has reached.

        A stream that is longer than the limit comes alone. Raises GapInLog, UnknownEventType.
        """
        task = await self._take(piece, limit) or self._begin(piece, limit)
        page = await task
        if not page.is_last:
            following = msgspec.structs.replace(piece, reached=page.reached)
            self._coming = following, limit, self._begin(following, limit)
        return page

    async def close(self) -> None:
        """Read no more."""
        if self._coming is not None:
            _, _, task = self._coming
            self._coming = None
            await asyncio.gather(task, return_exceptions=True)

    async def _take(self, piece: Piece, limit: int) -> asyncio.Task[Page] | None:
        """What was read ahead, if it is what is wanted now."""
        if self._coming is None:
            return None
        coming, coming_limit, task = self._coming
        if (_place(coming), coming_limit) != (_place(piece), limit):
            await self.close()
            return None
        self._coming = None
        return task

    def _begin(self, piece: Piece, limit: int) -> asyncio.Task[Page]:
        return asyncio.create_task(self._read(piece, limit))

    async def _read(self, piece: Piece, limit: int) -> Page:
        rows = await self._read_slice(piece, limit)
        is_last = len(rows) < limit
        if not is_last:
            # The last stream may go on.
            whole = [row for row in rows if row[1] != rows[-1][1]]
            rows = whole or await self._read_stream(piece, rows[-1][1])
        return Page(
            streams=_streams(rows),
            events=len(rows),
            reached=rows[-1][1] if rows else None,
            is_last=is_last,
        )

    async def _read_slice(self, piece: Piece, limit: int) -> list[Row]:
        parameters = {**_slice_of(piece), "ignored": self._ignored, "limit": limit}
        async with self._connection.transaction(), self._connection.pipeline():
            await self._connection.execute(SQL["in_order"])
            cursor = await self._connection.execute(SQL["read_slice"], parameters, binary=True)
            return await cursor.fetchall()

    async def _read_stream(self, piece: Piece, stream: str) -> list[Row]:
        parameters = {**_slice_of(piece), "ignored": self._ignored, "stream": stream}
        cursor = await self._connection.execute(SQL["read_stream"], parameters, binary=True)
        return await cursor.fetchall()


async def next_stream(connection: Connection, piece: Piece) -> str:
    """The name of the stream that comes next."""
    row = await (await connection.execute(SQL["next_stream"], _slice_of(piece))).fetchone()
    return row[0] if row else ""


async def require_whole_log(connection: Connection, piece: Piece) -> None:
    """None is missing up to the piece's position, and all are of types that the code knows.

    Streams of other kinds are not read, so this alone sees them. Raises GapInLog, UnknownEvent.
    """
    cursor = await connection.execute(SQL["types"], {"org": piece.org, "position": piece.position})
    types = await cursor.fetchall()
    if sum(count for _, _, count, _ in types) != piece.position:
        raise GapInLog(f"before position {piece.position}")
    unknown = [first for *name, _, first in types if tuple(name) not in EVENT_CLASSES]
    if unknown:
        raise UnknownEvent(min(unknown))


def _streams(rows: Sequence[Row]) -> list[list[Recorded]]:
    streams = []
    for name, group in groupby(rows, lambda row: row[1]):
        stream = list(group)
        if [row[2] for row in stream] != list(range(1, len(stream) + 1)):
            raise GapInLog(f"in the stream {name}")
        wanted = [_recorded(row) for row in stream if row[-1] is not None]
        if wanted:
            streams.append(wanted)
    return streams


def _place(piece: Piece) -> tuple[int, int, int, str | None]:
    return piece.stage, piece.org, piece.number, piece.reached


def _slice_of(piece: Piece) -> dict[str, Any]:
    return {
        "org": piece.org,
        "first_stream": piece.first_stream,
        "last_stream": piece.last_stream,
        "reached": piece.reached or "",
        "position": piece.position,
    }


def _recorded(row: Row) -> Recorded:
    position, stream, version, recorded_at, name, schema_version, data = row
    return Recorded(position, stream, version, recorded_at, decode(name, schema_version, data))
