"""Sets of rows as arguments of one statement: an array for each column, in the server's own form.

psycopg builds arrays element by element; for a batch that took longer than the server takes to
write it. A column's type is read from the statement, where its placeholder is cast:
`%(chat_ids)s::text[]`.
"""

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_PLACEHOLDER = re.compile(r"%\((\w+)\)s::(\w+)\[\]")
_HEADER = struct.Struct(">iiIii")  # Dimensions, has nulls, element type, length, lower bound.
_EMPTY = struct.Struct(">iiI")
_LENGTH = struct.Struct(">i").pack
_NULL = _LENGTH(-1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Array(bytes):
    """An array in binary form; each subclass is of one type."""


def _text(value: str) -> bytes:
    # The server takes no NUL in a text, and a platform may put one into a word of its own.
    return value.encode().replace(b"\0", b"")


def _timestamp(value: datetime) -> bytes:
    return struct.pack(">q", (value - _EPOCH) // _MICROSECOND)


# By the name of the element type: its oid, the array's oid, and how an element is packed.
_TYPES: dict[str, tuple[int, int, Callable[[Any], bytes]]] = {
    "text": (25, 1009, _text),
    "bytea": (17, 1001, bytes),
    "bool": (16, 1000, struct.Struct(">?").pack),
    "smallint": (21, 1005, struct.Struct(">h").pack),
    "int": (23, 1007, struct.Struct(">i").pack),
    "bigint": (20, 1016, struct.Struct(">q").pack),
    "timestamptz": (1184, 1185, _timestamp),
}


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer:
        return bytes(obj)


def _array_type(name: str, oid: int) -> type[Array]:
    array_type = type(f"{name}_array", (Array,), {})
    dumper = type(f"{name}_array_dumper", (_ArrayDumper,), {"oid": oid})
    # For every connection opened from now on.
    psycopg.adapters.register_dumper(array_type, dumper)
    return array_type


_ARRAYS = {name: _array_type(name, array_oid) for name, (_, array_oid, _) in _TYPES.items()}


@cache
def columns_of(statement: str) -> Mapping[str, str]:
    """The columns that a statement takes, in order, with the types of their elements."""
    return dict(_PLACEHOLDER.findall(statement))


def arrays(statement: str, rows: Iterable[Sequence[Any]]) -> dict[str, Array]:
    """The arguments for rows whose fields stand in the order of the statement's placeholders."""
    columns = columns_of(statement)
    transposed = list(zip(*rows, strict=True)) or [() for _ in columns]
    return named_arrays(statement, dict(zip(columns, transposed, strict=True)))


def named_arrays(statement: str, columns: Mapping[str, Sequence[Any]]) -> dict[str, Array]:
    """The arguments for columns that are given by name."""
    types = columns_of(statement)
    return {name: _pack(types[name], values) for name, values in columns.items()}


def _pack(type_name: str, values: Sequence[Any]) -> Array:
    element, _, pack = _TYPES[type_name]
    array_type = _ARRAYS[type_name]
    if not values:
        return array_type(_EMPTY.pack(0, 0, element))
    parts = [_HEADER.pack(1, int(None in values), element, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            packed = pack(value)
            parts.append(_LENGTH(len(packed)))
            parts.append(packed)
    return array_type(b"".join(parts))
