"""Work that goes on side by side, each piece in a lane of its own, and when to look for more."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from adapters.outages import Outages
from domain.ports import Wakener

POLL_SECONDS = 1.0
# The bell rings when the log has grown, and what waits to be done shows it a moment later.
LOOK_AGAIN_SECONDS = 0.01

# For the last answers, and once more to write down that there were none.
STOP_SECONDS = 2.0
# What became of something must reach the log, however long the log is away.
RECORD_PAUSE_SECONDS = 0.5


class Lanes:
    """Tasks, one to a lane: what is in a lane ends before anything else begins there."""

    def __init__(self, *, at_once_max: int | None = None) -> None:
        """Without `at_once_max` whoever starts work sees to it that it does not become too much."""
        self._at_once_max = at_once_max
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def __contains__(self, lane: object) -> bool:
        return lane in self._tasks

    def has_room(self, lane: Hashable) -> bool:
        """Whether work could begin in this lane."""
        is_full = self._at_once_max is not None and len(self._tasks) >= self._at_once_max
        return lane not in self._tasks and not is_full

    def start(self, lane: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin work in a lane that has room."""
        task = asyncio.create_task(work(), name=f"lane {lane}")
        self._tasks[lane] = task
        task.add_done_callback(partial(self._leave, lane))

    async def stop(self) -> None:
        """Wait for what is on its way, but not for long: a process that is to end must end."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks.values(), timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=STOP_SECONDS)

    def _leave(self, lane: Hashable, _: asyncio.Task[None]) -> None:
        del self._tasks[lane]


class Rounds:
    """When to look again: soon after a ring, then less and less often."""

    def __init__(self, wakener: Wakener, work: str) -> None:
        """`work`: what is done in a round, as a log says it."""
        self._wakener = wakener
        self._outages = Outages(work)
        self._pause_seconds = LOOK_AGAIN_SECONDS

    def survived(self) -> AbstractContextManager[None]:
        """A round, after which there is another one whatever happens."""
        return self._outages.survived()

    async def next(self, *, within_seconds: float | None = None) -> None:
        """Wait until it is time; at most `within_seconds`, where something is known to come."""
        if self._outages.is_on:
            await self._outages.pause()
            return
        pause_seconds = self._pause_seconds
        if within_seconds is not None:
            pause_seconds = min(pause_seconds, within_seconds)
        rang = await self._wakener.wait(pause_seconds)
        longer = min(self._pause_seconds * 2, POLL_SECONDS)
        self._pause_seconds = LOOK_AGAIN_SECONDS if rang else longer
