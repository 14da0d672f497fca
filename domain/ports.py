"""What the decisions' surroundings need from outside, as protocols with more than one maker."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.event import Event, Recorded


class Org(msgspec.Struct, frozen=True):
    """A tenant inside this installation: the small number that keys begin with, and its id."""

    number: int
    id: str


class NewKey(msgspec.Struct, frozen=True):
    """A person's key, wrapped, to be stored with the events that it seals."""

    id: str
    wrapped: bytes
    expires_at: datetime | None = None


class AddressClaim(msgspec.Struct, frozen=True):
    """A keyed hash of an address that leads to a contact from now on."""

    key: bytes
    contact: str


class IdempotentRequest(msgspec.Struct, frozen=True):
    """A client's Idempotency-Key with user, method and path, hashed; and its body, hashed."""

    key: bytes
    request: bytes
    status: int
    ids: bytes  # JSON of the ids that the command makes.


class NewEvent(msgspec.Struct, frozen=True):
    """An event on its way to the log: the version is the one its decision expects it to get."""

    stream: str
    version: int
    event: Event


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one command writes: all of it, or nothing."""

    org: Org
    command: bytes  # Its id, unique for ever: a webhook's dedupe key, else 16 random bytes.
    events: Sequence[NewEvent]
    read: Sequence[tuple[str, int]] = ()  # Every stream its decision read, with its version.
    keys: Sequence[NewKey] = ()
    dropped_addresses: Sequence[bytes] = ()
    addresses: Sequence[AddressClaim] = ()
    idempotent: IdempotentRequest | None = None


class Appended(msgspec.Struct, frozen=True):
    """Where the command stands in the log: its first and last position, and since when."""

    first: int
    last: int
    recorded_at: datetime


class AlreadyDone(Exception):
    """A command of this id is in the log: nothing is written again. Spec P2."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class Conflict(Exception):
    """Something that the decision read has changed: decide again."""


class RequestKnown(Exception):
    """The Idempotency-Key was used before: answer as then."""


class Unavailable(Exception):
    """The log cannot be reached; what is not acknowledged is not written, or will be found."""


class Clock(Protocol):
    """Where time comes from; tests and simulations have their own."""

    def now(self) -> datetime:
        """The time, in UTC."""


class Log(Protocol):
    """The log, as commands use it."""

    async def append(self, append: Append) -> Appended:
        """Write a command durably. Raises AlreadyDone, Conflict, RequestKnown, Unavailable."""

    async def read_stream(self, org: Org, stream: str, *, after: int = 0) -> list[Recorded]:
        """One stream's events behind version `after`, in order."""

    async def position(self, org: Org) -> int:
        """The position of the org's newest event; 0 for none."""
