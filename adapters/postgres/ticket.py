"""Commands that wait to be written, and which of them fit."""

import asyncio
from collections.abc import Collection, Iterable, Mapping

from adapters.postgres.batch import Entry, Packed, pack
from domain import chain
from domain.event import encode
from domain.ports import Append, Appended, NewEvent

Stream = tuple[int, str]  # The org's number, and the stream.
# What only one command of a batch may take: an address, a person's key, an idempotency key.
Claim = tuple[int, str, bytes | str]


class Ticket(Entry):
    """A command that waits, packed as far as can be done meanwhile.

    A caller who stops waiting changes nothing: the command is written all the same, because
    others may have been decided on what it leaves behind.
    """

    __slots__ = (
        "append",
        "claims",
        "done",
        "expected",
        "is_lost",
        "is_settled",
        "leaves",
        "serial",
    )

    def __init__(self, append: Append, done: asyncio.Future[Appended], serial: int) -> None:
        """Raises ValueError where an event's version does not follow from what was read."""
        self.append = append
        self.done = done
        self.serial = serial
        self.is_settled = False
        self.is_lost = False  # It was sent, and its answer was lost.
        # The versions that its decision saw, and those in which it leaves the streams it writes.
        org = append.org.number
        self.expected: dict[Stream, int] = {(org, each): at for each, at in append.read}
        self.leaves: dict[Stream, int] = {}
        events = [self._pack((org, new.stream), new) for new in append.events]
        super().__init__(append.org, append.command, events)
        self.claims = _claims(append)

    def _pack(self, stream: Stream, new: NewEvent) -> Packed:
        before = self.leaves.get(stream)
        if before is None:
            before = self.expected.setdefault(stream, new.version - 1)
        if new.version != before + 1:
            raise ValueError(f"Version {new.version} of {new.stream} cannot follow {before}.")
        self.leaves[stream] = new.version
        event = new.event
        data = encode(event)
        return pack(new.stream, new.version, event.stored_type, event.schema_version, data)

    def touches(self, streams: Collection[Stream]) -> bool:
        """Whether its decision read, or it writes, one of these streams."""
        return not self.expected.keys().isdisjoint(streams)

    @property
    def place(self) -> Appended:
        """Where it stands in the log, once its batch is written."""
        return Appended(self.first, self.last, chain.moment(self.recorded_at))

    def settle(self, outcome: Appended | Exception) -> None:
        """Tell the caller what became of it."""
        self.is_settled = True
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


def _claims(append: Append) -> Collection[Claim]:
    if not (append.keys or append.addresses or append.dropped_addresses or append.idempotent):
        return ()
    org = append.org.number
    claims: set[Claim] = {(org, "key", key.id) for key in append.keys}
    claims.update((org, "address", claim.key) for claim in append.addresses)
    claims.update((org, "address", key) for key in append.dropped_addresses)
    if append.idempotent is not None:
        claims.add((org, "request", append.idempotent.key))
    return claims


class Sorting:
    """Tickets in their order, sorted into those that can be written together and the others."""

    def __init__(
        self,
        tickets: Iterable[Ticket],
        known: Mapping[Stream, int],
        ahead: Mapping[Stream, int],
    ) -> None:
        """`known` are the newest versions of streams in the log, `ahead` of those on their way."""
        self.fits: list[Ticket] = []
        # Decided on what is not the newest, or taking what a ticket before them takes.
        self.misfits: list[Ticket] = []
        # Decided on something newer than what is known here: the log has grown unseen.
        self.better_informed: list[Ticket] = []
        self.twins: dict[Ticket, Ticket] = {}  # With the command id of a ticket before them.
        self.outdated: set[Stream] = set()  # Misfits have seen versions older than the log's.
        self.versions: dict[Stream, int] = {}  # Of all streams touched, as the tickets leave them.
        self.unproven: dict[Stream, int] = {}  # Taken for the newest without being known.
        self._known, self._ahead = known, ahead
        self._claimed: set[Claim] = set()
        commands: dict[tuple[int, bytes], Ticket] = {}
        for ticket in tickets:
            twin = commands.setdefault((ticket.org.number, ticket.command), ticket)
            if twin is not ticket:
                self.twins[ticket] = twin
            else:
                self._place_of(ticket).append(ticket)

    def _place_of(self, ticket: Ticket) -> list[Ticket]:
        for stream, version in ticket.expected.items():
            known = self._version(stream, supposed=version)
            if version > known:
                return self.better_informed
            if version < known:
                if version < self._known.get(stream, version):
                    self.outdated.add(stream)
                return self.misfits
        if ticket.claims:
            if not self._claimed.isdisjoint(ticket.claims):
                return self.misfits
            self._claimed.update(ticket.claims)
        self.versions.update(ticket.leaves)
        return self.fits

    def _version(self, stream: Stream, *, supposed: int) -> int:
        version = self.versions.get(stream)
        if version is None:
            version = self._ahead.get(stream)
            if version is None:
                version = self._known.get(stream)
                if version is None:
                    version = self.unproven[stream] = supposed
            self.versions[stream] = version
        return version
