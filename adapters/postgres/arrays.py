"""PostgreSQL arrays packed by hand, in the binary form that the server reads.

A batch has over twenty arrays; to have a driver build them value by value takes longer than the
server takes to insert them. Here each is one join or one struct.pack. Values that are `framed`
have their length in front, which is also how the hash chain takes them: one framing serves both.
"""

import struct
from collections.abc import Collection, Sequence

from domain.chain import framed

_HEADER = struct.Struct(">iiIii").pack  # Dimensions, flags, element type, length, lower bound.
_EMPTY = struct.Struct(">iiI").pack
_TIMESTAMP = struct.Struct(">q").pack
_NULL = struct.pack(">i", -1)
_EPOCH_MICROSECONDS = 946_684_800_000_000  # PostgreSQL counts from 2000, not from 1970.

_BYTEA, _INT8, _INT4, _TEXT, _TIMESTAMPTZ = 17, 20, 23, 25, 1184


def int4(values: Collection[int]) -> bytes:
    """An `int[]`."""
    return _numbers(_INT4, "ii", 4, values)


def int8(values: Collection[int]) -> bytes:
    """A `bigint[]`."""
    return _numbers(_INT8, "iq", 8, values)


def byteas(values: Sequence[bytes]) -> bytes:
    """A `bytea[]` of framed values."""
    return _array(_BYTEA, values)


def texts(values: Sequence[bytes]) -> bytes:
    """A `text[]` of framed UTF-8."""
    return _array(_TEXT, values)


def timestamps(values: Sequence[bytes]) -> bytes:
    """A `timestamptz[]` of what `timestamp` makes."""
    return _array(_TIMESTAMPTZ, values)


def timestamp(microseconds: int | None) -> bytes:
    """A framed point in time, from microseconds since 1970; None is NULL."""
    if microseconds is None:
        return _NULL
    return framed(_TIMESTAMP(microseconds - _EPOCH_MICROSECONDS))


def framed_text(text: str) -> bytes:
    """A framed value of `text[]`."""
    return framed(text.encode())


def _array(element: int, values: Sequence[bytes]) -> bytes:
    if not values:
        return _EMPTY(0, 0, element)
    return _HEADER(1, 0, element, len(values), 1) + b"".join(values)


def _numbers(element: int, item: str, size: int, values: Collection[int]) -> bytes:
    count = len(values)
    if not count:
        return _EMPTY(0, 0, element)
    interleaved = [size] * (2 * count)
    interleaved[1::2] = values
    return _HEADER(1, 0, element, count, 1) + struct.pack(">" + item * count, *interleaved)
