"""The database in memory: the tables of the log and of the directory, and its locks."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import psycopg

from adapters.postgres.appender import CHANGES_EVENTS_MAX, Change, Findings
from adapters.postgres.batch import Batch, Entry, Head
from adapters.postgres.ticket import Sorting, Stream, Ticket
from domain import chain
from domain.event import Event, Recorded, decode
from domain.ports import Append, NewKey, Org, StoredAnswer

LOCK_SECONDS_MAX = 4.0  # As the appender sets it.


class MovedOn(psycopg.DatabaseError):
    """The log is not as the statement assumes (TL001, TL002)."""

    sqlstate = "TL001"


@dataclass(slots=True)
class Row:
    """A stored event."""

    position: int
    stream: str
    version: int
    recorded_at: datetime
    type: str
    schema_version: int
    command: bytes
    data: bytes
    hash: bytes
    event: Event

    @property
    def recorded(self) -> Recorded:
        return Recorded(self.position, self.stream, self.version, self.recorded_at, self.event)


@dataclass(slots=True)
class Written:
    """One command of a statement."""

    org: int
    command: bytes
    last: int
    append: Append
    rows: list[Row]


class Statement:
    """A batch as it went over the wire: whatever its tickets become, it stays as it was sent."""

    def __init__(self, batch: Batch, sorting: Sorting) -> None:
        self.assumed = dict(batch.assumed)
        self.next = dict(batch.next)
        self.unproven = dict(sorting.unproven)
        links = iter(batch.links)
        self.written = [self._written(entry, links) for entry in batch.entries]

    def _written(self, ticket: Entry, links: Iterator[bytes]) -> Written:
        assert isinstance(ticket, Ticket)
        rows = []
        moment = chain.moment(ticket.recorded_at)
        for position, packed in enumerate(ticket.events, ticket.first):
            stream, version, stored_type, schema_version, _, data = packed
            name, content = _text(stored_type), data[4:]
            rows.append(
                Row(
                    position,
                    _text(stream),
                    version,
                    moment,
                    name,
                    schema_version,
                    ticket.append.command,
                    content,
                    next(links)[4:],
                    decode(name, schema_version, content),
                )
            )
        return Written(ticket.org.number, ticket.append.command, ticket.last, ticket.append, rows)


def _text(framed: bytes) -> str:
    return framed[4:].decode()


@dataclass
class Rules:
    """What the database sees to; a control switches one off."""

    versions: bool = True
    commands: bool = True


@dataclass
class MemoryDatabase:
    """What is written is written at once; transactions are the locks of organisations."""

    rules: Rules = field(default_factory=Rules)
    heads: dict[int, Head] = field(default_factory=dict)
    events: defaultdict[int, list[Row]] = field(default_factory=lambda: defaultdict(list))
    streams: defaultdict[Stream, list[Row]] = field(default_factory=lambda: defaultdict(list))
    commands: dict[tuple[int, bytes], int] = field(default_factory=dict)
    keys: dict[tuple[int, str], NewKey] = field(default_factory=dict)
    addresses: dict[tuple[int, bytes], str] = field(default_factory=dict)
    requests: dict[tuple[int, bytes], StoredAnswer] = field(default_factory=dict)
    locks: defaultdict[int, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    def version(self, stream: Stream) -> int:
        return len(self.streams[stream])

    async def lock(self, orgs: Iterable[int]) -> list[int]:
        """Always in the same order, so nobody waits crosswise. Raises LockNotAvailable."""
        locked: list[int] = []
        try:
            async with asyncio.timeout(LOCK_SECONDS_MAX):
                for org in sorted(orgs):
                    await self.locks[org].acquire()
                    locked.append(org)
        except TimeoutError:
            self.unlock(locked)
            raise psycopg.errors.LockNotAvailable from None
        return locked

    def unlock(self, orgs: Iterable[int]) -> None:
        for org in orgs:
            self.locks[org].release()

    def write(self, statement: Statement) -> None:
        """All of it, or nothing. Raises MovedOn and UniqueViolation. The locks are held."""
        if self.rules.versions:
            for org, head in statement.assumed.items():
                if self.heads[org] != head:
                    raise MovedOn
            for stream, version in statement.unproven.items():
                if self.version(stream) != version:
                    raise MovedOn
        self._require_unique(statement)
        for written in statement.written:
            self._store(written)
        self.heads.update(statement.next)

    def _require_unique(self, statement: Statement) -> None:
        taken: set[object] = set()
        for written in statement.written:
            org, append = written.org, written.append
            dropped = set(append.dropped_addresses)
            claims = [("key", key.id) in taken or (org, key.id) in self.keys for key in append.keys]
            taken.update(("key", key.id) for key in append.keys)
            if self.rules.commands:
                claims.append((org, written.command) in self.commands)
            claims += [
                claim.key not in dropped and (org, claim.key) in self.addresses
                for claim in append.addresses
            ]
            if append.idempotent is not None:
                claims.append((org, append.idempotent.key) in self.requests)
            if any(claims):
                raise psycopg.errors.UniqueViolation

    def _store(self, written: Written) -> None:
        org, append = written.org, written.append
        self.commands[org, written.command] = written.last
        for row in written.rows:
            self.events[org].append(row)
            self.streams[org, row.stream].append(row)
        self.keys.update({(org, key.id): key for key in append.keys})
        for key in append.dropped_addresses:
            self.addresses.pop((org, key), None)
        self.addresses.update({(org, claim.key): claim.contact for claim in append.addresses})
        if append.idempotent is not None:
            request = append.idempotent
            self.requests[org, request.key] = StoredAnswer(
                request.request, request.status, written.last, request.ids
            )

    # What is asked.

    def changes(self, known: Mapping[int, int]) -> dict[int, Change]:
        """As read_changes and lock_heads in 0002_append.sql."""
        found = {}
        for org, position in known.items():
            head = self.heads[org]
            change = found[org] = Change(Head(head.position, head.hash, head.recorded_at))
            if head.position - position <= CHANGES_EVENTS_MAX:
                newer = self.events[org][max(position, 0) :]
                change.versions.update({(org, row.stream): row.version for row in newer})
        return found

    def findings(
        self, known: Mapping[int, int], tickets: Sequence[Ticket], streams: Sequence[Stream]
    ) -> Findings:
        """As lock_heads and find_known together."""
        found = Findings(
            self.changes(known), {stream: self.version(stream) for stream in streams}, {}
        )
        for ticket in tickets:
            what = self._known(ticket)
            if what is not None:
                found.known[ticket] = what
        return found

    def _known(self, ticket: Ticket) -> tuple[str, int] | None:
        org, append = ticket.org.number, ticket.append
        if self.rules.commands and (org, append.command) in self.commands:
            return "command", self.commands[org, append.command]
        if append.idempotent is not None and (org, append.idempotent.key) in self.requests:
            return "request", 0
        for claim in append.addresses:
            if claim.key not in append.dropped_addresses and (org, claim.key) in self.addresses:
                return "address", 0
        if any((org, key.id) in self.keys for key in append.keys):
            return "key", 0
        return None

    def read(self, org: Org, stream: str, *, after: int, limit: int | None) -> list[Recorded]:
        rows = self.streams[org.number, stream][after:]
        return [row.recorded for row in rows[:limit]]
