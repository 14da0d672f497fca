"""The inbox of a busy organisation: followed live, rebuilt from whole streams, and by the library.

Run alone: `python -m benchmarks.projections [EVENTS]`. Where the time goes: README.md.
"""

import asyncio
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from adapters.postgres.connections import Pool, pool
from api.main import PROJECTIONS
from benchmarks import library_projection, limits, synthetic_log
from benchmarks.rebuild_worker import connect
from benchmarks.servers import Server, server
from benchmarks.table import Row, compare, console, show
from projections.engine.runner import ProjectionRunner
from projections.inbox.projection import Inbox

EVENTS = 200_000
LIBRARY_EVENTS = 15_000
MEMORY_EVENTS = (100_000, 1_000_000)
ROUNDS = 3
# Where the streams of a kind are cut in two: ids begin with one of a–z and 2–7, as likely each.
MIDDLE = "k"


@dataclass(frozen=True)
class Log:
    """A database with a log to read."""

    url: str
    superuser: str
    org: int
    events: int


@dataclass(frozen=True)
class Rebuilt:
    """One rebuild."""

    per_second: float
    memory_kib: int  # Of the greediest worker.


@contextmanager
def log(running: Server, story: Iterable[synthetic_log.Said]) -> Iterator[Log]:
    """A fresh database with the log of one organisation."""
    name = f"projections_{secrets.token_hex(4)}"
    with running.database(name, migrated=True) as url:
        superuser = psycopg.conninfo.make_conninfo(running.superuser, dbname=name)
        org, events = synthetic_log.write(superuser, story)
        yield Log(url, superuser, org, events)


def measure(running: Server, *, rounds: int, events: int = EVENTS) -> list[Row]:
    """All ways of getting an inbox from the same log, in turns, and what a rebuild needs for it."""
    rates: dict[str, list[float]] = {}
    with log(running, synthetic_log.busy(events)) as written:
        for _ in range(rounds):
            for name, way in WAYS.items():
                settle(written)
                rate = way(written)
                rates.setdefault(name, []).append(rate)
                console.print(f"  inbox, {name}: {rate:>9,.0f} events/s")
    rebuilt = rates["rebuild"]
    return [
        compare("live inbox ÷ library's ProjectionRunner", rates["live"], rates["library"], 12.0),
        compare("rebuild, 1 worker ÷ ProjectionRunner", rebuilt, rates["library"], 40.0),
        compare("rebuild, 1 worker ÷ COPY-out", rebuilt, rates["copy out"], 0.15),
        compare("rebuild, 1 worker ÷ reading alone", rebuilt, rates["read alone"], None),
        compare("rebuild, 1 worker ÷ COPY-in of its rows", rebuilt, rates["copy alone"], None),
        compare("rebuild, 2 workers ÷ 1", rates["rebuild, 2 workers"], rebuilt, 1.3),
        memory(running),
    ]


def memory(running: Server) -> Row:
    """The most memory that a worker ever has, over a log ten times as long."""
    peaks = []
    for events in MEMORY_EVENTS:
        with log(running, synthetic_log.busy(events)) as written:
            peaks.append(float(rebuild(written).memory_kib))
    short, long = peaks
    ratio = long / short
    return Row(
        "peak memory in KiB of a rebuild, 1,000,000 events ÷ 100,000",
        ratio,
        (ratio, ratio),
        None,
        long,
        short,
        ceiling=1.3,
    )


