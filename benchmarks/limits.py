"""What a rebuild cannot be faster than: its reading alone, and copying its rows alone."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from msgspec.structs import replace
from psycopg import sql

from benchmarks.rebuild_worker import connect, slice_of
from projections.engine.rebuild_worker import BATCH_EVENTS_MAX
from projections.engine.whole_streams import Pages
from projections.inbox.projection import Inbox


async def read_alone(url: str, *, schema: str, org: int, position: int) -> float:
    """Seconds in which the log is read stream by stream and decoded, for nothing."""
    async with await connect(url, schema) as connection:
        pages = Pages(connection, Inbox.filling.event_types)
        with _rarely_collected():
            began = time.perf_counter()
            for kind in Inbox.filling.stream_order:
                piece = slice_of(org, position, f"{kind}:", f"{kind};")
                is_last = False
                while not is_last:
                    page = await pages.next(piece, limit=BATCH_EVENTS_MAX)
                    piece, is_last = replace(piece, reached=page.reached), page.is_last
            return time.perf_counter() - began


def copy_alone(superuser: str, *, filled: str, empty: str) -> float:
    """Seconds in which the rows of one build are copied into another, with keys and indexes.

    They come as the server packed them; nobody makes them.
    """
    with psycopg.connect(superuser) as connection, connection.cursor() as cursor:
        rows = {table: _copied_out(cursor, filled, table) for table in _tables(cursor, filled)}
        began = time.perf_counter()
        for table, parts in rows.items():
            with cursor.copy(_copy("COPY {}.{} FROM STDIN (FORMAT binary)", empty, table)) as copy:
                for part in parts:
                    copy.write(part)
        cursor.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(empty)))
        cursor.execute(Inbox.filling.indexes.encode())
        connection.commit()
        return time.perf_counter() - began


def _tables(cursor: psycopg.Cursor, schema: str) -> list[str]:
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
    return [table for (table,) in cursor.fetchall()]


def _copied_out(cursor: psycopg.Cursor, schema: str, table: str) -> list[bytes]:
    with cursor.copy(_copy("COPY {}.{} TO STDOUT (FORMAT binary)", schema, table)) as copy:
        return [bytes(part) for part in copy]


def _copy(statement: str, *names: str) -> sql.Composed:
    return sql.SQL(statement).format(*map(sql.Identifier, names))


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """As a worker has it."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
