"""What the decisions' surroundings need from outside, as protocols with more than one maker."""

from asyncio import Future
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.event import Event, Recorded, Sealed, decode


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


# Makes an event of its stored type, its schema version and its bytes.
ReadsEvent = Callable[[str, int, bytes], Event]


class Log(Protocol):
    """The log, as commands use it."""

    on_changed: Callable[[int, Collection[str] | None], None]

    def submit(self, append: Append) -> Future[Appended]:
        """Queue a command; the future raises AlreadyDone, Conflict, RequestKnown, Unavailable."""

    async def is_current(self, org: Org, *, at_least: int | None = None) -> bool:
        """Whether nobody else has written to the org unseen; afterwards it is known."""

    async def settled(self) -> None:
        """Wait until everything that is queued now is written or lost."""

    async def read_stream(
        self,
        org: Org,
        stream: str,
        *,
        after: int = 0,
        limit: int | None = None,
        read: ReadsEvent = decode,
    ) -> list[Recorded]:
        """One stream's events behind version `after`, in order; all of them without a limit.

        Raises UnknownEventType, unless `read` knows what to do then.
        """

    async def version_at(self, org: Org, stream: str, *, position: int) -> int:
        """The stream's version as of a position of its org; 0 before it began."""

    async def recorded_at(self, org: Org, *, position: int) -> datetime | None:
        """When the event at a position of an org was written; None where there is none."""

    async def position(self, org: Org) -> int:
        """The position of the org's newest event; 0 for none."""

    async def positions(self, orgs: Collection[Org]) -> dict[Org, int]:
        """The same for several organisations at once; those without events may be missing."""


class Snapshot(msgspec.Struct, frozen=True):
    """A stream's state as of a version, encoded."""

    version: int
    state: bytes


class NewSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A state to be kept; the place and time of its last event are what it is checked by."""

    code: bytes  # Of what folded it.
    version: int
    position: int
    recorded_at: datetime
    state: bytes


class Snapshots(Protocol):
    """States of long streams: a cache, which may forget everything at any time."""

    async def restore(
        self, org: Org, stream: str, *, code: bytes, limit: int
    ) -> tuple[Snapshot | None, list[Recorded]]:
        """The newest state that this code has kept of a stream, and the events behind it."""

    def keep(self, org: Org, stream: str, snapshot: NewSnapshot) -> None:
        """Keep a state, some time later, if the log bears it out and none is newer."""

    def forget(self, org: Org, stream: str, *, code: bytes) -> None:
        """Delete a snapshot that is no use, some time later."""


class StoredAnswer(msgspec.Struct, frozen=True):
    """What an Idempotency-Key led to."""

    request: bytes
    status: int
    position: int
    ids: bytes


class KeyHolder(msgspec.Struct, frozen=True):
    """Whom an API key belongs to, and how far the org's log had come when it was looked up."""

    org: int
    user_id: str
    hash: bytes
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    position: int


class ApiKey(msgspec.Struct, frozen=True):
    """An API key as it is listed."""

    id: str
    user_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class AccountHolder(msgspec.Struct, frozen=True):
    """Which org an account belongs to or, when it is not held, belonged to last."""

    org: int
    held: bool
    secrets: bytes | None


class Keys(Protocol):
    """One organisation's keys, and those of its people that this process has used."""

    org: Org

    def hash(self, *parts: str) -> bytes:
        """A keyed hash of some texts: 32 bytes, the same in this org only, for ever."""

    def hash_of_person(self, *parts: str) -> bytes:
        """The same hash, of texts that come again: the newest are remembered."""

    def new_key(self, key_id: str, *, expires_at: datetime | None = None) -> NewKey:
        """Make a person's key; it must be stored with the first event that it seals."""

    def has(self, key_id: str) -> bool:
        """Whether `seal` can use this key without looking it up."""

    def learn(self, key_id: str, wrapped: bytes) -> None:
        """Take in a key as the database has it."""

    def seal(self, data: bytes, *, stream: str, event: type[Event], key_id: str) -> Sealed:
        """Encrypt for one person, bound to its org, stream and event type."""

    def open(
        self, sealed: Sealed, *, stream: str, stored_type: str, wrapped: bytes | None
    ) -> bytes:
        """Decrypt with the wrapped key as the database has it now. Raises Unreadable."""

    def seal_secret(self, data: bytes, *, about: str) -> bytes:
        """Encrypt credentials with the org's own key."""

    def open_secret(self, sealed: bytes, *, about: str) -> bytes:
        """Decrypt credentials. Raises Unreadable."""


class Unreadable(Exception):
    """The key is gone (erased), is another one, or the data was moved or changed."""


class Directory(Protocol):
    """What spans organisations: who has a key, who holds an account, whose keys."""

    async def keys(self, number: int) -> Keys:
        """An organisation's keys."""

    async def organisation(self, org_id: str) -> Org | None:
        """Find an organisation by its id."""

    async def key_holder(self, key_id: str) -> KeyHolder | None:
        """Who an API key belongs to."""

    async def add_api_key(self, org: Org, key: ApiKey, *, digest: bytes) -> bool:
        """Store a key; only the digest of its secret is kept. False if it is there already."""

    async def revoke_api_key(self, org: Org, key_id: str, *, now: datetime) -> bool:
        """Close a key; False if the org has no such key."""

    async def api_keys(self, org: Org, *, after: str, limit: int) -> list[ApiKey]:
        """The org's keys by id, behind `after`."""

    async def account(self, platform: str, account_id: str) -> AccountHolder | None:
        """Who holds an account, or held it last."""

    async def claim_account(
        self, org: Org, platform: str, account_id: str, *, business_account_id: str | None
    ) -> bool:
        """Take an account that nobody else holds; False if another org does. Spec S15."""

    async def release_account(self, org: Org, platform: str, account_id: str) -> None:
        """Let another org take the account, and forget its credentials. Spec S15."""

    async def store_secrets(
        self, org: Org, platform: str, account_id: str, *, sealed: bytes
    ) -> None:
        """Keep an account's credentials, sealed."""

    async def replace_secrets(
        self, org: Org, platform: str, account_id: str, *, before: bytes | None, sealed: bytes
    ) -> bool:
        """Keep them in place of `before`; False if they are not those any more."""

    async def business_account(
        self, platform: str, business_account_id: str
    ) -> list[AccountHolder]:
        """The orgs that hold accounts of a business account, one row each."""

    async def accounts_of(self, platform: str, business_account_id: str) -> list[tuple[int, str]]:
        """The accounts of a business account that are held: whose each is, and its id."""


class Requests(Protocol):
    """Remembered Idempotency-Keys."""

    async def find(self, org: Org, key: bytes) -> StoredAnswer | None:
        """What was answered under this key in the last 24 hours."""


class Addresses(Protocol):
    """Whom addresses lead to."""

    async def contacts(self, org: Org, keys: Sequence[bytes]) -> dict[bytes, str]:
        """The contacts of those keyed hashes that lead to one."""

    async def wrapped_keys(self, org: Org, ids: Sequence[str]) -> dict[str, bytes]:
        """People's keys, wrapped; those that are erased are missing."""


class Wakener(Protocol):
    """Tells a follower that the log has grown."""

    async def wait(self, timeout: float) -> bool:
        """Return True when it has, or False after `timeout` seconds."""

    def grown(self) -> frozenset[int] | None:
        """Whose log it was, as far as it is known since the last call; None: anybody's."""
