"""The law of the filling: from whole streams it makes the rows that the log's order makes."""

import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.event import Recorded
from projections.inbox.projection import Inbox
from tests.conftest import Database
from tests.projections.histories import History, Projected, shared_by
from tests.projections.inbox_stories import histories
from tests.projections.inbox_tables import rows_of

LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"
LAW = settings(max_examples=600 if LONG else 30)
FILLING = Inbox.filling


@asynccontextmanager
async def filled(
    database: Database, log: list[Recorded], *, at_once: int = 100
) -> AsyncIterator[Projected]:
    """The inbox of a log, filled so many streams at once into tables that vanish afterwards."""
    async with await psycopg.AsyncConnection.connect(database.superuser) as connection:
        await connection.execute("CREATE SCHEMA filled; SET LOCAL search_path = filled, trunkline")
        await connection.execute(FILLING.tables.encode())
        inbox = Projected(connection)
        for kind in FILLING.stream_order:
            streams = whole_streams(log, kind)
            for begin in range(0, len(streams), at_once):
                await FILLING.fill(connection, inbox.org, streams[begin : begin + at_once])
        await connection.execute(FILLING.indexes.encode())
        await FILLING.finish(connection, inbox.org)
        yield inbox
        await connection.rollback()


def whole_streams(log: list[Recorded], kind: str) -> list[list[Recorded]]:
    """The streams of a kind, in the order of their names."""
    streams = defaultdict[str, list[Recorded]](list)
    for recorded in log:
        if recorded.stream.startswith(f"{kind}:"):
            streams[recorded.stream].append(recorded)
    return [streams[name] for name in sorted(streams)]


async def same(projector: psycopg.AsyncConnection, database: Database, history: History) -> None:
    inbox = Projected(projector)
    await inbox.project(history)
    async with filled(database, history.log) as whole:
        assert await rows_of(whole.connection, whole.org) == await rows_of(projector, inbox.org)


@LAW
@given(history=histories, at_once=st.integers(1, 3))
async def test_it_makes_the_rows_that_the_live_projection_makes(
    projector: psycopg.AsyncConnection,
    projected_database: Database,
    history: History,
    at_once: int,
) -> None:
    inbox = Projected(projector)
    for recorded in history.log:
        await inbox.fold([recorded])
    async with filled(projected_database, history.log, at_once=at_once) as whole:
        assert await rows_of(whole.connection, whole.org) == await rows_of(projector, inbox.org)


@LAW
@given(history=histories, data=st.data())
async def test_the_live_projection_goes_on_from_it(
    projector: psycopg.AsyncConnection,
    projected_database: Database,
    history: History,
    data: st.DataObject,
) -> None:
    inbox = Projected(projector)
    await inbox.project(history)
    position = data.draw(st.integers(0, len(history.log)), label="filled up to")
    async with filled(projected_database, history.log[:position]) as whole:
        whole.position = position
        await whole.project(history)
        assert await rows_of(whole.connection, whole.org) == await rows_of(projector, inbox.org)


async def test_it_knows_the_customers(
    projector: psycopg.AsyncConnection, projected_database: Database
) -> None:
    history = shared_by("crm")
    history.named("Ann", "ann")
    history.named("Ann Lee", "ann")
    history.address("phone", "+81 3", "ann")
    history.address("phone", "+81 4", "ann")
    history.no_address("+81 3", "ann")
    history.address("phone", "+81 4", "ann")
    history.wants_marketing(False, 5)
    history.wants_marketing(True, 3)
    history.named("Ben", "ben")
    await same(projector, projected_database, history)


async def test_it_takes_what_the_database_cannot_hold_as_the_live_projection_does(
    projector: psycopg.AsyncConnection, projected_database: Database
) -> None:
    """A platform may put a NUL into a word of its own, and a code may be longer than any column."""
    history = shared_by("crm")
    history.reply("r", "crm")
    history.sent("r")
    history.receipt("r", "re\0ad")
    history.receipt("r", "failed", error_code=2**40)
    history.customer("m", kind="te\0xt")
    await same(projector, projected_database, history)


async def test_nothing_is_counted_where_nothing_is(
    projector: psycopg.AsyncConnection, projected_database: Database
) -> None:
    """A count that came to 0 leaves no row, so both ways leave the same."""
    history = shared_by("crm", "desk")
    history.customer("m1")
    history.customer("m2", chat_id="a")
    history.assigned("crm", "ben")
    history.closed("desk")
    history.reply("r", "crm")
    inbox = Projected(projector)
    for recorded in history.log:
        await inbox.fold([recorded])
    counts = (await rows_of(projector, inbox.org))["counts"]
    assert [count["chats"] for count in counts] == [1, 1]
    await same(projector, projected_database, history)
