"""Messenger's webhook: what a call says. Bytes in, occurrences out, no I/O.

`parse` is only for bodies that `adapters.meta.verify` accepted. It raises for none of them: what
is not understood becomes `NotUnderstood`, and what stands beside it is read as if nothing had
happened.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any

from adapters import tolerant
from adapters.happening import Happening
from adapters.messenger.events import read_event
from adapters.readers import digest, identifier, moment_of_milliseconds, part
from domain.inbound import Address, AnyOccurrence, NotUnderstood, Person

# In `standby` stands what happens while another program of the business has the conversation.
LISTS = ("messaging", "standby")


def parse(body: bytes) -> list[AnyOccurrence]:
    """Everything that a body tells, in its own order, before any removal of duplicates."""
    document, whole = tolerant.read(body)
    entries = document.get("entry") if isinstance(document, dict) else None
    if not isinstance(entries, list) or document.get("object") != "page":
        return [_nobodys(whole)]
    return list(chain.from_iterable(_read_entry(entry) for entry in entries))


def _read_entry(entry: Any) -> Iterable[AnyOccurrence]:
    """Meta promises one event an entry; there can be several."""
    page_id = identifier(entry.get("id")) if isinstance(entry, dict) else None
    lists = [name for name in (*LISTS, "changes") if isinstance(entry, dict) and name in entry]
    if page_id is None or not lists:
        return [_nobodys(entry)]
    found: list[AnyOccurrence] = []
    for name in lists:
        events = entry[name] if isinstance(entry[name], list) else [entry[name]]
        found += [_read_event(page_id, entry, name, event) for event in events]
    return found


def _read_event(page_id: str, entry: dict[str, Any], name: str, given: Any) -> AnyOccurrence:
    event = _unwrapped(given, name)
    happening = Happening(
        account_id=page_id,
        at=moment_of_milliseconds(event.get("timestamp"))
        or moment_of_milliseconds(entry.get("time")),
        raw=given,
        person=_customer(page_id, event),
        by_business=_sender(event) == page_id,
        standby=name == "standby",
    )
    return read_event(happening, event)


def _unwrapped(given: Any, name: str) -> dict[str, Any]:
    """The event itself: one of Meta's pages shows it as the `value` of a `field`."""
    if not isinstance(given, dict):
        return {}
    if "field" in given:
        return part(given, "value")
    return given if name in LISTS else {}


def _customer(page_id: str, event: dict[str, Any]) -> Person:
    """The one of both sides that is not the page: of an echo the recipient."""
    sender = _sender(event)
    is_echo = part(event, "message").get("is_echo") is True or sender == page_id
    user_id = identifier(part(event, "recipient").get("id")) if is_echo else sender
    if user_id is None or user_id == page_id:
        return Person(addresses=())
    return Person(addresses=(Address(f"messenger:{page_id}", user_id),))


def _sender(event: dict[str, Any]) -> str | None:
    return identifier(part(event, "sender").get("id"))


def _nobodys(raw: Any) -> NotUnderstood:
    """What names no page."""
    return NotUnderstood(
        kind="unknown",
        account_id=None,
        business_account_id=None,
        at=None,
        dedupe=("digest", digest(raw)),
        raw=raw,
    )
