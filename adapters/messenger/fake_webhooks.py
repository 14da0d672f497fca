"""What the fake Send API says by webhook: echoes and watermarks, late, twice and out of order."""

from datetime import datetime
from random import Random
from typing import Any

import msgspec

from adapters.fakes.meta import JsonObject
from adapters.fakes.plan import schedule

# Whoever answers in the page's own inbox does so as this app.
PAGE_INBOX = 26390203743090


class EventPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Which events follow an accepted message, and how badly they travel."""

    events: tuple[str, ...] = ("echo", "delivery", "read")
    delay_seconds: float = 0.0  # Before the first and between any two.
    twice: float = 0.0  # Probability that an event comes twice.
    out_of_order: float = 0.0  # Probability that a message's events are shuffled.

    def schedule(self, random: Random) -> list[tuple[float, str]]:
        """The events of one message in the order of their delivery, with seconds from now."""
        return schedule(
            self.events,
            random,
            delay_seconds=self.delay_seconds,
            twice=self.twice,
            out_of_order=self.out_of_order,
        )


def milliseconds(at: datetime) -> int:
    """A time as Messenger writes it."""
    return int(at.timestamp() * 1000)


def envelope(page_id: str, event: JsonObject, *, at: datetime) -> JsonObject:
    """One event of one page."""
    entry = {"id": page_id, "time": milliseconds(at), "messaging": [event]}
    return {"object": "page", "entry": [entry]}


def from_customer(page_id: str, customer: str, at: datetime, **what: Any) -> JsonObject:
    """Something that a customer does."""
    return {
        "sender": {"id": customer},
        "recipient": {"id": page_id},
        "timestamp": milliseconds(at),
        **what,
    }


def echo(
    page_id: str, customer: str, at: datetime, *, mid: str, app_id: int, message: JsonObject
) -> JsonObject:
    """What the business sent, with both sides the other way round."""
    return {
        "sender": {"id": page_id},
        "recipient": {"id": customer},
        "timestamp": milliseconds(at),
        "message": {"is_echo": True, "app_id": app_id, "mid": mid, **message},
    }


def delivered(page_id: str, customer: str, *, mid: str, up_to: datetime) -> JsonObject:
    """All that was sent up to a moment was delivered; this event has no time of its own."""
    event = from_customer(page_id, customer, up_to)
    del event["timestamp"]
    return event | {"delivery": {"mids": [mid], "watermark": milliseconds(up_to)}}


def read(page_id: str, customer: str, at: datetime, *, up_to: datetime) -> JsonObject:
    """All that was sent up to a moment was read."""
    return from_customer(page_id, customer, at, read={"watermark": milliseconds(up_to)})
