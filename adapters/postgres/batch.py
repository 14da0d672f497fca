"""One batch of commands on its way to the log: its order, its chain, its arguments."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.postgres import arrays
from adapters.postgres.arrays import Array
from domain import chain
from domain.event import encode
from domain.ports import AddressClaim, Append, Appended


@dataclass(slots=True)
class Head:
    """The newest event of an org, as this process knows it. `recorded_at` in microseconds."""

    position: int
    hash: bytes
    recorded_at: int


@dataclass(slots=True, eq=False)
class Ticket:
    """A command that waits to be written, with its events as they will be stored."""

    append: Append
    done: asyncio.Future[Appended]
    data: list[bytes] = field(init=False)
    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        self.data = [encode(new.event) for new in self.append.events]

    @property
    def written(self) -> set[str]:
        """The streams it writes."""
        return {new.stream for new in self.append.events}

    def touches(self, streams: Iterable[str]) -> bool:
        """Whether its decision read, or it writes, one of these streams."""
        own = self.written | {stream for stream, _ in self.append.read}
        return not own.isdisjoint(streams)


class Batch:
    """Tickets in their order, numbered and chained on top of the heads they assume."""

    def __init__(self, tickets: Sequence[Ticket], heads: Mapping[int, Head], *, now: int) -> None:
        """Number and chain. `now` in microseconds; no event is earlier than its org's head."""
        self.tickets = tickets
        self.assumed = {
            number: heads[number] for number in sorted({t.append.org.number for t in tickets})
        }
        self.next = {
            number: Head(head.position, head.hash, max(head.recorded_at, now))
            for number, head in self.assumed.items()
        }
        self._events: list[tuple[int, int, bytes, int, bytes, int, int, bytes, bytes, bytes]] = []
        for ticket in tickets:
            self._add(ticket)

    def _add(self, ticket: Ticket) -> None:
        append = ticket.append
        number, org_id, command = append.org.number, append.org.id.encode(), append.command
        head = self.next[number]
        ticket.first = head.position + 1
        for new, data in zip(append.events, ticket.data, strict=True):
            head.position += 1
            stream = new.stream.encode()
            stored_type = new.event.stored_type.encode()
            schema_version = new.event.schema_version
            head.hash = chain.link(
                head.hash,
                org_id=org_id,
                position=head.position,
                stream=stream,
                version=new.version,
                stored_type=stored_type,
                schema_version=schema_version,
                recorded_at=head.recorded_at,
                command=command,
                data=data,
            )
            self._events.append(
                (
                    number,
                    head.position,
                    stream,
                    new.version,
                    stored_type,
                    schema_version,
                    head.recorded_at,
                    command,
                    data,
                    head.hash,
                )
            )
        ticket.last = head.position

    def arguments(self) -> list[Array]:
        """The arguments of append_batch."""
        columns = list(zip(*self._events, strict=True)) or [()] * 10
        orgs, positions, streams, versions, types, schemas, moments, commands, data, hashes = (
            columns
        )
        assumed, following = self.assumed, self.next.values()
        return [
            arrays.int4(assumed),
            arrays.int8([head.position for head in assumed.values()]),
            arrays.byteas([head.hash for head in assumed.values()]),
            arrays.int8([head.position for head in following]),
            arrays.byteas([head.hash for head in following]),
            arrays.timestamps([head.recorded_at for head in following]),
            arrays.int4(orgs),
            arrays.int8(positions),
            arrays.texts(streams),
            arrays.int4(versions),
            arrays.texts(types),
            arrays.int4(schemas),
            arrays.timestamps(moments),
            arrays.byteas(commands),
            arrays.byteas(data),
            arrays.byteas(hashes),
            arrays.int4([ticket.append.org.number for ticket in self.tickets]),
            arrays.byteas([ticket.append.command for ticket in self.tickets]),
            arrays.int8([ticket.last for ticket in self.tickets]),
        ]

    def companions(self) -> list[Array] | None:
        """The arguments of append_companions; None when no command brings any."""
        keys, dropped, addresses, requests = [], [], [], []
        for ticket in self.tickets:
            append, number = ticket.append, ticket.append.org.number
            keys += [(number, key) for key in append.keys]
            dropped += [(number, key) for key in append.dropped_addresses]
            addresses += [(number, claim) for claim in append.addresses]
            if append.idempotent is not None:
                moment = self.next[number].recorded_at
                requests.append((number, append.idempotent, ticket.last, moment))
        if not (keys or dropped or addresses or requests):
            return None
        return [
            arrays.int4([number for number, _ in keys]),
            arrays.texts([key.id.encode() for _, key in keys]),
            arrays.byteas([key.wrapped for _, key in keys]),
            arrays.optional_timestamps(
                [chain.microseconds(k.expires_at) if k.expires_at else None for _, k in keys]
            ),
            arrays.int4([number for number, _ in dropped]),
            arrays.byteas([key for _, key in dropped]),
            arrays.int4([number for number, _ in addresses]),
            arrays.byteas([claim.key for _, claim in addresses]),
            arrays.texts([claim.contact.encode() for _, claim in addresses]),
            arrays.int4([number for number, *_ in requests]),
            arrays.byteas([request.key for _, request, *_ in requests]),
            arrays.byteas([request.request for _, request, *_ in requests]),
            arrays.int4([request.status for _, request, *_ in requests]),
            arrays.int8([position for *_, position, _ in requests]),
            arrays.byteas([request.ids for _, request, *_ in requests]),
            arrays.timestamps([moment for *_, moment in requests]),
        ]


def loser_arguments(tickets: Sequence[Ticket]) -> list[Array]:
    """The arguments of find_losers, in the order in which `loser_owners` names the tickets."""
    versions = [(t, stream, expected) for t in tickets for stream, expected in _expected(t)]
    addresses = [(t, claim.key) for t in tickets for claim in _claims(t)]
    requests = [(t, t.append.idempotent) for t in tickets if t.append.idempotent]
    return [
        arrays.int4([ticket.append.org.number for ticket in tickets]),
        arrays.byteas([ticket.append.command for ticket in tickets]),
        arrays.int4([ticket.append.org.number for ticket, *_ in versions]),
        arrays.texts([stream.encode() for _, stream, _ in versions]),
        arrays.int4([expected for *_, expected in versions]),
        arrays.int4([ticket.append.org.number for ticket, _ in addresses]),
        arrays.byteas([key for _, key in addresses]),
        arrays.int4([ticket.append.org.number for ticket, _ in requests]),
        arrays.byteas([request.key for _, request in requests]),
    ]


def loser_owners(tickets: Sequence[Ticket]) -> dict[str, list[Ticket]]:
    """Whose each row of find_losers is, by what it is about and its ordinal."""
    return {
        "command": list(tickets),
        "version": [ticket for ticket in tickets for _ in _expected(ticket)],
        "address": [ticket for ticket in tickets for _ in _claims(ticket)],
        "idempotency": [ticket for ticket in tickets if ticket.append.idempotent],
    }


def _expected(ticket: Ticket) -> list[tuple[str, int]]:
    """Each stream it writes, with the version the stream must have before."""
    first: dict[str, int] = {}
    for new in ticket.append.events:
        first.setdefault(new.stream, new.version - 1)
    return list(first.items())


def _claims(ticket: Ticket) -> list[AddressClaim]:
    dropped = set(ticket.append.dropped_addresses)
    return [claim for claim in ticket.append.addresses if claim.key not in dropped]
