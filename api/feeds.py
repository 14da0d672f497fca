"""The news of organisations, read from the log once for all live streams of this process (E1).

One task asks for the heads of all organisations that somebody looks at, reads what is new as soon
as the projections show it, and leaves it in a window. Streams take from the window at their own
pace, and one that is behind the window reads the log by itself, a batch at a time: so nothing is
kept for a reader who is slow, and a thousand readers who are not cost one.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from api.problems import TooManyRequests
from api.reading import Reading
from domain.event import Recorded, decode
from domain.ports import Log, Org, Wakener
from projections.engine.checkpoints import position as position_of
from projections.engine.projection import Connection, Projection
from projections.news import TYPES, News, news_of

STREAMS_PER_KEY_MAX = 10
BATCH_EVENTS_MAX = 100
WINDOW_BATCHES_MAX = 50

# Rings are missed when another process appends and the bell has lost its connection.
POLL_SECONDS = 1.0
# However fast the log grows: what comes meanwhile is one batch, and costs little more.
ROUND_PAUSE_SECONDS = 0.01
# While the projections are on their way to what the log has already.
LAG_PAUSE_FIRST_SECONDS = 0.005
LAG_PAUSE_MAX_SECONDS = 0.25

# Who comes eleventh is told to wait until one that has gone away silently was noticed.
RETRY_AFTER_SECONDS = 15

# Why a feed ends, as clients are told.
AWAY = "the database cannot be reached"
CLOSING = "the server is about to end"

_EVENTS = (
    "SELECT position, stream, version, recorded_at, type, schema_version, data"
    " FROM trunkline.events"
    " WHERE org = %(org)s AND position > %(after)s AND position <= %(upto)s"
    " AND type = ANY (%(types)s::text[])"
    " ORDER BY position LIMIT %(limit)s"
)

Made = TypeVar("Made")

logger = logging.getLogger(__name__)


class Batch:
    """The news behind one position and up to another, and what was made of it for viewers."""

    def __init__(self, after: int, upto: int, news: Sequence[News]) -> None:
        self.after = after
        self.upto = upto
        self.news = news
        self._made: dict[Hashable, asyncio.Task[Any]] = {}

    def behind(self, position: int) -> "Batch":
        """What is left of it for somebody who has come to this position."""
        if position == self.after:
            return self
        return Batch(position, self.upto, [each for each in self.news if each.position > position])

    async def once(self, name: Hashable, make: Callable[[], Awaitable[Made]]) -> Made:
        """Make something of the news for all who ask for the same."""
        task = self._made.get(name)
        if task is None:
            task = self._made[name] = asyncio.ensure_future(make())
        made: Made = await asyncio.shield(task)
        return made


class Feed:
    """One organisation's newest news, and who looks at which of its services."""

    def __init__(self, org: Org, position: int) -> None:
        self.org = org
        self.position = position
        self.watchers: dict[str, Counter[str]] = {}  # By service: how often each user.
        self.ended: str | None = None  # Why no more will come.
        self._window: deque[Batch] = deque(maxlen=WINDOW_BATCHES_MAX)
        self._changed = asyncio.Event()

    def add(self, batch: Batch) -> None:
        """Take the next batch in, and wake those who wait for it."""
        self._window.append(batch)
        self.position = batch.upto
        self._wake()

    def end(self, reason: str) -> None:
        """No more will come."""
        self.ended = reason
        self._wake()

    def behind(self, position: int) -> Batch | None:
        """What the window holds next for somebody at this position."""
        for batch in reversed(self._window):
            if batch.after <= position < batch.upto:
                return batch.behind(position)
        return None

    async def changed(self, timeout: float) -> None:
        """Wait for the next batch or the end, but no longer than this."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass(frozen=True)
class Place:
    """A stream's place at a feed, to be left at its end."""

    feed: Feed
    key_id: str
    service: str
    user_id: str


