"""Rebuilds: the same rows beside the live ones, whatever ends them in the middle (E3)."""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest

from adapters.postgres.connections import Pool, connected
from api.jobs import as_projector, rebuild
from api.main import Database as Where
from api.rebuilding import RebuildJob
from migrations import builds
from migrations.builds import StillRead, Workshop
from projections.engine import pieces
from projections.engine import rebuild as rebuilding
from projections.engine.builds import builds_of
from projections.engine.jobs import JobError, JobRuns, take_turn
from projections.engine.rebuild import Report
from tests.adapters.proxy import proxy_to
from tests.projections.diaries import WITHIN_SECONDS, Diary, Log, running, until
from tests.projections.library import (
    Library,
    Moody,
    Prepared,
    Restless,
    dies_in_the_middle,
    in_batches,
    on_guard,
    shelves,
)


def quietly(_: Report) -> None:
    """Nobody is told."""


async def states(where: Where, projection: Diary | Library) -> dict[int, str]:
    async with as_projector(where) as connection:
        return {each.number: each.state for each in await builds_of(connection, projection)}


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_projection_is_rebuilt_event_by_event(where: Where, log: Log, workers: int) -> None:
    for org in (1, 2, 3):
        log.append(org, 100 * org)
    steps: list[Report] = []
    build = await rebuild(where, Diary(), workers=workers, report=steps.append)
    assert build.schema == "diary_1_2"
    for org in (1, 2, 3):
        assert log.diary(org, build=2) == list(range(1, 100 * org + 1))
        assert log.diary(org, build=1) == []
    assert (steps[0].events_done, steps[-1].events_done, steps[-1].events) == (0, 600, 600)
    assert await states(where, Diary()) == {1: "live", 2: "ready"}


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_projection_is_rebuilt_from_whole_streams(
    where: Where, log: Log, projectors: Pool, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And both builds are followed from where each is."""
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


async def test_streams_are_whole_however_small_the_batches_are(where: Where, log: Log) -> None:
    """A stream that is longer than a batch comes alone."""
    log.append(1, 700, streams=13)  # 53 or 54 events each.
    await rebuild(where, Prepared(Library(), in_batches, 40), workers=2, report=quietly)
    await assert_whole(log, Library(), 1, 700)


async def test_what_a_rebuild_made_is_guarded_like_the_live_build(where: Where, log: Log) -> None:
    log.append(1, 5)
    log.append(2, 5)
    await rebuild(where, Library(), workers=1, report=quietly)
    with psycopg.connect(where.url) as connection:
        connection.execute("SET ROLE trunkline_read")
        connection.execute("SELECT set_config('app.org', '2', true)")
        rows = connection.execute("SELECT DISTINCT org FROM library_1_2.library").fetchall()
    assert rows == [(2,)]


async def test_another_rebuild_makes_room(where: Where, log: Log) -> None:
    """Under a number of its own: who still follows the old one must not take it for that."""
    log.append(1, 5)
    for number in (2, 3, 4):
        build = await rebuild(where, Diary(), workers=1, report=quietly)
        assert build.number == number
        assert await states(where, Diary()) == {1: "live", number: "ready"}


async def test_a_log_that_is_empty_is_soon_rebuilt(where: Where) -> None:
    for projection in (Diary(), Library()):
        assert (await rebuild(where, projection, workers=2, report=quietly)).number == 2


# What goes wrong is said, and mended by the same command.


async def test_one_rebuild_runs_at_a_time(where: Where, log: Log) -> None:
    log.append(1, 5)
    async with as_projector(where) as connection:
        await take_turn(connection, Diary())
        with pytest.raises(JobRuns, match="diff or drop of diary is running"):
            await rebuild(where, Diary(), workers=1, report=quietly)
    assert await states(where, Diary()) == {1: "live"}
    await rebuild(where, Diary(), workers=1, report=quietly)


async def test_an_event_that_cannot_be_taken_stops_a_rebuild(
    where: Where, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(1, 9)
    with pytest.raises(
        JobError, match=r"organisation 1: the event at position 6 .* \(ValueError\)"
    ) as error:
        await rebuild(where, Moody(), workers=2, report=quietly)
    assert "private" not in str(error.value)
    assert log.diary(1, build=2) == [1, 2, 3, 4, 5]
    monkeypatch.setenv("TRUNKLINE_TEST_MOOD", "better")
    await rebuild(where, Moody(), workers=2, report=quietly)
    assert log.diary(1, build=2) == list(range(1, 10))


async def test_what_was_begun_can_be_begun_afresh(where: Where, log: Log) -> None:
    """For a fold that was mended: what it has written so far was wrong."""
    log.append(1, 9)
    with pytest.raises(JobError, match="--afresh"):
        await rebuild(where, Moody(), workers=1, report=quietly)
    change(log, "UPDATE diary_1_2.diary SET batch = -1")
    await rebuild(where, Diary(), workers=1, report=quietly, afresh=True)
    assert log.rows("diary_1_3.diary", 1) == [(position, 1) for position in range(1, 10)]


@pytest.mark.parametrize("projection", [Diary(), Library()])
async def test_a_type_that_is_not_known_stops_a_rebuild(
    where: Where, log: Log, projection: Diary | Library
) -> None:
    """E5."""
    log.append(1, 9, streams=3)
    change(log, "UPDATE events SET type = 'x.y' WHERE position = 5")
    with pytest.raises(JobError, match=r"(position 5|stream reader:1:crm) .*UnknownEventType"):
        await rebuild(where, projection, workers=1, report=quietly)
    assert await states(where, projection) == {1: "live", 2: "building"}


@pytest.mark.parametrize(
    "odd",
    [
        "stream = 'ticket:zz', version = 1, type = 'ticket.opened'",
        "stream = 'ticket:zz', version = 1, schema_version = 99",
    ],
)
async def test_a_type_that_is_not_known_stops_a_rebuild_wherever_it_stands(
    where: Where, log: Log, odd: str
) -> None:
    """In a stream, too, that the filling does not read. E5."""
    log.append(1, 9, streams=3)
    change(log, f"UPDATE events SET {odd} WHERE position = 9")
    with pytest.raises(JobError, match=r"organisation 1: the event at position 9 cannot be taken"):
        await rebuild(where, Library(), workers=1, report=quietly)
    assert await states(where, Library()) == {1: "live", 2: "building"}


@pytest.mark.parametrize("missing", [2, 9])
@pytest.mark.parametrize("projection", [Diary(), Library()])
async def test_a_gap_in_the_log_stops_a_rebuild(
    where: Where, log: Log, projection: Diary | Library, missing: int
) -> None:
    log.append(1, 9, streams=3)
    change(log, f"DELETE FROM events WHERE position = {missing}")
    gap = f"organisation 1: the log has a gap (the event at position {missing} is missing)"
    with pytest.raises(JobError, match=re.escape(gap)):
        await rebuild(where, projection, workers=1, report=quietly)
    assert await states(where, projection) == {1: "live", 2: "building"}


async def rebuild_with(where: Where, verify_logs: Callable[[], Awaitable[None]]) -> None:
    connect = partial(connected, where.url, "trunkline_project")
    job = RebuildJob(Library(), Workshop(where.migration_url), connect, verify_logs)
    await job.run(workers=2, report=quietly)


async def finds_damage() -> None:
    raise JobError("The log is broken.")


async def ends_first() -> None:
    raise psycopg.OperationalError


@pytest.mark.parametrize(
    ("verify_logs", "message"),
    [(finds_damage, "broken. What was filled is thrown away"), (ends_first, "went away")],
)
async def test_what_was_filled_from_a_damaged_log_is_not_gone_on_with(
    where: Where, log: Log, verify_logs: Callable[[], Awaitable[None]], message: str
) -> None:
    """Whether or not the one that was ended lived to find it."""
    log.append(1, 9)
    change(log, "UPDATE events SET stream = 'reader:x:crm', version = 1 WHERE position = 9")
    with pytest.raises(JobError, match=message):
        await rebuild_with(where, verify_logs)
    assert (9, "reader:x:crm") in log.rows("library_1_2.library", 1)
    change(log, "UPDATE events SET stream = 'reader:0:crm', version = 9 WHERE position = 9")
    await go_on(where, Library())
    assert await states(where, Library()) == {1: "live", 3: "ready"}
    assert shelves(log, 3, 1)[1:] == [[("reader:0:crm", 9)], [("all", 9)]]


async def test_damage_that_was_found_is_remembered_however_it_is_mended(
    where: Where, log: Log
) -> None:
    """Below the database, too, where no row shows it."""
    log.append(1, 9)
    with pytest.raises(JobError, match="thrown away"):
        await rebuild_with(where, finds_damage)
    await go_on(where, Library())
    assert await states(where, Library()) == {1: "live", 3: "ready"}


async def test_a_log_that_only_grew_is_gone_on_with(where: Where, log: Log) -> None:
    log.append(1, 9)
    with pytest.raises(JobError):
        await rebuild_with(where, ends_first)
    log.append(1, 3)
    log.append(2, 5)
    await go_on(where, Library())
    assert await states(where, Library()) == {1: "live", 2: "ready"}


@pytest.mark.parametrize("projection", [Diary(), Library()])
async def test_a_gap_that_was_filled_again_is_in_no_build(
    where: Where, log: Log, projection: Diary | Library
) -> None:
    log.append(1, 9, streams=3)
    change(log, "CREATE TABLE aside AS SELECT * FROM events WHERE position = 9")
    change(log, "DELETE FROM events WHERE position = 9")
    with pytest.raises(JobError, match="begins afresh"):
        await rebuild(where, projection, workers=1, report=quietly)
    change(log, "INSERT INTO events SELECT * FROM aside")
    change(log, "DROP TABLE aside")
    await go_on(where, projection)
    await assert_whole(log, projection, 1, 9, build=3)


async def test_a_log_that_lost_its_end_stops_a_rebuild(where: Where, log: Log) -> None:
    log.append(1, 9)
    await rebuild(where, Diary(), workers=1, report=quietly)
    change(log, "UPDATE builds SET state = 'building' WHERE projection = 'diary' AND build = 2")
    change(log, "UPDATE pieces SET is_done = false")
    change(log, "UPDATE heads SET position = 7")
    with pytest.raises(JobError, match="org 1 was followed to 9, and ends at 7"):
        await rebuild(where, Diary(), workers=1, report=quietly)


def change(log: Log, statement: str) -> None:
    """Do what nobody may."""
    with psycopg.connect(log.url, options="-c search_path=trunkline") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement.encode())


@pytest.mark.parametrize("projection", [Diary(), Library()])
async def test_a_database_that_goes_away_ends_a_rebuild_that_can_be_gone_on_with(
    where: Where, log: Log, projection: Diary | Library
) -> None:
    log.append(1, 3_000, streams=50)
    async with proxy_to(where.url) as proxy:
        through = Where(proxy.url, where.migration_url, None, False)

        def cut(report: Report) -> None:
            if report.events_done > 100:
                asyncio.ensure_future(proxy.shut())  # noqa: RUF006

        slow = Prepared(projection, in_batches, 50)
        with pytest.raises(JobError, match=r"[Rr]un the same command again"):
            await rebuild(through, slow, workers=2, report=cut)
    assert (await states(where, projection))[2] == "building"
    await go_on(where, projection)
    await assert_whole(log, projection, 1, 3_000)


async def go_on(where: Where, projection: Diary | Library) -> None:
    """As soon as the server has noticed that nobody works on it any more."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            with suppress(JobRuns):
                await rebuild(where, projection, workers=2, report=quietly)
                return
            await asyncio.sleep(0.02)


async def assert_whole(
    log: Log, projection: Diary | Library, org: int, count: int, build: int = 2
) -> None:
    if isinstance(projection, Library):
        pages, volumes, totals = shelves(log, build, org)
        assert [position for position, _ in pages] == list(range(1, count + 1))
        assert sum(number for _, number in volumes) == count
        assert totals == [("all", count)]
    else:
        assert log.diary(org, build=build) == list(range(1, count + 1))


CHILD = """
import asyncio, itertools, signal, sys
from api.jobs import rebuild
from api.main import Database
from tests.projections.diaries import Diary
from tests.projections.library import Library, Prepared, in_batches

if __name__ == "__main__":
    where = Database(sys.argv[1], sys.argv[2], "trunkline", False)
    projection = {"Diary": Diary, "Library": Library}[sys.argv[3]]()
    projection = Prepared(projection, in_batches, 20)
    numbers = itertools.count(1)

    def report(each):
        if next(numbers) == int(sys.argv[4]) or each.step == "analyzing":
            print("here", flush=True)
            signal.pause()

    asyncio.run(rebuild(where, projection, workers=2, report=report))
"""


def kill_at_random(
    where: Where, projection: Diary | Library, chance: random.Random, folder: Path
) -> int:
    """Run a rebuild as a process of its own until it is killed; returns its exit code.

    It waits for that at one of its reports, of which there are ten a second, or at the last.
    """
    script = folder / "child.py"
    script.write_text(CHILD)
    name, number = type(projection).__name__, str(chance.randrange(1, 12))
    process = subprocess.Popen(
        [sys.executable, script, where.url, where.migration_url, name, number],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    if chance.random() < 0.5:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()  # Its workers find out by themselves.
    return process.wait(10)


@pytest.mark.parametrize("projection", [Diary(), Library()], ids=["events", "streams"])
@pytest.mark.parametrize(
    "seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 40))]
)
async def test_a_rebuild_that_was_killed_is_gone_on_with(
    where: Where, log: Log, projection: Diary | Library, seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    for org in (1, 2):
        log.append(org, 1_500, streams=chance.randrange(1, 100))
    codes = [await asyncio.to_thread(kill_at_random, where, projection, chance, tmp_path)]
    assert codes == [-signal.SIGKILL]
    await go_on(where, projection)
    for org in (1, 2):
        await assert_whole(log, projection, org, 1_500)


async def its_worker_dies(where: Where, log: Log, url: str = "") -> None:
    """In the middle of a batch; then the rebuild is gone on with."""
    log.append(1, 300)
    dying = Prepared(Diary(), dies_in_the_middle, url)
    with pytest.raises(JobError):
        await rebuild(where, dying, workers=1, report=quietly)
    await go_on(where, Diary())


async def test_a_worker_that_dies_with_its_rows_has_moved_nothing(where: Where, log: Log) -> None:
    await its_worker_dies(where, log)
    await assert_whole(log, Diary(), 1, 300)


async def test_control_rows_are_missing_where_the_place_is_moved_apart(
    where: Where, log: Log
) -> None:
    await its_worker_dies(where, log, where.url)
    assert len(log.diary(1, build=2)) < 300


# Who holds something is waited for, but not for ever.


@contextmanager
def holding(where: Where, statement: str) -> Iterator[None]:
    """A transaction that somebody has left open."""
    with psycopg.connect(where.migration_url) as connection:
        connection.execute(statement.encode())
        yield


async def test_who_reads_a_build_that_is_to_make_room_is_not_waited_for_for_ever(
    where: Where, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "LEAVE_SECONDS_MAX", 0.2)
    log.append(1, 9)
    await rebuild(where, Diary(), workers=1, report=quietly)
    held = holding(where, "SELECT FROM diary_1_2.diary")
    with held, pytest.raises(StillRead, match=r"been reading diary_1_2 .* Nothing was changed"):
        await rebuild(where, Diary(), workers=1, report=quietly)
    assert await states(where, Diary()) == {1: "live", 2: "ready"}
    await rebuild(where, Diary(), workers=1, report=quietly)
    assert await states(where, Diary()) == {1: "live", 3: "ready"}


async def test_who_reads_a_table_that_is_to_get_its_keys_is_not_waited_for_for_ever(
    where: Where, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "LEAVE_SECONDS_MAX", 0.2)
    log.append(1, 9)
    begun = ExitStack()

    def look(report: Report) -> None:
        if report.step == "planning":
            begun.enter_context(holding(where, "SELECT FROM library_1_2.library"))

    with begun, pytest.raises(StillRead, match="been reading library_1_2"):
        await rebuild(where, Library(), workers=1, report=look)
    await go_on(where, Library())
    await assert_whole(log, Library(), 1, 9)


async def test_who_holds_a_piece_is_not_waited_for_for_ever(
    where: Where, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "HELD_SECONDS_MAX", 0.2)
    log.append(1, 9)
    with pytest.raises(JobError):
        await rebuild(where, Moody(), workers=1, report=quietly)
    held = holding(where, "SELECT FROM trunkline.pieces FOR UPDATE")
    with held, pytest.raises(JobError, match="held a row of this rebuild"):
        await rebuild(where, Moody(), workers=1, report=quietly)
    await go_on(where, Diary())
    await assert_whole(log, Diary(), 1, 9)


# Nothing happens again (I8).


async def test_a_rebuild_reaches_nothing_but_the_database(
    where: Where, log: Log, tmp_path: Path
) -> None:
    log.append(1, 9)
    path = tmp_path / "tried"
    await rebuild(where, Prepared(Diary(), on_guard, str(path)), workers=2, report=quietly)
    assert set(path.read_text().split("\n")) == {"on guard", ""}
    assert log.diary(1, build=2) == list(range(1, 10))


async def test_control_the_guard_sees_who_goes_out(where: Where, log: Log, tmp_path: Path) -> None:
    log.append(1, 9)
    path = tmp_path / "tried"
    with pytest.raises(JobError, match="PermissionError"):
        await rebuild(where, Prepared(Restless(), on_guard, str(path)), workers=1, report=quietly)
    assert "socket.connect" in path.read_text()
