"""Durable appends: our log with everything on, the library's recorder, plain inserts."""

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from adapters.postgres.connections import pool
from adapters.postgres.directory import Directory
from adapters.postgres.keys import MasterKey, OrgKeys
from adapters.postgres.log import PostgresLog
from benchmarks.servers import Server, pgbench
from domain.chat_events import MessageReceived
from domain.event import encode
from domain.ports import Append, Keys, NewEvent, Org

SECONDS = 3.0
STREAMS = 10_000
CONTENT = b'{"text":"' + b"Where is my order A-1029? " * 8 + b'"}'
AT = datetime(2026, 11, 21, 9, tzinfo=UTC)

_INSERT = """\\set stream random(1, 9000000000000000000)
INSERT INTO plain (stream, version, data)
VALUES ('chat:' || :stream, 1, decode(repeat('ab', {size}), 'hex'));
"""


@dataclass(frozen=True)
class Measured:
    """Events a second, and how long one took."""

    per_second: float
    p50_ms: float
    p99_ms: float


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def ours(server: Server, *, in_flight: int) -> Measured:
    """Sealed, chained, deduplicated, checked appends by so many commands at a time."""
    with server.database(f"ours_{secrets.token_hex(4)}", migrated=True) as address:
        return asyncio.run(_ours(address, in_flight))


async def _ours(address: str, in_flight: int) -> Measured:
    async with (
        pool(address, "trunkline_project", size_max=2) as readers,
        pool(address, "trunkline_directory", size_max=2) as lookups,
    ):
        directory = Directory(lookups, MasterKey(bytes(32)))
        org = await directory.create_organisation("benchmark")
        keys = await directory.keys(org.number)
        keys.new_key("contact:one")
        log = PostgresLog(address, readers=readers, clock=_Clock())
        await log.start()
        latencies: list[float] = []
        end = time.perf_counter() + SECONDS
        began = time.perf_counter()
        clients = [_client(log, org, keys, n, in_flight, end, latencies) for n in range(in_flight)]
        await asyncio.gather(*clients)
        seconds = time.perf_counter() - began
        # What was counted is there, and nothing else.
        assert await log.position(org) == len(latencies)
        await log.stop()
    latencies.sort()
    return Measured(
        len(latencies) / seconds,
        latencies[len(latencies) // 2] * 1000,
        latencies[len(latencies) * 99 // 100] * 1000,
    )


async def _client(
    log: PostgresLog,
    org: Org,
    keys: Keys,
    number: int,
    in_flight: int,
    end: float,
    latencies: list[float],
) -> None:
    streams = [f"chat:{number}-{n}" for n in range(max(STREAMS // in_flight, 1))]
    version = 0
    while True:
        version += 1
        for stream in streams:
            began = time.perf_counter()
            if began >= end:
                return
            new = NewEvent(stream, version, event(keys, stream))
            command = secrets.token_bytes(32)
            read = [(stream, version - 1)]
            await log.submit(Append(org=org, command=command, events=[new], read=read))
            latencies.append(time.perf_counter() - began)


def event(keys: Keys, stream: str) -> MessageReceived:
    """A customer's message of ordinary length, sealed."""
    content = keys.seal(CONTENT, stream=stream, event=MessageReceived, key_id="contact:one")
    return MessageReceived(
        message_id="m" * 26, kind="text", at=AT, content=content, key=secrets.token_bytes(16)
    )


def stored_size() -> int:
    """Bytes of such an event as it is stored."""
    keys = OrgKeys(Org(1, "o"), wrapping_key=bytes(32), identity_key=bytes(32))
    keys.new_key("contact:one")
    return len(encode(event(keys, "chat:0-0")))


def library(server: Server, *, threads: int) -> float:
    """Events a second of the library's PostgreSQL recorder, one event a save, safe mode."""
    with server.database(f"library_{secrets.token_hex(4)}") as address:
        parts = conninfo_to_dict(address)
        datastore = PostgresDatastore(
            dbname=str(parts["dbname"]),
            host=str(parts["host"]),
            port=str(parts.get("port", "5432")),
            user=str(parts["user"]),
            password="",
            pool_size=threads,
        )
        recorder = PostgresApplicationRecorder(datastore, events_table_name="stored_events")
        recorder.create_table()
        state = bytes(stored_size())

        def save(is_time: Callable[[], bool]) -> int:
            count = 0
            while is_time():
                stored = StoredEvent(uuid4(), 1, "chat.message_received", state)
                recorder.insert_events([stored])
                count += 1
            return count

        rate = in_threads(save, threads=threads)
        datastore.close()
        return rate


def in_threads(work: Callable[[Callable[[], bool]], int], *, threads: int) -> float:
    """How often a second threads do something; each works while it `is_time`, and counts."""
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        futures = [
            pool.submit(work, lambda: time.perf_counter() < began + SECONDS) for _ in range(threads)
        ]
        count = sum(future.result() for future in futures)
    return count / (time.perf_counter() - began)


def plain(server: Server, *, clients: int) -> float:
    """Events a second of single-row inserts without any order, check or chain."""
    with server.database(f"plain_{secrets.token_hex(4)}") as address:
        with psycopg.connect(address) as connection:
            connection.execute(
                "CREATE TABLE plain (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                " stream text NOT NULL, version int NOT NULL, data bytea NOT NULL,"
                " UNIQUE (stream, version))"
            )
        script = _INSERT.format(size=stored_size())
        return pgbench(address, script, clients=clients, seconds=int(SECONDS))
