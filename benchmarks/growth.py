"""What must not grow: a page of the inbox with its chats, a message with the users, and waiting.

`python -m benchmarks.growth` runs these rows alone.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

import psycopg
import uvloop
from psycopg import sql

from api.main import PROJECTIONS, Core, Database, core
from api.processes import projecting
from api.server import collect_seldom
from api.settings import Settings
from benchmarks import synthetic_log
from benchmarks.projections import Log, empty_build, fill, log
from benchmarks.rebuild_worker import connect
from benchmarks.servers import Server, server
from benchmarks.synthetic_log import BEGAN_AT, SERVICES, Said
from benchmarks.table import Row, compare, compare_times, console, show
from domain import chat, chat_events, organisation, reader
from domain.event import Sealed
from domain.ports import Append, NewEvent, Org
from projections.inbox.projection import Inbox
from projections.inbox.queries import chats_page
from projections.inbox.rows import ChatCursor
from projections.media import Media

CHATS = (1_000, 1_000_000)
PAGES = 500
PAGE_CHATS = 50

USERS = (10, 10_000)
IN_FLIGHT = 64
MESSAGES_EACH = 80
COMMAND_EVENTS = 250
ROUNDS = 5

WATCHED = 500  # Messages, one after the other.
# Who looked all the time would slow down what is measured; when it committed, the server remembers.
REST_SECONDS = 0.015
_COMMITTED_AT = """
SELECT pg_xact_commit_timestamp(xmin) FROM trunkline.checkpoints
 WHERE projection = %s AND org = %s
"""

SEALED = Sealed("contact:kim", bytes(16), bytes(200))


def measure(running: Server) -> list[Row]:
    """All of it."""
    with running.database(f"growth_{secrets.token_hex(4)}", migrated=True) as address:
        rows = uvloop.run(_messages(address))
    return [*rows, *pages(running)]


# A page of the inbox.


def pages(running: Server) -> list[Row]:
    """The newest page, and pages anywhere, of an inbox of a thousand chats and of a million."""
    few, many = (_page_seconds(running, chats) for chats in CHATS)
    what = f"of the inbox at {CHATS[1]:,} chats ÷ at {CHATS[0]:,}"
    return [
        compare_times(f"the newest page {what}", [many.newest], [few.newest], 2.0),
        compare_times(f"a page anywhere {what}", [many.anywhere], [few.anywhere], None),
    ]


@dataclass(frozen=True)
class _Pages:
    """Seconds, medians."""

    newest: float
    anywhere: float


def _page_seconds(running: Server, chats: int) -> _Pages:
    with log(running, synthetic_log.greetings(chats)) as written, empty_build(written) as schema:
        fill(written, schema, workers=2)
        with psycopg.connect(written.superuser, autocommit=True) as connection:
            connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
            connection.execute("VACUUM (ANALYZE)")
        pages = asyncio.run(_read_pages(written, schema, chats))
    console.print(
        f"  a page of {PAGE_CHATS} of {chats:,} chats: the newest {1000 * pages.newest:.2f} ms,"
        f" anywhere {1000 * pages.anywhere:.2f} ms"
    )
    return pages


async def _read_pages(written: Log, schema: str, chats: int) -> _Pages:
    media = f"{Media.name}_{Media.version}_1"  # Messages are shown with what is known of files.
    async with await connect(written.url, schema) as connection:
        path = sql.SQL("SET search_path = {}, {}")
        await connection.execute(path.format(sql.Identifier(schema), sql.Identifier(media)))

        async def seconds(after: ChatCursor | None) -> float:
            began = time.perf_counter()
            page = await chats_page(
                connection,
                org=written.org,
                service=SERVICES[0],
                view="all",
                viewer="",
                after=after,
                limit=PAGE_CHATS,
            )
            passed = time.perf_counter() - began
            assert len(page) == PAGE_CHATS
            return passed

        newest = [await seconds(None) for _ in range(PAGES)]
        # They wrote a second after each other, so each of these pages begins elsewhere.
        places = [chats * (1 - 0.9 * number / PAGES) for number in range(PAGES)]
        cursors = [ChatCursor(BEGAN_AT + timedelta(seconds=place), "") for place in places]
        return _Pages(median(newest), median([await seconds(after) for after in cursors]))


# Messages, from the append to where all projections show them.


@dataclass
class _Office:
    """An organisation in which customers write and all projections follow."""

    parts: Core
    org: Org
    chats: list[str] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)

    async def tell(self, said: Sequence[Said]) -> int:
        """Append events as one command. Returns the position of the last."""
        read = {stream: self.versions.get(stream, 0) for stream, _ in said}
        events = []
        for stream, event in said:
            version = self.versions[stream] = self.versions.get(stream, 0) + 1
            events.append(NewEvent(stream, version, event))
        command = secrets.token_bytes(32)
        append = Append(org=self.org, command=command, events=events, read=list(read.items()))
        return (await self.parts.context.log.submit(append)).last

    async def open(self, users: int) -> None:
        """Two services on one number, customers, and users who have looked at them."""
        story = [*synthetic_log.greetings(IN_FLIGHT), *_users(users)]
        self.chats = [
            event.chat_id for _, event in story if isinstance(event, chat_events.ChatStarted)
        ]
        for start in range(0, len(story), COMMAND_EVENTS):
            position = await self.tell(story[start : start + COMMAND_EVENTS])
        await self.shown(position)

    async def messages(self) -> float:
        """Messages a second, until the last is shown."""
        began = time.perf_counter()
        positions = await asyncio.gather(*(self._writes(chat_id) for chat_id in self.chats))
        await self.shown(max(positions))
        return IN_FLIGHT * MESSAGES_EACH / (time.perf_counter() - began)

    async def _writes(self, chat_id: str) -> int:
        for _ in range(MESSAGES_EACH):
            position = await self.tell([_message(chat_id)])
        return position

    async def shown(self, position: int) -> None:
        """Until every projection has it."""
        while not await self.parts.reading.reached(self.org.number, position, *PROJECTIONS):
            pass


def _users(count: int) -> Iterator[Said]:
    for number in range(count):
        user_id, service = f"user{number}", SERVICES[number % len(SERVICES)]
        added = organisation.UserAdded(
            added_user_id=user_id, role="agent", services={service: "reply"}, profile=SEALED
        )
        yield organisation.STREAM, added
        visited = reader.ServiceVisited(user_id=user_id, service=service)
        yield reader.stream_of(user_id, service), visited


def _message(chat_id: str) -> Said:
    message = chat_events.MessageReceived(
        message_id=secrets.token_hex(13),
        kind="text",
        at=datetime.now(UTC),
        content=SEALED,
        key=secrets.token_bytes(32),
    )
    return chat.stream_of(chat_id), message


@asynccontextmanager
async def _running(address: str) -> AsyncIterator[Core]:
    """The API's process with the projector in it, as `trunkline serve` has them."""
    settings = Settings(home=Path("."), database_url=address, master_key=bytes(32))
    where = Database(address, address, None, False)
    collect_seldom()
    async with core(settings, where) as parts, projecting(parts):
        yield parts


