"""The log in one process: order, whole commands, duplicates, what is stored beside the events."""

import asyncio
import secrets
from datetime import timedelta
from typing import Any

import pytest

from adapters.histogram import Histogram
from adapters.postgres.requests import PostgresAddresses, PostgresRequests
from adapters.postgres.writer import Writer
from domain.event import Recorded
from domain.ports import (
    AddressClaim,
    AlreadyDone,
    Append,
    Appended,
    IdempotentRequest,
    NewKey,
    RequestKnown,
    StoredAnswer,
)
from tests.adapters.log_scenario import NOON, Process, TestClock, World, command, event, process


async def outcomes(*futures: "asyncio.Future[Appended]") -> list[object]:
    """What each command came to: positions, or the name of the exception."""
    settled = await asyncio.gather(*futures, return_exceptions=True)
    return [
        (each.first, each.last) if isinstance(each, Appended) else type(each).__name__
        for each in settled
    ]


async def test_a_lone_command_is_written_and_read_back(world: World, one: Process) -> None:
    org = await world.org()
    appended = await one.log.append(command(org, ("chat:a", 1, "first"), ("chat:b", 1, "second")))
    assert appended == Appended(1, 2, NOON)
    assert await one.log.read_stream(org, "chat:b") == [
        Recorded(2, "chat:b", 1, NOON, event("second"))
    ]
    assert await one.log.position(org) == 2
    await world.assert_whole(org)


async def test_commands_are_written_in_the_order_in_which_they_came(
    world: World, one: Process
) -> None:
    org = await world.org()
    submitted = [one.log.submit(command(org, (f"chat:{n}", 1))) for n in range(700)]
    assert [await each for each in submitted] == [Appended(n, n, NOON) for n in range(1, 701)]
    assert [row["stream"] for row in await world.assert_whole(org)] == [
        f"chat:{n}" for n in range(700)
    ]


async def test_a_batch_holds_commands_of_several_organisations(world: World, one: Process) -> None:
    orgs = [await world.org() for _ in range(3)]
    submitted = [
        one.log.submit(command(orgs[n % 3], (f"chat:{n}", 1), (f"ticket:{n}", 1)))
        for n in range(30)
    ]
    await asyncio.gather(*submitted)
    for org in orgs:
        assert len(await world.assert_whole(org)) == 20


async def test_a_command_larger_than_a_batch_is_written_whole(world: World, one: Process) -> None:
    org = await world.org()
    many = command(org, *(("chat:a", version) for version in range(1, 1201)))
    assert await one.log.append(many) == Appended(1, 1200, NOON)
    assert [each.version for each in await one.log.read_stream(org, "chat:a", after=1100)] == list(
        range(1101, 1201)
    )
    await world.assert_whole(org)


