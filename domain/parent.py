"""Who manages a shared channel: the rules of kind `parent` (S8, S9)."""

from collections.abc import Sequence
from typing import Literal

import msgspec

Cause = Literal["first_creation", "succession", "revival", "nobody_left"]

DEFAULT_RULE = "earliest-created/1"


class Candidate(msgspec.Struct, frozen=True):
    """A service that shares the channel now, with every fact that a rule may look at.

    Ranks are versions of the channel's own stream: the order of events, which no clock can upset.
    """

    service: str
    created: int  # Version of the event that created its connection.
    joined: int  # Version of the event by which it joined last.


def earliest_created(candidates: Sequence[Candidate]) -> str | None:
    """The service whose connection was created first, or None if nobody is left. Spec S8."""
    return min(candidates, key=lambda each: each.created).service if candidates else None


def earliest_joined(candidates: Sequence[Candidate]) -> str | None:
    """The service that has shared the channel longest without a break; for what-if questions."""
    return min(candidates, key=lambda each: each.joined).service if candidates else None
