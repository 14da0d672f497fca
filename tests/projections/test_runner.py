"""The runner: every event once and in order, whatever happens to others."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from adapters.postgres.connections import Connection, Pool, connected, pool
from api.system import running as until_the_end
from domain.event import Recorded
from migrations.apply import migrate
from migrations.builds import Workshop, make_build
from projections.engine import batches, runner, standing
from projections.engine.builds import LiveBuilds
from projections.engine.checkpoints import caught_up
from projections.engine.runner import ProjectionRunner
from tests.adapters.log_scenario import WAITING_FOR_LOCKS
from tests.adapters.proxy import proxy_to
from tests.conftest import Database
from tests.projections.diaries import NAMES, ORGS, WITHIN_SECONDS, Diary, Log, running, until

WITHOUT_LOCK = batches._TAKE.replace(
    "pg_try_advisory_xact_lock(hashtext(%(schema)s), %(org)s)", "true"
)
WITHOUT_EITHER = WITHOUT_LOCK.replace("c.position = (SELECT place.position FROM place)", "true")


@pytest.fixture(scope="module")
def superuser(database: Database) -> str:
    diaries = [Diary(name) for name in NAMES]
    migrate(database.superuser, login="trunkline", projections=diaries)
    return database.superuser


@pytest.fixture
async def projectors(superuser: str) -> AsyncIterator[Pool]:
    url = make_conninfo(superuser, user="trunkline")
    async with pool(url, "trunkline_project", size_max=12) as connections:
        yield connections


@pytest.fixture
def log(superuser: str) -> Log:
    return Log(superuser)


@pytest.fixture
def org() -> int:
    return next(ORGS)


async def test_every_event_comes_once_and_in_order(projectors: Pool, log: Log, org: int) -> None:
    log.append(org, 3)
    async with running(projectors, log, Diary()):
        await until(lambda: log.diary(org) == [1, 2, 3])
        log.append(org, 2)
        await until(lambda: log.diary(org) == [1, 2, 3, 4, 5])


async def test_a_runner_goes_on_where_another_stopped(projectors: Pool, log: Log, org: int) -> None:
    log.append(org, 3)
    async with running(projectors, log, Diary()):
        await until(lambda: len(log.diary(org)) == 3)
    log.append(org, 3)
    async with running(projectors, log, Diary()):
        await until(lambda: log.diary(org) == [1, 2, 3, 4, 5, 6])


async def test_runners_at_once_share_the_work_and_do_nothing_twice(
    projectors: Pool, log: Log, org: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BATCH_EVENTS_MAX", 7)
    log.append(org, 200)
    async with (
        running(projectors, log, Diary()),
        running(projectors, log, Diary()),
        running(projectors, log, Diary()),
    ):
        for _ in range(20):
            log.append(org, 10)
            await asyncio.sleep(0.005)
        await until(lambda: log.diary(org) == list(range(1, 401)))


async def test_control_without_compare_and_set_runners_do_things_twice(
    projectors: Pool, log: Log, org: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock, too, would keep them apart; the checkpoint is what proves it."""
    monkeypatch.setattr(runner, "BATCH_EVENTS_MAX", 7)
    monkeypatch.setattr(batches, "_TAKE", WITHOUT_EITHER)
    log.append(org, 400)
    async with (
        running(projectors, log, Diary()),
        running(projectors, log, Diary()),
        running(projectors, log, Diary()),
    ):
        await until(lambda: max(log.diary(org), default=0) == 400)
    assert len(log.diary(org)) > 400


