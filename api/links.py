"""Addresses under which a platform may fetch the file of one message, for a while.

Whoever has such an address may read that file and nothing else. It holds no name of anybody, and
is of no use once the customer's key is destroyed (E4).
"""

import base64
import hmac
from datetime import UTC, datetime, timedelta

import msgspec

from domain.ports import Keys

# A platform may fetch a file again when somebody opens the chat on another telephone.
LINK_LIFETIME = timedelta(days=7)


class Linked(msgspec.Struct, frozen=True, array_like=True):
    """What an address says."""

    organization_id: str
    chat_id: str
    message_id: str
    expires_at: int  # Seconds since 1970.


def link_to(keys: Keys, chat_id: str, message_id: str, *, now: datetime) -> str:
    """The last part of an address."""
    expires_at = int((now + LINK_LIFETIME).timestamp())
    linked = Linked(keys.org.id, chat_id, message_id, expires_at)
    data = msgspec.json.encode(linked) + _proof(keys, linked)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read(token: str) -> tuple[Linked, bytes] | None:
    """What an address says, and its proof, which `is_ours` looks at; None for no address."""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        linked = msgspec.json.decode(data[:-_PROOF_BYTES], type=Linked)
    except (ValueError, msgspec.MsgspecError):
        return None
    # Anybody may write one: what is no id of ours does not come near the database.
    ids = (linked.organization_id, linked.chat_id, linked.message_id)
    is_plain = all(each.isascii() and each.isalnum() for each in ids)
    return (linked, data[-_PROOF_BYTES:]) if is_plain else None


def is_ours(keys: Keys, linked: Linked, proof: bytes, *, now: datetime) -> bool:
    """Whether we made it, and it is still good."""
    expected = _proof(keys, linked)
    if not hmac.compare_digest(expected, proof):
        return False
    return now < datetime.fromtimestamp(linked.expires_at, UTC)


_PROOF_BYTES = 32


def _proof(keys: Keys, linked: Linked) -> bytes:
    parts = (linked.chat_id, linked.message_id, str(linked.expires_at))
    return keys.hash("link to a file", linked.organization_id, *parts)