def settle(log: Log) -> None:
    """Have the server write what the way before has left dirty, so that this one need not."""
    with psycopg.connect(log.superuser, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def copy_out(log: Log) -> float:
    """Events a second that COPY gives out and nobody looks at: as fast as the log can be read."""
    statement = "COPY (SELECT * FROM trunkline.events WHERE org = {}) TO STDOUT (FORMAT binary)"
    with psycopg.connect(log.superuser) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        with cursor.copy(sql.SQL(statement).format(log.org)) as copy:
            for _ in copy:
                pass
        return log.events / (time.perf_counter() - began)


def library(log: Log) -> float:
    """The library's runner, one transaction an event."""
    events = min(LIBRARY_EVENTS, log.events)
    rate = library_projection.run(
        log.url, log.superuser, org_id=synthetic_log.ORG_ID, events=events
    )
    with psycopg.connect(log.superuser) as connection:
        connection.execute("DROP TABLE chats, chats_tracking")
    return rate


def live(log: Log) -> float:
    """Our runner, from an empty inbox to the head of the log."""
    rate = asyncio.run(_live(log))
    with psycopg.connect(log.superuser) as connection:
        for table in _tables(connection):
            connection.execute(sql.SQL("TRUNCATE {}.{}").format(*map(sql.Identifier, table)))
        connection.execute("DELETE FROM trunkline.checkpoints")
    return rate


def _tables(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """Of the inbox that serves."""
    return connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = %s",
        [f"{Inbox.name}_{Inbox.version}_1"],
    ).fetchall()


class _Patience:
    """Nobody rings: all events are there from the beginning."""

    async def wait(self, timeout: float) -> bool:
        await asyncio.sleep(timeout)
        return False

    def grown(self) -> None:
        return None


async def _live(log: Log) -> float:
    inbox = [each for each in PROJECTIONS if isinstance(each, Inbox)]
    async with pool(log.url, "trunkline_project", size_max=3) as connections:
        runner = ProjectionRunner(connections.connection, inbox, _Patience)
        began = time.perf_counter()
        running = asyncio.create_task(runner.run())
        while await _position(connections) < log.events:  # noqa: ASYNC110 - Nobody rings here either.
            await asyncio.sleep(0.02)
        seconds = time.perf_counter() - began
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return log.events / seconds


async def _position(connections: Pool) -> int:
    async with connections.connection() as connection:
        cursor = await connection.execute("SELECT max(position) FROM trunkline.checkpoints")
        row = await cursor.fetchone()
    return row[0] or 0 if row else 0


def read_alone(log: Log) -> float:
    """Events a second where a rebuild's reading is all there is."""
    seconds = asyncio.run(
        limits.read_alone(log.url, schema="public", org=log.org, position=log.events)
    )
    return log.events / seconds


def copy_alone(log: Log) -> float:
    """Events a second where writing a rebuild's rows is all there is."""
    with empty_build(log) as filled, empty_build(log) as empty:
        fill(log, filled, workers=2)
        return log.events / limits.copy_alone(log.superuser, filled=filled, empty=empty)


def rebuild(log: Log, *, workers: int = 1) -> Rebuilt:
    """Tables of a build, from nothing to indexes and counts, by so many processes."""
    with empty_build(log) as schema:
        return fill(log, schema, workers=workers)


@contextmanager
def empty_build(log: Log) -> Iterator[str]:
    """A schema with the inbox's tables, bare."""
    schema = f"build_{secrets.token_hex(4)}"
    _make_tables(log, schema)
    yield schema
    with psycopg.connect(log.superuser) as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


def fill(log: Log, schema: str, *, workers: int) -> Rebuilt:
    """Fill an empty build from the log."""
    processes = [_worker(log, schema) for _ in range(workers)]
    began = time.perf_counter()
    for kind in Inbox.filling.stream_order:
        for process, bounds in zip(processes, _slices(kind, workers), strict=True):
            _tell(process, f"{log.org} {log.events} {' '.join(bounds)}")
        for process in processes:
            _expect(process, "done")
    asyncio.run(_complete(log, schema))
    seconds = time.perf_counter() - began
    memory = [int(process.communicate()[0]) for process in processes]
    return Rebuilt(log.events / seconds, max(memory))


def _slices(kind: str, workers: int) -> list[tuple[str, str]]:
    # In ASCII, `;` follows `:`.
    first, last, middle = f"{kind}:", f"{kind};", f"{kind}:{MIDDLE}"
    return [(first, last)] if workers == 1 else [(first, middle), (middle, last)]


def _make_tables(log: Log, schema: str) -> None:
    """Bare, and without row security, under which nothing can be copied into a table."""
    with psycopg.connect(log.superuser) as connection:
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        connection.execute(sql.SQL("SET LOCAL search_path = {}").format(name))
        connection.execute(Inbox.filling.tables.encode())
        connection.execute(
            sql.SQL(
                "GRANT USAGE ON SCHEMA {0} TO trunkline_project;"
                "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {0} TO trunkline_project"
            ).format(name)
        )


async def _complete(log: Log, schema: str) -> None:
    with psycopg.connect(log.superuser) as connection:
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        connection.execute(Inbox.filling.indexes.encode())
    async with await connect(log.url, schema) as projector:
        await Inbox.filling.finish(projector, log.org)


def _worker(log: Log, schema: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.rebuild_worker", log.url, schema],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _expect(process, "ready")
    return process


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _expect(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


WAYS: dict[str, Callable[[Log], float]] = {
    "copy out": copy_out,
    "library": library,
    "live": live,
    "rebuild": lambda log: rebuild(log).per_second,
    "rebuild, 2 workers": lambda log: rebuild(log, workers=2).per_second,
    "read alone": read_alone,
    "copy alone": copy_alone,
}


if __name__ == "__main__":
    with server() as running:
        show(measure(running, rounds=ROUNDS, events=int(sys.argv[1]) if sys.argv[1:] else EVENTS))
