"""Writes commands in micro-batches: one writer per process, for all organisations.

There is no timer: a lone command goes at once, and what comes while batches are on their way goes
with the next one. Where a flush is quick, two batches are on their way at a time, each built on the
one before it: the database works on one while this process prepares the other.

A batch names the heads it builds on, and the database writes it only if they are still the newest,
so nothing that its decisions have read can have changed. When that fails in any way, the same
commands are written carefully: others are kept from writing, and what they have written meanwhile,
and which of these commands are in the log already, is looked up before anything is answered or sent
again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg

from adapters.histogram import Histogram
from adapters.postgres.appender import Appender, Change
from adapters.postgres.batch import Batch
from adapters.postgres.pending import OnChanged, Pending, tell
from adapters.postgres.ticket import Sorting, Stream, Ticket
from adapters.postgres.view import News, View
from adapters.postgres.wire import Answer, Lost
from domain import chain
from domain.ports import AlreadyDone, Appended, Clock, Conflict, RequestKnown, Unavailable

FLIGHTS_MAX = 2
WRITE_SECONDS_MAX = 8.0
STOP_SECONDS_MAX = 5.0

# What a command costs this process at least, from its caller's waking up to its place in a batch.
COMMAND_SECONDS = 0.000025

BATCH_COMMANDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
APPEND_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)

# Errors that a single command may be to blame for: its data, a constraint, its size.
BLAMED_CLASSES = ("22", "23", "54")

logger = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Flight:
    """A batch on its way."""

    tickets: list[Ticket]
    sorting: Sorting
    batch: Batch
    answer: Answer
    sent_at: float


class Writer:
    """Takes what is pending, and gives it an outcome."""

    def __init__(
        self,
        appender: Appender,
        *,
        clock: Clock,
        on_changed: OnChanged,
        on_appended: Callable[[Collection[int]], None],
    ) -> None:
        """`on_appended` is told of every batch that is written: the orgs in it."""
        self._appender = appender
        self._clock = clock
        self._on_appended = on_appended
        self.pending = Pending(on_changed)
        self.view = View()
        # For operators.
        self.batch_commands = Histogram(BATCH_COMMANDS)
        self.append_seconds = Histogram(APPEND_SECONDS)
        self._flights: deque[Flight] = deque()
        self._resting = asyncio.Lock()
        self._visitors = 0
        self._deadline = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect and begin. Raises TooPowerful, Unavailable."""
        await self._appender.connect()
        self._task = asyncio.create_task(self._run(), name="log writer")

    async def stop(self) -> None:
        """Write what is pending, if that can be done in a few seconds, then end."""
        self.pending.close()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_SECONDS_MAX)
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._give_up("The server is stopping.")

    @asynccontextmanager
    async def rest(self) -> AsyncIterator[None]:
        """Have it write nothing for a while."""
        self._visitors += 1
        try:
            async with self._resting:
                yield
        finally:
            self._visitors -= 1

    def learn(self, changes: Mapping[int, Change]) -> None:
        """Take in where orgs stand while it rests; what was decided before is decided again."""
        self.pending.send_back((), self.view.learn(changes))

    async def _run(self) -> None:
        while len(self.pending) or not self.pending.is_closed:
            await self.pending.arrival()
            async with self._resting:
                try:
                    await self._write_what_waits()
                except Unavailable as error:
                    await self._give_up(str(error))
                except Exception:  # The writer outlives every error; its callers hear of it.
                    logger.exception("The log's writer has met an error that it does not know")
                    await self._give_up("The log cannot be written.")

    async def _give_up(self, reason: str) -> None:
        await self._appender.close()
        while self._flights:
            self._flights.pop().answer.cancel()
        self.pending.give_up(reason)
        self.pending.note_progress()

    # Batches on their way.

    async def _write_what_waits(self) -> None:
        while True:
            while self._is_time_for_another():
                await self._launch()
            if not self._flights:
                return
            await self._land()
            await asyncio.sleep(0)  # Those who go on have their next commands taken along.

    def _is_time_for_another(self) -> bool:
        waiting = len(self.pending)
        if not waiting or self._visitors:
            return False
        if not self._flights:
            return True
        may_overlap = len(self._flights) < FLIGHTS_MAX and self._appender.is_connected
        return may_overlap and self._is_worth_a_flush(waiting)

    def _is_worth_a_flush(self, commands: int) -> bool:
        """Whether these commands go by themselves, beside as many others: one half is prepared
        while the other is written, and that saves more time than one more flush takes.

        A few beside many would cost the flush and save nothing.
        """
        on_their_way = sum(len(flight.tickets) for flight in self._flights)
        saved_seconds = 2 * commands * COMMAND_SECONDS
        return 2 * commands >= on_their_way and saved_seconds > self._appender.flush_seconds

    async def _launch(self) -> None:
        await self._appender.connect()
        commands_max = len(self.pending)
        if not self._flights and self._is_worth_a_flush(commands_max // 2):
            commands_max //= 2
        tickets = self.pending.take(commands_max=commands_max)
        if self.view.is_likely_up_to_date(_orgs(tickets)):
            try:
                if self._departs(tickets):
                    return
            except Exception:  # Whose fault it is comes out below.
                logger.exception("A batch cannot be made")
        while self._flights:
            await self._land()
        await self._write_carefully(tickets)
        self.pending.note_progress()

    def _departs(self, tickets: list[Ticket]) -> bool:
        """Send a batch on top of the one before it, unless the log is known to have grown."""
        before = self._flights[-1] if self._flights else None
        heads = self.view.heads
        if before is not None:
            heads = {org: before.batch.next.get(org) or heads[org] for org in _orgs(tickets)}
        sorting = self._sort(tickets, before.sorting.versions if before else {})
        if sorting.better_informed:
            return False
        if sorting.fits:
            batch = Batch(sorting.fits, heads, now=self._now())
            answer = self._appender.append(batch, sorting)
            self._flights.append(Flight(tickets, sorting, batch, answer, time.monotonic()))
        else:
            self.pending.note_progress()
        return True

    async def _land(self) -> None:
        """Wait for the oldest batch; if it has failed, so has what was built on it."""
        failed: list[Ticket] = []
        while self._flights:
            flight = self._flights.popleft()
            if not await self._arrives(flight):
                failed += flight.tickets
            elif not failed:
                break
        if failed:
            await self._write_carefully(failed)
        self.pending.note_progress()

    async def _arrives(self, flight: Flight) -> bool:
        try:
            await self._appender.answers(flight.answer)
        except (Lost, psycopg.Error) as failure:
            _note_lost(flight.tickets, failure)
            return False
        self._settle(flight.batch, flight.sorting, sent_at=flight.sent_at)
        return True

    # Writing carefully.

    async def _write_carefully(self, tickets: Sequence[Ticket]) -> None:
        self._deadline = asyncio.get_running_loop().time() + WRITE_SECONDS_MAX
        await self._write_in_halves(tickets)

    async def _write_in_halves(self, tickets: Sequence[Ticket]) -> None:
        """Write the tickets, all but those that lose; find those that are to blame for failing."""
        tickets = [ticket for ticket in tickets if not ticket.is_settled]
        if not tickets:
            return
        try:
            await self._write_in_peace(tickets)
        except Unavailable:
            raise
        except Exception as error:
            failure = error
        else:
            return
        _note_lost(tickets, failure)
        if not self._may_be_of_one(failure):
            raise Unavailable(str(failure)) from failure
        if len(tickets) > 1:
            middle = len(tickets) // 2
            await self._write_in_halves(tickets[:middle])
            await self._write_in_halves(tickets[middle:])
        else:
            self.pending.lose({tickets[0]: _refusal(tickets[0], failure)})

    def _may_be_of_one(self, failure: Exception) -> bool:
        """Whether one command alone may be to blame for a failure."""
        if isinstance(failure, Lost):
            return asyncio.get_running_loop().time() < self._deadline
        if isinstance(failure, psycopg.Error):
            return (failure.sqlstate or "")[:2] in BLAMED_CLASSES
        return True

    async def _write_in_peace(self, tickets: Sequence[Ticket]) -> None:
        """Write while nobody else does, knowing all there is to know."""
        # Whatever may be in the log is asked about, lest it be taken for what others wrote.
        asked = list(dict.fromkeys([*tickets, *self.pending.lost()]))
        positions = {org: self.view.position(org) for org in _orgs(asked)}
        streams = list({stream for ticket in tickets for stream in ticket.expected})
        try:
            findings = await self._appender.look(positions, asked, streams)
            known = {ticket: _outcome(ticket, *it) for ticket, it in findings.known.items()}
            news = self.view.learn(findings.changes)
            # Known commands too: another process may have written the same one, even in its place.
            self.pending.send_back(known, news, spared=known)
            self.view.versions.update(findings.versions)
            unknown = [ticket for ticket in tickets if ticket not in known]
            sorting = self._sort(unknown, {}, all_is_known=True)
            batch = Batch(sorting.fits, self.view.heads, now=self._now())
            sent_at = time.monotonic()
            await self._appender.commit(batch, sorting)
        finally:
            await self._appender.abandon()
        self._settle(batch, sorting, sent_at=sent_at)
        for ticket, outcome in known.items():
            ticket.settle(outcome)

    # Both ways.

    def _sort(
        self, tickets: Sequence[Ticket], ahead: Mapping[Stream, int], *, all_is_known: bool = False
    ) -> Sorting:
        """Sort out what can be written together; misfits have lost."""
        sent_back: set[Ticket] = set()
        while True:
            waiting = [ticket for ticket in tickets if not ticket.is_settled]
            sorting = Sorting(waiting, self.view.versions, ahead)
            losers = [*sorting.misfits, *(sorting.better_informed if all_is_known else ())]
            if losers:
                outcomes = {ticket: Conflict() for ticket in losers}
                self.pending.lose(outcomes, outdated=sorting.outdated)
            elif not sent_back.issuperset(sorting.twins):
                sent_back.update(sorting.twins)
                self.pending.send_back(sorting.twins, News())
            else:
                return sorting

    def _now(self) -> int:
        return chain.microseconds(self._clock.now())

    def _settle(self, batch: Batch, sorting: Sorting, *, sent_at: float) -> None:
        self.batch_commands.note(len(sorting.fits))
        self.append_seconds.note(time.monotonic() - sent_at)
        self.view.advance(batch.next, sorting.versions)
        moments = {org: chain.moment(head.recorded_at) for org, head in batch.next.items()}
        for ticket in sorting.fits:
            ticket.settle(Appended(ticket.first, ticket.last, moments[ticket.org.number]))
        for twin, ticket in sorting.twins.items():
            twin.settle(AlreadyDone(ticket.last))
        tell(self._on_appended, list(batch.next))


def _orgs(tickets: Iterable[Ticket]) -> set[int]:
    return {ticket.org.number for ticket in tickets}


def _note_lost(tickets: Iterable[Ticket], failure: Exception) -> None:
    if isinstance(failure, Lost):
        logger.warning("An answer of the log was lost; what is in it is looked up")
        for ticket in tickets:
            ticket.is_lost = True


def _outcome(ticket: Ticket, what: str, position: int) -> Appended | Exception:
    """The answer to a command when itself, or what it wants to take, is in the log already."""
    if what == "request":
        return RequestKnown()
    if what != "command":
        return Conflict()
    is_its_own = ticket.is_lost and position == ticket.last
    return ticket.place if is_its_own else AlreadyDone(position)


def _refusal(ticket: Ticket, failure: Exception) -> Exception:
    """The answer to a command that fails by itself."""
    if isinstance(failure, Lost):
        return Unavailable(str(failure))
    # The failure's text may quote what the command would have stored.
    error = getattr(failure, "sqlstate", None) or type(failure).__name__
    extra = {"org": ticket.org.id, "error": error}
    logger.error("A command cannot be stored", extra=extra)
    refusal = ValueError(f"This command cannot be stored ({error}).")
    refusal.__cause__ = failure
    return refusal
