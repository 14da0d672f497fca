"""A reader: what one user has seen in one service. Stream `reader:{user}:{service}` (C6).

The place of a visit in the log is what counts, so the events hold no times of their own.
"""

from domain.event import Event, stored_as


def stream_of(user_id: str, service: str) -> str:
    """The stream that holds one user's visits of one service."""
    return f"reader:{user_id}:{service}"


@stored_as("reader.service_visited")
class ServiceVisited(Event, frozen=True, kw_only=True):
    """Everything in the service up to here has been seen."""

    user_id: str
    service: str


@stored_as("reader.chat_visited")
class ChatVisited(Event, frozen=True, kw_only=True):
    """Everything in this chat up to here has been seen."""

    user_id: str
    service: str
    chat_id: str
