"""What is written at once: commands' events, numbered and chained on the heads they assume."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adapters.postgres.arrays import framed_text
from domain import chain
from domain.chain import framed
from domain.ports import Org

# An event as the arrays and the chain want it: stream, version, type, schema version, subject
# (see chain), data; all but the numbers framed.
Packed = tuple[bytes, int, bytes, int, bytes, bytes]

_kinds: dict[tuple[str, int], tuple[bytes, bytes]] = {}


def pack(stream: str, version: int, stored_type: str, schema_version: int, data: bytes) -> Packed:
    """All of an event that is known before its position is."""
    kind = stored_type, schema_version
    framed_type, framed_kind = _kinds.get(kind) or _pack_kind(*kind)
    framed_stream = framed_text(stream)
    subject = chain.subject(framed_stream, version, framed_kind)
    return framed_stream, version, framed_type, schema_version, subject, framed(data)


def _pack_kind(stored_type: str, schema_version: int) -> tuple[bytes, bytes]:
    framed_type = framed_text(stored_type)
    kind = framed_type, chain.kind(framed_type, schema_version)
    _kinds[stored_type, schema_version] = kind
    return kind


class Entry:
    """The events of one command, and their place in the log once a batch has numbered them."""

    __slots__ = ("command", "events", "first", "last", "org", "recorded_at")

    def __init__(self, org: Org, command: bytes, events: list[Packed]) -> None:
        self.org = org
        self.command = framed(command)
        self.events = events
        self.first = self.last = self.recorded_at = 0


@dataclass(slots=True)
class Head:
    """The newest event of an org, as this process knows it. `recorded_at` in microseconds."""

    position: int
    hash: bytes
    recorded_at: int


class Batch:
    """Entries grouped by org, each org's in their order."""

    def __init__(self, entries: Iterable[Entry], heads: Mapping[int, Head], *, now: int) -> None:
        """`now` in microseconds."""
        by_org: dict[int, list[Entry]] = {}
        for entry in entries:
            by_org.setdefault(entry.org.number, []).append(entry)
        self.entries = [entry for group in by_org.values() for entry in group]
        self.assumed = {org: heads[org] for org in by_org}
        self.links: list[bytes] = []  # Each event's hash, framed.
        self.next = {org: self._chain(group, heads[org], now) for org, group in by_org.items()}

    def _chain(self, entries: list[Entry], head: Head, now: int) -> Head:
        # No event is earlier than its org's head, so that a time names exactly one position.
        recorded_at = max(now, head.recorded_at)
        instant = chain.instant(recorded_at)
        origin = chain.origin(entries[0].org.id.encode())
        position, link = head.position, head.hash
        for entry in entries:
            entry.first, entry.recorded_at = position + 1, recorded_at
            for *_, subject, data in entry.events:
                position += 1
                link = chain.link_parts(
                    link,
                    origin=origin,
                    position=position,
                    subject=subject,
                    recorded_at=instant,
                    command=entry.command,
                    data=data,
                )
                self.links.append(framed(link))
            entry.last = position
        return Head(position, link, recorded_at)