async def test_the_lock_alone_is_not_what_keeps_runners_apart(
    projectors: Pool, log: Log, org: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BATCH_EVENTS_MAX", 7)
    monkeypatch.setattr(batches, "_TAKE", WITHOUT_LOCK)
    log.append(org, 400)
    async with (
        running(projectors, log, Diary()),
        running(projectors, log, Diary()),
        running(projectors, log, Diary()),
    ):
        await until(lambda: log.diary(org) == list(range(1, 401)))


async def test_who_loses_a_batch_looks_again_at_once(
    projectors: Pool, log: Log, org: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came since the winner looked has rung already, and would wait for the next poll."""
    monkeypatch.setattr(runner, "POLL_SECONDS", 60.0)
    log.append(org, 1)
    async with running(projectors, log, Diary()), projectors.connection() as winner:
        await until(lambda: log.diary(org) == [1])
        async with winner.transaction():
            move = "UPDATE trunkline.checkpoints SET position = 2 WHERE org = %s"
            await winner.execute(move, [org])
            log.append(org, 2)
            # The runner has read position 1 and waits for the winner.
            await until(lambda: waiting_for_locks(log) == 1)
        await until(lambda: log.diary(org) == [1, 3])


def waiting_for_locks(log: Log) -> int:
    with psycopg.connect(log.url) as connection:
        return len(connection.execute(WAITING_FOR_LOCKS).fetchall())


async def test_an_org_that_another_runner_works_on_is_passed_over(
    projectors: Pool, log: Log, org: int
) -> None:
    """Not waited for: the others' events come meanwhile."""
    other = next(ORGS)
    async with projectors.connection() as connection, running(projectors, log, Diary()):
        async with connection.transaction():
            lock = "SELECT pg_advisory_xact_lock(hashtext('diary_1_1'), %s)"
            await connection.execute(lock, [org])
            log.append(org, 3)
            log.append(other, 3)
            await until(lambda: log.diary(other) == [1, 2, 3])
            assert log.diary(org) == []
        await until(lambda: log.diary(org) == [1, 2, 3])


async def test_a_ring_makes_it_look_at_the_orgs_it_names_and_no_others(
    projectors: Pool, log: Log, org: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "POLL_SECONDS", 60.0)
    log.append(org, 1)
    async with running(projectors, log, Diary()):
        await until(lambda: log.diary(org) == [1])
        ears, log.ears = log.ears, []
        other = next(ORGS)
        log.append(other, 1)  # Silently.
        log.ears = ears
        log.append(org, 1)
        await until(lambda: log.diary(org) == [1, 2])
        assert log.diary(other) == []
        for ear in ears:
            ear.ring()  # Without a name it is about anybody.
        await until(lambda: log.diary(other) == [1])


async def test_a_build_that_is_new_is_followed_and_one_that_is_gone_is_not(
    projectors: Pool, log: Log, org: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BUILDS_SECONDS", 0.02)
    log.append(org, 3)
    async with running(projectors, log, Diary()):
        await until(lambda: log.diary(org) == [1, 2, 3])
        with psycopg.connect(log.url) as connection:
            make_build(connection, Diary(), 2, tables=Diary.tables, state="building", complete=True)
        await asyncio.sleep(0.3)
        assert log.diary(org, build=2) == []  # It is the rebuild's.
        with psycopg.connect(log.url) as connection:
            connection.execute("UPDATE trunkline.builds SET state = 'ready' WHERE build = 2")
        await until(lambda: log.diary(org, build=2) == [1, 2, 3])
        Workshop(log.url).drop("diary_1_2")
        await asyncio.sleep(0.3)
        log.append(org, 1)
        await until(lambda: log.diary(org) == [1, 2, 3, 4])


async def test_a_projection_that_is_slow_holds_no_other_up(
    projectors: Pool, log: Log, org: int
) -> None:
    class Slow(Diary):
        async def apply(self, *_: object) -> None:
            await asyncio.sleep(WITHIN_SECONDS)

    log.append(org, 3)
    async with running(projectors, log, Slow("slow"), Diary("quick")):
        await until(lambda: log.diary(org, "quick") == [1, 2, 3])


async def test_an_event_that_cannot_be_taken_parks_its_org_alone(
    projectors: Pool,
    log: Log,
    org: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(runner, "PARKED_SECONDS_FIRST", 0.05)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)
    other = next(ORGS)
    diary = Diary(refuses=[(org, 6)])
    log.append(org, 9)
    log.append(other, 9)
    async with running(projectors, log, diary, Diary("second")):
        await until(lambda: log.diary(org) == [1, 2, 3, 4, 5])
        await until(lambda: log.diary(other) == list(range(1, 10)))
        await until(lambda: log.diary(org, "second") == list(range(1, 10)))
        log.append(other, 1)
        await until(lambda: len(log.diary(other)) == 10)
        await until(lambda: len(caplog.records) >= 2)
        assert parked(log) == [("diary", 1, org, 6, "ValueError")]
        diary.refuses.clear()  # The program was mended.
        await until(lambda: log.diary(org) == list(range(1, 10)))
        assert parked(log) == []
    for record in caplog.records:
        facts = {
            name: vars(record).get(name) for name in ("projection", "org", "position", "error")
        }
        assert facts == {
            "projection": "diary",
            "org": org,
            "position": 6,
            "error": "ValueError",
        }
        assert record.levelno == logging.ERROR
    assert "private" not in caplog.text


def parked(log: Log) -> list[tuple[object, ...]]:
    with psycopg.connect(log.url) as connection:
        query = "SELECT projection, build, org, position, error FROM trunkline.parked"
        return connection.execute(query).fetchall()


async def test_an_org_is_parked_no_more_where_another_process_took_the_event(
    projectors: Pool, log: Log, org: int
) -> None:
    """It may note that just when the other one, of newer code, is done: nothing comes after."""
    log.append(org, 2)
    async with running(projectors, log, Diary()):
        await until(lambda: log.diary(org) == [1, 2])
    park = "INSERT INTO trunkline.parked VALUES ('diary', 1, 1, %s, %s, 'UnknownEventType', now())"
    async with projectors.connection() as connection:
        for position, count in ((2, 0), (3, 1)):
            await connection.execute("DELETE FROM trunkline.parked")
            await connection.execute(park, [org, position])
            shown = await standing.parked(connection, [Diary()])
            assert [each.position for each in shown] == [position] * count
            (build,) = await standing.standings(connection, [Diary()])
            assert build.parked == count
        await connection.execute("DELETE FROM trunkline.parked")


async def test_a_parked_org_is_tried_again_after_longer_and_longer_pauses(
    projectors: Pool,
    log: Log,
    org: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(runner, "monotonic", lambda: clock[0])
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    log.append(org, 1)

    def has_tried(times: int) -> bool:
        return len(caplog.records) == times

    async with running(projectors, log, Diary(refuses=[(org, 1)])):
        for tries, due in enumerate((0.0, 1.0, 3.0, 7.0), start=1):
            clock[0] = due
            await until(partial(has_tried, tries))
            clock[0] = 2 * due + 0.9
            await asyncio.sleep(0.1)
            assert has_tried(tries)


async def test_an_event_of_an_unknown_type_parks_its_org(
    projectors: Pool, log: Log, org: int, caplog: pytest.LogCaptureFixture
) -> None:
    log.append(org, 3)
    with psycopg.connect(log.url, options="-c search_path=trunkline") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE events SET type = 'x.y' WHERE org = %s AND position = 3", [org])
    async with running(projectors, log, Diary()):
        await until(lambda: log.diary(org) == [1, 2])
        await until(lambda: "parked" in caplog.text)
    assert {vars(each)["error"] for each in caplog.records} == {"UnknownEventType"}


@pytest.mark.parametrize("missing", [2, 3])
async def test_a_gap_in_the_log_holds_its_org_up_and_nobody_else(
    projectors: Pool,
    log: Log,
    org: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    missing: int,
) -> None:
    """Loudly, in front of what is missing; and what is mended is gone on with."""
    monkeypatch.setattr(runner, "PARKED_SECONDS_FIRST", 0.1)
    monkeypatch.setattr(runner, "PARKED_SECONDS_MAX", 0.1)

    def told() -> list[tuple[int, int, int, str]]:
        parked = [vars(each) for each in caplog.records if "parked" in each.getMessage()]
        return [(each["levelno"], each["org"], each["position"], each["error"]) for each in parked]

    log.append(org, 3, without=missing)
    another = next(ORGS)
    async with running(projectors, log, Diary()), projectors.connection() as looker:
        await until(lambda: (logging.CRITICAL, org, missing, "GapInLog") in told())
        log.append(another, 3)
        await until(lambda: log.diary(another) == [1, 2, 3])
        assert log.diary(org) == list(range(1, missing))
        parked = [
            (each.organisation, each.position) for each in await standing.parked(looker, [Diary()])
        ]
        assert (str(org), missing) in parked
        (stands,) = await standing.standings(looker, [Diary()])
        assert stands.seconds_behind > 0
        log.mend(org, missing)
        await until(lambda: log.diary(org) == [1, 2, 3])


async def test_losing_the_database_kills_no_runner(
    projectors: Pool, log: Log, org: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "DATABASE_PAUSE_SECONDS", 0.05)

    def cut_off() -> None:
        with psycopg.connect(log.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'trunkline' AND datname = current_database()"
            )

    async with running(projectors, log, Diary()):
        for _ in range(5):
            log.append(org, 100)
            await asyncio.to_thread(cut_off)
            await asyncio.sleep(0.02)
        await until(lambda: log.diary(org) == list(range(1, 501)))


READ_ONLY = "ALTER ROLE trunkline IN DATABASE {name} {verb} default_transaction_read_only"


@pytest.mark.parametrize(
    ("trouble", "end"),
    [
        (
            READ_ONLY.format(name="{name}", verb="SET") + " = on",
            READ_ONLY.replace("{verb}", "RESET"),
        ),
        (
            "REVOKE SELECT ON trunkline.heads FROM trunkline_project",
            "GRANT SELECT ON trunkline.heads TO trunkline_project",
        ),
    ],
    ids=["read only", "not allowed"],
)
async def test_no_trouble_ends_a_runner(
    projectors: Pool,
    log: Log,
    org: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: str,
    end: str,
) -> None:
    """A primary that is none any more for a while, a right that is missing: what ends goes on."""
    monkeypatch.setattr(runner, "DATABASE_PAUSE_SECONDS", 0.05)

    def change(statement: str) -> None:
        with psycopg.connect(log.url, autocommit=True) as connection:
            connection.execute(statement.format(name=connection.info.dbname).encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'trunkline' AND datname = current_database()"
            )

    async with running(projectors, log, Diary()):
        log.append(org, 1)
        await until(lambda: log.diary(org) == [1])
        change(trouble)
        try:
            log.append(org, 1)
            await until(lambda: "Following the log with diary_1_1" in caplog.text)
            await asyncio.sleep(0.3)  # Many attempts.
        finally:
            change(end)
        await until(lambda: log.diary(org) == [1, 2])


async def test_an_outage_is_said_once_by_each_loop_and_so_is_its_end(
    superuser: str,
    log: Log,
    org: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(runner, "DATABASE_PAUSE_SECONDS", 0.02)
    caplog.set_level(logging.WARNING, logger=runner.__name__)
    loops = ["Following the log with diary_1_1", "Looking for builds"]

    def said(what: str) -> list[str]:
        told = [each.getMessage().partition(what) for each in caplog.records]
        return sorted(who.strip() for who, found, _ in told if found)

    log.append(org, 1)
    async with proxy_to(make_conninfo(superuser, user="trunkline")) as proxy:
        connect = partial(connected, proxy.url, "trunkline_project")
        async with until_the_end(ProjectionRunner(connect, [Diary()], log.ear).run()):
            await until(lambda: log.diary(org) == [1])
            await proxy.shut()
            await until(lambda: said("waits for the database") == loops)
            await asyncio.sleep(0.3)  # Many attempts.
            log.append(org, 1)
            await proxy.open()
            await until(lambda: said("goes on: the database is back") == loops)
            await until(lambda: log.diary(org) == [1, 2])
    assert said("waits for the database") == loops


class Frozen(Diary):
    """It never comes back from its first batch of one org, as in a process that was stopped."""

    def __init__(self, org: int) -> None:
        super().__init__()
        self.org = org
        self.has_begun = asyncio.Event()

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        if org == self.org:
            self.has_begun.set()
            await asyncio.Event().wait()
        await super().apply(connection, org, batch)


@pytest.mark.parametrize(("batch_seconds_max", "taken_over"), [(1, [1]), (60, [])])
async def test_who_freezes_within_a_batch_keeps_it_only_for_so_long(
    projectors: Pool,
    log: Log,
    org: int,
    monkeypatch: pytest.MonkeyPatch,
    batch_seconds_max: int,
    taken_over: list[int],
) -> None:
    """As long as it may last, nobody else takes it: the second case is the first's control."""
    monkeypatch.setattr(runner, "BATCH_SECONDS_MAX", batch_seconds_max)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.1)
    frozen = Frozen(org)
    log.append(org, 1)
    async with running(projectors, log, frozen):
        await frozen.has_begun.wait()
        async with running(projectors, log, Diary()):
            await asyncio.sleep(2.0)
            assert log.diary(org) == taken_over


class Thorough(Diary):
    """The server takes its time over each batch of one org."""

    def __init__(self, org: int) -> None:
        super().__init__("slow")
        self.org = org

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        if org == self.org:
            await connection.execute("SELECT pg_sleep(1.5)")
        await super().apply(connection, org, batch)


async def test_a_batch_that_takes_longer_by_itself_is_done_all_the_same(
    superuser: str, log: Log, org: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BATCH_SECONDS_MAX", 1)
    monkeypatch.setattr(runner, "DATABASE_PAUSE_SECONDS", 0.05)
    log.append(org, 1)
    connect = partial(connected, make_conninfo(superuser, user="trunkline"), "trunkline_project")
    following = ProjectionRunner(connect, [Thorough(org)], log.ear)
    async with until_the_end(following.run()):
        await until(lambda: log.diary(org, "slow") == [1])


def is_written(log: Log, org: int, position: int) -> bool:
    return position in log.diary(org, "quick")


async def test_who_is_watched_goes_first(
    projectors: Pool, log: Log, org: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PATIENCE_SECONDS", 3600.0)
    watched, unwatched = Diary("quick"), Diary("slow")
    watched.is_watched = True
    log.append(org, 1)
    async with running(projectors, log, watched, unwatched):
        await until(lambda: log.diary(org, "quick") == [1])
        for position in range(2, 7):
            log.append(org, 1)
            await until(partial(is_written, log, org, position))
            await asyncio.sleep(0.3)
            # What other tests have left is taken first, and without patience.
            if position not in log.diary(org, "slow"):
                return
    raise AssertionError("Who is not watched was never behind.")


async def test_who_follows_keeps_its_connection(
    projectors: Pool, readers: Pool, log: Log, org: int
) -> None:
    connected = 0

    @asynccontextmanager
    async def connect() -> AsyncIterator[Connection]:
        nonlocal connected
        connected += 1
        async with projectors.connection() as connection:
            yield connection

    async with until_the_end(ProjectionRunner(connect, [Diary()], log.ear).run()):
        for position in range(1, 6):
            log.append(org, 1)
            assert await wait(readers, org, position, WITHIN_SECONDS)
    assert connected == 2  # One finds the builds.


async def test_it_ends_when_it_is_cancelled(projectors: Pool, log: Log) -> None:
    task = asyncio.create_task(ProjectionRunner(projectors.connection, [Diary()], log.ear).run())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, WITHIN_SECONDS)


@pytest.fixture
async def readers(superuser: str) -> AsyncIterator[Pool]:
    url = make_conninfo(superuser, user="trunkline")
    async with pool(url, "trunkline_read", size_max=2) as connections:
        yield connections


def wait(readers: Pool, org: int, position: int, seconds: float) -> Awaitable[bool]:
    live = LiveBuilds(readers, [Diary()])
    return caught_up(live, Diary(), org=org, position=position, timeout_seconds=seconds)


async def test_a_read_waits_for_a_position(
    projectors: Pool, readers: Pool, log: Log, org: int
) -> None:
    log.append(org, 2)
    waiting = asyncio.ensure_future(wait(readers, org, 4, WITHIN_SECONDS))
    async with running(projectors, log, Diary()):
        assert await wait(readers, org, 2, WITHIN_SECONDS)
        assert not waiting.done()
        log.append(org, 2)
        assert await waiting


async def test_a_read_waits_no_longer_than_it_may(readers: Pool, org: int) -> None:
    assert not await wait(readers, org, 1, 0.05)
