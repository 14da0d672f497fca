"""What the inbox's queries return. Content is sealed still: mask first (masking.py), then open."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from domain import chat as chats
from domain import contact as contacts
from domain.chat_events import EditReceived, ReactionReceived, ReceiptReceived
from domain.contact import AddressAdded, ContactNamed
from domain.media import MediaStored
from domain.outgoing import STATUS_RANK
from projections.engine.sealed_parts import SealedPart, unpack

# The rank of a customer's message, and of a receipt's status that is not in the order.
NO_RANK = -1
_STATUSES = {rank: status for status, rank in STATUS_RANK.items()} | {NO_RANK: "received"}


class ChannelView(msgspec.Struct, frozen=True):
    """The channel through which a service sees a chat, and the position its history begins at."""

    channel_id: str
    sees_from: int


class ChatCursor(msgspec.Struct, frozen=True):
    """The last chat of a page: the next page begins behind it."""

    last_activity_at: datetime
    chat_id: str


class MessageCursor(msgspec.Struct, frozen=True):
    """The last message of a page: the next page begins behind it."""

    at: datetime
    position: int


class ReactionRow(msgspec.Struct, frozen=True):
    """The present reaction of one author: `customer`, `business`, or a group member's contact."""

    author: str
    at: datetime
    content: SealedPart


class ReceiptRow(msgspec.Struct, frozen=True):
    """One thing that the platform said about a message; also one that changed nothing (C15)."""

    position: int
    status: str
    at: datetime
    participant: bytes | None
    error_code: int | None
    detail: SealedPart | None


class FileRow(msgspec.Struct, frozen=True):
    """A file of a message that came, or why there is none (C9)."""

    part: int  # Which of the message's files.
    file: SealedPart | None
    reason: str | None


class MessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a timeline."""

    chat_id: str
    message_id: str
    position: int
    at: datetime
    direction: Literal["inbound", "outbound"]
    kind: str
    status: str
    channel_id: str | None  # Through which it was sent; None for customers and echoes.
    service: str | None
    user_id: str | None  # Who wrote it, in that service.
    key: bytes | None  # What a reply that quotes it names.
    quotes: str | None  # The id of the message it answers, if the viewer's channel sees that one.
    member: str | None  # In a group: the contact who wrote (C19).
    member_name: SealedPart | None
    retry_of: str | None
    failure_reason: str | None
    failure_code: int | None
    content: SealedPart | None  # None once it is unsent.
    edited_at: datetime | None
    edited: SealedPart | None  # What it says now, instead of `content`.
    unsent: bool
    reactions: tuple[ReactionRow, ...]
    files: tuple[FileRow, ...] = ()  # What has come of a customer's message or an echo.

    @property
    def cursor(self) -> MessageCursor:
        """Where a page that ends here goes on."""
        return MessageCursor(self.at, self.position)


class ChatRow(msgspec.Struct, frozen=True, kw_only=True):
    """A chat as one service has it, with its newest message."""

    connected: bool  # Whether the service is active on its channel; else 404 not_connected (S16).
    chat_id: str
    view: ChannelView
    platform: str
    account_id: str
    contact_id: str
    is_group: bool
    name: SealedPart | None
    address_kind: str | None
    address: SealedPart | None
    marketing_opt_out: bool  # On this account (N5).
    status: Literal["open", "closed"]
    blocked: bool
    owner: str | None
    owner_since: datetime | None
    answered: bool
    started_at: datetime
    last_activity_at: datetime
    last_customer_message_at: datetime | None  # On the account, for the messaging window.
    session_id: str
    session_started_at: datetime
    customer_last_read_at: datetime | None
    last_message: MessageRow

    @property
    def cursor(self) -> ChatCursor:
        """Where a page that ends here goes on."""
        return ChatCursor(self.last_activity_at, self.chat_id)


Row = Mapping[str, Any]


def message_row(row: Row) -> MessageRow:
    """A message from the columns `message_columns`."""
    stream = chats.stream_of(row["chat_id"])
    return MessageRow(
        chat_id=row["chat_id"],
        message_id=row["message_id"],
        position=row["position"],
        at=row["at"],
        direction="inbound" if row["rank"] == NO_RANK else "outbound",
        kind=row["kind"],
        status=_STATUSES[row["rank"]],
        channel_id=row["channel_id"] or None,
        service=row["service"],
        user_id=row["user_id"],
        key=row["key"],
        quotes=row["quotes"],
        member=row["member"],
        member_name=_name(row["member_name"], row["member"], row["member_name_wrapped"]),
        retry_of=row["retry_of"],
        failure_reason=row["failure_reason"],
        failure_code=row["failure_code"],
        content=_part(row["content"], stream, row["content_type"], row["content_wrapped"]),
        edited_at=row["edited_at"],
        edited=_part(row["edit"], stream, EditReceived.stored_type, row["edit_wrapped"]),
        unsent=row["unsent_at"] is not None,
        reactions=_reactions(row, stream),
        files=_files(row, stream),
    )


def chat_row(row: Row) -> ChatRow:
    """A chat from the columns `chat_columns` and `message_columns`."""
    contact_id = row["contact_id"]
    return ChatRow(
        connected=row["connected"],
        chat_id=row["chat_id"],
        view=ChannelView(row["view_channel_id"], row["sees_from"]),
        platform=row["platform"],
        account_id=row["account_id"],
        contact_id=contact_id,
        is_group=row["is_group"],
        name=_name(row["name"], contact_id, row["name_wrapped"]),
        address_kind=row["address_kind"],
        address=_part(
            row["address"],
            contacts.stream_of(contact_id),
            AddressAdded.stored_type,
            row["address_wrapped"],
        ),
        marketing_opt_out=row["marketing_opt_out"],
        status="closed" if row["closed"] else "open",
        blocked=row["blocked"],
        owner=row["owner"] or None,
        owner_since=row["owner_since"],
        answered=row["answered"],
        started_at=row["started_at"],
        last_activity_at=row["last_activity_at"],
        last_customer_message_at=row["last_customer_message_at"],
        session_id=str(row["session_position"]),
        session_started_at=row["session_started_at"],
        customer_last_read_at=row["last_read_at"],
        last_message=message_row(row),
    )


def receipt_row(row: Row, chat_id: str) -> ReceiptRow:
    """A receipt from the query `receipts`."""
    stream = chats.stream_of(chat_id)
    return ReceiptRow(
        position=row["position"],
        status=row["status"],
        at=row["at"],
        participant=row["participant"],
        error_code=row["error_code"],
        detail=_part(row["detail"], stream, ReceiptReceived.stored_type, row["wrapped"]),
    )


def _part(
    packed: bytes | None, stream: str, event_type: str, wrapped: bytes | None
) -> SealedPart | None:
    return None if packed is None else unpack(packed, stream, event_type, wrapped)


def _name(packed: bytes | None, contact_id: str | None, wrapped: bytes | None) -> SealedPart | None:
    if contact_id is None:
        return None
    return _part(packed, contacts.stream_of(contact_id), ContactNamed.stored_type, wrapped)


def _reactions(row: Row, stream: str) -> tuple[ReactionRow, ...]:
    if not row["reactions"]:
        return ()
    columns = ("reaction_authors", "reaction_times", "reactions", "reactions_wrapped")
    return tuple(
        ReactionRow(author, at, unpack(packed, stream, ReactionReceived.stored_type, wrapped))
        for author, at, packed, wrapped in zip(*(row[each] for each in columns), strict=True)
    )


def _files(row: Row, stream: str) -> tuple[FileRow, ...]:
    if not row["file_parts"]:
        return ()
    columns = ("file_parts", "files", "files_wrapped", "file_reasons")
    return tuple(
        FileRow(number, _part(packed, stream, MediaStored.stored_type, wrapped), reason)
        for number, packed, wrapped, reason in zip(*(row[each] for each in columns), strict=True)
    )
