"""A command on a chat that is in nobody's memory, of 100,000 messages against one of 100."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import psycopg

from adapters.postgres.connections import pool
from adapters.postgres.directory import Directory
from adapters.postgres.keys import MasterKey
from adapters.postgres.log import PostgresLog
from adapters.postgres.requests import PostgresRequests
from adapters.postgres.snapshots import PostgresSnapshots
from api.commands.execute import Executor
from api.commands.states import SNAPSHOT_EVENTS, States
from api.commands.unit import Unit
from api.system import SystemClock
from domain.chat import Chat
from domain.chat_events import MessageReceived
from domain.event import Sealed
from domain.ports import Org

LONG, SHORT = 100_000, 100
COMMANDS = 300
EVENTS_AT_ONCE = 250

CONTENT = Sealed("contact:kim", bytes(16), bytes(200))


@dataclass(frozen=True)
class Measured:
    """Milliseconds of a command on a cold chat, the median; of the long one also without help."""

    long_ms: float
    short_ms: float
    without_snapshots_ms: float


def measure(url: str, superuser: str) -> Measured:
    """Write both chats, then add a message to each in turn, having forgotten them."""
    return asyncio.run(_measure(url, superuser))


async def _measure(url: str, superuser: str) -> Measured:
    async with _process(url) as (org, states, executor, log):
        for stream, count in (("chat:long", LONG), ("chat:short", SHORT - 1)):
            for start in range(0, count, EVENTS_AT_ONCE):
                await _write(executor, org, stream, min(EVENTS_AT_ONCE, count - start))
        await _kept(superuser, org)
        times: dict[str, list[float]] = {"chat:long": [], "chat:short": []}
        for number in range(COMMANDS):
            # A short chat stays short: each is written to once.
            short = f"chat:short{number}"
            await _write(executor, org, short, SHORT - 1)
            for stream, name in (("chat:long", "chat:long"), (short, "chat:short")):
                states.forget(org.number, None)
                began = time.perf_counter()
                await _write(executor, org, stream, 1)
                times[name].append(time.perf_counter() - began)
        alone = Executor(log, States(log), PostgresRequests(log._readers))
        began = time.perf_counter()
        await _write(alone, org, "chat:long", 1)
        without = time.perf_counter() - began
    return Measured(
        1000 * median(times["chat:long"]), 1000 * median(times["chat:short"]), 1000 * without
    )


@asynccontextmanager
async def _process(url: str) -> AsyncIterator[tuple[Org, States, Executor, PostgresLog]]:
    master = MasterKey(bytes(32))
    async with AsyncExitStack() as stack:
        readers = await stack.enter_async_context(pool(url, "trunkline_project", size_max=4))
        writers = await stack.enter_async_context(pool(url, "trunkline_append", size_max=1))
        lookups = await stack.enter_async_context(pool(url, "trunkline_directory", size_max=1))
        org = await Directory(lookups, master).create_organisation(secrets.token_hex(8))
        log = PostgresLog(url, readers=readers, clock=SystemClock())
        await log.start()
        stack.push_async_callback(log.stop)
        snapshots = PostgresSnapshots(log, readers, writers, master)
        running = asyncio.create_task(snapshots.run())
        stack.callback(running.cancel)
        states = States(log, snapshots)
        yield org, states, Executor(log, states, PostgresRequests(readers)), log


async def _write(executor: Executor, org: Org, stream: str, count: int) -> None:
    def decide(unit: Unit) -> None:
        unit.state(stream, Chat)
        unit.record(
            stream,
            [
                MessageReceived(
                    message_id=secrets.token_hex(13),
                    kind="text",
                    at=datetime.now(UTC),
                    content=CONTENT,
                    key=secrets.token_bytes(32),
                )
                for _ in range(count)
            ],
        )

    await executor.execute(org, decide)


async def _kept(superuser: str, org: Org) -> None:
    """Snapshots are written behind: wait for the last."""
    async with await psycopg.AsyncConnection.connect(superuser, autocommit=True) as connection:
        for _ in range(600):
            cursor = await connection.execute(
                "SELECT max(version) FROM trunkline.snapshots WHERE org = %s", [org.number]
            )
            row = await cursor.fetchone()
            if row is not None and (row[0] or 0) > LONG - EVENTS_AT_ONCE - SNAPSHOT_EVENTS:
                return
            await asyncio.sleep(0.1)
    raise TimeoutError("No snapshot was kept.")
