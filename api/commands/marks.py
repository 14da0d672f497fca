"""How messages are named towards platforms, and found again by what platforms name them."""

from domain.ports import Keys

# The platform's ids are hashed to half the length of addresses: 128 bits name a message.
MESSAGE_KEY_BYTES = 16


def message_key(keys: Keys, platform: str, account_id: str, platform_id: str) -> bytes:
    """The keyed hash by which receipts, edits and quotes find a message."""
    return keys.hash("message", platform, account_id, platform_id)[:MESSAGE_KEY_BYTES]


def mark_of(chat_id: str, message_id: str) -> str:
    """What we ask a platform to give back with everything about a message of ours."""
    return f"{chat_id}.{message_id}"


def message_of(mark: str | None) -> str | None:
    """The message that a mark of ours names."""
    return mark.partition(".")[2] or None if mark else None
