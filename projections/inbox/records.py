"""Rows of the inbox's tables as a batch leaves them; the fields stand as in the statements."""

from datetime import datetime

import msgspec

from domain.outgoing import STATUS_RANK
from projections.inbox.rows import NO_RANK

FAILED = STATUS_RANK["failed"]
# An echo is known to have left; a reply is only asked for.
SENT = STATUS_RANK["sent"]
QUEUED = STATUS_RANK["queued"]

# A channel_id that stands for the account itself: customers' messages and echoes.
WHOLE_ACCOUNT = ""


class Thread(msgspec.Struct, gc=False):
    """A row of inbox_threads."""

    chat_id: str
    platform: str
    account_id: str
    contact_id: str
    is_group: bool
    started_position: int
    last_customer_message_at: datetime | None = None

    @property
    def account(self) -> tuple[str, str]:
        """Platform and account id."""
        return (self.platform, self.account_id)


class Message(msgspec.Struct, kw_only=True, gc=False):
    """A row of inbox_messages."""

    chat_id: str
    message_id: str
    channel_id: str
    position: int
    at: datetime
    rank: int
    kind: str
    service: str | None = None
    user_id: str | None = None
    content: bytes | None  # None once it is unsent.
    content_key: str
    content_type: str
    key: bytes | None = None
    quotes: bytes | None = None
    member: str | None = None
    retry_of: str | None = None
    failed_position: int | None = None
    failure_reason: str | None = None
    failure_code: int | None = None
    edited_at: datetime | None = None
    edit: bytes | None = None
    edit_key: str | None = None
    unsent_at: datetime | None = None


class Receipt(msgspec.Struct, gc=False):
    """A row of inbox_receipts."""

    chat_id: str
    key: bytes
    position: int
    status: str
    rank: int
    at: datetime
    participant: bytes | None
    error_code: int | None
    reason: str | None
    detail: bytes | None
    detail_key: str | None


class Settlement(msgspec.Struct, kw_only=True, gc=False):
    """What became of a message that is named by our own id."""

    chat_id: str
    message_id: str
    rank: int = NO_RANK
    key: bytes | None = None
    failed_position: int | None = None
    failure_reason: str | None = None
    failure_code: int | None = None


def storable_code(code: int | None) -> int | None:
    """A platform's error code; one that no column holds is kept in the log alone."""
    return code if code is not None and abs(code) < 2**31 else None


def storable_text(text: str) -> str:
    """A platform's own word; the database takes no NUL in a text."""
    return text.replace("\0", "")
