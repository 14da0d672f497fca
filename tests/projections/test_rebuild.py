"""Rebuilds: the same rows beside the live ones, whatever ends them in the middle (E3)."""

from collections.abc import AsyncIterator, Sequence

import psycopg
import pytest

from adapters.postgres.connections import Pool, pool
from api.main import Database as Where
from api.main import rebuild
from domain.event import Recorded
from migrations.apply import migrate
from projections import pieces
from projections.projection import Connection
from projections.rebuild import Report
from tests.conftest import Database
from tests.projections.diaries import Diary, Log, running, until


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
    """Takes no event at position 6, in any process."""

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        self.refuses = {(org, 6)}
        await super().apply(connection, org, batch)


@pytest.fixture
def where(database: Database) -> Where:
    """A database with nothing in its log, and a build of each of these projections."""
    with psycopg.connect(database.superuser, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("TRUNCATE trunkline.events, trunkline.heads")
        connection.execute("DELETE FROM trunkline.builds WHERE projection IN ('diary', 'library')")
        for name in ("diary", "library"):
            for build in (1, 2, 3):
                connection.execute(f"DROP SCHEMA IF EXISTS {name}_1_{build} CASCADE")
        connection.execute("SET session_replication_role = origin")
        for table in ("checkpoints", "pieces", "parked"):
            connection.execute(f"DELETE FROM trunkline.{table}")
    migrate(database.superuser, login="trunkline", projections=[Diary(), Library()])
    return Where(database.url, database.superuser, "trunkline", False)


@pytest.fixture
def log(where: Where) -> Log:
    return Log(where.migration_url)


@pytest.fixture
async def projectors(where: Where) -> AsyncIterator[Pool]:
    async with pool(where.url, "trunkline_project", size_max=8) as connections:
        yield connections


def quietly(_: Report) -> None:
    pass


TABLES = ("library", "library_volumes", "library_totals")


def shelves(log: Log, build: int, org: int) -> list[object]:
    return [log.rows(f"library_1_{build}.{table}", org) for table in TABLES]


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_projection_is_rebuilt_event_by_event(where: Where, log: Log, workers: int):
    for org in (1, 2, 3):
        log.append(org, 100 * org)
    steps: list[Report] = []
    build = await rebuild(where, Diary(), workers=workers, report=steps.append)
    assert build.schema == "diary_1_2"
    for org in (1, 2, 3):
        assert log.diary(org, build=2) == list(range(1, 100 * org + 1))
        assert log.diary(org, build=1) == []
    assert (steps[0].events_done, steps[-2].events_done, steps[-2].events) == (0, 600, 600)


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_projection_is_rebuilt_from_whole_streams(
    where: Where, log: Log, projectors: Pool, workers: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pieces, "SLICE_EVENTS", 100)
    for org in (1, 2):
        log.append(org, 700, streams=13)
    async with running(projectors, log, Library()):
        await until(lambda: len(log.rows("library_1_1.library", 2)) == 700)
        await rebuild(where, Library(), workers=workers, report=quietly)
        for org in (1, 2):
            assert shelves(log, 2, org) == shelves(log, 1, org)
            log.append(org, 100, streams=13)
        await until(lambda: len(log.rows("library_1_2.library", 2)) == 800)
        await until(lambda: len(log.rows("library_1_1.library", 2)) == 800)
    for org in (1, 2):
        assert shelves(log, 2, org) == shelves(log, 1, org)


async def test_what_a_rebuild_made_is_guarded_like_the_live_build(where: Where, log: Log):
    log.append(1, 5)
    log.append(2, 5)
    await rebuild(where, Library(), workers=1, report=quietly)
    with psycopg.connect(where.url) as connection:
        connection.execute("SET ROLE trunkline_read")
        connection.execute("SELECT set_config('app.org', '2', true)")
        rows = connection.execute("SELECT DISTINCT org FROM library_1_2.library").fetchall()
    assert rows == [(2,)]
