"""How many free messages a customer was sent, where a platform counts them (N1).

Told by the chat's own events. What failed does not count; what is uncertain, or was given up by a
person, does: the platform may have it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from domain.windows import TEMPLATE_LIFETIME, WINDOW_RULES, is_open, window_rule

# Of an open window, more than any rule allows: a rule with a greater number needs a greater one.
IN_WINDOW_MAX = 50

_COUNTED_PLATFORMS = frozenset(
    rule.platform for rule in WINDOW_RULES.values() if rule.replies_max or rule.monthly_max
)


class Counted(msgspec.Struct, frozen=True):
    """A message that counts, and whether the customer's window was open when it was written."""

    message_id: str
    at: datetime
    in_window: bool


class Requested(Protocol):
    """A message that was asked for, as far as counting looks at it."""

    @property
    def message_id(self) -> str:
        """Our id."""

    @property
    def at(self) -> datetime:
        """When it was asked for."""

    @property
    def template(self) -> str | None:
        """Templates count after the window only: in it they take nobody's place."""


def with_message(
    counted: tuple[Counted, ...], platform: str, message: Requested, *, wrote_at: datetime | None
) -> tuple[Counted, ...]:
    """One more, where they are counted.

    Those after a window are forgotten with their month, but none that may still wait to be sent.
    """
    if platform not in _COUNTED_PLATFORMS:
        return counted
    at = message.at
    in_window = is_open(window_rule(platform), wrote_at, now=at)
    if in_window and message.template is not None:
        return counted
    known = (*counted, Counted(message.message_id, at, in_window))
    answers = [each for each in known if each.in_window][-IN_WINDOW_MAX:]
    late = (each for each in known if not each.in_window and _is_kept(each, at))
    return (*late, *answers)


def without_message(counted: tuple[Counted, ...], message_id: str) -> tuple[Counted, ...]:
    """The platform refused it, or it was never sent."""
    return tuple(each for each in counted if each.message_id != message_id)


def after_customer(counted: tuple[Counted, ...], *, wrote_at: datetime) -> tuple[Counted, ...]:
    """The customer wrote: what they were answered before counts no longer."""
    return tuple(each for each in counted if not each.in_window or each.at >= wrote_at)


def since_customer(counted: Iterable[Counted]) -> int:
    """How many since the customer's last message, while their window was open."""
    return sum(each.in_window for each in counted)


def in_month(counted: Iterable[Counted], at: datetime) -> int:
    """How many after their window, in the calendar month (UTC) of a moment."""
    return sum(_is_of_month(each, at) for each in counted)


def is_after_window(counted: Iterable[Counted], message_id: str) -> bool:
    """Whether this message was written after the window, as one of the month's."""
    return any(each.message_id == message_id and not each.in_window for each in counted)


def next_month(at: datetime) -> datetime:
    """When the calendar month (UTC) of a moment is over."""
    year, month = _month(at)
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _is_kept(counted: Counted, at: datetime) -> bool:
    return _is_of_month(counted, at) or counted.at > at - TEMPLATE_LIFETIME


def _is_of_month(counted: Counted, at: datetime) -> bool:
    return not counted.in_window and _month(counted.at) == _month(at)


def _month(at: datetime) -> tuple[int, int]:
    return at.astimezone(UTC).year, at.astimezone(UTC).month
