"""The log's writer: bad commands, callers who leave, a full queue, the end."""

import asyncio
import secrets
from collections import Counter

import pytest

from domain.ports import AddressClaim, Append, Appended, Org, Unavailable
from tests.adapters.log_scenario import NOON, Process, World, command, process
from tests.adapters.test_log import outcomes


async def test_a_bad_command_does_not_lose_the_others(world: World, one: Process) -> None:
    org = await world.org()
    bad = [
        command(org, ("chat:\0", 1)),
        command(org, ("contact:x", 1), addresses=[AddressClaim(b"x", "a\0b")]),
        command(org, (f"chat:{secrets.token_hex(10_000)}", 1)),  # Longer than an index takes.
        Append(org=Org(2**31 - 1, "nobody"), command=b"n", events=[]),
    ]
    good = [command(org, (f"chat:{n}", 1)) for n in range(60)]
    mixed = [one.log.submit(each) for each in [*good[:40], *bad, *good[40:]]]
    behind = one.log.submit(command(org, ("chat:b", 1), read=[("chat:\0", 1)]))
    got = await outcomes(*mixed, behind)
    assert got[40:44] == ["ValueError"] * len(bad)
    assert Counter(got[:40] + got[44:-1]) == Counter((n, n) for n in range(1, 61))
    assert got[-1] == "Conflict"
    assert len(await world.assert_whole(org)) == 60


async def test_a_version_that_cannot_be_packed_is_a_conflict(world: World, one: Process) -> None:
    org = await world.org()
    await one.log.append(command(org, ("chat:a", 1)))
    assert await outcomes(
        one.log.submit(command(org, ("chat:b", 1), read=[("chat:q", 2**40)])),
        one.log.submit(command(org, ("chat:c", 1))),
    ) == ["Conflict", (2, 2)]


async def test_what_cannot_be_stored_is_logged_without_what_it_is(
    world: World, one: Process, caplog: pytest.LogCaptureFixture
) -> None:
    org = await world.org()
    with pytest.raises(ValueError):
        await one.log.append(command(org, ("chat:secret\0", 1)))
    assert [record.message for record in caplog.records] == ["A command cannot be stored"]
    assert "secret" not in repr([vars(record) for record in caplog.records])


async def test_who_has_read_an_old_version_is_told_so_and_need_not_fail_for_ever(
    world: World, one: Process
) -> None:
    """Its state may have come late from a reading that was overtaken by our own writing."""
    org = await world.org()
    await one.log.append(command(org, ("chat:a", 1)))
    await one.log.append(command(org, ("chat:a", 2)))
    one.states[org.number, "chat:a"] = ["the first of two"]
    late = one.log.submit(command(org, ("reader:r", 1), read=[("chat:a", 1)]))
    assert await outcomes(late) == ["Conflict"]
    assert (org.number, "chat:a") not in one.states


# Callers.


async def test_a_caller_who_leaves_changes_nothing(world: World, one: Process) -> None:
    """What others decided on top of it is written too: the stream has no gap."""
    org = await world.org()
    first = [one.log.submit(command(org, ("chat:a", n))) for n in (1, 2, 3)]
    first[1].cancel()
    assert await outcomes(first[0], first[2]) == [(1, 1), (3, 3)]
    waiting = asyncio.create_task(one.log.append(command(org, ("chat:a", 4))))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await one.log.append(command(org, ("chat:a", 5))) == Appended(5, 5, NOON)
    assert len(await world.assert_whole(org)) == 5


async def test_settled_waits_for_all_that_is_queued(world: World, one: Process) -> None:
    org = await world.org()
    futures = [one.log.submit(command(org, (f"chat:{n}", 1))) for n in range(1500)]
    futures[-1].cancel()
    assert not any(each.done() for each in futures[:-1])
    await one.log.settled()
    assert all(each.done() for each in futures)
    await asyncio.wait_for(one.log.settled(), 1)
    assert len(await world.assert_whole(org)) == 1500


async def test_a_full_queue_refuses_before_anything_is_promised(
    world: World, one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.postgres.pending.QUEUE_COMMANDS_MAX", 10)
    org = await world.org()
    futures = [one.log.submit(command(org, (f"chat:{n}", 1))) for n in range(10)]
    with pytest.raises(Unavailable):
        one.log.submit(command(org, ("chat:x", 1)))
    assert await outcomes(*futures) == [(n, n) for n in range(1, 11)]
    await one.log.append(command(org, ("chat:x", 1)))


# The end.


async def test_stopping_writes_what_is_queued(world: World) -> None:
    org = await world.org()
    async with process(world.database.url) as one:
        futures = [one.log.submit(command(org, (f"chat:{n}", 1))) for n in range(1500)]
        stopping = asyncio.create_task(one.log.stop())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            one.log.submit(command(org, ("chat:late", 1)))
        await stopping
        assert await outcomes(*futures) == [(n, n) for n in range(1, 1501)]
        await one.log.stop()  # Again changes nothing.
    assert len(await world.assert_whole(org)) == 1500


async def test_stopping_does_not_wait_for_ever(
    world: World, one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.postgres.writer.STOP_SECONDS_MAX", 0.1)
    org = await world.org()
    await one.log.append(command(org, ("chat:a", 1)))
    async with await world.superuser() as holder, holder.transaction():
        await holder.execute("SELECT FROM heads WHERE org = %s FOR UPDATE", [org.number])
        futures = [one.log.submit(command(org, (f"chat:{n}", 1))) for n in range(600)]
        settled = asyncio.create_task(one.log.settled())
        await asyncio.wait_for(one.log.stop(), 3)  # Before the wait for the lock ends.
        await asyncio.wait_for(settled, 3)
        assert await outcomes(*futures) == ["Unavailable"] * 600


async def test_a_listener_that_fails_does_not_end_the_writer(
    world: World, one: Process, caplog: pytest.LogCaptureFixture
) -> None:
    org = await world.org()

    def fail(*_: object) -> None:
        raise RuntimeError("somebody's mistake")

    one.log.on_changed = one.log.on_appended = fail
    futures = [one.log.submit(command(org, (f"chat:{n}", n))) for n in (1, 2)]
    assert await outcomes(*futures) == [(1, 1), "Conflict"]
    assert [record.message for record in caplog.records] == ["A listener of the log has failed"] * 2


async def test_an_error_nobody_thought_of_does_not_end_the_writer(
    world: World, one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = await world.org()
    with monkeypatch.context() as patch:
        patch.setattr(one.log._writer, "_sort", None)
        futures = [one.log.submit(command(org, (f"chat:{n}", 1))) for n in range(3)]
        assert await outcomes(*futures) == ["ValueError"] * 3
    assert await outcomes(one.log.submit(command(org, ("chat:c", 1)))) == [(1, 1)]
