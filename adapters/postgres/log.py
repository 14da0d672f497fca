"""The log: appends in micro-batches, one writer per process (design: domain/chain.py, 0002_append).

A command waits at most for the batch that is being written: the writer then takes everything that
has come meanwhile and writes it as one transaction. There is no timer; a lone command goes at once.

The writer knows the head of each org it has written. A batch names the heads it builds on, and the
database writes it only if they are still the newest: so nothing that any of its decisions has read
can have changed. When another process has written, the writer reads which streams changed,
`on_changed` forgets their cached states, and the commands that touch them decide again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import psycopg
from psycopg import AsyncRawCursor

from adapters.postgres import arrays
from adapters.postgres.batch import Batch, Head, Ticket, loser_arguments, loser_owners
from adapters.postgres.connections import Connection, Pool, assume, within
from domain import chain
from domain.event import Recorded, decode
from domain.ports import (
    AlreadyDone,
    Append,
    Appended,
    Clock,
    Conflict,
    Org,
    RequestKnown,
    Unavailable,
)

BATCH_EVENTS_MAX = 512
RECONNECT_SECONDS = 3.0
RECONNECT_PAUSE_SECONDS = 0.1
READ_ROWS = 5_000

_APPEND = "SELECT append_batch({})".format(", ".join(f"${n}" for n in range(1, 20)))
_COMPANIONS = "SELECT append_companions({})".format(", ".join(f"${n}" for n in range(1, 17)))
_LOSERS = "SELECT (find_losers({})).*".format(", ".join(f"${n}" for n in range(1, 10)))
_HEADS = (
    "SELECT org, position, hash, (extract(epoch FROM recorded_at) * 1000000)::bigint"
    " FROM heads WHERE org = ANY (%s)"
)
_CHANGED = "SELECT DISTINCT stream FROM events WHERE org = %s AND position > %s"
_STREAM = (
    "SELECT position, version, recorded_at, type, schema_version, data FROM events"
    " WHERE org = %s AND stream = %s AND version > %s ORDER BY version LIMIT %s"
)
_VERSION_AT = (
    "SELECT version FROM events WHERE org = %s AND stream = %s AND position <= %s"
    " ORDER BY version DESC LIMIT 1"
)
_REQUEST = "SELECT request, status, position, ids, created_at FROM idempotency_keys WHERE key = %s"

# The server cancelled its wait for a standby: written here, perhaps nowhere else.
_NOT_REPLICATED = "01000"

logger = logging.getLogger(__name__)


class _Unknown(Exception):
    """The connection was lost, or a warning says that the commit may not be safe."""


class PostgresLog:
    """The log of all organisations in one database."""

    def __init__(
        self,
        url: str,
        *,
        readers: Pool,
        clock: Clock,
        on_changed: Callable[[int, Collection[str] | None], None] = lambda _org, _streams: None,
        on_appended: Callable[[], None] = lambda: None,
    ) -> None:
        """`readers` is a pool of role trunkline_project; `on_appended` wakes followers.

        `on_changed` is told the streams of an org whose states are out of date; None: all.
        """
        self._url = url
        self._readers = readers
        self._clock = clock
        self.on_changed = on_changed
        self.on_appended = on_appended
        self._heads: dict[int, Head] = {}
        self._queue: deque[Ticket] = deque()
        self._current: list[Ticket] = []  # What is being written.
        self._waiting = asyncio.Event()
        self._writing = asyncio.Lock()
        self._connection: Connection | None = None
        self._unsafe = False
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="log writer")

    async def stop(self) -> None:
        """Write what is queued, then end."""
        self._closed = True
        self._waiting.set()
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task
        if self._connection is not None:
            await self._connection.close()

    # Writing.

    def submit(self, append: Append) -> "asyncio.Future[Appended]":
        """Queue a command now, behind everything queued before, and get its outcome later."""
        ticket = Ticket(append, asyncio.get_running_loop().create_future())
        if self._closed:
            ticket.done.set_exception(Unavailable("The server is stopping."))
        else:
            self._queue.append(ticket)
            self._waiting.set()
        return ticket.done

    async def append(self, append: Append) -> Appended:
        """Write a command durably. Raises AlreadyDone, Conflict, RequestKnown, Unavailable."""
        return await self.submit(append)

    async def _run(self) -> None:
        while self._queue or not self._closed:
            self._waiting.clear()
            if not self._queue:
                await self._waiting.wait()
                continue
            async with self._writing:
                self._current = self._take()
                try:
                    await self._write(self._current)
                except Exception as error:  # The writer outlives every error; its callers hear it.
                    logger.exception("A batch could not be written")
                    self._fail(self._current, Unavailable(str(error)))
                self._current = []

    def _take(self) -> list[Ticket]:
        tickets: list[Ticket] = []
        events = 0
        while self._queue:
            events += len(self._queue[0].data)
            if tickets and events > BATCH_EVENTS_MAX:
                break
            tickets.append(self._queue.popleft())
        return tickets

    async def _write(self, tickets: list[Ticket]) -> None:
        """Write the tickets, all but those that lose; settle each of them."""
        while tickets := [ticket for ticket in tickets if not ticket.done.done()]:
            try:
                await self._know_heads({ticket.append.org.number for ticket in tickets})
                now = chain.microseconds(self._clock.now())
                batch = Batch(tickets, self._heads, now=now)
                await self._store(batch)
            except _Unknown:
                await self._look_up(tickets)
            except psycopg.errors.UniqueViolation:
                await self._settle_losers(tickets)
            except psycopg.OperationalError as error:
                self._fail(tickets, Unavailable(str(error)))
            except psycopg.Error as error:
                if error.sqlstate == "TL001":
                    await self._catch_up(tickets)
                elif len(tickets) == 1:
                    logger.error("A command cannot be written", extra={"sqlstate": error.sqlstate})
                    self._fail(tickets, error)
                else:
                    middle = len(tickets) // 2
                    await self._write(tickets[:middle])
                    await self._write(tickets[middle:])
            else:
                self._settle(batch)

    async def _store(self, batch: Batch) -> None:
        connection = await self._connected()
        companions = batch.companions()
        try:
            cursor = AsyncRawCursor(connection)
            if companions is None:
                await cursor.execute(_APPEND, batch.arguments(), prepare=True)
            else:
                async with connection.pipeline(), connection.transaction():
                    await cursor.execute(_APPEND, batch.arguments(), prepare=True)
                    await cursor.execute(_COMPANIONS, companions, prepare=True)
        except psycopg.OperationalError as error:
            if connection.closed or connection.broken:
                await self._disconnect()
                raise _Unknown from error
            raise
        if self._unsafe:
            await self._disconnect()
            raise _Unknown

    def _settle(self, batch: Batch) -> None:
        self._heads.update(batch.next)
        moments = {org: chain.moment(head.recorded_at) for org, head in batch.next.items()}
        for ticket in batch.tickets:
            if not ticket.done.done():
                recorded_at = moments[ticket.append.org.number]
                ticket.done.set_result(Appended(ticket.first, ticket.last, recorded_at))
        self.on_appended()

    def _fail(self, tickets: Sequence[Ticket], error: Exception) -> None:
        for ticket in tickets:
            self._lose(ticket, error)

    def _lose(self, loser: Ticket, error: Exception) -> None:
        """Settle a command that is not written, and send back those decided on what it writes."""
        if loser.done.done():
            return
        loser.done.set_exception(error)
        gone = loser.written
        number = loser.append.org.number
        for ticket in self._behind(loser):
            if ticket.append.org.number == number and ticket.touches(gone):
                gone |= ticket.written
                ticket.done.set_exception(Conflict())
        self.on_changed(number, gone)

    def _behind(self, loser: Ticket) -> list[Ticket]:
        waiting = [*self._current, *self._queue]
        start = waiting.index(loser) + 1 if loser in waiting else 0
        return [ticket for ticket in waiting[start:] if not ticket.done.done()]

    async def _connected(self) -> Connection:
        """The writer's connection; waits a few seconds for a database that is coming back."""
        deadline = asyncio.get_running_loop().time() + RECONNECT_SECONDS
        while self._connection is None:
            try:
                self._connection = await self._connect()
            except psycopg.OperationalError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(RECONNECT_PAUSE_SECONDS)
        return self._connection

    async def _connect(self) -> Connection:
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        arrays.register(connection)
        await assume(connection, "trunkline_append")
        self._unsafe = False
        connection.add_notice_handler(self._note)
        return connection

    def _note(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.sqlstate == _NOT_REPLICATED:
            self._unsafe = True

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    # When a batch did not fit.

    async def _settle_losers(self, tickets: Sequence[Ticket]) -> None:
        cursor = AsyncRawCursor(await self._connected())
        await cursor.execute(_LOSERS, loser_arguments(tickets), prepare=True)
        owners = loser_owners(tickets)
        rows = await cursor.fetchall()
        for what, ordinal, position in rows:
            ticket = owners[what][ordinal - 1]
            if what == "command":
                self._lose(ticket, AlreadyDone(position))
            elif what == "idempotency":
                self._lose(ticket, RequestKnown())
            else:
                self._lose(ticket, Conflict())
        if not rows:
            self._settle_twins(tickets)

    def _settle_twins(self, tickets: Sequence[Ticket]) -> None:
        """Nobody else wrote it, so the batch itself holds it twice: the later one decides again."""
        seen: set[tuple[int, bytes]] = set()
        for ticket in tickets:
            append, number = ticket.append, ticket.append.org.number
            unique = {(number, append.command)}
            unique |= {(number, claim.key) for claim in append.addresses}
            unique |= {(number, append.idempotent.key)} if append.idempotent else set()
            if not seen.isdisjoint(unique):
                self._lose(ticket, Conflict())
            seen |= unique

    async def _catch_up(self, tickets: Sequence[Ticket]) -> None:
        for number in {ticket.append.org.number for ticket in tickets}:
            changed = await self._read_changes(number)
            self._lose_touching(number, changed)

    def _lose_touching(self, number: int, changed: set[str]) -> None:
        for ticket in self._unsettled(number):
            if ticket.touches(changed):
                self._lose(ticket, Conflict())

    async def _read_changes(self, number: int) -> set[str]:
        """Learn the org's present head and which streams others have written, and tell."""
        known = self._heads[number].position
        async with self._readers.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            heads = await (await connection.execute(_HEADS, [[number]])).fetchall()
            rows = await (await connection.execute(_CHANGED, [number, known])).fetchall()
        changed = {stream for (stream,) in rows}
        _, position, link, recorded_at = heads[0]
        if position == known:
            raise RuntimeError("The head of an organisation changed without an event.")
        self._heads[number] = Head(position, bytes(link), recorded_at)
        self.on_changed(number, changed)
        return changed

    async def _look_up(self, tickets: Sequence[Ticket]) -> None:
        """After a lost answer: what is in the log is done, the rest is sent again."""
        cursor = AsyncRawCursor(await self._connected())
        commands = [ticket.append.command for ticket in tickets]
        numbers = [ticket.append.org.number for ticket in tickets]
        nothing = [arrays.int4([]), arrays.texts([]), arrays.int4([]), arrays.int4([])]
        await cursor.execute(
            _LOSERS,
            [
                arrays.int4(numbers),
                arrays.byteas(commands),
                *nothing,
                arrays.byteas([]),
                arrays.int4([]),
                arrays.byteas([]),
            ],
        )
        found = {ordinal - 1: position for _, ordinal, position in await cursor.fetchall()}
        now = self._clock.now()
        for index, ticket in enumerate(tickets):
            if index in found and not ticket.done.done():
                last = found[index]
                ticket.done.set_result(Appended(last - len(ticket.data) + 1, last, now))
        for number in set(numbers):
            self._heads.pop(number, None)
            for ticket in self._unsettled(number):
                ticket.done.set_exception(Conflict())
            self.on_changed(number, None)
        if found:
            self.on_appended()

    def _unsettled(self, number: int) -> list[Ticket]:
        waiting = [*self._current, *self._queue]
        return [t for t in waiting if t.append.org.number == number and not t.done.done()]

    # Knowing where the log stands.

    async def _know_heads(self, numbers: Collection[int]) -> None:
        missing = [number for number in numbers if number not in self._heads]
        if not missing:
            return
        async with self._readers.connection() as connection:
            rows = await (await connection.execute(_HEADS, [missing])).fetchall()
        for number, position, link, recorded_at in rows:
            self._heads[number] = Head(position, bytes(link), recorded_at)

    async def is_current(self, org: Org, *, at_least: int | None = None) -> bool:
        """Whether everything in the log was known here; if not, it is now.

        `at_least` is a head somebody has just read, which saves reading it again.
        """
        known = self._heads.get(org.number)
        if known is not None and at_least is not None and at_least <= known.position:
            return True
        async with self._writing:
            position = at_least if at_least is not None else await self.position(org)
            known = self._heads.get(org.number)
            if known is None:
                await self._know_heads([org.number])
                return False
            if position <= known.position:
                return True
            changed = await self._read_changes(org.number)
            self._lose_touching(org.number, changed)
            return False

    async def settled(self) -> None:
        """Wait until everything that is queued now is written or lost."""
        pending = [ticket.done for ticket in [*self._current, *self._queue]]
        if pending:
            await asyncio.wait(pending)

    async def position(self, org: Org) -> int:
        """The position of the org's newest event; 0 for none."""
        async with self._readers.connection() as connection:
            rows = await (await connection.execute(_HEADS, [[org.number]])).fetchall()
        return int(rows[0][1]) if rows else 0

    # Reading.

    async def read_stream(self, org: Org, stream: str, *, after: int = 0) -> list[Recorded]:
        """One stream's events behind version `after`, in order."""
        await self._know_heads([org.number])  # Before the stream, so that no change goes unseen.
        events: list[Recorded] = []
        async with within(self._readers, org.number) as connection:
            while True:
                cursor = await connection.execute(
                    _STREAM, [org.number, stream, after, READ_ROWS], binary=True
                )
                rows = await cursor.fetchall()
                for position, version, recorded_at, stored_type, schema, data in rows:
                    event = decode(stored_type, schema, data)
                    events.append(Recorded(position, stream, version, recorded_at, event))
                if len(rows) < READ_ROWS:
                    return events
                after = rows[-1][1]

    async def version_at(self, org: Org, stream: str, *, position: int) -> int:
        """The stream's version as of a position of its org; 0 before it began."""
        async with within(self._readers, org.number) as connection:
            cursor = await connection.execute(_VERSION_AT, [org.number, stream, position])
            row = await cursor.fetchone()
        return row[0] if row else 0
