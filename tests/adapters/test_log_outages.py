"""Answers that get lost, commits that may not count, a database that goes away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.postgres import appender, connections, writer
from adapters.postgres.appender import Appender, Findings
from adapters.postgres.connections import pool
from adapters.postgres.directory import Directory
from adapters.postgres.keys import MasterKey
from adapters.postgres.requests import PostgresAddresses, PostgresRequests
from adapters.postgres.ticket import Ticket
from adapters.postgres.wire import Answer, Wire
from adapters.postgres.writer import Writer
from domain.ports import Append, Appended, Org, Unavailable
from tests.adapters.log_scenario import NOON, Process, World, command, process
from tests.adapters.proxy import Proxy, When, proxy_to
from tests.adapters.test_log import outcomes, request
from tests.api.deliveries import eventually


@pytest.fixture
async def proxy(world: World) -> AsyncIterator[Proxy]:
    async with proxy_to(world.database.url) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[Process]:
    """A process that reaches the database through the proxy."""
    async with process(proxy.url) as started:
        yield started


def batch(org: Org) -> list[Append]:
    """Ten commands, one of them of two streams, one that builds on another."""
    commands = [command(org, (f"chat:{n}", 2)) for n in range(8)]
    return [*commands, command(org, ("chat:0", 3), ("chat:8", 1)), command(org, ("chat:9", 1))]


PLACES = [*((n, n) for n in range(9, 17)), (17, 18), (19, 19)]


async def begun(world: World, far: Process) -> Org:
    """An org whose head the process knows."""
    org = await world.org()
    await far.log.append(command(org, *((f"chat:{n}", 1) for n in range(8))))
    return org


@pytest.mark.parametrize("when", ["before", "during", "after"])
async def test_a_connection_lost_at_an_append_loses_and_doubles_nothing(
    world: World, far: Process, proxy: Proxy, when: When
) -> None:
    org = await begun(world, far)
    proxy.trap(b"append", when)
    assert await outcomes(*map(far.log.submit, batch(org))) == PLACES
    assert proxy.has_sprung
    assert len(await world.assert_whole(org)) == 19
    assert (await far.log.append(command(org, ("chat:0", 4)))).last == 20


@pytest.mark.parametrize("statement", [b"begin", b"commit"])
@pytest.mark.parametrize("when", ["before", "during", "after"])
async def test_a_connection_lost_while_writing_carefully_loses_and_doubles_nothing(
    world: World, far: Process, other: Process, proxy: Proxy, statement: bytes, when: When
) -> None:
    org = await begun(world, far)
    await other.write(org, "chat:elsewhere")
    proxy.trap(statement, when)
    places = [(first + 1, last + 1) for first, last in PLACES]
    assert await outcomes(*map(far.log.submit, batch(org))) == places
    assert proxy.has_sprung
    assert len(await world.assert_whole(org)) == 20


@pytest.mark.parametrize("when", ["before", "during", "after"])
async def test_companions_are_written_once_as_well(
    world: World, far: Process, proxy: Proxy, when: When
) -> None:
    org = await begun(world, far)
    proxy.trap(b"append with companions", when)
    appended = await far.log.append(command(org, ("chat:a", 1), idempotent=request("once")))
    assert appended == Appended(9, 9, NOON)
    assert proxy.has_sprung


async def test_a_statement_that_arrives_after_its_connection_was_lost_writes_nothing(
    world: World, far: Process, proxy: Proxy
) -> None:
    """What was sent again is in the log by then."""
    org = await begun(world, far)
    proxy.trap(b"append", "before")
    assert await outcomes(*map(far.log.submit, batch(org))) == PLACES
    await proxy.deliver_held()
    assert len(await world.assert_whole(org)) == 19


async def test_a_delivery_that_another_process_wrote_in_the_same_place_leaves_no_states_behind(
    world: World, far: Process, other: Process, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The position alone does not say whose events stand there."""
    org = await begun(world, far)
    await far.state(org, "chat:mine")
    look, same = Appender.look, b"delivery"

    async def look_too_late(self: Appender, *arguments: Any) -> Findings:
        monkeypatch.undo()
        await other.log.append(command(org, ("chat:theirs", 1), command_id=same))
        return await look(self, *arguments)

    proxy.trap(b"append", "before")
    monkeypatch.setattr(Appender, "look", look_too_late)
    assert await outcomes(far.submit(org, "chat:mine", command_id=same)) == [(9, 9)]
    assert await far.state(org, "chat:mine") == []
    await world.assert_whole(org)


