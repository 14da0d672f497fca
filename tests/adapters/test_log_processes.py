"""Several processes on one log: nothing lost, nothing doubled, nothing decided on the past."""

import asyncio
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapters.postgres import appender
from domain.ports import AddressClaim, AlreadyDone, Appended, Org
from tests.adapters.log_scenario import NOON, Process, World, command, text_of
from tests.adapters.test_log import outcomes


async def test_two_processes_write_the_same_streams(
    world: World, one: Process, other: Process
) -> None:
    """I1 acked ⊆ log, I2 positions are 1..n; losers decide again until they are written."""
    org = await world.org()
    streams = [f"chat:{n}" for n in range(5)]

    async def write(process: Process, name: str) -> list[tuple[str, Appended]]:
        acknowledged = []
        for n in range(12):
            text = f"{name}-{n}"
            touched = (
                (streams[n % 5], streams[(n * 3 + 1) % 5]) if n % 3 == 0 else (streams[n % 5],)
            )
            appended = await process.write(org, *dict.fromkeys(touched), text=text)
            acknowledged.append((text, appended))
        return acknowledged

    acknowledged = []
    for behind, ahead in ((one, other), (other, one)):  # Each loses once, whatever comes after.
        await behind.state(org, "chat:0")
        for process in (ahead, behind):
            text = f"{ahead is one}-{process is one}-first"
            acknowledged.append((text, await process.write(org, "chat:0", text=text)))
        assert behind.conflicts == 1
    writers = [
        write(process, f"{process is one}-{n}") for process in (one, other) for n in range(8)
    ]
    acknowledged += [each for some in await asyncio.gather(*writers) for each in some]
    rows = await world.assert_whole(org)
    positions: dict[str, list[int]] = {}
    for row in rows:
        positions.setdefault(text_of(row), []).append(row["position"])
    assert positions == {
        text: list(range(appended.first, appended.last + 1)) for text, appended in acknowledged
    }


async def test_what_others_wrote_is_told_and_nothing_else(
    world: World, one: Process, other: Process
) -> None:
    org = await world.org()
    for stream in ("chat:a", "chat:b", "chat:c"):
        await one.state(org, stream)
    await other.write(org, "chat:a", "chat:b")
    await one.write(org, "chat:c")
    assert one.changed == [(org.number, {"chat:a", "chat:b"})]
    assert await one.state(org, "chat:a") == [""]
    assert other.changed == []


async def test_a_decision_on_what_another_process_has_changed_is_sent_back(
    world: World, one: Process, other: Process
) -> None:
    """It wrote another stream: only what it read has changed."""
    org = await world.org()
    await one.write(org, "channel:a")
    await other.write(org, "channel:a")
    futures = [
        one.submit(org, "channel:a", text="lost"),
        one.log.submit(command(org, ("chat:b", 1), read=[("channel:a", 1)])),
        one.log.submit(command(org, ("chat:c", 1), read=[("channel:a", 2)])),  # What is lost.
        one.log.submit(command(org, ("chat:d", 1), read=[("chat:e", 0)])),
    ]
    assert await outcomes(*futures) == ["Conflict", "Conflict", "Conflict", (3, 3)]


async def test_who_has_read_more_of_the_log_than_it_knows_of_is_not_sent_back_for_ever(
    world: World, one: Process, other: Process
) -> None:
    """As where a full cache let go of a state that another process has changed since."""
    org = await world.org()
    await one.write(org, "chat:a")
    await other.write(org, "chat:a")
    one.forget(org.number, {"chat:a"})
    writing = [one.write(org, "chat:a"), one.write(org, "chat:b", read=["chat:a"])]
    await asyncio.wait_for(asyncio.gather(*writing), timeout=20)
    assert one.conflicts <= 2
    assert len(await world.assert_whole(org)) == 4


