"""What differs between a table of one build and the same table of another, and what explains it.

Values may be sealed or personal: of a row that differs its key is named, with a digest in place of
bytes, and the columns that differ; never what stands in them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from psycopg import sql

from projections.engine.named_sql import load
from projections.engine.projection import Connection

SQL = load(__file__)

# Of a row, so many of the events are named that may explain it.
EXPLAINING_MAX = 10

# The streams that a row's columns name.
_STREAMS: Mapping[tuple[str, ...], Callable[..., str]] = {
    ("chat_id",): "chat:{}".format,
    ("channel_id",): "channel:{}".format,
    ("contact_id",): "contact:{}".format,
    ("platform", "account_id"): "account:{}:{}".format,
    ("user_id", "service"): "reader:{}:{}".format,
    ("user_id",): lambda _: "organisation",
}
_NAMING = sorted({column for columns in _STREAMS for column in columns})


class Table(msgspec.Struct, frozen=True):
    """A table of a build."""

    schema: str
    name: str
    columns: frozenset[str]
    key: tuple[str, ...]
    bytes_columns: frozenset[str]

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in a statement."""
        return sql.Identifier(self.schema, self.name)


class ExplainingEvent(msgspec.Struct, frozen=True):
    """An event of a stream that the row names."""

    stream: str
    position: int
    type: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is in one of the builds only, or has other values there."""

    key: dict[str, str | None]
    in_live: bool
    in_other: bool
    columns: tuple[str, ...]  # Those that differ.
    events: tuple[ExplainingEvent, ...]  # The newest first.


async def tables_of(connection: Connection, schema: str) -> dict[str, Table]:
    """The tables of a build by name."""
    cursor = await connection.execute(SQL["tables"], {"schema": schema})
    return {
        name: Table(schema, name, frozenset(columns), tuple(key), frozenset(bytes_columns))
        for name, columns, key, bytes_columns in await cursor.fetchall()
    }


async def digest(
    connection: Connection, table: Table, columns: Sequence[str], org: int
) -> tuple[int, str]:
    """How many rows an org has, and a sum over what stands in them."""
    statement = sql.SQL(SQL["digest"]).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)), table=table.identifier
    )
    row = await (await connection.execute(statement, {"org": org})).fetchone()
    return row or (0, "")


async def differences(
    connection: Connection, live: Table, other: Table, *, org: int, position: int, limit: int
) -> tuple[list[Difference], int]:
    """The first rows that differ, and how many there are."""
    key = live.key or tuple(sorted(live.columns & other.columns))
    naming = [column for column in _NAMING if column in live.columns & other.columns]
    statement = _differing(live, other, key, naming)
    rows = await (await connection.execute(statement, {"org": org, "limit": limit})).fetchall()
    found = []
    for shown, named, in_live, in_other, columns, _ in rows:
        streams = _streams(dict(zip(naming, named, strict=True)))
        names = (column for column in key if column != "org")
        found.append(
            Difference(
                key=dict(zip(names, shown, strict=True)),
                in_live=in_live,
                in_other=in_other,
                columns=tuple(columns) if in_live and in_other else (),
                events=tuple(await _explaining(connection, org, streams, position)),
            )
        )
    return found, rows[0][-1] if rows else 0


def _differing(
    live: Table, other: Table, key: Sequence[str], naming: Sequence[str]
) -> sql.Composed:
    values = sorted((live.columns & other.columns) - set(key))
    return sql.SQL(SQL["differing"]).format(
        live=live.identifier,
        other=other.identifier,
        same_key=sql.SQL(" AND ").join(_each("l.{0} = o.{0}", key)),
        shown=_list(_shown(column, live) for column in key if column != "org"),
        named=_list(_each("coalesce(l.{0}, o.{0})::text", naming)),
        columns=_list(
            sql.SQL("CASE WHEN l.{0} IS DISTINCT FROM o.{0} THEN {1} END").format(
                sql.Identifier(column), sql.Literal(column)
            )
            for column in values
        ),
    )


def _shown(column: str, table: Table) -> sql.Composable:
    either = sql.SQL("coalesce(l.{0}, o.{0})").format(sql.Identifier(column))
    if column in table.bytes_columns:
        return sql.SQL("'sha256:' || left(encode(sha256({}), 'hex'), 16)").format(either)
    return sql.SQL("{}::text").format(either)


def _each(template: str, columns: Iterable[str]) -> list[sql.Composed]:
    return [sql.SQL(template).format(sql.Identifier(each)) for each in columns]


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _streams(values: Mapping[str, str | None]) -> list[str]:
    streams = []
    for columns, name in _STREAMS.items():
        parts = [values.get(column) for column in columns]
        if all(parts):
            streams.append(name(*parts))
    return streams


async def _explaining(
    connection: Connection, org: int, streams: Sequence[str], position: int
) -> list[ExplainingEvent]:
    parameters = {
        "org": org,
        "streams": streams,
        "position": position,
        "limit": EXPLAINING_MAX,
    }
    cursor = await connection.execute(SQL["explaining"], parameters)
    return [ExplainingEvent(*row) for row in await cursor.fetchall()]
