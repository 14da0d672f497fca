"""The log of all organisations in one database: what commands and their readers see of it."""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime

from adapters.histogram import Histogram
from adapters.postgres.appender import CHANGES_EVENTS_MAX, NEVER, Appender, Change, changes
from adapters.postgres.connections import Pool, lent
from adapters.postgres.writer import Writer
from domain.event import Recorded, decode
from domain.ports import Append, Appended, Clock, Org, ReadsEvent

READ_ROWS_MAX = 5_000

_CHANGES = "SELECT * FROM read_changes(%s::int[], %s::bigint[], %s)"
_POSITION = "SELECT position FROM heads WHERE org = %s"
_POSITIONS = "SELECT org, position FROM heads WHERE org = ANY (%s::int[])"
_STREAM = (
    "SELECT position, version, recorded_at, type, schema_version, data FROM events"
    " WHERE org = %s AND stream = %s AND version > %s ORDER BY version LIMIT %s"
)
_VERSION_AT = (
    "SELECT version FROM events WHERE org = %s AND stream = %s AND position <= %s"
    " ORDER BY version DESC LIMIT 1"
)
_RECORDED_AT = "SELECT recorded_at FROM events WHERE org = %s AND position = %s"


class PostgresLog:
    """Appends durably, reads streams, and knows whether others have written."""

    def __init__(
        self,
        url: str,
        *,
        readers: Pool,
        clock: Clock,
        on_changed: Callable[[int, Collection[str] | None], None] = lambda _org, _streams: None,
        on_appended: Callable[[Collection[int]], None] = lambda _orgs: None,
    ) -> None:
        """`readers` is a pool of role trunkline_project; `on_appended` wakes followers of orgs.

        `on_changed` is told the streams of an org whose states are out of date; None: all.
        """
        self._readers = readers
        self.on_changed = on_changed
        self.on_appended = on_appended
        self._writer = Writer(
            Appender(url),
            clock=clock,
            on_changed=lambda org, streams: self.on_changed(org, streams),
            on_appended=lambda orgs: self.on_appended(orgs),
        )

    @property
    def batch_commands(self) -> Histogram:
        """How many commands were written at once."""
        return self._writer.batch_commands

    @property
    def append_seconds(self) -> Histogram:
        """How long batches were on their way."""
        return self._writer.append_seconds

    async def start(self) -> None:
        """Connect and begin to write. Raises TooPowerful, Unavailable."""
        await self._writer.start()

    async def stop(self) -> None:
        """Write what is queued, then end; what cannot be written in a few seconds is lost."""
        await self._writer.stop()

    def submit(self, append: Append) -> "asyncio.Future[Appended]":
        """Queue a command behind everything queued before.

        Between looking at the states that it was decided on and this call there must be no
        waiting. Raises Unavailable, and ValueError for a command that cannot be stored; the
        future raises AlreadyDone, Conflict, RequestKnown, Unavailable, ValueError.
        """
        return self._writer.pending.submit(append)

    async def append(self, append: Append) -> Appended:
        """Write a command durably. Raises what `submit` and its future raise."""
        return await self._writer.pending.submit(append)

    async def settled(self) -> None:
        """Wait until everything that is queued now is written or lost."""
        await self._writer.pending.settled()

    async def is_current(self, org: Org, *, at_least: int | None = None) -> bool:
        """Whether nobody else had written to the org unseen; afterwards it is known.

        `at_least` is a head somebody has just read, which saves reading it again. What is still
        queued here counts as seen: wait for `settled` first if that matters.
        """
        view = self._writer.view
        overtaken = view.overtaken[org.number]
        if at_least is not None and at_least <= view.position(org.number):
            return True
        position = at_least if at_least is not None else await self.position(org)
        if org.number not in view.heads:
            await self.know(org)
            return False
        if position > view.position(org.number):
            async with self._writer.rest():  # What is being written here is no news.
                if position > view.position(org.number):
                    self._writer.learn(await self._changes(org, since=view.position(org.number)))
        return overtaken == view.overtaken[org.number]

    async def know(self, org: Org) -> None:
        """Know a head from which on changes are noticed; before states are read."""
        if org.number not in self._writer.view.heads:
            for number, change in (await self._changes(org, since=NEVER)).items():
                self._writer.view.heads.setdefault(number, change.head)

    async def _changes(self, org: Org, *, since: int) -> dict[int, Change]:
        async with lent(self._readers) as connection:
            cursor = await connection.execute(
                _CHANGES, [[org.number], [since], CHANGES_EVENTS_MAX], binary=True
            )
            return changes(await cursor.fetchall())

    # Reading.

    async def position(self, org: Org) -> int:
        """The position of the org's newest event; 0 for none."""
        async with lent(self._readers) as connection:
            cursor = await connection.execute(_POSITION, [org.number])
            row = await cursor.fetchone()
        return row[0] if row else 0

    async def positions(self, orgs: Collection[Org]) -> dict[Org, int]:
        """The same for several organisations at once; those without events may be missing."""
        by_number = {org.number: org for org in orgs}
        async with lent(self._readers) as connection:
            cursor = await connection.execute(_POSITIONS, [list(by_number)])
            return {by_number[number]: position for number, position in await cursor.fetchall()}

    async def read_stream(
        self,
        org: Org,
        stream: str,
        *,
        after: int = 0,
        limit: int | None = None,
        read: ReadsEvent = decode,
    ) -> list[Recorded]:
        """One stream's events behind version `after`, in order; all of them without a limit."""
        await self.know(org)
        events: list[Recorded] = []
        while limit is None or len(events) < limit:
            rows_max = READ_ROWS_MAX if limit is None else min(READ_ROWS_MAX, limit - len(events))
            async with lent(self._readers) as connection:
                arguments = [org.number, stream, after, rows_max]
                rows = await (await connection.execute(_STREAM, arguments, binary=True)).fetchall()
            for position, version, recorded_at, stored_type, schema_version, data in rows:
                event = read(stored_type, schema_version, data)
                events.append(Recorded(position, stream, version, recorded_at, event))
            if len(rows) < rows_max:
                break
            after = events[-1].version
        return events

    async def version_at(self, org: Org, stream: str, *, position: int) -> int:
        """The stream's version as of a position of its org; 0 before it began."""
        async with lent(self._readers) as connection:
            cursor = await connection.execute(_VERSION_AT, [org.number, stream, position])
            row = await cursor.fetchone()
        return row[0] if row else 0

    async def recorded_at(self, org: Org, *, position: int) -> datetime | None:
        """When the event at a position of an org was written; None where there is none."""
        async with lent(self._readers) as connection:
            cursor = await connection.execute(_RECORDED_AT, [org.number, position])
            row = await cursor.fetchone()
        return row[0] if row else None
