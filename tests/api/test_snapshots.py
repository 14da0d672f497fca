"""States of long streams are read from near their end, and never from a wrong one (I9, E4)."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from adapters.postgres.connections import pool
from adapters.postgres.directory import Directory
from adapters.postgres.keys import MasterKey
from adapters.postgres.log import PostgresLog
from adapters.postgres.requests import PostgresRequests
from adapters.postgres.snapshots import PostgresSnapshots
from api.commands import snapshots as coding
from api.commands import states as reading
from api.commands.execute import Executor
from api.commands.states import SNAPSHOT_EVENTS, States
from api.commands.unit import Unit
from domain.chat import Chat, evolve
from domain.chat_events import ChatAssigned, ChatStarted, MessageReceived
from domain.event import Event
from domain.ports import NewSnapshot, Org
from tests.adapters.log_scenario import TestClock
from tests.api.deliveries import eventually
from tests.conftest import Database
from tests.domain.world import CONTENT, NOON, SECOND

MASTER = MasterKey(bytes(32))
STREAM = "chat:a"


@dataclass
class Office:
    """One process: it writes to chats, and can forget what it knows of them."""

    log: PostgresLog
    snapshots: PostgresSnapshots
    states: States
    executor: Executor
    reads: list[int]  # How many events each look into the log gave.

    async def write(self, org: Org, *events: Event, stream: str = STREAM) -> None:
        def decide(unit: Unit) -> None:
            unit.state(stream, Chat)
            unit.record(stream, events)

        await self.executor.execute(org, decide)

    async def chat(self, org: Org, stream: str = STREAM) -> Chat:
        return await self.executor.look(org, lambda unit: unit.state(stream, Chat))

    async def cold(self, org: Org, stream: str = STREAM) -> Chat:
        """The chat as a process has it that starts now."""
        self.states.forget(org.number, None)
        self.reads.clear()
        return await self.chat(org, stream)


@asynccontextmanager
async def process(database: Database, master: MasterKey = MASTER) -> AsyncIterator[Office]:
    async with AsyncExitStack() as stack:
        readers = await stack.enter_async_context(
            pool(database.url, "trunkline_project", size_max=4)
        )
        writers = await stack.enter_async_context(
            pool(database.url, "trunkline_append", size_max=1)
        )
        log = PostgresLog(database.url, readers=readers, clock=TestClock())
        await log.start()
        stack.push_async_callback(log.stop)
        kept = PostgresSnapshots(log, readers, writers, master)
        running = asyncio.create_task(kept.run())
        stack.callback(running.cancel)
        states = States(log, kept)
        office = Office(log, kept, states, Executor(log, states, PostgresRequests(readers)), [])
        _count_reads(office)
        yield office


def _count_reads(office: Office) -> None:
    """Note how many events are read for states."""
    restore, read_stream = office.snapshots.restore, office.log.read_stream

    async def restored(*arguments: Any, **named: Any) -> Any:
        found = await restore(*arguments, **named)
        office.reads.append(len(found[1]))
        return found

    async def read(*arguments: Any, **named: Any) -> Any:
        found = await read_stream(*arguments, **named)
        office.reads.append(len(found))
        return found

    office.snapshots.restore = restored  # type: ignore[method-assign]
    office.log.read_stream = read  # type: ignore[method-assign]


@pytest.fixture
async def one(database: Database) -> AsyncIterator[Office]:
    async with process(database) as office:
        yield office


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Office]:
    async with process(database) as office:
        yield office


@pytest.fixture
async def org(database: Database) -> AsyncIterator[Org]:
    async with pool(database.url, "trunkline_directory", size_max=1) as directories:
        yield await Directory(directories, MASTER).create_organisation(f"org{time.time_ns()}")


@pytest.fixture
async def superuser(database: Database) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(
        database.superuser, autocommit=True
    ) as connection:
        await connection.execute("SET search_path = trunkline")
        yield connection


def heard(number: int) -> MessageReceived:
    return MessageReceived(
        message_id=f"{number:026}",
        kind="text",
        at=NOON + number * SECOND,
        content=CONTENT,
        key=number.to_bytes(32),
    )


STARTED = ChatStarted(chat_id="a", platform="whatsapp", account_id="1", contact_id="kim")


async def long_chat(office: Office, org: Org, events: int = 350, stream: str = STREAM) -> Chat:
    """A chat of so many events, written a hundred at a time; its state by hand."""
    history: list[Event] = [STARTED, *map(heard, range(1, events))]
    chat = Chat()
    for event in history:
        chat = evolve(chat, event)
    for start in range(0, events, 100):
        await office.write(org, *history[start : start + 100], stream=stream)
    return chat


async def kept(superuser: psycopg.AsyncConnection[Any], org: Org) -> list[Any]:
    cursor = await superuser.execute(
        "SELECT stream, version FROM snapshots WHERE org = %s ORDER BY stream, code", [org.number]
    )
    return await cursor.fetchall()


async def is_kept(superuser: psycopg.AsyncConnection[Any], org: Org, version: int) -> None:
    await eventually(lambda: kept(superuser, org), [(STREAM, version)])


async def test_a_long_stream_is_read_from_near_its_end(
    one: Office, other: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    """Also by a process that has never seen it."""
    chat = await long_chat(one, org)
    await is_kept(superuser, org, 300)
    for office in (one, other):
        assert await office.cold(org) == chat
        assert office.reads == [50]
    await other.write(org, heard(350))
    assert await one.cold(org) == evolve(chat, heard(350))
    assert one.reads == [51]


async def test_short_streams_have_none(
    one: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    chat = await long_chat(one, org, SNAPSHOT_EVENTS - 1)
    assert await one.cold(org) == chat
    assert one.reads == [SNAPSHOT_EVENTS - 1]
    assert await kept(superuser, org) == []


async def test_one_that_was_deleted_is_made_anew_by_the_next_who_reads(
    one: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    """Deletable at any time. Whoever waits for the state does not wait for that."""
    chat = await long_chat(one, org)
    await is_kept(superuser, org, 300)
    await superuser.execute("DELETE FROM snapshots WHERE org = %s", [org.number])
    assert await one.cold(org) == chat
    assert sum(one.reads) == 350
    await is_kept(superuser, org, 350)
    assert await one.cold(org) == chat
    assert one.reads == [0]


async def test_a_stream_of_several_pages_is_read_whole(
    one: Office, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_EVENTS", 50)
    chat = await long_chat(one, org, 99)
    assert await one.cold(org) == chat
    assert one.reads == [50, 49]
    chat = await long_chat(one, org, 50, "chat:b")
    assert await one.cold(org, "chat:b") == chat
    assert one.reads == [50, 0]


# What must never be used.

TAMPERINGS = {
    "another state": ("state = %s", coding.encode_state(Chat(version=300, chat_id="forged"))),
    "no state": ("state = %s", b"\xc1"),
    "an empty state": ("state = %s", b""),
    "another version": ("version = %s", 299),
    "an old version": ("version = %s", 1),
    "another event": ("hash = %s", bytes(32)),
    "another proof": ("proof = %s", bytes(32)),
    "no proof": ("proof = %s", b""),
    "a version ahead of the log": ("version = %s", 1_000_000),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_one_that_was_changed_is_not_used_and_replaced(
    one: Office, org: Org, superuser: psycopg.AsyncConnection[Any], tampering: str
) -> None:
    chat = await long_chat(one, org)
    await is_kept(superuser, org, 300)
    change, value = TAMPERINGS[tampering]
    await superuser.execute(
        f"UPDATE snapshots SET {change} WHERE org = %s",
        [value, org.number],
    )
    assert await one.cold(org) == chat
    await is_kept(superuser, org, 350)
    assert await one.cold(org) == chat
    assert one.reads == [0]


async def test_without_its_proof_a_forged_one_would_be_believed(
    one: Office,
    org: Org,
    superuser: psycopg.AsyncConnection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: the proof alone stands between who can write the table and decisions."""
    await long_chat(one, org)
    await is_kept(superuser, org, 300)
    change, value = TAMPERINGS["another state"]
    await superuser.execute(
        f"UPDATE snapshots SET {change} WHERE org = %s",
        [value, org.number],
    )
    monkeypatch.setattr("adapters.postgres.snapshots.hmac.compare_digest", lambda *_: True)
    assert (await one.cold(org)).chat_id == "forged"


