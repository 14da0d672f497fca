"""The log on a database in memory: the real writer, over connections that can be lost anywhere."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import psycopg

from adapters.postgres.appender import Appender, Change, Findings
from adapters.postgres.batch import Batch
from adapters.postgres.connections import Pool
from adapters.postgres.log import PostgresLog
from adapters.postgres.ticket import Sorting, Stream, Ticket
from adapters.postgres.wire import Answer, Lost, Wire
from domain.event import Recorded, decode
from domain.ports import Clock, Org, ReadsEvent
from tests.simulation.database import MemoryDatabase, Statement
from tests.simulation.machine import Machine

# How long what was lost on its way may still turn up.
LATE_SECONDS_MAX = 20.0

Work = Callable[["Session"], Awaitable[Any]]


class Session:
    """One connection, as both ends see it. The server does one thing after the other."""

    def __init__(self, machine: Machine, database: MemoryDatabase) -> None:
        self.is_open = True
        self.locked: list[int] = []
        self._machine = machine
        self._database = database
        self._work: asyncio.Queue[tuple[Work, Answer]] = asyncio.Queue()
        self._waiting: deque[Answer] = deque()
        self._server = asyncio.create_task(self._serve())

    def ask(self, work: Work) -> Answer:
        """Whoever asks a connection that is lost has lost the answer."""
        answer: Answer = asyncio.get_running_loop().create_future()
        if self.is_open:
            self._waiting.append(answer)
            self._work.put_nowait((work, answer))
        else:
            answer.set_exception(Lost())
        return answer

    async def close(self) -> None:
        """The client hangs up; the server learns of it when it next has something to say."""
        self.is_open = False
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(Lost())

    def unlock(self) -> None:
        self._database.unlock(self.locked)
        self.locked = []

    async def _serve(self) -> None:
        weather = self._machine.weather
        try:
            while True:
                work, answer = await self._next()
                await weather.travel()
                fate = weather.fate()
                if fate == "lost before":
                    return
                if fate == "late":
                    await self.close()
                    await asyncio.sleep(weather.chance.random() * LATE_SECONDS_MAX)
                outcome = await self._outcome(work)
                if fate != "arrives" or not self.is_open or self._machine.died.is_set():
                    return  # Nobody is there to be told: the server takes back what is open.
                await weather.travel()
                _tell(answer, outcome)
        finally:
            await self.close()
            self.unlock()

    async def _next(self) -> tuple[Work, Answer]:
        while True:
            try:
                # An open transaction of a client that has vanished is ended after two seconds.
                return await asyncio.wait_for(self._work.get(), 2.0 if self.locked else None)
            except TimeoutError:
                self.unlock()
                await self.close()
                raise asyncio.CancelledError from None

    async def _outcome(self, work: Work) -> Any:
        if self._machine.weather.is_database_away:
            return psycopg.OperationalError("terminating connection")
        try:
            return await work(self)
        except psycopg.Error as error:
            return error


def _tell(answer: Answer, outcome: Any) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _session(wire: Wire | None) -> Session:
    """Here what looks like a wire to the real appender is always a session."""
    return cast("Session", wire)


class MemoryAppender(Appender):
    """As the real one, but for what goes over the wire."""

    def __init__(self, machine: Machine, database: MemoryDatabase, *, flush_seconds: float) -> None:
        super().__init__("")
        self._machine = machine
        self._database = database
        self._flush_seconds = flush_seconds

    async def _connect(self) -> Wire:
        await self._machine.travel()
        if self._machine.weather.is_database_away:
            raise psycopg.OperationalError("connection refused")
        self.flush_seconds = self._flush_seconds
        return cast("Wire", Session(self._machine, self._database))

    def append(self, batch: Batch, sorting: Sorting) -> Answer:
        statement = Statement(batch, sorting)

        async def work(session: Session) -> None:
            session.locked = await self._database.lock(statement.assumed)
            try:
                self._database.write(statement)
            finally:
                session.unlock()

        return _session(self._wire).ask(work)

    async def look(
        self, positions: Mapping[int, int], tickets: Sequence[Ticket], streams: Sequence[Stream]
    ) -> Findings:
        async def work(session: Session) -> Findings:
            session.locked = await self._database.lock(positions)
            return self._database.findings(positions, tickets, streams)

        session = _session(await self.connect())
        self._is_in_transaction = True
        (findings,) = await self.answers(session.ask(work))
        return cast("Findings", findings)

    async def commit(self, batch: Batch, sorting: Sorting) -> None:
        statement = Statement(batch, sorting)

        async def work(session: Session) -> None:
            if not session.locked:
                raise psycopg.OperationalError("the transaction was ended")
            try:
                self._database.write(statement)
            finally:
                session.unlock()

        session = _session(await self.connect())
        self._is_in_transaction = False
        await self.answers(session.ask(work))


class MemoryLog(PostgresLog):
    """One process's log."""

    def __init__(
        self,
        machine: Machine,
        database: MemoryDatabase,
        clock: Clock,
        *,
        flush_seconds: float = 0.0,
    ) -> None:
        super().__init__("", readers=cast("Pool", None), clock=clock)  # It reads from memory.
        self._machine = machine
        self._database = database
        appender = MemoryAppender(machine, database, flush_seconds=flush_seconds)
        self._writer._appender = appender

    async def _changes(self, org: Org, *, since: int) -> dict[int, Change]:
        await self._machine.travel()
        changes = self._database.changes({org.number: since})
        await self._machine.ask_database()
        return changes

    async def position(self, org: Org) -> int:
        await self._machine.ask_database()
        return self._database.heads[org.number].position

    async def read_stream(
        self,
        org: Org,
        stream: str,
        *,
        after: int = 0,
        limit: int | None = None,
        read: ReadsEvent = decode,
    ) -> list[Recorded]:
        assert read is decode, "what is in memory was never encoded"
        await self.know(org)
        await self._machine.travel()
        recorded = self._database.read(org, stream, after=after, limit=limit)
        await self._machine.ask_database()  # What was read may be old when it arrives.
        return recorded

    async def version_at(self, org: Org, stream: str, *, position: int) -> int:
        await self._machine.ask_database()
        rows = self._database.streams[org.number, stream]
        return sum(row.position <= position for row in rows)

    async def recorded_at(self, org: Org, *, position: int) -> datetime | None:
        await self._machine.ask_database()
        for (number, _), rows in self._database.streams.items():
            for row in rows:
                if (number, row.position) == (org.number, position):
                    return row.recorded_at
        return None
