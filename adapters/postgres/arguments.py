"""What the functions of 0002_append.sql are given, packed."""

from collections.abc import Collection, Mapping, Sequence

from adapters.postgres import arrays
from adapters.postgres.arrays import framed_text
from adapters.postgres.batch import Batch
from adapters.postgres.ticket import Stream, Ticket
from domain import chain
from domain.chain import framed
from domain.ports import AddressClaim

Arguments = list[bytes]


def of_append(batch: Batch, unproven: Mapping[Stream, int]) -> Arguments:
    """For append_batch; `unproven` are the versions that it is to confirm."""
    entries = batch.entries
    before, after = batch.assumed.values(), batch.next.values()
    moments = {org: arrays.timestamp(head.recorded_at) for org, head in batch.next.items()}
    events = [event for entry in entries for event in entry.events]
    orgs = [entry.org.number for entry in entries for _ in entry.events]
    streams, versions, types, schemas, _, data = zip(*events, strict=True) if events else _NOTHING
    return [
        arrays.int4(batch.assumed),
        arrays.int8([head.position for head in before]),
        arrays.byteas([framed(head.hash) for head in before]),
        arrays.int8([head.position for head in after]),
        arrays.byteas([framed(head.hash) for head in after]),
        arrays.timestamps(list(moments.values())),
        arrays.int4(orgs),
        arrays.int8([at for entry in entries for at in range(entry.first, entry.last + 1)]),
        arrays.texts(streams),
        arrays.int4(versions),
        arrays.texts(types),
        arrays.int4(schemas),
        arrays.timestamps([moments[org] for org in orgs]),
        arrays.byteas([entry.command for entry in entries for _ in entry.events]),
        arrays.byteas(data),
        arrays.byteas(batch.links),
        arrays.int4([entry.org.number for entry in entries]),
        arrays.byteas([entry.command for entry in entries]),
        arrays.int8([entry.last for entry in entries]),
        arrays.int4([org for org, _ in unproven]),
        arrays.texts([framed_text(stream) for _, stream in unproven]),
        arrays.int4(unproven.values()),
    ]


_NOTHING: Sequence[tuple[()]] = ((), (), (), (), (), ())


def of_companions(tickets: Sequence[Ticket]) -> Arguments | None:
    """For append_companions; None when no command brings any."""
    tickets = [ticket for ticket in tickets if ticket.claims]
    if not tickets:
        return None
    keys = [(ticket.org.number, key) for ticket in tickets for key in ticket.append.keys]
    dropped = [(t.org.number, key) for t in tickets for key in t.append.dropped_addresses]
    addresses = [(t.org.number, claim) for t in tickets for claim in t.append.addresses]
    requests = [(t, t.append.idempotent) for t in tickets if t.append.idempotent]
    return [
        arrays.int4([org for org, _ in keys]),
        arrays.texts([framed_text(key.id) for _, key in keys]),
        arrays.byteas([framed(key.wrapped) for _, key in keys]),
        arrays.timestamps(
            [
                arrays.timestamp(chain.microseconds(key.expires_at) if key.expires_at else None)
                for _, key in keys
            ]
        ),
        arrays.int4([org for org, _ in dropped]),
        arrays.byteas([framed(key) for _, key in dropped]),
        arrays.int4([org for org, _ in addresses]),
        arrays.byteas([framed(claim.key) for _, claim in addresses]),
        arrays.texts([framed_text(claim.contact) for _, claim in addresses]),
        arrays.int4([ticket.org.number for ticket, _ in requests]),
        arrays.byteas([framed(request.key) for _, request in requests]),
        arrays.byteas([framed(request.request) for _, request in requests]),
        arrays.int4([request.status for _, request in requests]),
        arrays.int8([ticket.last for ticket, _ in requests]),
        arrays.byteas([framed(request.ids) for _, request in requests]),
        arrays.timestamps([arrays.timestamp(ticket.recorded_at) for ticket, _ in requests]),
    ]


def of_known(tickets: Sequence[Ticket], streams: Collection[Stream]) -> Arguments:
    """For find_known, in the order in which `owners` has the tickets."""
    addresses = [(ticket.org.number, claim) for ticket in tickets for claim in _claimed(ticket)]
    requests = [(t.org.number, t.append.idempotent) for t in tickets if t.append.idempotent]
    keys = [(ticket.org.number, key) for ticket in tickets for key in ticket.append.keys]
    return [
        arrays.int4([ticket.org.number for ticket in tickets]),
        arrays.byteas([ticket.command for ticket in tickets]),
        arrays.int4([org for org, _ in requests]),
        arrays.byteas([framed(request.key) for _, request in requests]),
        arrays.int4([org for org, _ in addresses]),
        arrays.byteas([framed(claim.key) for _, claim in addresses]),
        arrays.int4([org for org, _ in keys]),
        arrays.texts([framed_text(key.id) for _, key in keys]),
        arrays.int4([org for org, _ in streams]),
        arrays.texts([framed_text(stream) for _, stream in streams]),
    ]


def owners(tickets: Sequence[Ticket]) -> dict[str, list[Ticket]]:
    """Whose each row of find_known is, by what it is about and its ordinal."""
    return {
        "command": list(tickets),
        "request": [ticket for ticket in tickets if ticket.append.idempotent],
        "address": [ticket for ticket in tickets for _ in _claimed(ticket)],
        "key": [ticket for ticket in tickets for _ in ticket.append.keys],
    }


def _claimed(ticket: Ticket) -> list[AddressClaim]:
    """The addresses that must be free: what a command drops, it may take again."""
    dropped = ticket.append.dropped_addresses
    return [claim for claim in ticket.append.addresses if claim.key not in dropped]
