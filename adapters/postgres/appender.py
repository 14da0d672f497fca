"""The one connection that writes, and what is asked over it (0002_append.sql)."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq.abc import PGresult

from adapters.postgres import arguments, arrays
from adapters.postgres.batch import Batch, Head
from adapters.postgres.connections import assume, cut
from adapters.postgres.ticket import Sorting, Stream, Ticket
from adapters.postgres.wire import Answer, Lost, Wire
from domain.ports import Unavailable

CONNECT_SECONDS_MAX = 3.0
CONNECT_PAUSE_SECONDS = 0.1
ANSWER_SECONDS_MAX = 5.0
FLUSHES_TIMED = 8  # The shortest counts: others only had to wait for something else.

# A client that vanishes without a word must not keep its orgs from everybody else.
_SETTINGS = (
    "SET idle_in_transaction_session_timeout = '2s'",
    "SET lock_timeout = '4s'",
    "SET client_connection_check_interval = '1s'",
)

# Who was away for longer reads all states anew: that is less work than the difference.
CHANGES_EVENTS_MAX = 5_000
NEVER = -(2**40)  # The position known of an org of which nothing is known.


def _numbered(first: int, last: int) -> bytes:
    return b", ".join(b"$%d" % number for number in range(first, last + 1))


_APPEND_BATCH = b"trunkline.append_batch(%s)" % _numbered(1, 22)
_STATEMENTS = {
    b"append": b"SELECT " + _APPEND_BATCH,
    b"append with companions": b"SELECT trunkline.append_companions(%s) FROM %s"
    % (_numbered(23, 38), _APPEND_BATCH),
    b"begin": b"BEGIN",
    b"lock": b"SELECT * FROM trunkline.lock_heads($1, $2, %d)" % CHANGES_EVENTS_MAX,
    b"find": b"SELECT * FROM trunkline.find_known(%s)" % _numbered(1, 10),
    b"commit": b"COMMIT",
    b"flush": b"SELECT pg_logical_emit_message(true, 'trunkline', '')",
}


@dataclass(slots=True)
class Change:
    """Where an org stands, and the versions of streams that have grown since it was known.

    No streams: nothing has changed, or nobody can say what.
    """

    head: Head
    versions: dict[Stream, int] = field(default_factory=dict)


def changes(rows: Iterable[Sequence[Any]]) -> dict[int, Change]:
    """What read_changes and lock_heads return, by org."""
    by_org: dict[int, Change] = {}
    for org, position, link, recorded_at, stream, version in rows:
        change = by_org.setdefault(org, Change(Head(position, link, recorded_at)))
        if stream is not None:
            change.versions[org, stream] = version
    return by_org


@dataclass(slots=True)
class Findings:
    """What there is to know, for certain, before some tickets are written."""

    changes: dict[int, Change]
    versions: dict[Stream, int]
    known: dict[Ticket, tuple[str, int]]  # Whose command, request, address or key is there.


class Appender:
    """Writes batches. Raises Lost, psycopg.Error, Unavailable; it connects again by itself."""

    def __init__(self, url: str) -> None:
        """`url` is that of a user who may take on the role trunkline_append."""
        self._url = url
        self._wire: Wire | None = None
        self._is_in_transaction = False
        self.flush_seconds = 0.0  # What a commit takes that has nothing but a flush to do.

    @property
    def is_connected(self) -> bool:
        """As far as is known."""
        return self._wire is not None and self._wire.is_open

    def append(self, batch: Batch, sorting: Sorting) -> Answer:
        """Write a batch, if the log is as the batch assumes; for `answers`, once connected."""
        assert self._wire is not None
        return _append(self._wire, batch, sorting)

    async def look(
        self, positions: Mapping[int, int], tickets: Sequence[Ticket], streams: Sequence[Stream]
    ) -> Findings:
        """Keep others from writing to orgs, and see how things stand; `commit` comes next.

        `positions` are those that are known of the orgs.
        """
        wire = await self.connect()
        self._is_in_transaction = True
        _, locked, found = await self.answers(
            wire.execute(b"begin"),
            wire.execute(b"lock", [arrays.int4(positions), arrays.int8(positions.values())]),
            wire.execute(b"find", arguments.of_known(tickets, streams)),
        )
        findings = Findings(changes(_rows(locked)), {}, {})
        owners = arguments.owners(tickets)
        for what, ordinal, number in _rows(found):
            if what == "version":
                findings.versions[streams[ordinal - 1]] = number
                continue
            ticket = owners[what][ordinal - 1]
            # Where the command is known, the rest is its own.
            if what == "command" or ticket not in findings.known:
                findings.known[ticket] = what, number
        return findings

    async def commit(self, batch: Batch, sorting: Sorting) -> None:
        """Write a batch and let others write again."""
        wire = await self.connect()
        self._is_in_transaction = False
        written = [_append(wire, batch, sorting)] if batch.entries else []
        await self.answers(*written, wire.execute(b"commit"))

    async def abandon(self) -> None:
        """Let others write again, if they are kept from it."""
        if self._is_in_transaction:
            await self.close()

    async def connect(self) -> Wire:
        """Be connected; waits a few seconds for a database that is coming back."""
        if self._wire is not None and self._wire.is_open:
            return self._wire
        await self.close()
        deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS_MAX
        while True:
            try:
                self._wire = await self._connect()
            except (psycopg.Error, Lost) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise Unavailable(f"The log cannot be reached: {error}") from error
                await asyncio.sleep(CONNECT_PAUSE_SECONDS)
            else:
                return self._wire

    async def _connect(self) -> Wire:
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=int(CONNECT_SECONDS_MAX)
        )
        too_late = asyncio.get_running_loop().call_later(CONNECT_SECONDS_MAX, cut, connection)
        try:
            await assume(connection, "trunkline_append")
            for setting in _SETTINGS:
                await connection.execute(setting)
            wire = Wire(connection)
            await asyncio.gather(*(wire.prepare(*each) for each in _STATEMENTS.items()))
            self.flush_seconds = min([await _flush_seconds(wire) for _ in range(FLUSHES_TIMED)])
        except BaseException:
            await connection.close()
            raise
        finally:
            too_late.cancel()
        return wire

    async def close(self) -> None:
        """Hang up."""
        self._is_in_transaction = False
        if self._wire is not None:
            await self._wire.close()
            self._wire = None

    async def answers(self, *answers: Answer) -> list[PGresult]:
        """All answers, or the first error; an untrustworthy connection is closed."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                done = await asyncio.gather(*answers, return_exceptions=True)
        except TimeoutError as error:
            await self.close()
            raise Lost("The database does not answer.") from error
        for each in done:
            if isinstance(each, Lost) or _is_last_word(each):
                await self.close()
                raise Lost("The connection to the database was lost.")
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return [each for each in done if not isinstance(each, BaseException)]


def _is_last_word(answer: object) -> bool:
    """Whether the server says this and ends the connection: it may be about anything."""
    return isinstance(answer, psycopg.Error) and answer.diag.severity_nonlocalized in _FATAL


_FATAL = ("FATAL", "PANIC")


def _append(wire: Wire, batch: Batch, sorting: Sorting) -> Answer:
    packed = arguments.of_append(batch, sorting.unproven)
    companions = arguments.of_companions(sorting.fits)
    if companions is None:
        return wire.execute(b"append", packed)
    return wire.execute(b"append with companions", packed + companions)


async def _flush_seconds(wire: Wire) -> float:
    began = time.perf_counter()
    await wire.execute(b"flush")
    return time.perf_counter() - began


def _rows(result: PGresult) -> list[tuple[Any, ...]]:
    transformer = Transformer()
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)
