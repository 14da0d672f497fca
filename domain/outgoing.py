"""A chat's messages to the customer, as its decisions see them."""

from datetime import datetime
from itertools import islice

import msgspec

# How many of a chat's newest outbound messages can still be retried or matched.
OUTBOUND_REMEMBERED_MAX = 200
# And of those whose fate nobody knows, which a person may retry or discard (N3).
UNCERTAIN_REMEMBERED_MAX = 1_000


# C15: the status of a message is the greatest of what is known. `failed` ends it.
STATUS_RANK = {
    "queued": 0,
    "uncertain": 1,
    "sent": 2,
    "delivered": 3,
    "read": 4,
    "played": 5,
    "failed": 6,
}


class Outbound(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions need of a message to the customer."""

    service: str
    channel_id: str
    requested: int  # Version of the request, where its content stands.
    requested_at: datetime
    template: str | None = None  # `<name>/<language>`
    category: str | None = None  # Of the template.
    tag: str | None = None
    status: str = "queued"
    refused: bool = False  # By the platform; not where a person gave it up (C15).
    sending: bool = False
    attempt: int = 0
    deferred_for: frozenset[str] = frozenset()  # Every reason for which it had to wait.
    started_at: datetime | None = None  # The newest attempt, where the platform has keys.
    unanswered_since: datetime | None = None  # An attempt that the platform may have taken.
    retried: bool = False
    key: bytes | None = None
    charge: str | None = None  # Under which of the chat's charges it falls.

    @property
    def is_template(self) -> bool:
        """Whether it may leave outside the messaging window (N1)."""
        return self.template is not None

    @property
    def awaits_a_person(self) -> bool:
        """Whether nobody knows its fate, and nobody has decided what to do about that (N3)."""
        return self.status == "uncertain" and not self.retried

    @property
    def is_settled(self) -> bool:
        """Whether nothing more has to be done about it."""
        return self.status != "queued" and not self.awaits_a_person


class Reply(msgspec.Struct, frozen=True):
    """The newest reply that went through one channel."""

    version: int
    message_id: str


def forget_oldest(outbound: dict[str, Outbound]) -> None:
    """Forget the oldest, where there are too many; what is queued is never forgotten."""
    uncertain = [key for key, each in outbound.items() if each.awaits_a_person]
    settled = (key for key, each in outbound.items() if each.is_settled)
    surplus = max(len(outbound) - len(uncertain) - OUTBOUND_REMEMBERED_MAX, 0)
    uncertain_surplus = max(len(uncertain) - UNCERTAIN_REMEMBERED_MAX, 0)
    for message_id in (*islice(settled, surplus), *uncertain[:uncertain_surplus]):
        del outbound[message_id]


def greatest(known: str, reported: str) -> str:
    """The greater of two statuses; one that is not in the order changes nothing. Spec C15."""
    return reported if STATUS_RANK.get(reported, -1) > STATUS_RANK[known] else known
