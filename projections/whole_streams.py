"""Reads an org's log stream by stream, for a projection that is filled from whole streams."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from domain.event import Recorded, decode
from projections.batches import GapInLog
from projections.named_sql import load
from projections.pieces import Piece
from projections.projection import Connection

SQL = load(__file__)

Streams = Sequence[Sequence[Recorded]]


async def next_streams(connection: Connection, piece: Piece, *, limit: int) -> tuple[Streams, bool]:
    """The piece's next whole streams, about `limit` events of them, and whether these are the last.

    A stream that is longer comes alone. Raises GapInLog, UnknownEventType.
    """
    rows = await _read(connection, piece, limit)
    is_last = len(rows) < limit
    if not is_last:
        # The last stream may go on.
        whole = [row for row in rows if row[1] != rows[-1][1]]
        rows = whole or await _read_stream(connection, piece, rows[-1][1])
    streams = [[_recorded(row) for row in group] for _, group in groupby(rows, lambda row: row[1])]
    for stream in streams:
        if [each.version for each in stream] != list(range(1, len(stream) + 1)):
            raise GapInLog(f"org {piece.org}, in the stream {stream[0].stream}")
    return streams, is_last


async def next_stream(connection: Connection, piece: Piece) -> str:
    """The name of the stream that comes next."""
    row = await (await connection.execute(SQL["next_stream"], _slice_of(piece))).fetchone()
    return row[0] if row else ""


async def require_whole_log(connection: Connection, piece: Piece) -> None:
    """As many events as the piece's position says: none is missing. Raises GapInLog."""
    cursor = await connection.execute(SQL["count"], {"org": piece.org, "position": piece.position})
    if await cursor.fetchone() != (piece.position,):
        raise GapInLog(f"org {piece.org}, before position {piece.position}")


async def _read(connection: Connection, piece: Piece, limit: int) -> list[tuple[Any, ...]]:
    parameters = {**_slice_of(piece), "limit": limit}
    async with connection.pipeline():
        await connection.execute(SQL["in_order"], ["off"])
        cursor = await connection.execute(SQL["read_slice"], parameters, binary=True)
        await connection.execute(SQL["in_order"], ["on"])
        return await cursor.fetchall()


async def _read_stream(connection: Connection, piece: Piece, stream: str) -> list[tuple[Any, ...]]:
    parameters = {"org": piece.org, "stream": stream, "position": piece.position}
    cursor = await connection.execute(SQL["read_stream"], parameters, binary=True)
    return await cursor.fetchall()


def _slice_of(piece: Piece) -> dict[str, Any]:
    return {
        "org": piece.org,
        "first_stream": piece.first_stream,
        "last_stream": piece.last_stream,
        "reached": piece.reached or "",
        "position": piece.position,
    }


def _recorded(row: tuple[Any, ...]) -> Recorded:
    position, stream, version, recorded_at, name, schema_version, data = row
    return Recorded(position, stream, version, recorded_at, decode(name, schema_version, data))