async def test_who_was_away_for_long_forgets_everything(
    world: World, one: Process, other: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = await world.org()
    await one.state(org, "chat:a")
    await one.state(org, "chat:z")
    many = appender.CHANGES_EVENTS_MAX + 1
    await other.log.append(command(org, *(("chat:a", n) for n in range(1, many + 1))))
    future = one.submit(org, "chat:z")
    assert await outcomes(future) == ["Conflict"]
    assert one.changed == [(org.number, None)]
    assert (await one.write(org, "chat:z")).last == many + 1


async def test_the_same_delivery_in_two_processes_is_one_event(
    world: World, one: Process, other: Process
) -> None:
    org = await world.org()
    for n in range(10):
        same = secrets.token_bytes(32)
        results = await asyncio.gather(
            *(
                process.write(org, "chat:a", text=f"{n}", command_id=same)
                for process in (one, other)
                for _ in range(3)
            ),
            return_exceptions=True,
        )
        written = [each for each in results if isinstance(each, Appended)]
        known = [each.position for each in results if isinstance(each, AlreadyDone)]
        assert written == [Appended(n + 1, n + 1, NOON)]
        assert known == [n + 1] * 5
    assert await world.texts(org, "chat:a") == [str(n) for n in range(10)]


async def test_batches_across_organisations_do_not_wait_for_each_other_crosswise(
    world: World, one: Process, other: Process
) -> None:
    orgs = [await world.org() for _ in range(4)]

    async def write(process: Process, order: list[Org]) -> None:
        for round_number in range(25):
            await asyncio.gather(
                *(process.write(org, f"{id(process)}:{round_number}") for org in order)
            )

    await asyncio.wait_for(
        asyncio.gather(write(one, orgs), write(other, [*reversed(orgs)])), timeout=20
    )
    for org in orgs:
        assert len(await world.assert_whole(org)) == 50


async def test_an_address_claimed_by_two_processes_at_once_leads_to_one_contact(
    world: World, one: Process, other: Process
) -> None:
    org = await world.org()
    for n in range(10):
        address = secrets.token_bytes(32)
        results = await outcomes(
            *(
                process.log.submit(
                    command(org, (f"contact:{n}{name}", 1), addresses=[AddressClaim(address, name)])
                )
                for name, process in (("a", one), ("b", other))
            )
        )
        assert sorted(results, key=str) == [(n + 1, n + 1), "Conflict"]
    assert len(await world.assert_whole(org)) == 10


async def test_whether_a_process_has_seen_everything(
    world: World, one: Process, other: Process
) -> None:
    org = await world.org()
    assert not await one.log.is_current(org)  # Nothing was known of this org.
    assert await one.log.is_current(org)
    await one.write(org, "chat:a")
    assert await one.log.is_current(org)
    appended = await other.write(org, "chat:a")
    assert await one.log.is_current(org, at_least=1)
    assert not await one.log.is_current(org, at_least=appended.last)
    assert one.changed == [(org.number, {"chat:a"})]
    assert await one.log.is_current(org, at_least=appended.last)


async def test_what_a_process_is_writing_itself_is_no_news(world: World, one: Process) -> None:
    org = await world.org()
    await one.state(org, "chat:a")
    for _ in range(30):
        futures = [one.submit(org, "chat:a") for _ in range(20)]
        assert await one.log.is_current(org)
        await asyncio.gather(*futures)
    assert one.changed == []


async def test_a_decision_overtaken_while_it_was_checked_is_not_current(
    world: World, one: Process, other: Process
) -> None:
    """Its own writer learns of the change before the check asks; still it was decided before."""
    org = await world.org()
    await one.state(org, "chat:a")
    await other.write(org, "chat:a")
    check = asyncio.create_task(one.log.is_current(org))
    await asyncio.sleep(0)
    await one.write(org, "chat:b")
    assert not await check


# Processes that die.

LINES_MIN = 20


@pytest.mark.parametrize("seconds", [0.15, 0.3])
async def test_a_process_killed_while_it_appends_leaves_a_whole_log(
    world: World, one: Process, repository: Path, seconds: float
) -> None:
    """I1 acked ⊆ log, I2 positions are 1..n, the chain holds; others write on meanwhile."""
    org = await world.org()
    arguments = [world.database.url, str(org.number), org.id, "killed"]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.adapters.log_child", *arguments),
        cwd=repository,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    acknowledged = [await child.stdout.readline() for _ in range(LINES_MIN)]
    until = time.monotonic() + seconds
    mine = 0
    while time.monotonic() < until:
        await one.write(org, "shared", text="mine")
        mine += 1
    child.kill()
    output, _ = await child.communicate()
    acknowledged += output.splitlines(keepends=True)

    rows = await world.assert_whole(org)
    stored = {row["position"]: text_of(row) for row in rows}
    whole = [line.decode().split() for line in acknowledged if line.endswith(b"\n")]
    assert len(whole) >= LINES_MIN
    for text, first, last in whole:
        assert stored[int(first)] == stored[int(last)] == text
    texts = list(stored.values())
    assert texts.count("mine") == mine
    # A command of two events is there wholly or not at all, and once.
    for text in set(texts) - {"mine"}:
        assert texts.count(text) == (2 if int(text.rsplit("-", 1)[1]) % 5 == 0 else 1)
