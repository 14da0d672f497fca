"""Comparing, switching and going back, while readers read and the log grows (E3)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import psycopg
import pytest

from adapters.postgres.connections import Pool, pool
from api.jobs import as_projector, compare, rebuild
from api.main import Database as Where
from projections.engine import switch as switching
from projections.engine.builds import Build, LiveBuilds
from projections.engine.checkpoints import caught_up, position
from projections.engine.comparison import TableComparison
from projections.engine.jobs import JobError
from projections.engine.projection import Connection, Projection
from projections.engine.switch import roll_back, switch
from tests.projections.diaries import Diary, Log, running, until
from tests.projections.library import Library, shelves
from tests.projections.test_rebuild import change, quietly, states

ORG = 1


@pytest.fixture
async def live(where: Where) -> AsyncIterator[LiveBuilds]:
    """As the API reads."""
    async with pool(where.url, "trunkline_read", size_max=6) as readers:
        yield LiveBuilds(readers, [Diary(), Library()])


Exchange = Callable[[Connection, Projection], Awaitable[Build]]


async def exchange(where: Where, what: Exchange, projection: Projection) -> str:
    async with as_projector(where) as connection:
        return (await what(connection, projection)).schema


async def pages(live: LiveBuilds) -> int:
    async with live.within(ORG) as connection:
        row = await (await connection.execute("SELECT count(*) FROM library")).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_switch_changes_what_is_read_and_a_rollback_takes_it_back(
    where: Where, log: Log, live: LiveBuilds, projectors: Pool
) -> None:
    def has(table: str) -> bool:
        return (10, "reader:0:crm") in log.rows(table, ORG)

    log.append(ORG, 9)
    async with running(projectors, log, Library()):
        await rebuild(where, Library(), workers=1, report=quietly)
        change(log, "DELETE FROM library_1_2.library WHERE position = 3")  # To tell them apart.
        await until(lambda: len(log.rows("library_1_1.library", ORG)) == 9)
        assert await pages(live) == 9
        assert await exchange(where, switch, Library()) == "library_1_2"
        assert await pages(live) == 8
        assert await states(where, Library()) == {1: "previous", 2: "live"}
        assert await exchange(where, roll_back, Library()) == "library_1_1"
        assert await pages(live) == 9
        assert await states(where, Library()) == {1: "live", 2: "ready"}
        with pytest.raises(JobError, match="or it was taken back already"):
            await exchange(where, roll_back, Library())
        assert await exchange(where, switch, Library()) == "library_1_2"
        # All of them are followed.
        log.append(ORG, 1)
        for table in ("library_1_1.library", "library_1_2.library"):
            await until(partial(has, table))


async def test_a_transaction_goes_on_reading_what_it_began_with(
    where: Where, log: Log, live: LiveBuilds, projectors: Pool
) -> None:
    log.append(ORG, 9)
    async with running(projectors, log, Library()):
        await rebuild(where, Library(), workers=1, report=quietly)
        change(log, "DELETE FROM library_1_2.library")
        await until(lambda: len(log.rows("library_1_1.library", ORG)) == 9)
        async with live.within(ORG) as connection:
            await connection.execute("SELECT 1")
            await exchange(where, switch, Library())
            rows = await (await connection.execute("SELECT FROM library")).fetchall()
            assert len(rows) == 9
            assert await position(connection, Library(), org=ORG) == 9


async def test_there_must_be_something_to_switch_to_and_to_go_back_to(
    where: Where, log: Log
) -> None:
    log.append(ORG, 9)
    with pytest.raises(JobError, match="nothing to switch to: no build is ready"):
        await exchange(where, switch, Library())
    with pytest.raises(JobError, match="no previous build of library"):
        await exchange(where, roll_back, Library())
    with pytest.raises(JobError, match="nothing to compare library with"):
        await compared(where)
    await rebuild(where, Library(), workers=1, report=quietly)
    change(log, "UPDATE builds SET state = 'building' WHERE projection = 'library' AND build = 2")
    with pytest.raises(JobError, match="library_1_2 is not filled yet"):
        await exchange(where, switch, Library())


async def test_a_build_that_is_behind_is_not_switched_to(
    where: Where, log: Log, projectors: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await behind(where, log, projectors)
    with monkeypatch.context() as patch:
        patch.setattr(switching, "WAIT_SECONDS_MAX", 0.2)
        with pytest.raises(JobError, match="library_1_2 is 5 events behind library_1_1 in 1 org"):
            await exchange(where, switch, Library())
    assert await states(where, Library()) == {1: "live", 2: "ready"}
    async with running(projectors, log, Library()):
        assert await exchange(where, switch, Library()) == "library_1_2"


async def behind(where: Where, log: Log, projectors: Pool) -> None:
    """A build that is ready, and behind the live one because nobody follows it."""
    log.append(ORG, 9)
    await rebuild(where, Library(), workers=1, report=quietly)
    log.append(ORG, 5)
    change(log, "UPDATE builds SET state = 'building' WHERE projection = 'library' AND build = 2")
    async with running(projectors, log, Library()):
        await until(lambda: len(log.rows("library_1_1.library", ORG)) == 14)
    change(log, "UPDATE builds SET state = 'ready' WHERE projection = 'library' AND build = 2")


class Reader:
    """Reads as clients do, and remembers whether an answer was wrong."""

    def __init__(self, live: LiveBuilds) -> None:
        self.live = live
        self.reads = 0
        self.faults: list[str] = []
        self._seen = 0

    async def read(self) -> None:
        async with self.live.within(ORG) as connection:
            reached = await position(connection, Library(), org=ORG)
            cursor = await connection.execute(
                "SELECT count(*), coalesce(max(position), 0), (SELECT pages FROM library_totals),"
                " (SELECT sum(pages)::bigint FROM library_volumes) FROM library"
            )
            ((count, newest, total, volumes),) = await cursor.fetchall()
        self.reads += 1
        if not count == newest == (total or 0) == (volumes or 0):
            self.faults.append(f"a mixture: {count} {newest} {total} {volumes}")
        if count < max(reached, self._seen):
            self.faults.append(f"back in time: {count} behind {max(reached, self._seen)}")
        self._seen = count

    async def for_ever(self) -> None:
        while True:
            await self.read()

    async def for_ever_at_least(self, log: Log) -> None:
        """Asks for a position that it knows to be in the log."""
        while True:
            at_least = await asyncio.to_thread(head_of, log)
            if await caught_up(self.live, Library(), org=ORG, position=at_least, timeout_seconds=5):
                self._seen = max(self._seen, at_least)
                await self.read()


def head_of(log: Log) -> int:
    with psycopg.connect(log.url) as connection:
        row = connection.execute(
            "SELECT position FROM trunkline.heads WHERE org = %s", [ORG]
        ).fetchone()
    return row[0] if row else 0


@asynccontextmanager
async def reading(live: LiveBuilds, log: Log) -> AsyncIterator[list[Reader]]:
    readers = [Reader(live) for _ in range(3)]
    tasks = [asyncio.create_task(each.for_ever()) for each in readers[1:]]
    tasks.append(asyncio.create_task(readers[0].for_ever_at_least(log)))
    yield readers
    for task in tasks:
        assert not task.done() or task.result()  # A read that failed is told here.
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def growing(log: Log) -> AsyncIterator[None]:
    """Until the last event is written: a thread cannot be stopped in the middle."""
    is_over = asyncio.Event()

    async def grow() -> None:
        while not is_over.is_set():
            await asyncio.to_thread(log.append, ORG, 3, streams=7)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(grow())
    yield
    is_over.set()
    await task


async def test_readers_get_no_wrong_answer_while_builds_come_and_go(
    where: Where, log: Log, live: LiveBuilds, projectors: Pool
) -> None:
    log.append(ORG, 500, streams=7)
    async with running(projectors, log, Library()), reading(live, log) as readers:
        async with growing(log):
            for _ in range(2):
                await rebuild(where, Library(), workers=2, report=quietly)
                await exchange(where, switch, Library())
                await exchange(where, roll_back, Library())
                await exchange(where, switch, Library())
                assert all(table.equal for table in await compared(where))
        await until(lambda: all(reader.reads > 20 for reader in readers))
    assert [reader.faults for reader in readers] == [[]] * len(readers)


async def test_an_answer_is_of_one_moment(
    where: Where, log: Log, live: LiveBuilds, projectors: Pool
) -> None:
    """Else one that was begun before a switch would be ahead of the first that comes after it."""
    log.append(ORG, 3)
    async with running(projectors, log, Library()):
        await until(lambda: len(log.rows("library_1_1.library", ORG)) == 3)
        async with live.within(ORG) as connection:
            before = await position(connection, Library(), org=ORG)
            log.append(ORG, 5)
            await until(lambda: len(log.rows("library_1_1.library", ORG)) == 8)
            assert await position(connection, Library(), org=ORG) == before == 3


async def test_control_a_switch_that_does_not_look_takes_readers_back_in_time(
    where: Where, log: Log, live: LiveBuilds, projectors: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(switching.SQL, "behind", "SELECT 0, 0")
    await behind(where, log, projectors)
    reader = Reader(live)
    await reader.read()
    await exchange(where, switch, Library())
    await reader.read()
    assert reader.faults == ["back in time: 9 behind 14"]


# What differs.


async def compared(where: Where) -> list[TableComparison]:
    return [each async for each in compare(where, Library())]


async def test_nothing_differs_and_what_lags_is_brought_level(
    where: Where, log: Log, projectors: Pool
) -> None:
    log.append(2, 30, streams=3)
    await behind(where, log, projectors)
    tables = await compared(where)
    assert [(each.organisation, each.position, each.table) for each in tables] == [
        (org, position, table)
        for org, position in (("1", 14), ("2", 30))
        for table in ("library", "library_totals", "library_volumes")
    ]
    assert all(each.equal and not each.differing_rows for each in tables)
    assert tables[0].live_rows == tables[0].other_rows == 14
    assert shelves(log, 1, ORG) == shelves(log, 2, ORG)


async def test_rows_that_differ_are_named_with_what_explains_them(
    where: Where, log: Log, projectors: Pool
) -> None:
    log.append(ORG, 9, streams=3)
    async with running(projectors, log, Library()):
        await until(lambda: len(log.rows("library_1_1.library", ORG)) == 9)
    await rebuild(where, Library(), workers=1, report=quietly)
    change(log, "UPDATE library_1_2.library SET stream = 'secret' WHERE position = 4")
    change(log, "DELETE FROM library_1_2.library WHERE position = 5")
    change(log, "INSERT INTO library_1_2.library VALUES (1, 100, 'more')")
    page, totals, volumes = await compared(where)
    assert (page.equal, totals.equal, volumes.equal) == (False, True, True)
    assert (page.live_rows, page.other_rows, page.differing_rows) == (9, 9, 3)
    assert [(each.key, each.in_live, each.in_other, each.columns) for each in page.differences] == [
        ({"position": "100"}, False, True, ()),
        ({"position": "4"}, True, True, ("stream",)),
        ({"position": "5"}, True, False, ()),
    ]
    assert "secret" not in str(page)


async def test_there_may_be_more_that_differ_than_are_shown(where: Where, log: Log) -> None:
    log.append(ORG, 500)
    await rebuild(where, Library(), workers=1, report=quietly)
    change(log, "DELETE FROM library_1_2.library WHERE position <> 7")
    page, *_ = await compared(where)
    assert (page.differing_rows, len(page.differences)) == (499, 20)


async def test_an_org_that_cannot_be_brought_level_is_said(where: Where, log: Log) -> None:
    log.append(ORG, 5)
    await rebuild(where, Library(), workers=1, report=quietly)
    change(log, "UPDATE events SET type = 'x.y' WHERE position = 3")
    with pytest.raises(
        JobError, match="library_1_1 cannot be brought level in organisation 1: Unk"
    ):
        await compared(where)