async def test_anothers_snapshot_is_of_no_use(
    one: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    """Moved to another stream, it proves nothing there."""
    await long_chat(one, org)
    chat = await long_chat(one, org, 320, "chat:b")
    await eventually(lambda: kept(superuser, org), [("chat:a", 300), ("chat:b", 300)])
    await superuser.execute(
        "UPDATE snapshots b SET state = a.state, proof = a.proof FROM snapshots a"
        " WHERE a.org = %(org)s AND b.org = %(org)s AND a.stream = 'chat:a'"
        " AND b.stream = 'chat:b'",
        {"org": org.number},
    )
    assert await one.cold(org, "chat:b") == chat
    assert sum(one.reads) >= 320


async def test_one_of_other_code_is_left_alone_and_not_used(
    one: Office,
    org: Org,
    superuser: psycopg.AsyncConnection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two versions of the program run side by side; each finds its own."""
    chat = await long_chat(one, org)
    await is_kept(superuser, org, 300)
    monkeypatch.setattr(reading, "code_of", lambda _stream: b"newer")
    assert await one.cold(org) == chat
    assert sum(one.reads) == 350
    await eventually(lambda: versions(superuser, org), [300, 350])
    monkeypatch.undo()
    assert await one.cold(org) == chat
    assert one.reads == [50]


async def versions(superuser: psycopg.AsyncConnection[Any], org: Org) -> list[int]:
    return sorted(version for _, version in await kept(superuser, org))


async def test_another_master_key_finds_nothing_it_believes(
    database: Database, one: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    chat = await long_chat(one, org)
    await is_kept(superuser, org, 300)
    async with process(database, MasterKey(bytes([1]) * 32)) as stranger:
        assert await stranger.cold(org) == chat
        assert max(stranger.reads) == 350
        await is_kept(superuser, org, 350)


async def test_one_that_is_ahead_of_a_restored_log_is_not_used(
    one: Office, other: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    """The log lost its end, and went on otherwise: the versions are there, the events are not."""
    await long_chat(one, org)
    await is_kept(superuser, org, 300)
    await superuser.execute("ALTER TABLE events DISABLE TRIGGER ALL")
    try:
        await superuser.execute("DELETE FROM events WHERE org = %s AND version > 250", [org.number])
        await superuser.execute(
            "UPDATE heads h SET position = e.position, hash = e.hash FROM events e"
            " WHERE h.org = e.org AND e.org = %s AND e.version = 250",
            [org.number],
        )
    finally:
        await superuser.execute("ALTER TABLE events ENABLE TRIGGER ALL")
    chat = await other.chat(org)
    assert chat.version == 250
    owned = ChatAssigned(service="crm", owner="ann", at=NOON)
    await other.write(org, *[owned] * 60)
    cold = await other.cold(org)
    assert (cold.version, set(cold.owners)) == (310, {"crm"})


# Who writes it.


async def test_of_many_that_are_kept_at_once_the_newest_stays(
    one: Office, other: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    chat = await long_chat(one, org)
    await is_kept(superuser, org, 300)
    events = await one.log.read_stream(org, STREAM)
    state, states = Chat(), {}
    for each in events:
        state = evolve(state, each.event)
        states[each.version] = (state, each)
    for version in (350, 120, 310, 100, 349):
        for office in (one, other):
            state, recorded = states[version]
            snapshot = NewSnapshot(
                code=coding.code_of(STREAM),
                version=version,
                position=recorded.position,
                recorded_at=recorded.recorded_at,
                state=coding.encode_state(state),
            )
            office.snapshots.keep(org, STREAM, snapshot)
            await asyncio.sleep(0.01)
    await is_kept(superuser, org, 350)
    assert await other.cold(org) == chat


async def test_what_the_log_does_not_bear_out_is_not_kept(
    one: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    """A state of a command that was lost, or of a history that a restored backup has not."""
    await long_chat(one, org, 50)
    newest = (await one.log.read_stream(org, STREAM))[-1]
    changes: tuple[dict[str, Any], ...] = (
        {"version": 51},
        {"position": newest.position - 1},
        {"recorded_at": NOON + SECOND},
    )
    for change in changes:
        place: dict[str, Any] = {
            "version": newest.version,
            "position": newest.position,
            "recorded_at": newest.recorded_at,
        }
        snapshot = NewSnapshot(code=b"code", state=b"state", **(place | change))
        one.snapshots.keep(org, STREAM, snapshot)
    await long_chat(one, org, 200, "chat:b")
    await eventually(lambda: kept(superuser, org), [("chat:b", 200)])


async def test_a_database_that_keeps_nothing_holds_no_command_up(
    one: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    """Written behind: here whoever writes them waits for a lock."""
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE snapshots IN EXCLUSIVE MODE")
        async with asyncio.timeout(10):
            chat = await long_chat(one, org)
            assert await one.cold(org) == chat
    await is_kept(superuser, org, 350)


async def test_the_roles_may_do_no_more_than_they_need(
    one: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    """Projectors read; who appends keeps, through a function that asks the log; nobody else."""
    await long_chat(one, org, 200)
    await eventually(lambda: kept(superuser, org), [(STREAM, 200)])
    allowed: dict[str, set[str]] = {}
    for role in ("append", "read", "project", "audit", "directory"):
        for name, statement in {
            "select": "SELECT count(*) FROM snapshots",
            "insert": "INSERT INTO snapshots SELECT * FROM snapshots WHERE false",
            "update": "UPDATE snapshots SET version = 1 WHERE false",
            "delete": "DELETE FROM snapshots WHERE false",
            "keep": "SELECT keep_snapshot(0, 'x', '', 1, 1, now(), '', '')",
            "forget": "SELECT forget_snapshot(0, 'x', '')",
        }.items():
            await superuser.execute(f"SET ROLE trunkline_{role}")
            try:
                await superuser.execute(statement)
                allowed.setdefault(role, set()).add(name)
            except psycopg.errors.InsufficientPrivilege:
                pass
            finally:
                await superuser.execute("RESET ROLE")
    assert allowed == {"append": {"keep", "forget"}, "project": {"select"}}


async def test_what_other_code_has_replaced_is_purged_in_the_end(
    one: Office, org: Org, superuser: psycopg.AsyncConnection[Any]
) -> None:
    """The only one of a stream stays, however old: a quiet chat is as long as a lively one."""
    await long_chat(one, org, 200)
    await long_chat(one, org, 200, "chat:b")
    await eventually(lambda: kept(superuser, org), [("chat:a", 200), ("chat:b", 200)])
    await superuser.execute(
        "INSERT INTO snapshots SELECT org, stream, 'older', 1, hash, state, proof,"
        " kept_at - interval '8 days' FROM snapshots WHERE org = %s AND stream = 'chat:a'",
        [org.number],
    )
    await superuser.execute(
        "UPDATE snapshots SET kept_at = kept_at - interval '1 year' WHERE stream = 'chat:b'"
    )
    await superuser.execute("SELECT purge_expired(now())")
    assert await kept(superuser, org) == [("chat:a", 200), ("chat:b", 200)]
