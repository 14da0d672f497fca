"""A log that is filled behind everybody's back, and projections that write down what they see."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import psycopg

from adapters.postgres.bell import Listener
from adapters.postgres.connections import Pool
from api.system import running as until_the_end
from domain.event import Event, Recorded, encode
from domain.reader import ServiceVisited
from projections.engine.projection import Connection, Projection
from projections.engine.runner import ProjectionRunner

ORGS = count(1)
# Long enough for a busy machine; nothing waits for as long unless it is broken.
WITHIN_SECONDS = 30.0

TABLES = "CREATE TABLE diary (org int, position bigint, batch bigint)"
NAMES = ("diary", "second", "slow", "quick")


class Diary:
    """A projection that writes down every position, and may refuse some."""

    version = 1
    is_watched = False
    tables = TABLES

    def __init__(self, name: str = "diary", refuses: Iterable[tuple[int, int]] = ()) -> None:
        self.name = name
        self.refuses = set(refuses)

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            if (org, recorded.position) in self.refuses:
                raise ValueError("the customer wrote something private")
        async with connection.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO diary VALUES (%s, %s, %s)",
                [(org, each.position, batch[0].position) for each in batch],
            )


class Log:
    """The log, filled behind everybody's back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ears: list[Listener] = []

    def ear(self) -> Listener:
        self.ears.append(Listener())
        return self.ears[-1]

    def append(
        self, org: int, number: int, *, without: int | None = None, streams: int = 1
    ) -> None:
        """Events that take turns in some streams."""
        with psycopg.connect(self.url, options="-c search_path=trunkline") as connection:
            connection.execute(
                "INSERT INTO heads VALUES (%s, 0, 0, decode(repeat('00', 32), 'hex'), now())"
                " ON CONFLICT DO NOTHING",
                [org],
            )
            (last,) = connection.execute(
                "UPDATE heads SET position = position + %s WHERE org = %s RETURNING position",
                [number, org],
            ).fetchone() or (0,)
            self._write(connection, org, last - number + 1, last, without, streams)
        for ear in self.ears:
            ear.ring([org])

    def mend(self, org: int, missing: int) -> None:
        """Put an event in its place that was left out, of a log with one stream."""
        with psycopg.connect(self.url, options="-c search_path=trunkline") as connection:
            self._write(connection, org, missing, missing, None, 1)

    def _write(
        self,
        connection: psycopg.Connection[Any],
        org: int,
        first: int,
        last: int,
        without: int | None,
        streams: int,
    ) -> None:
        event: Event = ServiceVisited(user_id="ann", service="crm")
        connection.execute(
            "INSERT INTO events"
            " SELECT %(org)s, at, 'reader:' || (at - 1) %% %(streams)s || ':crm',"
            " (at - 1) / %(streams)s + 1, %(type)s, 1, now(), '', %(data)s, ''"
            " FROM generate_series(%(first)s::int, %(last)s) at"
            " WHERE at IS DISTINCT FROM %(without)s",
            {
                "org": org,
                "type": event.stored_type,
                "data": encode(event),
                "first": first,
                "last": last,
                "without": without,
                "streams": streams,
            },
        )

    def diary(self, org: int, name: str = "diary", build: int = 1) -> list[int]:
        return [row[0] for row in self.rows(f"{name}_1_{build}.diary", org)]

    def rows(self, table: str, org: int) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            query = f"SELECT * FROM {table} WHERE org = %s ORDER BY 1, 2, 3"
            return [row[1:] for row in connection.execute(query, [org]).fetchall()]


@asynccontextmanager
async def running(
    projectors: Pool, log: Log, *projections: Projection
) -> AsyncIterator[ProjectionRunner]:
    a_runner = ProjectionRunner(projectors.connection, projections, log.ear)
    async with until_the_end(a_runner.run()):
        yield a_runner


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while not await asyncio.to_thread(is_so):  # noqa: ASYNC110 - the database has no event.
            await asyncio.sleep(0.02)
