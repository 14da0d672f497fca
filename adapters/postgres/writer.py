"""Writes commands in micro-batches: one writer per process, for all organisations.

A command waits at most for the batch that is being written: the writer then takes everything that
has come meanwhile and writes it as one transaction. There is no timer; a lone command goes at once.

A batch names the heads it builds on, and the database writes it only if they are still the newest,
so nothing that its decisions have read can have changed. When that fails in any way, the same
commands are written carefully: others are kept from writing, and what they have written meanwhile,
and which of these commands are in the log already, is looked up before anything is answered or sent
again.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import psycopg

from adapters.postgres.appender import Appender, Change
from adapters.postgres.batch import Batch
from adapters.postgres.ticket import Sorting, Ticket
from adapters.postgres.view import News, View
from adapters.postgres.wire import Lost
from domain import chain
from domain.ports import (
    AlreadyDone,
    Append,
    Appended,
    Clock,
    Conflict,
    RequestKnown,
    Unavailable,
)

BATCH_EVENTS_MAX = 512
QUEUE_COMMANDS_MAX = 20_000
WRITE_SECONDS_MAX = 8.0
STOP_SECONDS_MAX = 5.0

# Errors that a single command may be to blame for: its data, a constraint, its size.
BLAMED_CLASSES = ("22", "23", "54")

logger = logging.getLogger(__name__)


class Writer:
    """Commands in, outcomes out."""

    def __init__(
        self,
        appender: Appender,
        *,
        clock: Clock,
        on_changed: Callable[[int, Collection[str] | None], None],
        on_appended: Callable[[], None],
    ) -> None:
        """`on_changed` is told the streams of an org whose states are out of date; None: all."""
        self._appender = appender
        self._clock = clock
        self._on_changed = on_changed
        self._on_appended = on_appended
        self.view = View()
        self.resting = asyncio.Lock()  # While it is held, nothing is being written.
        self._queue: deque[Ticket] = deque()
        self._current: list[Ticket] = []  # What is being written.
        self._submitted = self._finished = 0  # Serial numbers.
        self._arrival = asyncio.Event()
        self._turn = asyncio.Event()  # Set at the end of the batch that is being written.
        self._deadline = 0.0
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect and begin. Raises TooPowerful, Unavailable."""
        await self._appender.connect()
        self._task = asyncio.create_task(self._run(), name="log writer")

    async def stop(self) -> None:
        """Write what is queued, if that can be done in a few seconds, then end."""
        self._is_stopping = True
        self._arrival.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_SECONDS_MAX)
            self._task.cancel()
            await asyncio.wait([self._task])
        self._give_up("The server is stopping.")
        self._end_turn()
        await self._appender.close()

    def submit(self, append: Append) -> "asyncio.Future[Appended]":
        """Queue a command. Raises Unavailable, and ValueError for one that cannot be stored."""
        if self._is_stopping or len(self._queue) >= QUEUE_COMMANDS_MAX:
            raise Unavailable("The server is stopping, or has too much to write.")
        done: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._queue.append(Ticket(append, done, self._submitted + 1))
        self._submitted += 1
        self._arrival.set()
        return done

    async def settled(self) -> None:
        """Wait until everything that is queued now is written or lost."""
        last = self._submitted
        while self._finished < last:
            await self._turn.wait()

    def learn(self, changes: Mapping[int, Change]) -> None:
        """Take in where orgs stand; what was decided on something older is decided again."""
        self._send_back((), self.view.learn(changes))

    # The turns.

    async def _run(self) -> None:
        while self._queue or not self._is_stopping:
            if not self._queue:
                self._arrival.clear()
                await self._arrival.wait()
                continue
            async with self.resting:
                self._current = self._take()
                self._deadline = asyncio.get_running_loop().time() + WRITE_SECONDS_MAX
                try:
                    await self._write(self._current)
                except Unavailable as error:
                    self._give_up(str(error))
                except Exception:  # The writer outlives every error; its callers hear of it.
                    logger.exception("The log's writer has met an error that it does not know")
                    await self._appender.close()
                    self._give_up("The log cannot be written.")
            self._end_turn()

    def _take(self) -> list[Ticket]:
        tickets: list[Ticket] = []
        events = 0
        while self._queue:
            events += len(self._queue[0].events)
            if tickets and events > BATCH_EVENTS_MAX:
                break
            tickets.append(self._queue.popleft())
        return tickets

    def _end_turn(self) -> None:
        self._current = []
        self._finished = self._queue[0].serial - 1 if self._queue else self._submitted
        self._turn.set()
        self._turn = asyncio.Event()

    # Writing.

    async def _write(self, tickets: Sequence[Ticket], *, carefully: bool = False) -> None:
        """Write the tickets, all but those that lose; settle each of them. Raises Unavailable."""
        tickets = [ticket for ticket in tickets if not ticket.is_settled]
        if not tickets:
            return
        carefully = carefully or not self.view.is_likely_up_to_date(_orgs(tickets))
        try:
            await (self._write_carefully if carefully else self._write_at_once)(tickets)
        except Unavailable:
            raise
        except Exception as error:
            failure = error
        else:
            return
        if isinstance(failure, Lost):
            logger.warning("The log's answer was lost; what is in it is looked up")
            for ticket in tickets:
                ticket.is_lost = True
        if not carefully:
            await self._write(tickets, carefully=True)
        elif not self._may_be_of_one(failure):
            raise Unavailable(str(failure)) from failure
        elif len(tickets) > 1:
            middle = len(tickets) // 2
            await self._write(tickets[:middle], carefully=True)
            await self._write(tickets[middle:], carefully=True)
        else:
            self._refuse(tickets[0], failure)

    def _may_be_of_one(self, failure: Exception) -> bool:
        """Whether one command alone may be to blame for a failure."""
        if isinstance(failure, Lost):
            return asyncio.get_running_loop().time() < self._deadline
        if isinstance(failure, psycopg.Error):
            return (failure.sqlstate or "")[:2] in BLAMED_CLASSES
        return True

    async def _write_at_once(self, tickets: Sequence[Ticket]) -> None:
        sorting = self._sort(tickets)
        batch = self._number(sorting)
        if batch.entries:
            await self._appender.append(batch, sorting)
            self._settle(batch, sorting)

    async def _write_carefully(self, tickets: Sequence[Ticket]) -> None:
        # Whatever may be in the log is asked about, lest it be taken for what others wrote.
        lost = [each for each in self._current if each.is_lost and not each.is_settled]
        asked = list(dict.fromkeys([*tickets, *lost]))
        positions = {org: self.view.position(org) for org in _orgs(asked)}
        streams = list({stream for ticket in tickets for stream in ticket.expected})
        try:
            findings = await self._appender.look(positions, asked, streams)
            known = {ticket: _outcome(ticket, *it) for ticket, it in findings.known.items()}
            phantoms = {t for t, outcome in known.items() if not isinstance(outcome, Appended)}
            self._send_back(phantoms, self.view.learn(findings.changes), spared=known)
            self.view.versions.update(findings.versions)
            sorting = self._sort([ticket for ticket in tickets if ticket not in known])
            batch = self._number(sorting)
            await self._appender.commit(batch, sorting)
        finally:
            await self._appender.abandon()
        self._settle(batch, sorting)
        for ticket, outcome in known.items():
            ticket.settle(outcome)

    def _sort(self, tickets: Sequence[Ticket]) -> Sorting:
        """Sort out what can be written together; misfits have lost."""
        sent_back: set[Ticket] = set()
        while True:
            waiting = [ticket for ticket in tickets if not ticket.is_settled]
            sorting = Sorting(waiting, self.view.versions)
            if sorting.misfits:
                self._lose({ticket: Conflict() for ticket in sorting.misfits})
            elif not sent_back.issuperset(sorting.twins):
                sent_back.update(sorting.twins)
                self._send_back(sorting.twins, News())
            else:
                return sorting

    def _number(self, sorting: Sorting) -> Batch:
        return Batch(sorting.fits, self.view.heads, now=chain.microseconds(self._clock.now()))

    def _settle(self, batch: Batch, sorting: Sorting) -> None:
        self.view.advance(batch.next, sorting.versions)
        moments = {org: chain.moment(head.recorded_at) for org, head in batch.next.items()}
        for ticket in sorting.fits:
            ticket.settle(Appended(ticket.first, ticket.last, moments[ticket.org.number]))
        for twin, ticket in sorting.twins.items():
            twin.settle(AlreadyDone(ticket.last))
        _tell(self._on_appended)

    # Losing.

    def _refuse(self, ticket: Ticket, failure: Exception) -> None:
        if isinstance(failure, Lost):
            self._lose({ticket: Unavailable(str(failure))})
            return
        # The failure's text may quote what the command would have stored.
        error = getattr(failure, "sqlstate", None) or type(failure).__name__
        extra = {"org": ticket.org.id, "error": error}
        logger.error("A command cannot be stored", extra=extra)
        refused = ValueError(f"This command cannot be stored ({error}).")
        refused.__cause__ = failure
        self._lose({ticket: refused})

    def _lose(self, losers: Mapping[Ticket, Exception]) -> None:
        self._send_back(losers, News())
        for ticket, error in losers.items():
            ticket.settle(error)

    def _send_back(
        self, losers: Collection[Ticket], news: News, *, spared: Collection[Ticket] = ()
    ) -> None:
        """Have all that touches what others wrote, or losers would have written, decided again."""
        gone = set(news.streams)
        for ticket in [*self._current, *self._queue]:
            if ticket in losers:
                gone |= ticket.leaves.keys()
            elif ticket.is_settled or ticket in spared:
                continue
            elif ticket.org.number in news.orgs or ticket.touches(gone):
                gone |= ticket.leaves.keys()
                ticket.settle(Conflict())
        streams: defaultdict[int, set[str]] = defaultdict(set)
        for org, stream in gone:
            streams[org].add(stream)
        for org in news.orgs | streams.keys():
            _tell(self._on_changed, org, None if org in news.orgs else streams[org])

    def _give_up(self, reason: str) -> None:
        pending = [*self._current, *self._queue]
        self._lose({each: Unavailable(reason) for each in pending if not each.is_settled})
        self._queue.clear()


def _tell(listener: Callable[..., None], *arguments: object) -> None:
    """Whatever a listener does, the log goes on."""
    try:
        listener(*arguments)
    except Exception:
        logger.exception("A listener of the log has failed")


def _orgs(tickets: Iterable[Ticket]) -> set[int]:
    return {ticket.org.number for ticket in tickets}


def _outcome(ticket: Ticket, what: str, position: int) -> Appended | Exception:
    """The answer to a command when itself, or what it wants to take, is in the log already."""
    if what == "request":
        return RequestKnown()
    if what != "command":
        return Conflict()
    is_its_own = ticket.is_lost and position == ticket.last
    return ticket.place if is_its_own else AlreadyDone(position)
