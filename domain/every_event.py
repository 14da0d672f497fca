"""Imported for what it does: it defines every event, so that whatever a log holds can be read."""

from domain import (  # noqa: F401 - A test holds that none is missing.
    account,
    canned,
    channel,
    chat_events,
    chosen_rules,
    contact,
    conversation,
    ledger,
    media,
    organisation,
    purchase,
    read_marking,
    reader,
    template,
    unrouted,
    watermark,
)
