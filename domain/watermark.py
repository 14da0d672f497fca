"""Until when a customer has received and read, on platforms that say only that (Messenger).

Stream `watermark:{chat}`, beside the chat's own: receipts of the messages that a watermark reaches
are written into the chat with it, so whoever reads a chat needs to know of receipts only (C15).
"""

from datetime import datetime

import msgspec
from msgspec.structs import replace

from domain.event import Event, stored_as

# Of so many of the newest messages it is known when the platform sent them.
MESSAGES_REMEMBERED_MAX = 200

# In this order, so that a chat's receipts grow.
STATUSES = ("delivered", "read")


def stream_of(chat_id: str) -> str:
    """The stream that holds the watermarks of one chat."""
    return f"watermark:{chat_id}"


@stored_as("watermark.raised")
class WatermarkRaised(Event, frozen=True, kw_only=True):
    """All that was sent up to this moment, by the platform's clock, has this status."""

    status: str
    up_to: datetime


@stored_as("watermark.message_dated")
class MessageDated(Event, frozen=True, kw_only=True):
    """When, by the platform's clock, a message of the business was sent."""

    key: bytes  # As in `EchoReceived`.
    at: datetime


class Watermarks(msgspec.Struct, frozen=True, kw_only=True):
    """How far each status reaches, and the newest messages that it may reach."""

    up_to: dict[str, datetime] = {}  # By status.
    sent: dict[bytes, datetime] = {}  # By key.


class Reached(msgspec.Struct, frozen=True):
    """A message of the business that has a status now."""

    key: bytes
    status: str
    at: datetime


def evolve(marks: Watermarks, event: Event) -> Watermarks:
    """The watermarks after one more fact."""
    match event:
        case WatermarkRaised():
            highest = max(marks.up_to.get(event.status, event.up_to), event.up_to)
            return replace(marks, up_to={**marks.up_to, event.status: highest})
        case MessageDated():
            sent = sorted({**marks.sent, event.key: event.at}.items(), key=_time_and_key)
            return replace(marks, sent=dict(sent[-MESSAGES_REMEMBERED_MAX:]))
        case _:
            return marks


def raise_to(
    marks: Watermarks, *, status: str, up_to: datetime
) -> tuple[list[Event], list[Reached]]:
    """Raise a watermark: what it newly reaches, and again the newest, whose time it tells (C11).

    One that comes late is lower than what is known, and changes nothing.
    """
    before = marks.up_to.get(status)
    if before is not None and up_to <= before:
        return [], []
    within = {key: at for key, at in marks.sent.items() if at <= up_to}
    newest = max(within.items(), key=_time_and_key)[0] if within else None
    reached = [
        Reached(key, status, up_to)
        for key, at in within.items()
        if key == newest or before is None or at > before
    ]
    return [WatermarkRaised(status=status, up_to=up_to)], reached


def date(marks: Watermarks, *, key: bytes, at: datetime) -> tuple[list[Event], list[Reached]]:
    """Note when a message was sent: watermarks that came earlier may reach it."""
    if key in marks.sent:
        return [], []
    reached = [
        Reached(key, status, marks.up_to[status])
        for status in STATUSES
        if status in marks.up_to and at <= marks.up_to[status]
    ]
    return [MessageDated(key=key, at=at)], reached


def _time_and_key(message: tuple[bytes, datetime]) -> tuple[datetime, bytes]:
    key, at = message
    return at, key