async def _messages(address: str) -> list[Row]:
    async with _running(address) as parts:
        offices = [await _opened(parts, users) for users in USERS]
        # Before the log grows by thousands: the server is busy with them for a while afterwards.
        seen = await _seen(offices[0])
        rates: list[list[float]] = [[], []]
        for number in range(ROUNDS):
            for place in (0, 1) if number % 2 else (1, 0):
                rates[place].append(await offices[place].messages())
        for users, some in zip(USERS, rates, strict=True):
            console.print(f"  messages with {users:,} users: {median(some):,.0f}/s until shown")
        few, many = rates
        what = f"messages until shown, {USERS[1]:,} users ÷ {USERS[0]}"
        return [compare(what, many, few, 1 / 1.1), seen]


async def _opened(parts: Core, users: int) -> _Office:
    office = _Office(parts, await parts.directory.create_organisation(secrets.token_hex(8)))
    await office.open(users)
    return office


async def _seen(office: _Office) -> Row:
    """How long a message takes from its append's beginning until the inbox's commit.

    Messages come one by one, each when all projections have the one before it.
    """
    appends, shown = [], []
    async with office.parts.all_orgs.connection() as connection:
        for number in range(WATCHED):
            began_at, began = datetime.now(UTC), time.perf_counter()
            position = await office.tell([_message(office.chats[number % IN_FLIGHT])])
            appends.append(time.perf_counter() - began)
            await asyncio.sleep(REST_SECONDS)
            await office.shown(position)
            cursor = await connection.execute(_COMMITTED_AT, [Inbox.name, office.org.number])
            row = await cursor.fetchone()
            assert row is not None
            shown.append((row[0] - began_at).total_seconds())
    p50, p99, append = median(shown), quantiles(shown, n=100)[98], median(appends)
    console.print(
        f"  a message in the inbox: p50 {1000 * p50:.2f} ms, p99 {1000 * p99:.2f} ms after its"
        f" append began; the append itself p50 {1000 * append:.2f} ms"
    )
    what = "append to visible in the inbox, p99 ÷ an append's p50"
    return compare_times(what, [p99], [append], 5)


if __name__ == "__main__":
    with server() as running:
        show(measure(running))
