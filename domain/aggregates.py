"""Every kind of stream, with its empty state and how it evolves."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from domain import (
    account,
    canned,
    channel,
    chat,
    chosen_rules,
    contact,
    ledger,
    media,
    organisation,
    read_marking,
    template,
    watermark,
)
from domain.event import Event

Evolve = Callable[[Any, Event], Any]


class Nothing(msgspec.Struct, frozen=True):
    """The state of a stream that no decision looks at."""


def _unmoved(state: Nothing, _event: Event) -> Nothing:
    return state


AGGREGATES: Mapping[str, tuple[Any, Evolve]] = {
    "marking": (read_marking.Marking(), read_marking.evolve),
    "organisation": (organisation.Organisation(), organisation.evolve),
    "account": (account.Account(), account.evolve),
    "canned": (canned.CannedReplies(), canned.evolve),
    "channel": (channel.Channel(), channel.evolve),
    "chat": (chat.Chat(), chat.evolve),
    "contact": (contact.Contact(), contact.evolve),
    "credits": (ledger.Credits(), ledger.evolve),
    "media": (media.Upload(), media.evolve),
    "rules": (chosen_rules.ChosenRules(), chosen_rules.evolve),
    "template": (template.Templates(), template.evolve),
    "watermark": (watermark.Watermarks(), watermark.evolve),
    "reader": (Nothing(), _unmoved),
    "unrouted": (Nothing(), _unmoved),
}


def aggregate_of(stream: str) -> tuple[Any, Evolve]:
    """The empty state and the evolve function of a stream."""
    return AGGREGATES[stream.partition(":")[0]]