async def test_a_stream_is_read_in_pages_behind_a_version(
    world: World, one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.postgres.log.READ_ROWS_MAX", 3)
    org = await world.org()
    await one.log.append(command(org, *(("chat:a", version) for version in range(1, 11))))

    async def versions(**arguments: Any) -> list[int]:
        return [each.version for each in await one.log.read_stream(org, "chat:a", **arguments)]

    assert await versions() == list(range(1, 11))
    assert await versions(after=6) == [7, 8, 9, 10]
    assert await versions(after=2, limit=5) == [3, 4, 5, 6, 7]
    assert await versions(limit=0) == []
    assert await one.log.read_stream(org, "chat:b") == []


async def test_the_version_of_a_stream_at_a_position(world: World, one: Process) -> None:
    org = await world.org()
    await one.log.append(command(org, ("chat:a", 1), ("chat:b", 1), ("chat:a", 2)))
    assert [await one.log.version_at(org, "chat:a", position=n) for n in range(4)] == [0, 1, 1, 2]


async def test_recorded_times_never_go_back(world: World) -> None:
    clock = TestClock()
    async with process(world.database.url, clock=clock) as one:
        org = await world.org()
        times = []
        for version, minutes in enumerate([0, 5, -10, 7], start=1):
            clock.move(minutes=minutes)
            appended = await one.log.append(command(org, ("chat:a", version)))
            times.append(appended.recorded_at)
    expected = [NOON + timedelta(minutes=minutes) for minutes in (0, 5, 5, 5)]
    assert times == expected
    assert [row["recorded_at"] for row in await world.assert_whole(org)] == expected


async def test_a_command_that_does_not_fit_writes_nothing(world: World, one: Process) -> None:
    org = await world.org()
    await one.log.append(command(org, ("chat:a", 1), ("chat:b", 1)))
    assert await outcomes(
        one.log.submit(command(org, ("chat:a", 2), ("chat:b", 1))),  # chat:b is at 1 already.
        one.log.submit(command(org, ("chat:c", 1), ("chat:d", 7))),  # chat:d has not begun.
        one.log.submit(command(org, ("chat:e", 1))),
    ) == ["Conflict", "Conflict", (3, 3)]
    assert [row["stream"] for row in await world.assert_whole(org)] == [
        "chat:a",
        "chat:b",
        "chat:e",
    ]


async def test_what_was_decided_behind_a_loser_is_sent_back(world: World, one: Process) -> None:
    """All that is built on what is not written, across streams, and nothing else."""
    org = await world.org()
    await one.log.append(command(org, ("chat:a", 1)))
    one.changed.clear()
    assert await outcomes(
        one.log.submit(command(org, ("chat:a", 1), ("chat:b", 1))),  # Loses.
        one.log.submit(command(org, ("chat:c", 1), read=[("chat:b", 1)])),
        one.log.submit(command(org, ("chat:d", 1), read=[("chat:c", 1)])),
        one.log.submit(command(org, ("chat:e", 1), read=[("chat:f", 0)])),
    ) == ["Conflict", "Conflict", "Conflict", (2, 2)]
    told = {stream for number, streams in one.changed for stream in streams or ()}
    assert told == {"chat:a", "chat:b", "chat:c", "chat:d"}


async def test_a_stream_that_was_only_read_must_be_as_it_was_read(
    world: World, one: Process
) -> None:
    org = await world.org()
    await one.log.append(command(org, ("channel:a", 1), ("channel:a", 2)))
    assert await outcomes(
        one.log.submit(command(org, ("chat:a", 1), read=[("channel:a", 1)])),
        one.log.submit(command(org, ("chat:b", 1), read=[("channel:a", 2)])),
        one.log.submit(command(org, ("chat:c", 1), read=[("channel:a", 3)])),
    ) == ["Conflict", (3, 3), "Conflict"]


async def test_control_without_naming_what_was_read_the_stale_decision_is_written(
    world: World, one: Process
) -> None:
    org = await world.org()
    await one.log.append(command(org, ("channel:a", 1), ("channel:a", 2)))
    assert await one.log.append(command(org, ("chat:a", 1))) == Appended(3, 3, NOON)


async def test_a_command_whose_versions_do_not_follow_is_refused_at_once(
    world: World, one: Process
) -> None:
    org = await world.org()
    for wrong in (
        command(org, ("chat:a", 1), ("chat:a", 3)),
        command(org, ("chat:a", 2), read=[("chat:a", 0)]),
        command(org, ("chat:\ud800", 1)),
    ):
        with pytest.raises(ValueError):
            one.log.submit(wrong)
    assert await world.events(org) == []


# Duplicates.


async def test_a_known_command_is_answered_with_its_position(world: World, one: Process) -> None:
    org, known = await world.org(), secrets.token_bytes(32)
    await one.log.append(command(org, ("chat:a", 1), ("chat:a", 2), command_id=known))
    with pytest.raises(AlreadyDone) as done:
        await one.log.append(command(org, ("chat:b", 1), command_id=known))
    assert done.value.position == 2
    assert len(await world.assert_whole(org)) == 2


async def test_five_times_the_same_command_in_one_batch_is_one_event(
    world: World, one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where a flush is quick it would be two batches, and the second would be decided again first.
    monkeypatch.setattr(Writer, "_is_worth_a_flush", lambda *_: False)
    org, same = await world.org(), secrets.token_bytes(32)
    # As commands are decided: each on what its predecessor will leave.
    futures = [one.log.submit(command(org, ("chat:a", n), command_id=same)) for n in range(1, 6)]
    futures.append(one.log.submit(command(org, ("chat:b", 1))))
    assert await outcomes(*futures) == [(1, 1), *["AlreadyDone"] * 4, (2, 2)]
    with pytest.raises(AlreadyDone) as done:
        await futures[4]
    assert done.value.position == 1
    assert len(await world.assert_whole(org)) == 2


async def test_the_same_command_id_in_two_organisations_is_two_commands(
    world: World, one: Process
) -> None:
    same = secrets.token_bytes(32)
    orgs = [await world.org(), await world.org()]
    assert await outcomes(
        *(one.log.submit(command(org, ("chat:a", 1), command_id=same)) for org in orgs)
    ) == [(1, 1), (1, 1)]


# Batches.


@pytest.mark.parametrize(("flush_seconds", "sizes"), [(0.0, [32, 32]), (10.0, [64])])
async def test_one_half_is_prepared_while_the_other_is_written_if_that_saves_a_flush(
    world: World, one: Process, flush_seconds: float, sizes: list[int]
) -> None:
    org = await world.org()
    await one.log.append(command(org, ("chat:a", 1)))
    one.log._writer._appender.flush_seconds = flush_seconds
    before = list(one.log.batch_commands.counts)
    written = [one.log.submit(command(org, (f"chat:{n}", 1))) for n in range(64)]
    await asyncio.gather(*written)
    expected = Histogram(one.log.batch_commands.bounds)
    for size in sizes:
        expected.note(size)
    counts = [now - then for then, now in zip(before, one.log.batch_commands.counts, strict=True)]
    assert counts == expected.counts


# What is stored beside the events.


def request(name: str, status: int = 201) -> IdempotentRequest:
    return IdempotentRequest(name.encode(), b"body", status, b'{"chat":"c1"}')


async def test_companions_are_stored_with_the_events(world: World, one: Process) -> None:
    org = await world.org()
    await one.log.append(
        command(
            org,
            ("contact:a", 1),
            keys=[NewKey("contact:a", b"wrapped"), NewKey("delivery:b", b"soon gone", NOON)],
            addresses=[AddressClaim(b"phone", "a"), AddressClaim(b"line", "a")],
            idempotent=request("first"),
        )
    )
    readers = one.log._readers
    addresses = PostgresAddresses(readers)
    assert await addresses.contacts(org, [b"phone", b"line", b"none"]) == {
        b"phone": "a",
        b"line": "a",
    }
    assert await addresses.wrapped_keys(org, ["contact:a", "delivery:b", "contact:c"]) == {
        "contact:a": b"wrapped",
        "delivery:b": b"soon gone",
    }
    requests = PostgresRequests(readers)
    assert await requests.find(org, b"first") == StoredAnswer(b"body", 201, 1, b'{"chat":"c1"}')
    assert await requests.find(org, b"other") is None


async def test_a_command_without_events_stores_its_request(world: World, one: Process) -> None:
    org = await world.org()
    await one.log.append(command(org, ("chat:a", 1)))
    nothing_to_do = command(org, idempotent=request("again"), read=[("chat:a", 1)])
    assert (await one.log.append(nothing_to_do)).last == 1
    assert await PostgresRequests(one.log._readers).find(org, b"again") == StoredAnswer(
        b"body", 201, 1, b'{"chat":"c1"}'
    )
    assert len(await world.assert_whole(org)) == 1


async def test_a_known_request_is_told_apart_from_a_conflict(
    world: World, one: Process, other: Process
) -> None:
    org = await world.org()
    assert await other.state(org, "chat:a") == []
    await one.log.append(command(org, ("chat:a", 1), idempotent=request("same")))
    with pytest.raises(RequestKnown):
        await one.log.append(command(org, ("chat:b", 1), idempotent=request("same")))
    with pytest.raises(RequestKnown):  # Although its decision is stale, too.
        await other.log.append(command(org, ("chat:a", 1), idempotent=request("same")))
    assert len(await world.assert_whole(org)) == 1


async def test_an_address_claimed_twice_leads_to_one_contact(world: World, one: Process) -> None:
    org = await world.org()

    def claim(contact: str) -> Append:
        return command(org, (f"contact:{contact}", 1), addresses=[AddressClaim(b"p", contact)])

    futures = [one.log.submit(claim("a")), one.log.submit(claim("b"))]
    assert await outcomes(*futures) == [(1, 1), "Conflict"]
    assert await outcomes(one.log.submit(claim("c"))) == ["Conflict"]
    assert await PostgresAddresses(one.log._readers).contacts(org, [b"p"]) == {b"p": "a"}
    assert len(await world.assert_whole(org)) == 1


async def test_an_address_is_dropped_and_taken_in_one_command(
    world: World, one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "_is_worth_a_flush", lambda *_: False)
    org = await world.org()
    taken: dict[str, Any] = {"addresses": [AddressClaim(b"p", "a")]}
    moved: dict[str, Any] = {"dropped_addresses": [b"p"], "addresses": [AddressClaim(b"p", "b")]}
    await one.log.append(command(org, ("contact:a", 1), **taken))
    await one.log.append(command(org, ("contact:b", 1), **moved))
    addresses = PostgresAddresses(one.log._readers)
    assert await addresses.contacts(org, [b"p"]) == {b"p": "b"}
    await one.log.append(command(org, ("contact:b", 2), dropped_addresses=[b"p"]))
    assert await addresses.contacts(org, [b"p"]) == {}
    # In one batch, the order in which commands came counts as well.
    futures = [
        one.log.submit(command(org, ("contact:c", 1), **taken)),
        one.log.submit(command(org, ("contact:d", 1), dropped_addresses=[b"p"])),
    ]
    assert await outcomes(*futures) == [(4, 4), "Conflict"]


async def test_a_key_that_somebody_made_meanwhile_is_a_conflict(world: World, one: Process) -> None:
    org = await world.org()
    futures = [
        one.log.submit(command(org, (f"user:{n}", 1), keys=[NewKey("user:a", b"%d" % n)]))
        for n in range(2)
    ]
    assert await outcomes(*futures) == [(1, 1), "Conflict"]
    late = command(org, ("user:2", 1), keys=[NewKey("user:a", b"2")])
    assert await outcomes(one.log.submit(late)) == ["Conflict"]
    wrapped = await PostgresAddresses(one.log._readers).wrapped_keys(org, ["user:a"])
    assert wrapped == {"user:a": b"0"}