async def test_control_who_sends_again_without_a_look_doubles(
    world: World, far: Process, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a client does that takes a lost answer for a failure and decides again."""
    org = await begun(world, far)
    await far.state(org, "chat:a")

    async def give_up(self: Writer, _tickets: list[Ticket]) -> None:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_write_carefully", give_up)
        proxy.trap(b"append", "after")
        with pytest.raises(Unavailable):
            await far.write(org, "chat:a")
    await far.write(org, "chat:a")
    assert await world.texts(org, "chat:a") == ["", ""]


# Commits that may not count.


async def execute(world: World, statements: str) -> None:
    async with await world.superuser() as connection:
        await connection.execute(statements)


WARN_AT_COMMIT = """
    CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE WARNING 'the transaction may not have been replicated'; RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER warned AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION warn();
"""


@pytest.fixture
async def warning(world: World) -> AsyncIterator[None]:
    """As when the wait for a standby is cancelled."""
    await execute(world, WARN_AT_COMMIT)
    yield
    await execute(world, "DROP TRIGGER warned ON events; DROP FUNCTION warn")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Findings]:
    """What was found in the log when it was looked up."""
    found = []
    look = Appender.look

    async def noted(self: Appender, *arguments: Any) -> Findings:
        found.append(await look(self, *arguments))
        return found[-1]

    monkeypatch.setattr(Appender, "look", noted)
    return found


async def test_a_commit_with_a_warning_counts_only_after_a_look(
    world: World, one: Process, warning: None, looks: list[Findings]
) -> None:
    org = await world.org()
    await one.state(org, "chat:a")
    assert await one.log.append(command(org, ("chat:a", 1))) == Appended(1, 1, NOON)
    assert [len(each.known) for each in looks] == [1]
    assert len(await world.assert_whole(org)) == 1


async def test_control_deaf_to_the_warning_the_commit_counts_at_once(
    world: World,
    one: Process,
    warning: None,
    looks: list[Findings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.postgres.wire.PERHAPS_NOT_REPLICATED", "none")
    org = await world.org()
    await one.state(org, "chat:a")
    assert await one.log.append(command(org, ("chat:a", 1))) == Appended(1, 1, NOON)
    assert looks == []


async def test_what_is_never_confirmed_is_not_acknowledged(
    world: World, one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit comes with a warning, that of the look as well."""
    monkeypatch.setattr(writer, "WRITE_SECONDS_MAX", 0.2)
    org = await world.org()
    await one.state(org, "chat:a")
    send = Wire.execute

    def send_with_a_warning(self: Wire, name: bytes, *arguments: Any) -> Answer:
        self._is_warned = name in (b"append", b"commit")
        return send(self, name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Wire, "execute", send_with_a_warning)
        assert await outcomes(one.log.submit(command(org, ("chat:a", 1)))) == ["Unavailable"]
    assert (org.number, {"chat:a"}) in one.changed
    assert await one.state(org, "chat:a") == [""]  # It is there all the same.


async def test_a_commit_that_fails_is_not_acknowledged(world: World, one: Process) -> None:
    org = await world.org()
    await one.state(org, "chat:a")
    failing = WARN_AT_COMMIT.replace("WARNING", "EXCEPTION").replace("warn", "fail")
    await execute(world, failing)
    try:
        with pytest.raises(Unavailable):
            await one.log.append(command(org, ("chat:a", 1)))
    finally:
        await execute(world, "DROP TRIGGER failed ON events; DROP FUNCTION fail")
    assert await world.events(org) == []
    assert (await one.log.append(command(org, ("chat:a", 1)))).last == 1


# A database that goes away.


@pytest.mark.parametrize("when", ["before", "at"])
async def test_a_backend_that_is_terminated(world: World, one: Process, when: str) -> None:
    org = await begun(world, one)
    terminate = (
        "SELECT pg_terminate_backend(pid, 20_000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE '%%append_batch%%'"
        " AND pid <> pg_backend_pid()"
    )
    if when == "before":
        await execute(world, terminate)
        assert await outcomes(*map(one.log.submit, batch(org))) == PLACES
    else:
        async with await world.superuser() as holder, holder.transaction():
            await holder.execute("SELECT FROM heads WHERE org = %s FOR UPDATE", [org.number])
            futures = [one.log.submit(each) for each in batch(org)]
            await eventually(world.waiting_for_locks, 1)
            await execute(world, terminate)
        assert await outcomes(*futures) == PLACES
    assert len(await world.assert_whole(org)) == 19


async def test_a_database_that_is_away_is_said_to_be_so_within_seconds(
    world: World, far: Process, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appender, "CONNECT_SECONDS_MAX", 0.5)
    org = await begun(world, far)
    await proxy.shut()
    futures = [far.log.submit(command(org, (f"chat:{n}", 2))) for n in range(600)]
    answered = asyncio.wait_for(outcomes(*futures), timeout=30)  # Each for itself, it took minutes.
    assert await answered == ["Unavailable"] * 600
    await proxy.open()
    assert (await far.log.append(command(org, ("chat:0", 2)))).last == 9
    assert len(await world.assert_whole(org)) == 9


async def test_reading_from_a_database_that_is_away_is_unavailable_too(
    world: World, far: Process, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other error would be taken for a mistake in what was received (P3)."""
    org = await begun(world, far)
    monkeypatch.setattr(connections, "POOL_TIMEOUT_SECONDS", 0.2)
    async with pool(proxy.url, "trunkline_project", size_max=1) as readers:
        addresses, requests = PostgresAddresses(readers), PostgresRequests(readers)
        directory = Directory(readers, MasterKey(bytes(32)))
        await proxy.shut()
        for question in (
            far.log.read_stream(org, "chat:new"),
            addresses.contacts(org, [b"address"]),
            requests.find(org, b"key"),
            directory.keys(org.number),
        ):
            with pytest.raises(Unavailable):
                await question


async def test_a_database_that_is_away_for_a_moment_is_waited_for(
    world: World, far: Process, proxy: Proxy
) -> None:
    org = await begun(world, far)
    await proxy.shut()
    futures = [far.log.submit(each) for each in batch(org)]
    await asyncio.sleep(0.3)
    await proxy.open()
    assert await outcomes(*futures) == PLACES


async def test_a_database_that_does_not_answer_is_not_waited_for_without_end(
    world: World, far: Process, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = await begun(world, far)
    with monkeypatch.context() as patch:  # A busy machine may need the long waits elsewhere.
        patch.setattr(appender, "ANSWER_SECONDS_MAX", 0.2)
        patch.setattr(appender, "CONNECT_SECONDS_MAX", 1)
        patch.setattr(writer, "WRITE_SECONDS_MAX", 0.3)
        proxy.flowing.clear()
        answered = outcomes(*map(far.log.submit, batch(org)))
        assert await asyncio.wait_for(answered, timeout=30) == ["Unavailable"] * 10
    proxy.flowing.set()
    # What was sent may arrive late: all of it, or the first half where it went in two batches.
    written = await asyncio.wait_for(far.write(org, "chat:0"), timeout=30)
    assert written.last in (9, 14, 20)
    await world.assert_whole(org)


@pytest.mark.parametrize("statement", [b"SET lock_timeout = '4s'", b"append", b"flush"])
async def test_a_database_that_falls_silent_while_it_is_connected_to_is_not_waited_for(
    world: World, far: Process, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, statement: bytes
) -> None:
    org = await begun(world, far)
    await proxy.shut()
    proxy.trap(statement, "never")
    await proxy.open()
    with monkeypatch.context() as patch:
        patch.setattr(appender, "CONNECT_SECONDS_MAX", 1)
        answered = outcomes(far.log.submit(command(org, ("chat:0", 2))))
        assert await asyncio.wait_for(answered, timeout=30) == ["Unavailable"]
    assert proxy.has_sprung
    assert (await far.log.append(command(org, ("chat:0", 2)))).last == 9


async def test_a_log_that_has_lost_its_end_is_read_anew(world: World, one: Process) -> None:
    """As after a failover to a standby that had not got everything."""
    org = await begun(world, one)
    async with await world.superuser() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "DELETE FROM events WHERE org = %(org)s AND position > 4;", {"org": org.number}
        )
        await connection.execute(
            "UPDATE heads SET position = 4, hash ="
            " (SELECT hash FROM events WHERE org = %(org)s AND position = 4) WHERE org = %(org)s",
            {"org": org.number},
        )
    assert await outcomes(one.log.submit(command(org, ("chat:0", 2)))) == ["Conflict"]
    assert one.changed == [(org.number, None)]
    assert await outcomes(
        one.log.submit(command(org, ("chat:0", 2))), one.log.submit(command(org, ("chat:7", 2)))
    ) == [(5, 5), "Conflict"]
