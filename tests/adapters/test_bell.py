"""The bell: followers wake at once, here and in other processes; what it says is no promise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from adapters.postgres import bell as ringing
from adapters.postgres.bell import Bell, Listener
from tests.adapters.log_scenario import World
from tests.adapters.proxy import proxy_to


@pytest.fixture
async def bells(world: World) -> AsyncIterator[tuple[Bell, Bell]]:
    """Those of two processes, which hear each other."""
    bells = Bell(world.database.url), Bell(world.database.url)
    for bell in bells:
        await bell.start()
    await hears(bells[0], bells[1].listener())
    await hears(bells[1], bells[0].listener())
    yield bells
    for bell in bells:
        await bell.stop()


async def hears(bell: Bell, listener: Listener) -> None:
    """Ring until the newest ring is heard: none is on its way then any more."""
    for number in range(400):
        bell.ring([number])
        while await listener.wait(0.05):
            if number in (listener.grown() or ()):
                return
    raise AssertionError("It is not heard.")


async def test_a_ring_between_two_waits_is_not_lost() -> None:
    bell = Bell("")
    listener, another = bell.listener(), bell.listener()
    bell.ring()
    bell.ring()
    assert await listener.wait(0)
    assert not await listener.wait(0.01)
    assert await another.wait(0)


async def test_a_ring_wakes_who_waits(bells: tuple[Bell, Bell]) -> None:
    listener = bells[0].listener()
    waiting = asyncio.create_task(listener.wait(5))
    await asyncio.sleep(0)
    bells[0].ring()
    assert await waiting


async def test_who_was_cancelled_does_not_wait_any_more() -> None:
    """A follower that is not told to stop would hold up the end of its process for ever."""
    listener = Bell("").listener()

    async def follow(cancellation_is_lost: bool) -> None:
        if cancellation_is_lost:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        while True:
            await listener.wait(60)

    for cancellation_is_lost in (True, False):
        following = asyncio.create_task(follow(cancellation_is_lost))
        await asyncio.sleep(0)
        listener.ring()  # At the same moment.
        following.cancel()
        done, _ = await asyncio.wait([following], timeout=20)
        assert done == {following}
        assert following.cancelled()


async def test_another_process_hears_it(bells: tuple[Bell, Bell]) -> None:
    listener = bells[1].listener()
    bells[0].ring()
    assert await listener.wait(5)


async def test_a_ring_names_whose_log_has_grown(bells: tuple[Bell, Bell]) -> None:
    near, far = bells[0].listener(), bells[1].listener()
    bells[0].ring([3, 5])
    bells[0].ring([5, 8])
    assert await far.wait(5)
    assert near.grown() == far.grown() == frozenset({3, 5, 8})
    assert near.grown() == far.grown() == frozenset()
    bells[0].ring([3])
    bells[0].ring()
    bells[0].ring([5])
    assert await far.wait(5)
    assert near.grown() is far.grown() is None


async def test_a_ring_for_more_than_can_be_named_is_for_anybody(bells: tuple[Bell, Bell]) -> None:
    near, far = bells[0].listener(), bells[1].listener()
    bells[0].ring(range(1_000_000, 1_001_000))
    assert await far.wait(5)
    assert (near.grown(), far.grown()) == (frozenset(range(1_000_000, 1_001_000)), None)


async def test_many_rings_are_few_notifications(
    world: World, bells: tuple[Bell, Bell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NOTIFY is a commit."""
    monkeypatch.setattr(ringing, "TELL_PAUSE_SECONDS", 0.5)  # All rings fit in, also on a busy day.
    payloads = []
    async with await world.superuser() as connection:
        await connection.execute(f"LISTEN {ringing.CHANNEL}")
        for number in range(500):
            bells[0].ring([number])
            await asyncio.sleep(0)
        async for notification in connection.notifies(timeout=20):
            payloads.append(notification.payload.split())
            if "499" in payloads[-1]:
                break
    assert "499" in payloads[-1]
    assert len(payloads) <= 3


async def test_a_bell_that_lost_its_connections_finds_them_again_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ringing, "RECONNECT_SECONDS", 0.05)
    async with proxy_to(world.database.url) as proxy:
        far, near = Bell(proxy.url), Bell(world.database.url)
        await far.start()
        await near.start()
        await hears(near, far.listener())
        await proxy.shut()
        listener = far.listener()
        far.ring()  # Whatever becomes of others, here it is heard.
        assert await listener.wait(0.1)
        await proxy.open()
        await hears(near, far.listener())
        await hears(far, near.listener())
        # It tells on one, and hears on the other.
        assert sum("lost its connection" in line for line in caplog.messages) == 2
        assert sum("has its connection again" in line for line in caplog.messages) == 2
        await far.stop()
        await near.stop()
