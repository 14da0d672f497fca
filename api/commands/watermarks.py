"""Receipts that name no message: all that was sent up to a moment was delivered or read (C15)."""

from collections.abc import Sequence
from datetime import datetime

from api.commands.unit import Unit
from domain import chat as chats
from domain import sending, watermark
from domain.chat import Chat
from domain.chat_events import ReceiptReceived
from domain.watermark import Reached, Watermarks

# Whose receipts are such: only there is it worth noting when messages were sent.
PLATFORMS = frozenset({"messenger"})


def raise_watermark(
    unit: Unit, chat_id: str, *, status: str, up_to: datetime, keys: Sequence[bytes]
) -> None:
    """Record how far a status reaches, as receipts too. `keys`: messages that are named as well."""
    stream = watermark.stream_of(chat_id)
    marks = unit.state(stream, Watermarks)
    events, reached = watermark.raise_to(marks, status=status, up_to=up_to)
    unit.record(stream, events)
    known = {each.key for each in reached}
    named = [Reached(key, status, up_to) for key in keys if key not in known]
    _record_receipts(unit, chat_id, [*reached, *named])


def date_message(unit: Unit, chat_id: str, *, key: bytes, at: datetime) -> None:
    """Note when a message of the business was sent, and what earlier watermarks say of it."""
    stream = watermark.stream_of(chat_id)
    events, reached = watermark.date(unit.state(stream, Watermarks), key=key, at=at)
    unit.record(stream, events)
    _record_receipts(unit, chat_id, reached)


def _record_receipts(unit: Unit, chat_id: str, reached: Sequence[Reached]) -> None:
    stream = chats.stream_of(chat_id)
    for each in reached:
        receipt = ReceiptReceived(key=each.key, status=each.status, at=each.at)
        unit.record(stream, sending.record_receipt(unit.state(stream, Chat), receipt))
