"""Proves that nothing in an organisation's log was altered, removed, added or reordered (E2).

Every hash is computed again from every stored column. Events are read a page at a time, each page
in a transaction of its own: a verification that takes minutes holds nobody up.
"""

import struct
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec

from adapters.postgres.connections import Pool, pool, within
from domain import chain
from domain.ports import Org

PAGE_ROWS = 2_000

What = Literal["position", "version", "hash", "head"]

# One statement, so one moment: what is appended later is not looked at.
_HEAD = """
SELECT h.position, h.hash,
       CASE WHEN isfinite(recorded_at) THEN (extract(epoch FROM recorded_at) * 1000000)::bigint END,
       (SELECT max(e.position) FROM events e WHERE e.org = h.org)
  FROM heads h
 WHERE h.org = %(org)s
"""
# An infinite time, which no clock gave, becomes NULL.
_EVENTS = """
SELECT position, stream, version, type, schema_version,
       CASE WHEN isfinite(recorded_at) THEN (extract(epoch FROM recorded_at) * 1000000)::bigint END,
       command, data, hash
  FROM events
 WHERE org = %(org)s AND position > %(after)s AND position <= %(until)s
 ORDER BY position
 LIMIT %(limit)s
"""
_BEFORE_ALL = -(2**63)

_REASONS: dict[What, str] = {
    "position": "an event is missing or was added before it",
    "version": "its stream misses an event, or has one too many",
    "hash": "it, or the order of events, is not as it was written",
    "head": "the log does not end where its head says",
}


class BrokenChain(Exception):
    """The log is not what was written. `position` is the first event at which it shows."""

    def __init__(self, position: int, what: What) -> None:
        super().__init__(f"The log is broken at position {position}: {_REASONS[what]}.")
        self.position = position
        self.what = what


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found to be whole: so many events, and the hash that stands for all of them."""

    events: int
    head_hash: bytes


async def verify(
    pool: Pool, org: Org, *, page_rows: int = PAGE_ROWS, with_streams: bool = True
) -> Verification:
    """Check the whole log of one organisation, as of now. Raises BrokenChain.

    With the versions in its streams, memory grows with their number. A log whose end was cut off
    together with its head is whole in itself: only a checkpoint kept elsewhere can tell.
    """
    head = await _head(pool, org)
    walk = _Walk(org, with_streams=with_streams)
    async for row in _events(pool, org, until=head[0], page_rows=page_rows):
        walk.step(*row)
    # A log without events has a head whose time says nothing.
    if head != (walk.position, walk.hash, walk.recorded_at if walk.position else head[2]):
        raise BrokenChain(walk.position, "head")
    return Verification(events=walk.position, head_hash=walk.hash)


async def first_broken_log(url: str) -> tuple[Org, BrokenChain] | None:
    """An organisation whose log is not what was written, and where that shows, if there is one."""
    async with pool(url, "trunkline_project", size_max=1) as connections:
        async with connections.connection() as connection:
            cursor = await connection.execute("SELECT org, id FROM organisations ORDER BY org")
            orgs = [Org(number, org_id) for number, org_id in await cursor.fetchall()]
        for org in orgs:
            try:
                await verify(connections, org, with_streams=False)
            except BrokenChain as broken:
                return org, broken
    return None


class _Walk:
    """The way through the log, and what is known at each step of it."""

    def __init__(self, org: Org, *, with_streams: bool) -> None:
        self.position = 0
        self.hash = chain.GENESIS
        self.recorded_at: int | None = None  # In microseconds.
        self._org_id = org.id.encode()
        self._versions: dict[str, int] | None = {} if with_streams else None

    def step(
        self,
        position: int,
        stream: str,
        version: int,
        stored_type: str,
        schema_version: int,
        recorded_at: int | None,
        command: bytes,
        data: bytes,
        written: bytes,
    ) -> None:
        """One event further."""
        if position != self.position + 1:
            raise BrokenChain(position, "position")
        try:
            link = chain.link(
                self.hash,
                org_id=self._org_id,
                position=position,
                stream=stream.encode(),
                version=version,
                stored_type=stored_type.encode(),
                schema_version=schema_version,
                recorded_at=recorded_at,  # type: ignore[arg-type]
                command=command,
                data=data,
            )
        except struct.error:  # A number that was never written: too large, negative, or none.
            raise BrokenChain(position, "hash") from None
        if link != written:
            raise BrokenChain(position, "hash")
        if self._versions is not None:
            if version != self._versions.get(stream, 0) + 1:
                raise BrokenChain(position, "version")
            self._versions[stream] = version
        self.position, self.hash, self.recorded_at = position, link, recorded_at


async def _head(pool: Pool, org: Org) -> tuple[int, bytes, int | None]:
    """Position, hash and time of the newest event, as the head has them."""
    async with within(pool, org.number) as connection:
        row = await (await connection.execute(_HEAD, {"org": org.number})).fetchone()
    if row is None:
        raise BrokenChain(0, "head")
    position, head_hash, recorded_at, newest = row
    if position != (newest or 0):
        raise BrokenChain(min(position, newest or 0), "head")
    return position, head_hash, recorded_at


async def _events(
    pool: Pool, org: Org, *, until: int, page_rows: int
) -> AsyncIterator[tuple[Any, ...]]:
    after = _BEFORE_ALL
    while True:
        parameters = {"org": org.number, "after": after, "until": until, "limit": page_rows}
        async with within(pool, org.number) as connection:
            cursor = await connection.execute(_EVENTS, parameters, binary=True)
            rows = await cursor.fetchall()
        for row in rows:
            yield row
        if len(rows) < page_rows:
            return
        after = rows[-1][0]
