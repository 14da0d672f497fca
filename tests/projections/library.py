"""Projections that rebuilds are tried with: one is filled from streams, some are odd."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from psycopg import AsyncConnection

from adapters.postgres.connections import assume
from domain.event import Recorded
from projections.engine import batches, rebuild_worker
from projections.engine.projection import Connection
from tests.projections.diaries import Diary, Log


class Volumes:
    """How a library is filled from whole streams."""

    tables = """
    CREATE TABLE library (org int, position bigint, stream text);
    CREATE TABLE library_volumes (org int, stream text, pages bigint);
    CREATE TABLE library_totals (org int, what text, pages bigint);
    """
    indexes = """
    ALTER TABLE library ADD PRIMARY KEY (org, position);
    ALTER TABLE library_volumes ADD PRIMARY KEY (org, stream);
    ALTER TABLE library_totals ADD PRIMARY KEY (org, what);
    """
    stream_order = ("reader",)
    event_types = frozenset({"reader.service_visited"})

    async def fill(
        self, connection: Connection, org: int, streams: Sequence[Sequence[Recorded]]
    ) -> None:
        pages = "COPY library FROM STDIN"
        volumes = "COPY library_volumes FROM STDIN"
        async with connection.cursor() as cursor:
            async with cursor.copy(pages) as copy:
                for stream in streams:
                    for each in stream:
                        await copy.write_row((org, each.position, each.stream))
            async with cursor.copy(volumes) as copy:
                for stream in streams:
                    await copy.write_row((org, stream[0].stream, len(stream)))

    async def finish(self, connection: Connection, org: int) -> None:
        await connection.execute(
            "INSERT INTO library_totals SELECT org, 'all', sum(pages) FROM library_volumes"
            " WHERE org = %s GROUP BY org",
            [org],
        )


class Library:
    """A projection that can be filled from whole streams."""

    name = "library"
    version = 1
    is_watched = False
    filling = Volumes()
    tables = filling.tables + filling.indexes

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        for each in batch:
            await connection.execute(
                "INSERT INTO library VALUES (%s, %s, %s)", [org, each.position, each.stream]
            )
            await connection.execute(
                "INSERT INTO library_volumes AS v VALUES (%s, %s, 1)"
                " ON CONFLICT (org, stream) DO UPDATE SET pages = v.pages + 1",
                [org, each.stream],
            )
            await connection.execute(
                "INSERT INTO library_totals AS t VALUES (%s, 'all', 1)"
                " ON CONFLICT (org, what) DO UPDATE SET pages = t.pages + 1",
                [org],
            )


class Moody(Diary):
    """Takes no event at position 6, in any process, unless it is in a better mood."""

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        self.refuses = set() if "TRUNKLINE_TEST_MOOD" in os.environ else {(org, 6)}
        await super().apply(connection, org, batch)


class Restless(Diary):
    """Wants to go out: connects to somewhere with every event."""

    async def apply(self, *_: object) -> None:
        with socket.socket() as outside:
            outside.connect(("127.0.0.1", 9))


class Prepared:
    """A projection whose workers' processes are prepared in a way, as soon as they have it."""

    def __init__(self, projection: Any, prepare: Callable[..., None], *arguments: Any) -> None:
        self._projection = projection
        self._preparation = prepare, *arguments

    def __getattr__(self, name: str) -> Any:
        return getattr(self._projection, name)

    def __reduce__(self) -> Any:
        return _prepared, (self._projection, *self._preparation)


def _prepared(projection: Any, prepare: Callable[..., None], *arguments: Any) -> Any:
    prepare(*arguments)
    return projection


def in_batches(size: int) -> None:
    """Take so few events at a time."""
    rebuild_worker.BATCH_EVENTS_MAX = size


def dies_in_the_middle(url: str) -> None:
    """Is killed in its third batch, when it has written the rows.

    With `url`, the place in the log is moved by a connection of its own, to that database.
    """
    in_batches(20)
    apply, batches_taken = Diary.apply, count(1)

    async def apply_and_die(self: Diary, *arguments: Any) -> None:
        await apply(self, *arguments)
        if next(batches_taken) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    Diary.apply = apply_and_die  # type: ignore
    if url:
        _move_the_place_apart(url)


def _move_the_place_apart(url: str) -> None:
    take = batches._take

    async def elsewhere(connection: Connection, parameters: dict[str, Any]) -> Any:
        await connection.execute("SELECT set_config('search_path', %(schema)s, true)", parameters)
        async with await AsyncConnection.connect(url, autocommit=True) as another:
            await assume(another, "trunkline_project")
            return await take(another, parameters)

    batches._take = elsewhere


def on_guard(path: str) -> None:
    """Refuse every connection that Python makes, and write down that it was tried."""

    def look(event: str, _: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
            note(event)
            raise PermissionError(event)

    def note(line: str) -> None:
        with open(path, "a") as file:
            file.write(f"{line}\n")

    sys.addaudithook(look)
    note("on guard")


TABLES = ("library", "library_volumes", "library_totals")


def shelves(log: Log, build: int, org: int) -> list[list[tuple[Any, ...]]]:
    return [log.rows(f"library_1_{build}.{table}", org) for table in TABLES]
