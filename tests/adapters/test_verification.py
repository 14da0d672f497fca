"""Whatever is done to a stored log, its verification says so, and where."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from adapters.postgres.connections import Connection, Pool, pool
from adapters.postgres.verification import BrokenChain, Verification, verify
from domain import chain
from domain.ports import Org
from tests.adapters.test_recorder import new_org
from tests.conftest import Database

NOON = datetime(2026, 5, 9, 12, tzinfo=UTC)
STREAMS = ("organisation", "channel:a", "chat:b", "chat:c")
EVENTS = 11
Row = dict[str, Any]


def written(org: Org, count: int = EVENTS) -> list[Row]:
    """A log as the writer leaves it."""
    rows, versions, previous = [], dict.fromkeys(STREAMS, 0), chain.GENESIS
    for position in range(1, count + 1):
        stream = STREAMS[position % len(STREAMS)]
        versions[stream] += 1
        row = {
            "position": position,
            "stream": stream,
            "version": versions[stream],
            "type": "chat.receipt_received",
            "schema_version": 1,
            "recorded_at": NOON + timedelta(microseconds=position),
            "command": position.to_bytes(16, "big"),
            "data": b'{"at":"%d"}' % position,
        }
        previous = row["hash"] = link(org, previous, row)
        rows.append(row)
    return rows


def link(org: Org, previous: bytes, row: Row) -> bytes:
    return chain.link(
        previous,
        org_id=org.id.encode(),
        position=row["position"],
        stream=row["stream"].encode(),
        version=row["version"],
        stored_type=row["type"].encode(),
        schema_version=row["schema_version"],
        recorded_at=chain.microseconds(row["recorded_at"]),
        command=row["command"],
        data=row["data"],
    )


class Log:
    """One org's log, and somebody who owns the server and means no good."""

    def __init__(self, url: str, org: Org) -> None:
        self.url = url
        self.org = org

    def store(self, rows: list[Row]) -> None:
        """Write these events in place of all others, with the head that belongs to them."""
        with self.tampering() as connection:
            connection.execute("DELETE FROM events WHERE org = %s", [self.org.number])
            for row in rows:
                connection.execute(
                    "INSERT INTO events VALUES (%(org)s, %(position)s, %(stream)s, %(version)s,"
                    " %(type)s, %(schema_version)s, %(recorded_at)s, %(command)s, %(data)s,"
                    " %(hash)s)",
                    {"org": self.org.number, **row},
                )
            last = rows[-1]
            connection.execute(
                "UPDATE heads SET position = %s, hash = %s, recorded_at = %s WHERE org = %s",
                [last["position"], last["hash"], last["recorded_at"], self.org.number],
            )

    def read(self) -> list[Row]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(
                "SELECT * FROM trunkline.events WHERE org = %s ORDER BY position",
                [self.org.number],
            ).fetchall()

    def change(self, assignment: str, *, position: int) -> None:
        with self.tampering() as connection:
            connection.execute(
                f"UPDATE events SET {assignment} WHERE org = %s AND position = %s",
                [self.org.number, position],
            )

    def change_head(self, assignment: str) -> None:
        with self.tampering() as connection:
            connection.execute(f"UPDATE heads SET {assignment} WHERE org = %s", [self.org.number])

    @contextmanager
    def tampering(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.url) as connection:
            connection.execute("SET search_path = trunkline")
            connection.execute("ALTER TABLE events DISABLE TRIGGER events_are_for_ever")
            yield connection
            connection.execute("ALTER TABLE events ENABLE TRIGGER events_are_for_ever")


@pytest.fixture
def log(database: Database) -> Log:
    log = Log(database.superuser, new_org(database))
    log.store(written(log.org))
    return log


@pytest.fixture
async def readers(database: Database) -> AsyncIterator[Pool]:
    async with pool(database.url, "trunkline_read", size_max=2) as opened:
        yield opened


async def broken(readers: Pool, log: Log) -> tuple[int, str]:
    with pytest.raises(BrokenChain) as found:
        await verify(readers, log.org, page_rows=3)
    return found.value.position, found.value.what


@pytest.mark.parametrize("page_rows", [1, 3, EVENTS, EVENTS + 1, 2_000])
async def test_a_whole_log_is_found_whole_whatever_the_pages(
    readers: Pool, log: Log, page_rows: int
) -> None:
    found = await verify(readers, log.org, page_rows=page_rows)
    assert found == Verification(events=EVENTS, head_hash=log.read()[-1]["hash"])


async def test_an_empty_log_is_whole(readers: Pool, log: Log) -> None:
    with log.tampering() as connection:
        connection.execute("DELETE FROM events WHERE org = %s", [log.org.number])
    log.change_head(f"position = 0, hash = '\\x{chain.GENESIS.hex()}'")
    assert await verify(readers, log.org) == Verification(events=0, head_hash=chain.GENESIS)


