"""How many sends are on their way at once: each platform and each account has a share.

A platform that is slow must not take the lanes of the others, nor an account those of its
neighbours. So a platform has lanes of its own; a send that takes long is not counted among them any
more; and an account with nothing on its way may always begin.
"""

from typing import NamedTuple

ACCOUNT_LANES_MAX = 16
PLATFORM_LANES_MAX = 64
# Longer is slow, and slow ones hold up nobody but their account.
QUICK_SECONDS = 1.0
# Slow ones included: beyond this an account has one lane.
PLATFORM_SENDS_MAX = 256


class Account(NamedTuple):
    """Whose messages these are."""

    org: int
    platform: str
    account_id: str


class Shares:
    """What is on its way, and since when."""

    def __init__(self) -> None:
        self._begun: dict[str, dict[tuple[Account, str], float]] = {}  # By platform; oldest first.
        self._counts: dict[Account, int] = {}

    def has_room(self, account: Account, *, now: float, lanes_max: int = ACCOUNT_LANES_MAX) -> bool:
        """Whether the account may begin one more."""
        own = self._counts.get(account, 0)
        if own == 0:
            return True
        begun = self._begun[account.platform]
        if own >= lanes_max or len(begun) >= PLATFORM_SENDS_MAX:
            return False
        quick = 0
        for since in reversed(begun.values()):
            if since <= now - QUICK_SECONDS:
                break
            quick += 1
        return quick < PLATFORM_LANES_MAX

    def begin(self, account: Account, chat_id: str, *, now: float) -> None:
        """One more is on its way."""
        self._begun.setdefault(account.platform, {})[account, chat_id] = now
        self._counts[account] = self._counts.get(account, 0) + 1

    def end(self, account: Account, chat_id: str) -> None:
        """It has been answered."""
        del self._begun[account.platform][account, chat_id]
        self._counts[account] -= 1
        if not self._counts[account]:
            del self._counts[account]

    def busy(self) -> list[Account]:
        """The accounts that have something on its way."""
        return list(self._counts)
