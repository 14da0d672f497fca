"""PostgreSQL arrays packed by hand, in the binary form that the server reads.

A batch has nineteen arrays; psycopg builds them element by element in Python, which took longer
than the server takes to insert them. These are a join and a struct.pack each.
"""

import struct
from collections.abc import Collection, Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = struct.Struct(">iiIii")  # dimensions, has nulls, element type, length, lower bound
_EMPTY = struct.Struct(">iiI")
_LENGTH = struct.Struct(">i").pack
_POSTGRES_EPOCH_MICROSECONDS = 946_684_800_000_000  # 2000-01-01, since 1970


class Array(bytes):
    """An array in binary form."""

    element: int


class Int4Array(Array):
    """`int[]`"""

    element = 23


class Int8Array(Array):
    """`bigint[]`"""

    element = 20


class TextArray(Array):
    """`text[]`"""

    element = 25


class ByteaArray(Array):
    """`bytea[]`"""

    element = 17


class TimestampArray(Array):
    """`timestamptz[]`"""

    element = 1184


_ARRAY_TYPES: dict[type[Array], int] = {
    Int4Array: 1007,
    Int8Array: 1016,
    TextArray: 1009,
    ByteaArray: 1001,
    TimestampArray: 1185,
}


def int4(values: Collection[int]) -> Int4Array:
    """An `int[]`."""
    return Int4Array(_fixed(Int4Array.element, "ii", 4, values))


def int8(values: Collection[int]) -> Int8Array:
    """A `bigint[]`."""
    return Int8Array(_fixed(Int8Array.element, "iq", 8, values))


def timestamps(microseconds: Collection[int]) -> TimestampArray:
    """A `timestamptz[]` from microseconds since 1970."""
    shifted = [each - _POSTGRES_EPOCH_MICROSECONDS for each in microseconds]
    return TimestampArray(_fixed(TimestampArray.element, "iq", 8, shifted))


def optional_timestamps(microseconds: Sequence[int | None]) -> TimestampArray:
    """A `timestamptz[]` in which None is NULL."""
    packed = [
        None if each is None else struct.pack(">q", each - _POSTGRES_EPOCH_MICROSECONDS)
        for each in microseconds
    ]
    return TimestampArray(_variable(TimestampArray.element, packed))


def byteas(values: Sequence[bytes]) -> ByteaArray:
    """A `bytea[]`."""
    return ByteaArray(_variable(ByteaArray.element, values))


def texts(values: Sequence[bytes]) -> TextArray:
    """A `text[]` from UTF-8."""
    return TextArray(_variable(TextArray.element, values))


def _fixed(element: int, item: str, size: int, values: Collection[int]) -> bytes:
    count = len(values)
    if not count:
        return _EMPTY.pack(0, 0, element)
    interleaved = [size] * (2 * count)
    interleaved[1::2] = values
    return _HEADER.pack(1, 0, element, count, 1) + struct.pack(">" + item * count, *interleaved)


def _variable(element: int, values: Sequence[bytes | None]) -> bytes:
    if not values:
        return _EMPTY.pack(0, 0, element)
    parts: list[bytes] = [_HEADER.pack(1, int(None in values), element, len(values), 1)]
    for value in values:
        parts.append(_LENGTH(-1 if value is None else len(value)))
        if value is not None:
            parts.append(value)
    return b"".join(parts)


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer:
        return bytes(obj)


def register(connection: AsyncConnection[Any]) -> None:
    """Let a connection take these arrays as arguments."""
    for array_type, oid in _ARRAY_TYPES.items():
        dumper = type(f"{array_type.__name__}Dumper", (_ArrayDumper,), {"oid": oid})
        connection.adapters.register_dumper(array_type, dumper)
