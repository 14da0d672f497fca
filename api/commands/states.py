"""States of streams, as the commands of this process will have left them.

A state here may be ahead of the log: it includes what is still being written. If that is lost,
the log says so through `forget`, and the next one who asks reads the stream again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from domain.aggregates import aggregate_of
from domain.ports import Log, Org

STATES_KEPT_MAX = 50_000

Key = tuple[int, str]


@dataclass(slots=True)
class Entry:
    """One stream's state, its version, and how many commands on it are being written."""

    state: Any
    version: int
    writing: int = 0


class States:
    """A cache of states, filled from the log."""

    def __init__(self, log: Log) -> None:
        """Takes over the log's word on what has changed."""
        self._log = log
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
            state, evolve = aggregate_of(stream)
            recorded = await self._log.read_stream(org, stream)
            for each in recorded:
                state = evolve(state, each.event)
            # If the stream changed while it was read, this task was disowned: somebody asks again.
            if self._loading.get(key) is own and key not in self._entries:
                self._entries[key] = Entry(state, recorded[-1].version if recorded else 0)
                self._evict()
        finally:
            if self._loading.get(key) is own:
                del self._loading[key]

    def advance(self, org: Org, stream: str, state: Any, version: int) -> Entry:
        """Put a state that is being written in the place of its predecessor; see `written`."""
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
