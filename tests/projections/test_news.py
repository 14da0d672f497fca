"""What of the log is told to those who look on: every type of event was thought about (E1)."""

from typing import Any

from domain.chat_events import ReceiptReceived
from domain.event import EVENT_CLASSES, Recorded
from projections.news import TYPES, OfMessage, news_of
from tests.domain.every_event import EVERY_EVENT
from tests.domain.world import NOON

# The streams whose events a viewer may be shown something of.
SHOWN = {"account", "channel", "chat", "contact", "organisation", "reader"}

# What changes nothing in any view, or comes with an event that does: a chat with its first message,
# a channel with its first connection.
NO_NEWS = {
    "account.channel_opened",
    "account.claimed",
    "account.notice_received",
    "account.receipt_received",
    "account.released",
    "channel.agents_associated",
    "channel.connection_configured",
    "channel.created",
    "channel.reclaimed",
    "channel.released",
    "chat.charge_voided",
    "chat.conversation_started",
    "chat.message_charged",
    "chat.send_deferred",
    "chat.send_started",
    "chat.started",
    "contact.activity_received",
    "contact.chat_started",
    "contact.created",
    "contact.follow_changed",
    "contact.marketing_limited",
    "organisation.api_key_created",
    "organisation.created",
    "organisation.service_added",
    "organisation.user_added",
    "organisation.user_away_changed",
}


def test_every_event_is_news_or_is_known_to_be_none() -> None:
    shown = {name for name, _ in EVERY_EVENT if name.partition(".")[0] in SHOWN}
    assert set(TYPES) == shown - NO_NEWS
    assert {name for name, _ in EVENT_CLASSES} >= NO_NEWS


def test_a_receipt_names_its_message_by_our_mark_or_by_its_key() -> None:
    def told(**more: Any) -> object:
        event = ReceiptReceived(key=b"key", at=NOON, **more)
        return news_of(Recorded(7, "chat:a", 3, NOON, event))

    by_key = OfMessage(position=7, chat_id="a", change="status", key=b"key")
    assert told(status="read") == by_key
    by_mark = OfMessage(position=7, chat_id="a", change="status", key=b"key", message_id="m")
    assert told(status="read", message_id="m") == by_mark
    assert told(status="warming_up") is None  # Outside the order: no status changes (C15).
