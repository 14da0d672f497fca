"""Marks what was read as read on its platform; a platform that does not answer is asked again."""

import asyncio
from collections.abc import Mapping

from adapters.lanes import Rounds
from domain.credentials import missing_to_send
from domain.ports import Clock, Wakener
from domain.read_marking import (
    LIFETIME,
    MarkingCommands,
    MarkingQueue,
    MarksRead,
    WaitingMarking,
)

PAUSE_FIRST_SECONDS = 2.0
PAUSE_MAX_SECONDS = 300.0


class ReadMarker:
    """One process's marker. Two that mark the same message do no harm."""

    def __init__(
        self,
        queue: MarkingQueue,
        commands: MarkingCommands,
        platforms: Mapping[str, MarksRead],
        wakener: Wakener,
        clock: Clock,
    ) -> None:
        self._queue = queue
        self._commands = commands
        self._platforms = platforms
        self._wakener = wakener
        self._clock = clock
        self._pauses: dict[WaitingMarking, tuple[float, float]] = {}  # Not before, pause.

    async def run(self) -> None:
        """Mark until cancelled."""
        rounds = Rounds(self._wakener, "Marking messages as read")
        while True:
            with rounds.survived():
                waiting = await self._queue.unmarked(self._platforms.keys())
                self._pauses = {
                    each: self._pauses[each] for each in waiting if each in self._pauses
                }
                await asyncio.gather(*(self._mark(each) for each in waiting))
            await rounds.next()

    async def _mark(self, marking: WaitingMarking) -> None:
        now = asyncio.get_running_loop().time()
        not_before, pause = self._pauses.get(marking, (0.0, PAUSE_FIRST_SECONDS))
        if now < not_before:
            return
        self._pauses[marking] = (now + pause, min(pause * 2, PAUSE_MAX_SECONDS))
        if self._clock.now() >= marking.requested_at + LIFETIME:
            await self._commands.end_marking(marking, "expired")
            return
        message = await self._commands.message(marking)
        if message is None:
            await self._commands.end_marking(marking, "erased")
            return
        account = (marking.org, marking.platform, marking.account_id)
        credentials = await self._queue.credentials(*account)
        if missing_to_send(marking.platform, credentials):
            return
        platform = self._platforms[marking.platform]
        answer = await platform.mark_read(marking.account_id, message, credentials)
        if answer is not None:
            await self._commands.end_marking(marking, answer)
