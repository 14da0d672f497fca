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
from itertools import chain
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.string import BytesBinaryDumper

_PLACEHOLDER = re.compile(r"%\((\w+)\)s::(\w+)\[\]")
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*?)\n\)", re.DOTALL)
_COLUMN = re.compile(r"^    (\w+) +(\w+)", re.MULTILINE)
_COPY = re.compile(r"COPY (\w+) FROM STDIN")
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

_OIDS = {name: oid for name, (oid, _, _) in _TYPES.items()} | {"boolean": 16}


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


def columns_by_name(names: str, rows: Iterable[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """The columns of rows, by the names of their fields in order; empty ones without rows."""
    columns = list(map(list, zip(*rows, strict=True)))
    return dict(zip(names.split(), columns or ([] for _ in names.split()), strict=True))


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


# Of several dumpers for a type the one registered last is taken, where only the type is known: for
# bytea one for PEP 249's Binary, which takes five times as long.
psycopg.adapters.register_dumper(bytes, BytesBinaryDumper)

# New rows for tables that hold none of them yet.


@cache
def types_of(tables: str) -> Mapping[str, list[int]]:
    """By table, the types of its columns, in order, from the statements that create the tables."""
    return {
        table: [_OIDS[type_name] for _, type_name in _COLUMN.findall(columns)]
        for table, columns in _TABLE.findall(tables)
    }


async def copy(
    connection: AsyncConnection[Any], statement: str, tables: str, rows: Iterable[Sequence[Any]]
) -> None:
    """Run a `COPY … FROM STDIN` with rows of all columns in the order of the table, if any."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    (table,) = _COPY.findall(statement)
    async with connection.cursor() as cursor, cursor.copy(statement) as copying:
        copying.set_types(types_of(tables)[table])
        for row in chain((first,), rows):
            await copying.write_row(row)
