"""What the tests of the log share: processes on one log, and what must hold of it."""

import asyncio
import hashlib
import json
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from adapters.postgres.connections import pool
from adapters.postgres.directory import Directory
from adapters.postgres.log import PostgresLog
from domain.event import Event
from domain.ports import Append, Appended, Conflict, NewEvent, Org
from domain.unrouted import DeliveriesHandedOver
from tests.conftest import Database

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
# Those of this database that wait for others to end.
WAITING_FOR_LOCKS = """
SELECT pid FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


class TestClock:
    """Stands still unless it is moved."""

    __test__ = False

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time

    def move(self, **by: float) -> None:
        self.time += timedelta(**by)


def event(text: str = "", count: int = 0) -> DeliveriesHandedOver:
    """Any event with a text that can be recognised."""
    return DeliveriesHandedOver(organisation_id=text, count=count)


def text_written(written: Event) -> str:
    """The text of such an event."""
    assert isinstance(written, DeliveriesHandedOver)
    return written.organisation_id


def command(
    org: Org,
    *writes: tuple[str, int] | tuple[str, int, str],
    command_id: bytes | None = None,
    **more: Any,
) -> Append:
    """A command that writes versions of streams, each with a text."""
    events = [NewEvent(write[0], write[1], event(*write[2:])) for write in writes]
    return Append(org=org, command=command_id or secrets.token_bytes(16), events=events, **more)


@dataclass
class Process:
    """One process: its log, and its states, which are a stream's version and texts."""

    log: PostgresLog
    changed: list[tuple[int, Collection[str] | None]] = field(default_factory=list)
    states: dict[tuple[int, str], list[str]] = field(default_factory=dict)
    loading: dict[tuple[int, str], object] = field(default_factory=dict)
    conflicts: int = 0

    def forget(self, org: int, streams: Collection[str] | None) -> None:
        self.changed.append((org, streams))
        for kept in (self.states, self.loading):
            for number, stream in list(kept):
                if number == org and (streams is None or stream in streams):
                    del kept[number, stream]

    async def state(self, org: Org, stream: str) -> list[str]:
        """The stream's texts, from memory where they are at hand."""
        key = org.number, stream
        while key not in self.states:
            token = self.loading.setdefault(key, object())
            texts = [text_written(each.event) for each in await self.log.read_stream(org, stream)]
            if self.loading.get(key) is token:  # Else it has changed meanwhile.
                self.states.setdefault(key, texts)
        return self.states[key]

    async def write(
        self,
        org: Org,
        *streams: str,
        text: str = "",
        command_id: bytes | None = None,
        read: Collection[str] = (),
    ) -> Appended:
        """Add a text to streams, having read others; decides again as often as it takes."""
        command_id = command_id or secrets.token_bytes(16)
        while True:
            for stream in {*streams, *read}:
                await self.state(org, stream)
            if any((org.number, stream) not in self.states for stream in {*streams, *read}):
                continue
            try:
                return await self.submit(org, *streams, text=text, command_id=command_id, read=read)
            except Conflict:
                self.conflicts += 1

    def submit(
        self,
        org: Org,
        *streams: str,
        text: str = "",
        command_id: bytes | None = None,
        read: Collection[str] = (),
        **more: Any,
    ) -> "asyncio.Future[Appended]":
        """Decide on the states at hand and queue."""
        states = {stream: self.states[org.number, stream] for stream in {*streams, *read}}
        writes = [(stream, len(states[stream]) + 1, text) for stream in streams]
        seen = [(stream, len(states[stream])) for stream in read]
        future = self.log.submit(command(org, *writes, command_id=command_id, read=seen, **more))
        for stream in streams:
            self.states[org.number, stream] = [*states[stream], text]
        return future


@asynccontextmanager
async def process(url: str, *, clock: TestClock | None = None) -> AsyncIterator[Process]:
    """A process on the database at `url`."""
    readers = pool(url, "trunkline_project", size_max=4)
    await readers.open()
    log = PostgresLog(url, readers=readers, clock=clock or TestClock())
    await log.start()
    started = Process(log)
    log.on_changed = started.forget
    try:
        yield started
    finally:
        await log.stop()
        await readers.close()


@dataclass
class World:
    """A database, and organisations in it."""

    database: Database
    directory: Directory

    async def org(self) -> Org:
        return await self.directory.create_organisation(f"org_{secrets.token_hex(6)}")

    async def superuser(self) -> AsyncConnection[dict[str, Any]]:
        connection = await AsyncConnection.connect(
            self.database.superuser, autocommit=True, row_factory=dict_row
        )
        await connection.execute("SET search_path = trunkline")
        return connection

    async def events(self, org: Org) -> list[dict[str, Any]]:
        async with await self.superuser() as connection:
            cursor = await connection.execute(
                "SELECT * FROM events WHERE org = %s ORDER BY position", [org.number]
            )
            return await cursor.fetchall()

    async def texts(self, org: Org, stream: str) -> list[str]:
        rows = [row for row in await self.events(org) if row["stream"] == stream]
        return [text_of(row) for row in rows]

    async def waiting_for_locks(self) -> int:
        """How many statements wait for others to end."""
        async with await self.superuser() as connection:
            return len(await (await connection.execute(WAITING_FOR_LOCKS)).fetchall())

    async def assert_whole(self, org: Org) -> list[dict[str, Any]]:
        """Positions are 1..n, streams' versions too, the chain holds, the head is its end."""
        rows = await self.events(org)
        assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
        versions: dict[str, int] = defaultdict(int)
        link, moment = bytes(32), datetime(1970, 1, 1, tzinfo=UTC)
        for row in rows:
            versions[row["stream"]] += 1
            assert row["version"] == versions[row["stream"]], row
            assert row["recorded_at"] >= moment, row
            moment = row["recorded_at"]
            link = link_by_hand(org, link, row)
            assert row["hash"] == link, row["position"]
        async with await self.superuser() as connection:
            head = await (
                await connection.execute("SELECT * FROM heads WHERE org = %s", [org.number])
            ).fetchone()
            known = await (
                await connection.execute("SELECT * FROM commands WHERE org = %s", [org.number])
            ).fetchall()
        assert head is not None
        assert (head["position"], head["hash"]) == (len(rows), link)
        last = {row["command"]: row["position"] for row in rows}
        assert last.items() <= {row["id"]: row["position"] for row in known}.items()
        return rows


def text_of(row: dict[str, Any]) -> str:
    """The text of a stored event."""
    return str(json.loads(row["data"])["organisation_id"])


def link_by_hand(org: Org, previous: bytes, row: dict[str, Any]) -> bytes:
    """The hash of a stored event over all its columns, without our code."""

    def framed(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    moment = (row["recorded_at"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    leaf = b"\x01" + framed(org.id.encode()) + row["position"].to_bytes(8, "big")
    leaf += framed(row["stream"].encode()) + row["version"].to_bytes(4, "big")
    leaf += framed(row["type"].encode()) + row["schema_version"].to_bytes(2, "big")
    leaf += moment.to_bytes(8, "big") + framed(row["command"]) + framed(row["data"])
    return hashlib.sha256(previous + hashlib.sha256(leaf).digest()).digest()
