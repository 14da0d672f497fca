"""An event loop in which waiting takes no time: the clock jumps to whatever happens next."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any

from tests.adapters.log_scenario import NOON


class Stalled(Exception):
    """Everybody waits, and nothing is going to happen."""


class VirtualTime(asyncio.BaseEventLoop):
    """The order of everything follows from the program alone: there is nothing else to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._moment = 0.0
        self._selector = self  # What the loop waits with.

    def time(self) -> float:
        return self._moment

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stalled
        self._moment += timeout
        return []

    def _process_events(self, _events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    # A clock, as the domain knows it.

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self._moment)


def run(work: Coroutine[Any, Any, Any], loop: VirtualTime) -> Any:
    """Run to the end, and leave nothing behind."""
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(lambda _loop, _context: None)  # Of those whom nobody waits for.
    try:
        return loop.run_until_complete(work)
    finally:
        while left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=1))
        asyncio.set_event_loop(None)
        loop.close()
