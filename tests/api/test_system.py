"""Work that goes on beside (api/system.py)."""

import asyncio

import pytest

from api import system


async def test_work_ends_also_where_its_cancellation_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As psycopg loses it now and then: what waits for a connection sees an error instead."""
    monkeypatch.setattr(system, "CANCELLED_AGAIN_SECONDS", 0.01)
    lost: list[asyncio.CancelledError] = []

    async def work() -> None:
        while len(lost) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                lost.append(error)
        await asyncio.Event().wait()

    async with asyncio.timeout(5), system.running(work()):
        await asyncio.sleep(0)
    assert len(lost) == 3


async def test_work_that_fails_takes_down_what_it_goes_on_beside() -> None:
    """A process that does half of its work looks as if it did all."""

    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("a mistake")

    with pytest.raises(LookupError, match="a mistake"):
        async with asyncio.timeout(5), system.running(work()):
            await asyncio.Event().wait()
