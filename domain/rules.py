"""Named, versioned rules. An event names the rule that decided it, so it can be replayed (S9)."""

from collections.abc import Callable, Mapping
from typing import Any

from domain import pricing
from domain.parent import earliest_created, earliest_joined

RULES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "parent": {
        "earliest-created/1": earliest_created,
        "earliest-joined/1": earliest_joined,
    },
    "pricing": {
        "conversation/1": pricing.conversation,
        "per-message/2025-07": pricing.per_message,
        "service-message/2026-10": pricing.service_message,
    },
}
