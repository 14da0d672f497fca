"""What the machine gives: time, chance, and work that goes on beside."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from domain.identifiers import identifier

# Longer than anything takes to end in order.
CANCELLED_AGAIN_SECONDS = 10.0


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)


def new_id() -> str:
    """A random identifier."""
    return identifier(secrets.token_bytes(16))


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work that goes on until the end, and is cancelled then.

    More than once if need be: what is cancelled within a query may see an error of the database
    instead, which it is there to survive. If it fails before the end, so does what it goes on
    beside: a process that does half of its work looks as if it did all.
    """
    beside = asyncio.current_task()
    task = asyncio.create_task(work)

    def end_both(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and ended.exception() is not None and beside is not None:
            beside.cancel()

    task.add_done_callback(end_both)
    try:
        yield
    finally:
        task.remove_done_callback(end_both)
        has_failed = task.done()
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=CANCELLED_AGAIN_SECONDS)
        if has_failed:
            task.result()
