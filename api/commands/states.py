"""States of streams, as the commands of this process will have left them.

A state here may be ahead of the log: it includes what is still being written. If that is lost,
the log says so through `forget`, and the next one who asks reads the stream again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.commands.snapshots import StrangeState, code_of, decode_state, encode_state
from domain.aggregates import AGGREGATES, aggregate_of
from domain.event import Recorded
from domain.ports import Appended, Log, NewEvent, NewSnapshot, Org, Snapshots

STATES_KEPT_MAX = 50_000

# A longer stream has a snapshot, which is never many more events behind.
SNAPSHOT_EVENTS = 100
PAGE_EVENTS = 1_000

Key = tuple[int, str]


@dataclass(slots=True)
class Entry:
    """One stream's state, its version, and how many commands on it are being written."""

    state: Any
    version: int
    writing: int = 0


class States:
    """A cache of states, filled from the log."""

    def __init__(self, log: Log, snapshots: Snapshots | None = None) -> None:
        """Takes over the log's word on what has changed."""
        self._log = log
        self._snapshots = snapshots
        if snapshots is not None:
            for kind in AGGREGATES:
                code_of(kind)  # Now, while the files are those that this process runs.
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._loading: dict[Key, asyncio.Task[None]] = {}
        log.on_changed = self.forget

    def get(self, org: Org, stream: str) -> Entry | None:
        """The state if it is at hand."""
        return self._entries.get((org.number, stream))

    async def load(self, org: Org, stream: str) -> None:
        """Read a stream into the cache; those who ask at the same time share the reading."""
        key = (org.number, stream)
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(org, stream))
        await asyncio.shield(task)

    async def _load(self, org: Org, stream: str) -> None:
        key = (org.number, stream)
        own = asyncio.current_task()
        try:
            state, version = await self._fold(org, stream)
            # If the stream changed while it was read, this task was disowned: somebody asks again.
            if self._loading.get(key) is own and key not in self._entries:
                self._entries[key] = Entry(state, version)
                self._evict()
        finally:
            if self._loading.get(key) is own:
                del self._loading[key]

    async def _fold(self, org: Org, stream: str) -> tuple[Any, int]:
        """A stream's state and version as the log has them, read page by page."""
        _, evolve = aggregate_of(stream)
        state, version, page = await self._first_page(org, stream)
        events_read = 0
        while page:
            for each in page:
                state = evolve(state, each.event)
            events_read += len(page)
            last = page[-1]
            version, page = last.version, await self._page_behind(org, stream, page)
        if events_read >= SNAPSHOT_EVENTS:
            self._keep(org, stream, state, version, last.position, last.recorded_at)
        return state, version

    async def _first_page(self, org: Org, stream: str) -> tuple[Any, int, list[Recorded]]:
        """What to begin with: the state and version of a snapshot, and the events behind it."""
        empty, _ = aggregate_of(stream)
        if self._snapshots is not None:
            code = code_of(stream)
            snapshot, page = await self._snapshots.restore(
                org, stream, code=code, limit=PAGE_EVENTS
            )
            if snapshot is None:
                return empty, 0, page
            try:
                return decode_state(stream, snapshot.state), snapshot.version, page
            except StrangeState:
                self._snapshots.forget(org, stream, code=code)
        return empty, 0, await self._log.read_stream(org, stream, limit=PAGE_EVENTS)

    async def _page_behind(self, org: Org, stream: str, page: Sequence[Recorded]) -> list[Recorded]:
        if len(page) < PAGE_EVENTS:
            return []
        return await self._log.read_stream(org, stream, after=page[-1].version, limit=PAGE_EVENTS)

    def note_written(
        self,
        org: Org,
        events: Sequence[NewEvent],
        left: Iterable[tuple[str, Any, int]],
        appended: Appended,
    ) -> None:
        """Keep some of the states that a command has left behind; they are in the log by now."""
        for stream, state, version in left:
            if version % SNAPSHOT_EVENTS < len(events):
                places = [place for place, each in enumerate(events) if each.stream == stream]
                if version % SNAPSHOT_EVENTS < len(places):
                    position = appended.first + places[-1]
                    self._keep(org, stream, state, version, position, appended.recorded_at)

    def _keep(
        self,
        org: Org,
        stream: str,
        state: Any,
        version: int,
        position: int,
        recorded_at: datetime,
    ) -> None:
        if self._snapshots is not None:
            self._snapshots.keep(
                org,
                stream,
                NewSnapshot(
                    code=code_of(stream),
                    version=version,
                    position=position,
                    recorded_at=recorded_at,
                    state=encode_state(state),
                ),
            )

    def advance(self, org: Org, stream: str, state: Any, version: int) -> Entry:
        """Put a state that is being written in its predecessor's place; `writing` counts it."""
        entry = self._entries.get((org.number, stream))
        if entry is None:
            entry = self._entries[org.number, stream] = Entry(state, version)
        entry.state, entry.version = state, version
        entry.writing += 1
        self._entries.move_to_end((org.number, stream))
        return entry

    def forget(self, org: int, streams: Collection[str] | None) -> None:
        """These states, or with None all of the org, may be wrong."""
        if streams is None:
            streams = [
                stream for number, stream in [*self._entries, *self._loading] if number == org
            ]
        for stream in streams:
            self._entries.pop((org, stream), None)
            self._loading.pop((org, stream), None)

    def _evict(self) -> None:
        # A state that is being written must stay: the log does not have it yet.
        surplus = len(self._entries) - STATES_KEPT_MAX
        if surplus <= 0:
            return
        idle = (key for key, entry in self._entries.items() if not entry.writing)
        for key in [key for key, _ in zip(idle, range(surplus), strict=False)]:
            del self._entries[key]
