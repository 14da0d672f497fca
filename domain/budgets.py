"""How fast each platform lets us send, as data by name and version (N3).

A rate is a bucket that fills steadily, and a message takes one piece out of it. All that need be
remembered of a bucket is the moment at which it will be full again; times are seconds of any clock
that does not go back. What is spent here never has to be refused by the platform.
"""

from collections.abc import Mapping

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """So many messages in so many seconds, and so many at once after a rest."""

    count: int
    seconds: float
    burst: int

    @property
    def interval(self) -> float:
        """How long it takes until there is room for one more."""
        return self.seconds / self.count

    def free_at(self, full_at: float) -> float:
        """When the next message may go, of a bucket that will be full at a moment."""
        return full_at - (self.burst - 1) * self.interval

    def after_one(self, full_at: float, *, now: float) -> float:
        """When it will be full after a message that goes now."""
        return max(full_at, now) + self.interval


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """One platform's rates. None: it names none, and says so when it becomes too much."""

    name: str
    account: Rate | None = None  # All messages of an account.
    pair: Rate | None = None  # Those of an account to one customer,
    group: Rate | None = None  # or to one group.


BUDGETS: Mapping[str, Budget] = {
    budget.name: budget
    for budget in (
        # The first 45 messages to a customer may go at once, then one in six seconds.
        Budget(name="whatsapp/1", account=Rate(80, 1, burst=80), pair=Rate(1, 6, burst=45)),
        # There is no limit in figures; beyond 40 a second for long, Meta asks to slow down.
        Budget(name="messenger/1", account=Rate(40, 1, burst=40)),
        Budget(name="line/1", account=Rate(2000, 1, burst=2000)),
        # A group takes 20 in any minute: 5 at once, and 15 as time goes by.
        Budget(
            name="telegram/1",
            account=Rate(30, 1, burst=30),
            pair=Rate(1, 1, burst=3),
            group=Rate(15, 60, burst=5),
        ),
        Budget(name="wechat/1"),  # Only error codes.
    )
}

DEFAULT_BUDGETS: Mapping[str, str] = {
    "whatsapp": "whatsapp/1",
    "messenger": "messenger/1",
    "line": "line/1",
    "telegram": "telegram/1",
    "wechat": "wechat/1",
}


def budget_of(platform: str) -> Budget:
    """The budget that holds for a platform today."""
    return BUDGETS[DEFAULT_BUDGETS[platform]]
