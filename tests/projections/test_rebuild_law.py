"""The law of rebuilds: a projection's tables are the same, in whatever batches they came."""

import os

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.jobs import as_projector
from api.main import PROJECTIONS
from api.main import Database as Where
from domain.event import encode
from migrations.builds import make_build
from projections.engine.batches import advance
from projections.engine.builds import Build
from projections.engine.comparison import Comparison
from projections.engine.projection import Connection, Projection
from tests.conftest import Database
from tests.projections.histories import ORGS, History
from tests.projections.inbox_stories import histories

LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"
LAW = settings(max_examples=300 if LONG else 12)


@pytest.fixture(scope="module")
def where(database: Database) -> Where:
    """With a second build of each projection."""
    with psycopg.connect(database.superuser) as connection:
        for each in PROJECTIONS:
            make_build(connection, each, 2, tables=each.tables, state="building", complete=True)
            connection.execute("RESET ROLE")
        connection.execute("UPDATE trunkline.builds SET state = 'ready' WHERE build = 2")
    return Where(database.url, database.superuser, None, False)


def write(url: str, org: int, history: History) -> None:
    """Put a history into the log."""
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE trunkline.heads")
        connection.execute(
            "INSERT INTO trunkline.heads"
            " VALUES (%s, 0, %s, decode(repeat('00', 32), 'hex'), now())",
            [org, len(history.log)],
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO trunkline.events VALUES (%s, %s, %s, %s, %s, %s, %s, '', %s, '')",
                [
                    (
                        org,
                        each.position,
                        each.stream,
                        each.version,
                        each.event.stored_type,
                        each.event.schema_version,
                        each.recorded_at,
                        encode(each.event),
                    )
                    for each in history.log
                ],
            )


async def fill(
    connection: Connection, projection: Projection, build: Build, org: int, limits: list[int]
) -> None:
    """Batches of these sizes, the last one again and again."""
    for limit in [*limits, 1_000]:
        place = await advance(connection, projection, build, org, limit=limit)
        assert place is not None
    assert (place and place.behind) == 0


# To these a history of this kind may say nothing: no credentials, charges or purchases stand in it.
MAY_BE_EMPTY = ("verifications", "statements", "payments", "markings")
SIZES = st.lists(st.integers(1, 30), max_size=20)


@pytest.mark.parametrize("projection", PROJECTIONS, ids=[each.name for each in PROJECTIONS])
@LAW
@given(history=histories, live=SIZES, rebuilt=SIZES)
async def test_two_builds_are_the_same_in_whatever_batches_they_were_filled(
    where: Where, projection: Projection, history: History, live: list[int], rebuilt: list[int]
) -> None:
    org = next(ORGS)
    write(where.migration_url, org, history)
    builds = (
        Build(projection.name, projection.version, 1, "live"),
        Build(projection.name, projection.version, 2, "ready"),
    )
    async with as_projector(where) as holder, as_projector(where) as snapshot:
        for build, limits in zip(builds, (live, rebuilt), strict=True):
            await fill(holder, projection, build, org, limits)
        comparison = Comparison(projection, builds, holder=holder, snapshot=snapshot)
        tables = [each async for each in comparison.run()]
    assert [each for each in tables if not each.equal] == []
    assert projection.name in MAY_BE_EMPTY or sum(each.live_rows for each in tables) > 0
