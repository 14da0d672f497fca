"""Keys: the installation's, each organisation's, each person's; sealing and opening with them.

    master key ── wraps ──> an org's wrapping key ── wraps ──> a person's key ── seals ──> data

Beside its wrapping key an org has an identity key, for keyed hashes of addresses and of platforms'
ids; it never changes. `cryptography` seals in a microsecond and a half; pycryptodome, which the
platforms' own protocols use, takes thirty times as long.
"""

import hmac
import secrets
from collections import OrderedDict
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.event import Event, Sealed
from domain.ports import NewKey, Org, Unreadable

KEY_BYTES = 32
NONCE_BYTES = 12
CIPHERS_KEPT_MAX = 100_000
HASHES_KEPT_MAX = 50_000

Kept = TypeVar("Kept")


class MasterKey:
    """Wraps the keys of organisations. During a change the previous key still opens."""

    def __init__(self, key: bytes, *, previous: bytes | None = None) -> None:
        """Both are 32 bytes."""
        self._key = key
        self._ciphers = [AESGCM(each) for each in (key, previous) if each]

    def wrap(self, key: bytes, *, about: str) -> bytes:
        """Encrypt a key; `about` says whose it is and must be the same to unwrap it."""
        return _wrap(self._ciphers[0], key, about)

    def unwrap(self, wrapped: bytes, *, about: str) -> bytes:
        """Raises Unreadable."""
        for cipher in self._ciphers:
            try:
                return _unwrap(cipher, wrapped, about)
            except Unreadable:
                continue
        raise Unreadable(about)

    def proof(self, data: bytes, *, about: str) -> bytes:
        """A keyed hash that only who has the key can make; it changes with the key."""
        key = hmac.digest(self._key, b"trunkline proof", "sha256")
        return hmac.digest(key, about.encode() + b"\0" + data, "sha256")


class OrgKeys:
    """One organisation's keys, and the keys of its people that this process has used."""

    def __init__(self, org: Org, *, wrapping_key: bytes, identity_key: bytes) -> None:
        """Both keys in clear, 32 bytes."""
        self.org = org
        self._wrapping = AESGCM(wrapping_key)
        self._identity_key = identity_key
        self._by_id: OrderedDict[str, AESGCM] = OrderedDict()
        self._by_wrapped: OrderedDict[tuple[str, bytes], AESGCM] = OrderedDict()
        # Whoever writes once writes again, from the same address and under the same name.
        self.hash_of_person = lru_cache(HASHES_KEPT_MAX)(self.hash)

    # Keyed hashes.

    def hash(self, *parts: str) -> bytes:
        """A keyed hash of some texts; the same texts give the same 32 bytes in this org only."""
        # As a JSON array, so that nothing can move from one text to the next.
        return hmac.digest(self._identity_key, msgspec.json.encode(parts), "sha256")

    # Sealing, with keys that this process has at hand.

    def new_key(self, key_id: str, *, expires_at: datetime | None = None) -> NewKey:
        """Make a person's key; it must be stored with the first event that it seals."""
        key = secrets.token_bytes(KEY_BYTES)
        self._remember(key_id, AESGCM(key))
        return NewKey(key_id, _wrap(self._wrapping, key, self._about(key_id)), expires_at)

    def has(self, key_id: str) -> bool:
        """Whether `seal` can use this key without looking it up."""
        return key_id in self._by_id

    def learn(self, key_id: str, wrapped: bytes) -> None:
        """Take in a key as the database has it. Raises Unreadable."""
        self._remember(key_id, self._cipher(key_id, wrapped))

    def forget(self, key_id: str) -> None:
        """The key was not stored after all, or is erased."""
        self._by_id.pop(key_id, None)

    def seal(self, data: bytes, *, stream: str, event: type[Event], key_id: str) -> Sealed:
        """Encrypt for one person, bound to its org, stream, event type and a random id."""
        event_id = secrets.token_bytes(16)
        box = self._by_id[key_id].encrypt(
            event_id[:NONCE_BYTES], data, self._bound(stream, event.stored_type, event_id)
        )
        return Sealed(key_id, event_id, box)

    def open(
        self, sealed: Sealed, *, stream: str, stored_type: str, wrapped: bytes | None
    ) -> bytes:
        """Decrypt with the wrapped key as the database has it now; None: erased. Unreadable."""
        if wrapped is None:
            raise Unreadable(sealed.key)
        try:
            return self._cipher(sealed.key, wrapped).decrypt(
                sealed.id[:NONCE_BYTES], sealed.box, self._bound(stream, stored_type, sealed.id)
            )
        except InvalidTag as error:
            raise Unreadable(sealed.key) from error

    # Secrets of accounts.

    def seal_secret(self, data: bytes, *, about: str) -> bytes:
        """Encrypt credentials with the org's own key."""
        return _wrap(self._wrapping, data, about)

    def open_secret(self, sealed: bytes, *, about: str) -> bytes:
        """Raises Unreadable."""
        return _unwrap(self._wrapping, sealed, about)

    def _cipher(self, key_id: str, wrapped: bytes) -> AESGCM:
        cipher = self._by_wrapped.get((key_id, wrapped))
        if cipher is None:
            cipher = AESGCM(_unwrap(self._wrapping, wrapped, self._about(key_id)))
            _keep(self._by_wrapped, (key_id, wrapped), cipher)
        return cipher

    def _remember(self, key_id: str, cipher: AESGCM) -> None:
        _keep(self._by_id, key_id, cipher)

    def _about(self, key_id: str) -> str:
        return f"{self.org.id}/{key_id}"

    def _bound(self, stream: str, stored_type: str, event_id: bytes) -> bytes:
        return b"\0".join((self.org.id.encode(), stream.encode(), stored_type.encode(), event_id))


def _keep(ciphers: OrderedDict[Kept, AESGCM], key: Kept, cipher: AESGCM) -> None:
    ciphers[key] = cipher
    if len(ciphers) > CIPHERS_KEPT_MAX:
        ciphers.popitem(last=False)


def _wrap(cipher: AESGCM, data: bytes, about: str) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, about.encode())


def _unwrap(cipher: AESGCM, wrapped: bytes, about: str) -> bytes:
    try:
        return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], about.encode())
    except (InvalidTag, ValueError) as error:
        raise Unreadable(about) from error
