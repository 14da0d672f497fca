"""Commands that wait or are being written; who loses takes those along who built on it."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping

from adapters.postgres.ticket import Stream, Ticket
from adapters.postgres.view import News
from domain.ports import Append, Appended, Conflict, Unavailable

BATCH_EVENTS_MAX = 512
QUEUE_COMMANDS_MAX = 20_000

OnChanged = Callable[[int, Collection[str] | None], None]

logger = logging.getLogger(__name__)


class Pending:
    """All commands without an outcome, in the order in which they came."""

    def __init__(self, on_changed: OnChanged) -> None:
        """`on_changed` is told the streams of an org whose states are out of date; None: all."""
        self._on_changed = on_changed
        self._queue: deque[Ticket] = deque()
        self._taken: deque[Ticket] = deque()  # What is being written.
        self._submitted = self._finished = 0  # Serial numbers.
        self._arrival = asyncio.Event()
        self._progress = asyncio.Event()
        self.is_closed = False

    def __len__(self) -> int:
        """How many commands wait."""
        return len(self._queue)

    def submit(self, append: Append) -> "asyncio.Future[Appended]":
        """Queue a command. Raises Unavailable, and ValueError for one that cannot be stored."""
        if self.is_closed or len(self._queue) >= QUEUE_COMMANDS_MAX:
            raise Unavailable("The server is stopping, or has too much to write.")
        done: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._queue.append(Ticket(append, done, self._submitted + 1))
        self._submitted += 1
        self._arrival.set()
        return done

    def close(self) -> None:
        """Take no more commands."""
        self.is_closed = True
        self._arrival.set()

    async def arrival(self) -> None:
        """Wait until a command waits, or no more will come."""
        while not self._queue and not self.is_closed:
            self._arrival.clear()
            await self._arrival.wait()

    async def settled(self) -> None:
        """Wait until all that is pending now has an outcome."""
        last = self._submitted
        while self._finished < last:
            await self._progress.wait()

    def take(self, *, commands_max: int) -> list[Ticket]:
        """The next commands to be written together; at least one."""
        tickets: list[Ticket] = []
        events = 0
        while self._queue and len(tickets) < commands_max:
            events += len(self._queue[0].events)
            if tickets and events > BATCH_EVENTS_MAX:
                break
            tickets.append(self._queue.popleft())
        self._taken.extend(tickets)
        return tickets

    def note_progress(self) -> None:
        """Forget those that have an outcome, and let those who wait for it go on."""
        while self._taken and self._taken[0].is_settled:
            self._taken.popleft()
        unfinished = self._taken or self._queue
        self._finished = unfinished[0].serial - 1 if unfinished else self._submitted
        self._progress.set()
        self._progress = asyncio.Event()

    def lost(self) -> list[Ticket]:
        """Those whose answer was lost."""
        return [ticket for ticket in self._taken if ticket.is_lost and not ticket.is_settled]

    # Losing.

    def lose(
        self, losers: Mapping[Ticket, Exception], *, outdated: Collection[Stream] = ()
    ) -> None:
        """Answer commands that are not written.

        Of `outdated` streams they had seen old versions. Whatever the reason, these must not be
        what they are decided on again: a reading may have been overtaken by what it was to show.
        """
        self._tell(outdated, ())
        self.send_back(losers, News())
        for ticket, error in losers.items():
            ticket.settle(error)

    def send_back(
        self, losers: Collection[Ticket], news: News, *, spared: Collection[Ticket] = ()
    ) -> None:
        """Have all that touches what others wrote, or losers would have written, decided again."""
        gone = set(news.streams)
        for ticket in [*self._taken, *self._queue]:
            if ticket in losers:
                gone |= ticket.leaves.keys()
            elif ticket.is_settled or ticket in spared:
                continue
            elif ticket.org.number in news.orgs or ticket.touches(gone):
                gone |= ticket.leaves.keys()
                ticket.settle(Conflict())
        self._tell(gone, news.orgs)

    def _tell(self, gone: Collection[Stream], orgs: Collection[int]) -> None:
        streams: defaultdict[int, set[str]] = defaultdict(set)
        for org, stream in gone:
            streams[org].add(stream)
        for org in {*orgs, *streams}:
            tell(self._on_changed, org, None if org in orgs else streams[org])

    def give_up(self, reason: str) -> None:
        """Answer everything, also what has only waited."""
        everything = [each for each in [*self._taken, *self._queue] if not each.is_settled]
        self.lose({ticket: Unavailable(reason) for ticket in everything})
        self._queue.clear()


def tell(listener: Callable[..., None], *arguments: object) -> None:
    """Whatever a listener does, the log goes on."""
    try:
        listener(*arguments)
    except Exception:
        logger.exception("A listener of the log has failed")
