"""Sends what the log says is to be sent, in order per chat (N3, N4).

A message is taken by an event, sent, and settled by an event. If the process dies between, nobody
can know whether the platform has it: it is marked uncertain, and never sent again blindly. Only
where the platform knows a message again by its key is it asked again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial

from adapters.histogram import Histogram
from adapters.lanes import RECORD_PAUSE_SECONDS, Lanes, Rounds
from adapters.outages import AWAY, Outages, report
from adapters.pacing import Pacing
from domain.credentials import missing_to_send
from domain.dispatch_ports import DispatchCommands, DueMessage, Outbox, Platform
from domain.media_ports import FileGone, StoreAway
from domain.outbound import (
    Accepted,
    AccountUnusable,
    Deferred,
    Rejected,
    SendAnswer,
    Unsettled,
)
from domain.ports import Clock, Unavailable, Wakener

# A claim that is older is abandoned. An answer is awaited for a third of this by default; what goes
# before a message (a file, a token that is renewed) has times of its own.
CLAIM_LIFETIME = timedelta(seconds=60)

# All that waits is looked over from time to time: it may have waited for too long.
BEGINNING = (0, "")  # Before every org and chat.
PAGE_PAUSE_SECONDS = 0.2
LOOK_OVER_PAUSE_SECONDS = 5.0

# Answers as operators are shown them, and bounds for how long they took.
ANSWERS: Mapping[type[SendAnswer], str] = {
    Accepted: "accepted",
    Rejected: "rejected",
    Deferred: "deferred",
    AccountUnusable: "stopped",
    Unsettled: "unsettled",
}
ANSWER_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
SOON_SECONDS = 0.02

logger = logging.getLogger(__name__)


class Dispatcher:
    """One process's sender. Several may run: what one has taken, the others leave."""

    def __init__(
        self,
        outbox: Outbox,
        commands: DispatchCommands,
        platforms: Mapping[str, Platform],
        wakener: Wakener,
        clock: Clock,
        *,
        name: str,
    ) -> None:
        """`name` is this process's own, and random: it says whose a claim is."""
        self._outbox = outbox
        self._commands = commands
        self._platforms = platforms
        self._wakener = wakener
        self._clock = clock
        self._name = name
        self._pacing = Pacing()
        self._lanes = Lanes()
        # For operators: answers by platform and kind, and how long they took by platform.
        self.answers: Counter[tuple[str, str]] = Counter()
        self.seconds: dict[str, Histogram] = {}

    async def run(self) -> None:
        """Send until cancelled; what is on its way then is settled first, or is uncertain."""
        rounds = Rounds(self._wakener, "Sending")
        try:
            while True:
                pause_seconds = None
                with rounds.survived():
                    await self._give_up_orphans()
                    await self._send_due()
                    pause_seconds = await self._pause()
                await rounds.next(within_seconds=pause_seconds)
        finally:
            await self._lanes.stop()

    def paused(self) -> dict[str, int]:
        """How many accounts of each platform are left in peace for a while."""
        return self._pacing.paused(now=self._loop_time())

    async def _send_due(self) -> None:
        passed_over = self._pacing.passed_over(now=self._loop_time())
        for due in await self._outbox.due(self._clock.now(), passed_over):
            lane, now = (due.org, due.chat_id), self._loop_time()
            if self._lanes.has_room(lane) and self._pacing.may_begin(due, now=now):
                self._pacing.begin(due, now=now)
                self._lanes.start(lane, partial(self._send, due))

    async def _send(self, due: DueMessage) -> None:
        try:
            if not await self._commands.start_sending(due, dispatcher=self._name):
                self._pacing.give_back(due)
                return
            begun_at = self._loop_time()
            answer = await self._answer(due)
            now = self._loop_time()
            self.answers[due.platform, ANSWERS[type(answer)]] += 1
            self.seconds.setdefault(due.platform, Histogram(ANSWER_SECONDS)).note(now - begun_at)
            news = self._pacing.note(due, answer, begun_at=begun_at, now=now)
            await self._record(due, answer)
            if news is not None:
                await self._commands.note_trouble(due, state=news.state, reason=news.reason)
        except Exception as error:
            report(error, "A message could not be sent", message_id=due.message_id)
        finally:
            self._pacing.end(due)

    async def _answer(self, due: DueMessage) -> SendAnswer:
        account = (due.org, due.platform, due.account_id)
        try:
            message = await self._outbox.open(due)
            credentials = await self._outbox.credentials(*account)
        except AWAY:  # The platform was not asked.
            return Deferred(reason="database_away")
        if message is None:
            return Rejected(reason="erased", code=None, detail="")
        if missing_to_send(due.platform, credentials):
            return AccountUnusable(reason="credentials_missing", code=None)
        try:
            answer = await self._platforms[due.platform].send(message, credentials)
        except asyncio.CancelledError:  # By `Lanes.stop`; the last thing to do is to say so.
            return Unsettled(reason="stopped")
        except FileGone:  # Raised while it was read, so the platform cannot have all of it.
            return Rejected(reason="media", code=None, detail="The file is not there any more.")
        except StoreAway as error:  # So was this.
            logger.warning("The store of files is away: %s", error)
            return Deferred(reason="store_away")
        except Exception:
            logger.exception("A platform's client failed", extra={"message_id": due.message_id})
            return Unsettled(reason="client_failed")
        if not isinstance(answer, AccountUnusable):
            return answer
        # It may have been said of credentials that have been replaced meanwhile.
        with suppress(*AWAY):
            if await self._outbox.credentials(*account) == credentials:
                return answer
        return Deferred(reason=answer.reason)

    async def _record(self, due: DueMessage, answer: SendAnswer) -> None:
        """The answer must reach the log, however long the log is away."""
        while True:
            try:
                return await self._commands.record_answer(due, answer)
            except Unavailable:
                await asyncio.sleep(RECORD_PAUSE_SECONDS)

    async def _give_up_orphans(self) -> None:
        for due in await self._outbox.orphans(self._clock.now() - CLAIM_LIFETIME):
            if (due.org, due.chat_id) not in self._lanes:
                await self._one(due, self._commands.give_up_claim)

    async def look_over(self) -> None:
        """End what waited for too long, until cancelled.

        Time runs out for what cannot be sent, too: its account is stopped, or left in peace.
        """
        outages = Outages("Looking over what waits")
        while True:
            with outages.survived():
                await self._look_over_once()
            await asyncio.sleep(LOOK_OVER_PAUSE_SECONDS)

    async def _look_over_once(self) -> None:
        after = BEGINNING
        while page := await self._outbox.waiting(after=after):
            for due in page:
                if (due.org, due.chat_id) not in self._lanes:
                    await self._one(due, self._commands.end_if_over)
            after = (page[-1].org, page[-1].chat_id)
            await asyncio.sleep(PAGE_PAUSE_SECONDS)

    @staticmethod
    async def _one(due: DueMessage, command: Callable[[DueMessage], Awaitable[None]]) -> None:
        """One that goes wrong holds up no other."""
        try:
            await command(due)
        except Exception as error:
            report(error, "A message could not be ended", message_id=due.message_id)

    async def _pause(self) -> float | None:
        """How long at most, where something is to be done at a known time."""
        next_due = await self._outbox.next_due()
        if next_due is None:
            return None
        seconds = (next_due - self._clock.now()).total_seconds()
        next_at = self._pacing.next_at()
        if seconds <= 0 and next_at is not None:  # What is due is passed over.
            seconds = next_at - self._loop_time()
        return max(seconds, SOON_SECONDS)

    @staticmethod
    def _loop_time() -> float:
        return asyncio.get_running_loop().time()