@pytest.mark.parametrize(
    "assignment",
    [
        "stream = 'chat:d'",
        "version = version + 100",
        "version = -1",
        "type = 'chat.opened'",
        "schema_version = 2",
        "schema_version = -1",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "recorded_at = 'infinity'",
        "command = '\\x00'",
        "data = '{}'",
        "hash = decode(repeat('00', 32), 'hex')",
        "hash = hash || '\\x00'",
    ],
)
@pytest.mark.parametrize("position", [1, 6, EVENTS])
async def test_a_changed_column_shows_at_its_event(
    readers: Pool, log: Log, assignment: str, position: int
) -> None:
    log.change(assignment, position=position)
    assert await broken(readers, log) == (position, "hash")


async def test_a_removed_event_shows_at_the_next(readers: Pool, log: Log) -> None:
    with log.tampering() as connection:
        connection.execute("DELETE FROM events WHERE org = %s AND position = 4", [log.org.number])
    assert await broken(readers, log) == (5, "position")


async def test_a_removed_last_event_shows_at_the_head(readers: Pool, log: Log) -> None:
    with log.tampering() as connection:
        connection.execute(
            "DELETE FROM events WHERE org = %s AND position = %s", [log.org.number, EVENTS]
        )
    assert await broken(readers, log) == (EVENTS - 1, "head")


async def test_an_event_added_in_front_or_behind_shows(readers: Pool, log: Log) -> None:
    last = log.read()[-1]
    for position, found in ((0, (0, "position")), (EVENTS + 1, (EVENTS, "head"))):
        extra = {**last, "position": position, "version": last["version"] + 1}
        with log.tampering() as connection:
            connection.execute(
                "INSERT INTO events VALUES (%(org)s, %(position)s, %(stream)s, %(version)s,"
                " %(type)s, %(schema_version)s, %(recorded_at)s, %(command)s, %(data)s, %(hash)s)",
                extra,
            )
        assert await broken(readers, log) == found
        with log.tampering() as connection:
            connection.execute(
                "DELETE FROM events WHERE org = %s AND position = %s", [log.org.number, position]
            )


async def test_two_swapped_events_show_at_the_first(readers: Pool, log: Log) -> None:
    for position, moved_to in ((3, 900), (7, 3), (900, 7)):
        log.change(f"position = {moved_to}", position=position)
    assert await broken(readers, log) == (3, "hash")


async def test_a_forger_who_computes_every_hash_again_is_betrayed_by_the_versions(
    readers: Pool, log: Log
) -> None:
    rows = [row for row in log.read() if row["position"] != 4]
    previous = chain.GENESIS
    for position, row in enumerate(rows, start=1):
        row["position"] = position
        previous = row["hash"] = link(log.org, previous, row)
    log.store(rows)
    # Position 4 was its stream's first; the stream's second stood at 8, and stands at 7 now.
    assert await broken(readers, log) == (7, "version")


@pytest.mark.parametrize(
    ("assignment", "position"),
    [
        ("position = position - 1", EVENTS - 1),
        ("position = position + 1", EVENTS),
        ("hash = decode(repeat('00', 32), 'hex')", EVENTS),
        ("recorded_at = recorded_at + interval '1 second'", EVENTS),
    ],
)
async def test_a_changed_head_shows(
    readers: Pool, log: Log, assignment: str, position: int
) -> None:
    log.change_head(assignment)
    assert await broken(readers, log) == (position, "head")


async def test_a_removed_head_shows(readers: Pool, log: Log) -> None:
    with log.tampering() as connection:
        connection.execute("DELETE FROM heads WHERE org = %s", [log.org.number])
    assert await broken(readers, log) == (0, "head")


async def test_the_log_of_one_organisation_is_no_log_of_another(readers: Pool, log: Log) -> None:
    with pytest.raises(BrokenChain):
        await verify(readers, Org(log.org.number, "somebody else"))


async def test_what_is_appended_meanwhile_is_not_looked_at(
    readers: Pool, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head that counts is the one at the beginning."""
    rows = written(log.org, EVENTS + 5)
    pages, usual = 0, readers.connection

    def growing() -> AbstractAsyncContextManager[Connection]:
        """Once the head was read, the log grows."""
        nonlocal pages
        pages += 1
        if pages == 2:
            log.store(rows)
        return usual()

    monkeypatch.setattr(readers, "connection", growing)
    found = await verify(readers, log.org, page_rows=3)
    assert found == Verification(events=EVENTS, head_hash=rows[EVENTS - 1]["hash"])


def test_the_reason_is_a_sentence() -> None:
    assert str(BrokenChain(7, "hash")) == (
        "The log is broken at position 7: it, or the order of events, is not as it was written."
    )