class Feeds:
    """Feeds of the organisations that somebody looks at."""

    def __init__(
        self, log: Log, reading: Reading, bell: Wakener, projections: Sequence[Projection]
    ) -> None:
        """`projections` are those that streams show: nothing is news before all of them have it."""
        self._log = log
        self._reading = reading
        self._bell = bell
        self._projections = projections
        self._feeds: dict[Org, Feed] = {}
        self._streams: Counter[str] = Counter()  # By API key.
        self._wanted = asyncio.Event()
        self._is_closing = False

    @property
    def stream_count(self) -> int:
        """How many streams are open."""
        return self._streams.total()

    # For streams.

    def take(self, org: Org, key_id: str, service: str, user_id: str, *, position: int) -> Place:
        """A place for one more stream; `position` is what projections have reached.

        Raises TooManyRequests.
        """
        if self._streams[key_id] >= STREAMS_PER_KEY_MAX:
            raise TooManyRequests(
                f"This API key has {STREAMS_PER_KEY_MAX} streams open already.",
                retry_after=RETRY_AFTER_SECONDS,
            )
        feed = self._feeds.get(org) or Feed(org, position)
        if self._is_closing:
            feed.end(CLOSING)
        else:
            self._feeds[org] = feed
            self._wanted.set()
        self._streams[key_id] += 1
        feed.watchers.setdefault(service, Counter())[user_id] += 1
        return Place(feed, key_id, service, user_id)

    def leave(self, place: Place) -> None:
        """Give a place back; a feed that nobody looks at is read no more."""
        _discount(self._streams, place.key_id)
        watchers = place.feed.watchers
        _discount(watchers[place.service], place.user_id)
        if not watchers[place.service]:
            del watchers[place.service]
        if not watchers and self._feeds.get(place.feed.org) is place.feed:
            self._drop(place.feed)

    async def next(self, feed: Feed, position: int, *, timeout: float) -> Batch | None:
        """The next batch behind a position; None if there is none within `timeout` seconds."""
        batch = feed.behind(position)
        if batch is None and position < feed.position:
            batch = await self._read(feed.org, position)
        if batch is None:
            await feed.changed(timeout)
            batch = feed.behind(position)
        return batch

    async def reached(self, connection: Connection, org: Org) -> int:
        """How far all projections that streams show have come."""
        positions = [
            await position_of(connection, each, org=org.number) for each in self._projections
        ]
        return min(positions)

    async def head(self, org: Org) -> int:
        """The position of the organisation's newest event."""
        return await self._log.position(org)

    # For the process.

    async def run(self) -> None:
        """Read what is new for all feeds, until cancelled."""
        pause = LAG_PAUSE_FIRST_SECONDS
        while True:
            await self._wanted.wait()
            worked, is_behind = await self._round()
            if worked or not is_behind:
                pause = LAG_PAUSE_FIRST_SECONDS
            if not worked:
                await self._bell.wait(pause if is_behind else POLL_SECONDS)
                pause = min(2 * pause, LAG_PAUSE_MAX_SECONDS)
            await asyncio.sleep(ROUND_PAUSE_SECONDS)

    def close(self) -> None:
        """End all streams, now and from now on: the process is about to end."""
        self._is_closing = True
        self._end_all(CLOSING)

    async def _round(self) -> tuple[bool, bool]:
        """A batch for each feed. Returns whether there was one, and whether one is to come."""
        try:
            heads = await self._log.positions(self._feeds.keys())
        except Exception as error:
            _warn(error)
            self._end_all(AWAY)
            return False, False
        worked = is_behind = False
        for feed in list(self._feeds.values()):
            head = heads.get(feed.org, 0)
            if head > feed.position:
                worked |= await self._advance(feed)
                is_behind |= head > feed.position
        return worked, is_behind

    async def _advance(self, feed: Feed) -> bool:
        try:
            batch = await self._read(feed.org, feed.position)
        except Exception as error:
            _warn(error)
            self._drop(feed)
            feed.end(AWAY)
            return False
        if batch is not None:
            feed.add(batch)
        return batch is not None

    async def _read(self, org: Org, after: int) -> Batch | None:
        """The next batch behind a position, as far as projections show it."""
        parameters = {"org": org.number, "after": after, "types": TYPES, "limit": BATCH_EVENTS_MAX}
        async with self._reading.now(org.number) as connection:
            upto = await self.reached(connection, org)
            if upto <= after:
                return None
            cursor = await connection.execute(_EVENTS, {**parameters, "upto": upto}, binary=True)
            rows = await cursor.fetchall()
        if len(rows) == BATCH_EVENTS_MAX:
            upto = rows[-1][0]
        told = [
            news_of(Recorded(position, stream, version, recorded_at, decode(name, schema, data)))
            for position, stream, version, recorded_at, name, schema, data in rows
        ]
        return Batch(after, upto, [news for news in told if news is not None])

    def _end_all(self, reason: str) -> None:
        for feed in list(self._feeds.values()):
            self._drop(feed)
            feed.end(reason)

    def _drop(self, feed: Feed) -> None:
        self._feeds.pop(feed.org, None)
        if not self._feeds:
            self._wanted.clear()


def _discount(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def _warn(error: Exception) -> None:
    # No message: it may hold what a customer wrote.
    logger.warning(
        "Live streams end, since the log cannot be read", extra={"error": type(error).__name__}
    )
