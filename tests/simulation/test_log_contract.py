"""The log in memory is held to what the log in PostgreSQL is held to: two processes on each."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from adapters.postgres.batch import Head
from domain.event import Recorded
from domain.ports import AddressClaim, AlreadyDone, Appended, IdempotentRequest, NewKey, Org
from tests.adapters.conftest import world
from tests.adapters.log_scenario import NOON, Process, TestClock, World, command, event, process
from tests.adapters.test_log import outcomes
from tests.simulation.database import MemoryDatabase
from tests.simulation.machine import Machine, Weather
from tests.simulation.memory_log import MemoryLog

__all__ = ["world"]


@dataclass
class Logs:
    """Two processes on one log, and an organisation in it."""

    org: Org
    one: Process
    other: Process


async def in_memory(database: MemoryDatabase) -> Process:
    machine = Machine(Weather(Random(0), is_calm=True))
    started = Process(MemoryLog(machine, database, TestClock()))
    await started.log.start()
    started.log.on_changed = started.forget
    return started


@contextlib.asynccontextmanager
async def memory() -> AsyncIterator[Logs]:
    database = MemoryDatabase()
    database.heads[1] = Head(0, bytes(32), 0)
    one, other = await in_memory(database), await in_memory(database)
    yield Logs(Org(1, "org_memory"), one, other)
    await one.log.stop()
    await other.log.stop()


@contextlib.asynccontextmanager
async def postgres(world: World) -> AsyncIterator[Logs]:
    url = world.database.url
    async with process(url) as one, process(url) as other:
        yield Logs(await world.org(), one, other)


@pytest.fixture(params=["memory", "postgres"])
async def logs(request: Any, world: World) -> AsyncIterator[Logs]:
    async with memory() if request.param == "memory" else postgres(world) as started:
        yield started


async def test_whole_commands_are_written_in_order_and_read_back(logs: Logs) -> None:
    org, log = logs.org, logs.one.log
    written = [log.submit(command(org, ("chat:a", 1, "x"), ("chat:b", 1, "y")))]
    written += [log.submit(command(org, ("chat:a", n))) for n in range(2, 5)]
    assert await outcomes(*written) == [(1, 2), (3, 3), (4, 4), (5, 5)]
    assert await log.read_stream(org, "chat:b") == [Recorded(2, "chat:b", 1, NOON, event("y"))]
    later = await log.read_stream(org, "chat:a", after=1, limit=2)
    assert [each.position for each in later] == [3, 4]
    assert await log.position(org) == 5
    at = [await log.version_at(org, "chat:a", position=n) for n in (0, 1, 2, 4)]
    assert at == [0, 1, 1, 3]
    assert await log.recorded_at(org, position=3) == later[0].recorded_at
    assert [await log.recorded_at(org, position=n) for n in (0, 6)] == [None, None]


async def test_every_stream_that_was_read_must_be_as_it_was_read(logs: Logs) -> None:
    org, one = logs.org, logs.one
    await one.write(org, "channel:a")
    await logs.other.write(org, "channel:a")
    assert await outcomes(
        one.log.submit(command(org, ("chat:a", 1), read=[("channel:a", 1)])),
        one.log.submit(command(org, ("chat:b", 1), read=[("chat:c", 0)])),
        one.log.submit(command(org, ("chat:d", 1), read=[("chat:a", 1)])),
    ) == ["Conflict", (3, 3), "Conflict"]
    assert one.changed[0] == (org.number, {"channel:a", "chat:a", "chat:d"})


async def test_a_command_is_written_once_by_however_many_processes(logs: Logs) -> None:
    same = secrets.token_bytes(32)
    results = await asyncio.gather(
        *(
            each.write(logs.org, "chat:a", command_id=same)
            for each in (logs.one, logs.other)
            for _ in range(3)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Appended) for each in results) == 1
    assert {each.position for each in results if isinstance(each, AlreadyDone)} == {1}


@pytest.mark.parametrize(
    ("claim", "refused"),
    [
        ({"addresses": [AddressClaim(b"address", "ann")]}, "Conflict"),
        ({"keys": [NewKey("contact:ann", b"wrapped")]}, "Conflict"),
        ({"idempotent": IdempotentRequest(b"key", b"body", 201, b"{}")}, "RequestKnown"),
    ],
)
async def test_what_only_one_may_take_is_taken_once(
    logs: Logs, claim: dict[str, Any], refused: str
) -> None:
    for each, expected in ((logs.one, (1, 1)), (logs.other, refused)):
        writing = each.log.submit(command(logs.org, (f"contact:{id(each)}", 1), **claim))
        assert await outcomes(writing) == [expected]


async def test_whether_others_have_written_is_known(logs: Logs) -> None:
    org, one = logs.org, logs.one
    assert not await one.log.is_current(org)  # Nothing was known of it.
    assert await one.log.is_current(org)
    await logs.other.write(org, "chat:a")
    assert not await one.log.is_current(org)
    assert one.changed == [(org.number, {"chat:a"})]
    assert await one.log.is_current(org, at_least=1)
