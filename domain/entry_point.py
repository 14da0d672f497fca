"""Free entry points: a customer who comes by an ad or a Page's button.

Whoever answers such a message within 24 hours opens one: from the answer, which is part of it,
everything is free for 72 hours. Both spans are half open. A second message of the kind has an entry
point of its own, which may last longer than the first. As with conversations (L1, L4), what was
written outside is no answer, and neither is what the platform refused. Whatever was decided before
any of this was known stays as it is.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from domain.outgoing import Outbound

ANSWERED_WITHIN = timedelta(hours=24)
FREE_FOR = timedelta(hours=72)

# Of those that were answered, so many are kept: the ones that last longest.
ANSWERED_MAX = 10


class EntryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """When the customer came, and the business's first answer to it."""

    came_at: datetime
    known_since: int  # Version of the customer's message; what was asked for later answers it.
    answer: str | None = None  # Our message.
    answered_at: datetime | None = None

    @property
    def free_until(self) -> datetime:
        """Until then whatever is written is free: it is inside, or it is the answer."""
        if self.answered_at is None:
            return self.came_at + ANSWERED_WITHIN
        return self.answered_at + FREE_FOR


EntryPoints = tuple[EntryPoint, ...]


def is_free(known: EntryPoints, at: datetime) -> bool:
    """Whether a message that is written at this moment is inside an entry point, or opens one."""
    return any(at < each.free_until for each in known)


def after_customer(
    known: EntryPoints, came: EntryPoint, *, outbound: Mapping[str, Outbound]
) -> EntryPoints:
    """The customer came. If that is told late, they may have been answered since."""
    return _bounded((*known, _answered(came, outbound.items())))


def with_answer(known: EntryPoints, message_id: str, *, at: datetime) -> EntryPoints:
    """The business wrote. It knew of the customer's message, whichever clock is ahead."""
    return tuple(
        replace(each, answer=message_id, answered_at=at)
        if each.answer is None and at < each.free_until
        else each
        for each in known
    )


def without_answer(
    known: EntryPoints, message_id: str, *, outbound: Mapping[str, Outbound]
) -> EntryPoints:
    """The platform refused this message: the first answer is the next one, or is yet to come."""
    others = [each for each in outbound.items() if each[0] != message_id]
    return _bounded(
        _answered(each, others) if each.answer == message_id else each for each in known
    )


def _answered(came: EntryPoint, outbound: Iterable[tuple[str, Outbound]]) -> EntryPoint:
    """With the first answer among these messages, or with none."""
    answers = [
        (message.requested_at, message_id)
        for message_id, message in outbound
        if _answers(came, message) and not message.refused
    ]
    answered_at, message_id = min(answers, default=(None, None))
    return replace(came, answer=message_id, answered_at=answered_at)


def _answers(came: EntryPoint, message: Outbound) -> bool:
    """By the clocks, or because it was written by somebody who knew."""
    at = message.requested_at
    is_later = at >= came.came_at or message.requested > came.known_since
    return is_later and at < came.came_at + ANSWERED_WITHIN


def _bounded(known: Iterable[EntryPoint]) -> EntryPoints:
    """Of those that wait for an answer the newest is enough: what answers any answers it."""
    ordered = sorted(known, key=lambda each: each.free_until)
    answered = [each for each in ordered if each.answer is not None]
    waiting = [each for each in ordered if each.answer is None]
    return (*answered[-ANSWERED_MAX:], *waiting[-1:])
