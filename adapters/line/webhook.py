"""LINE's webhook: who may call it, and what a call says. Bytes in, occurrences out, no I/O.

`parse` is only for bodies that `verify` accepted. What it does not understand becomes
`NotUnderstood`, and what stands beside it is read as if nothing had happened.
"""

import base64
import hmac
from collections.abc import Sequence
from typing import Any

from adapters import tolerant
from adapters.happening import Happening
from adapters.line.events import read_event
from adapters.readers import digest, identifier, moment_of_milliseconds
from domain.inbound import Address, AnyOccurrence, Person

# Which member of a source names the group, by the type of the source.
GROUP_IDS = {"group": "groupId", "room": "roomId"}


class Misdirected(ValueError):
    """The body names another account than the one whose address it came to."""


def verify(body: bytes, signature: bytes, *, channel_secrets: Sequence[bytes]) -> bool:
    """Whether LINE signed exactly these bytes with one of the channel's live secrets."""
    genuine = False
    for secret in channel_secrets:
        expected = base64.b64encode(hmac.digest(secret, body, "sha256"))
        # Anybody can sign with an empty secret: it stands for an account that has none.
        genuine |= hmac.compare_digest(expected, signature) and bool(secret)
    return genuine


def parse(body: bytes, *, account_id: str) -> list[AnyOccurrence]:
    """Everything that a body tells, in its own order. Raises Misdirected."""
    document, whole = tolerant.read(body)
    members = document if isinstance(document, dict) else {}
    destination = members.get("destination")
    if isinstance(destination, str) and destination != account_id:
        raise Misdirected
    events = members.get("events")
    if not isinstance(events, list):
        return [_kept(account_id, whole).not_understood()]
    return [_read(account_id, event) for event in events]


def _read(account_id: str, event: Any) -> AnyOccurrence:
    if not isinstance(event, dict):
        return _kept(account_id, event).not_understood()
    source = event.get("source")
    source = source if isinstance(source, dict) else {}
    happening = Happening(
        account_id=account_id,
        at=moment_of_milliseconds(event.get("timestamp")),
        dedupe=_dedupe(event),
        raw=event,
        person=_person(account_id, source),
        group=_group(account_id, source),
        standby=event.get("mode") == "standby",
    )
    # What a member says in a group that we cannot name must not end up in their own chat (C19).
    if happening.group is None and source.get("type") != "user" and happening.person.addresses:
        return happening.not_understood()
    return read_event(happening, event)


def _dedupe(event: dict[str, Any]) -> tuple[str, ...]:
    event_id = identifier(event.get("webhookEventId"))
    if event_id is not None:
        return ("event", event_id)
    # A redelivery differs in its context only.
    return ("digest", digest({**event, "deliveryContext": None}))


def _person(account_id: str, source: dict[str, Any]) -> Person:
    user_id = identifier(source.get("userId"))
    return Person(addresses=(Address(f"line:{account_id}", user_id),) if user_id else ())


def _group(account_id: str, source: dict[str, Any]) -> Address | None:
    kind = source.get("type")
    member = GROUP_IDS.get(kind) if isinstance(kind, str) else None
    group_id = identifier(source.get(member)) if member else None
    return None if group_id is None else Address(f"group:{account_id}", group_id)


def _kept(account_id: str, raw: Any) -> Happening:
    return Happening(account_id=account_id, at=None, dedupe=("digest", digest(raw)), raw=raw)
