"""What names a message: a number is unique in its chat only, and each business connection counts
anew. The same for what comes in and for what goes out, so that answers and edits find it (C17).
"""

from typing import NamedTuple

CHAT_ID_LENGTH_MAX = 19  # Of what fits into 64 bits.


class MessageName(NamedTuple):
    """Where a message stands, and its number there."""

    connection: str
    chat_id: str
    message_id: str

    def __str__(self) -> str:
        return ":".join(self)


def is_chat_id(written: str) -> bool:
    """Whether it names a chat: a number, below zero for groups."""
    digits = written.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= CHAT_ID_LENGTH_MAX


def is_group(chat_id: str) -> bool:
    """Whether more than one person reads there."""
    return chat_id.startswith("-")


def read_name(written: str) -> MessageName | None:
    """What a name stands for; None for one that is of no chat's message, such as a button's."""
    parts = written.split(":")
    if len(parts) != 3 or not is_chat_id(parts[2]):
        return None
    return MessageName(*parts)
