"""Whether a platform delivers to us at all: Messenger stops after an hour of failures (P2).

It is asked once an hour for each account, by one process, and asked to go on where it has stopped.
"""

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

import msgspec

from domain.credentials import Credentials

INTERVAL = timedelta(hours=1)

# Whoever did not answer, or died over it, is asked again after so long.
AGAIN_AFTER = timedelta(minutes=5)


class DeliveryCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: `had_ended` says that it was missing, `refusal` why it still is."""

    had_ended: bool = False
    refusal: str | None = None


class HeldAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account of an org, as the directory has it."""

    org: int
    platform: str
    account_id: str


def next_check(account_id: str, *, after: datetime) -> datetime:
    """Each account has a second of the hour of its own: not all of them are asked about at once."""
    digest = hashlib.sha256(account_id.encode()).digest()
    second = timedelta(seconds=int.from_bytes(digest[:8]) % int(INTERVAL.total_seconds()))
    at = after.replace(minute=0, second=0, microsecond=0) + second
    return at if at > after else at + INTERVAL


# What the process that asks needs from outside.


class SubscriptionSchedule(Protocol):
    """Which accounts are to be looked at, over all organisations and processes."""

    async def claim_checks(
        self, platforms: Collection[str], *, now: datetime, until: datetime, limit: int
    ) -> list[HeldAccount]:
        """Accounts whose time has come; until then nobody else gets them."""

    async def plan_check(self, account: HeldAccount, *, at: datetime) -> None:
        """Look at it again then."""


class SubscriptionCredentials(Protocol):
    """Where credentials are found."""

    async def current(self, org: int, platform: str, account_id: str) -> Credentials:
        """Those that hold at this moment; none if the org has no such account."""


class SubscriptionCommands(Protocol):
    """What is written down."""

    async def record_subscription(self, account: HeldAccount, found: DeliveryCheck) -> None:
        """Write down what was found, if it is news."""


@runtime_checkable
class Subscribes(Protocol):
    """A platform that can stop delivering; not every one does."""

    async def renew_subscription(
        self, account_id: str, credentials: Credentials
    ) -> DeliveryCheck | None:
        """See whether it delivers, and have it go on if not; None if that cannot be known now."""
