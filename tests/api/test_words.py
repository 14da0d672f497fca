"""What `trunkline history` says of a message's receipts (C15)."""

from datetime import UTC, datetime

from api.cli.words import Messages, sentence
from domain.chat_events import MessageFailed, MessageSent, ReceiptReceived
from domain.event import Event

AT = datetime(2026, 11, 22, 9, tzinfo=UTC)


def receipt(key: bytes, status: str, message_id: str | None = None) -> ReceiptReceived:
    return ReceiptReceived(key=key, status=status, at=AT, message_id=message_id)


def told(*events: Event) -> list[str]:
    messages = Messages()
    return [sentence(messages.named(each)) for each in events]


def test_a_receipt_is_told_of_its_message_also_after_it_has_failed() -> None:
    assert told(
        receipt(b"one", "sent"),
        MessageSent(message_id="m1", key=b"one"),
        receipt(b"one", "delivered"),
        MessageFailed(message_id="m1", reason="refused"),
        receipt(b"one", "read"),
        receipt(b"two", "read", "m2"),
    ) == [
        "A receipt of an unknown message came: sent.",
        "The platform took m1.",
        "A receipt of m1 came: delivered.",
        "m1 failed: refused.",
        "A receipt of m1 came: read.",
        "A receipt of m2 came: read.",
    ]
