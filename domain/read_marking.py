"""Showing a customer that their message was read, on the platform. Stream `marking:{chat_id}`.

Best effort: it may be done twice, which changes nothing there, and is given up after a day.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Literal, Protocol, runtime_checkable

import msgspec
from msgspec.structs import replace

from domain.chat import Chat
from domain.credentials import Credentials
from domain.event import Event, stored_as
from domain.inbound import Content
from domain.limits import LIMITS

# What nobody could mark for so long is no news to the customer any more.
LIFETIME = timedelta(hours=24)

Marked = Literal["marked", "refused"]
Outcome = Marked | Literal["expired", "erased"]


def stream_of(chat_id: str) -> str:
    """The stream that says what of one chat was marked."""
    return f"marking:{chat_id}"


@stored_as("marking.requested")
class ReadMarkingRequested(Event, frozen=True, kw_only=True):
    """Somebody has seen the chat: its newest customer message is to be marked as read."""

    platform: str
    account_id: str
    message_version: int  # Of the message, in the chat's stream.
    service: str
    user_id: str
    at: datetime


@stored_as("marking.ended")
class ReadMarkingEnded(Event, frozen=True, kw_only=True):
    """Nothing more is to be done about this message."""

    message_version: int
    outcome: Outcome


class Marking(msgspec.Struct, frozen=True, kw_only=True):
    """Up to which message of the chat marking was asked for, and is over."""

    asked: int = 0
    ended: int = 0


def evolve(marking: Marking, event: Event) -> Marking:
    """What is to be marked after one more fact."""
    match event:
        case ReadMarkingRequested():
            return replace(marking, asked=max(marking.asked, event.message_version))
        case ReadMarkingEnded():
            return replace(marking, ended=max(marking.ended, event.message_version))
        case _:
            return marking


def request(
    marking: Marking, chat: Chat, *, service: str, user_id: str, now: datetime
) -> list[Event]:
    """Mark what the customer wrote last, where the platform shows it; once for each message."""
    can_be_shown = chat.platform in LIMITS and LIMITS[chat.platform].marks_read
    if not can_be_shown or service in chat.blocked or chat.heard <= marking.asked:
        return []
    return [
        ReadMarkingRequested(
            platform=chat.platform,
            account_id=chat.account_id,
            message_version=chat.heard,
            service=service,
            user_id=user_id,
            at=now,
        )
    ]


def end(marking: Marking, message_version: int, outcome: Outcome) -> list[Event]:
    """It was marked, or never will be. A newer message is another matter."""
    if message_version <= marking.ended:
        return []
    return [ReadMarkingEnded(message_version=message_version, outcome=outcome)]


# What the process that marks needs from outside.


class WaitingMarking(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's message that is to be marked as read."""

    org: int
    platform: str
    account_id: str
    chat_id: str
    message_version: int  # In the chat's stream.
    requested_at: datetime


class MarkingQueue(Protocol):
    """What is to be marked as read, over all organisations."""

    async def unmarked(self, platforms: Collection[str]) -> list[WaitingMarking]:
        """Messages of these platforms, the newest wish first."""

    async def credentials(self, org: int, platform: str, account_id: str) -> Credentials:
        """What the account is reached with, as it is now; empty for no such account."""


class MarkingCommands(Protocol):
    """What the process reads of the log and writes down."""

    async def message(self, marking: WaitingMarking) -> Content | None:
        """What the customer wrote; None if it is erased."""

    async def end_marking(self, marking: WaitingMarking, outcome: Outcome) -> None:
        """Write down that nothing more is to be done about the message."""


@runtime_checkable
class MarksRead(Protocol):
    """A platform that shows customers what was read; not every one does."""

    async def mark_read(
        self, account_id: str, message: Content, credentials: Credentials, /
    ) -> Marked | None:
        """Mark a message, and all before it; None if it is to be tried again."""
