"""When messages may leave: budgets are kept, and who limits us or is down is left in peace (N3).

All of it is this process's own: several dispatchers do not know what the others have spent. There
the platform's own refusal is the backstop, which each of them heeds.
"""

from collections.abc import Callable, Hashable

import msgspec

from adapters.shares import ACCOUNT_LANES_MAX, Account, Shares
from domain.account import Impairment
from domain.budgets import Budget, Rate, budget_of
from domain.dispatch_ports import DueMessage, PassedOver
from domain.outbound import (
    LIMIT_REASONS,
    OF_ONE_CHAT,
    Accepted,
    AccountUnusable,
    Deferred,
    Rejected,
    SendAnswer,
    Unsettled,
)
from domain.sending import back_off

# An account that is in trouble so often in a row, or is told to wait so long, is shown as such.
NEWS_AFTER_TIMES = 3
NEWS_AFTER_SECONDS = 30.0
# A platform that names a longer time is asked again all the same: what is over must end.
PAUSE_SECONDS_MAX = 3600.0
# Buckets that are full again are as good as none.
BUCKETS_KEPT_MAX = 10_000


class Trouble(msgspec.Struct):
    """An account whose messages are deferred."""

    times: int = 0  # In a row.
    noted_at: float = 0.0
    paused_until: float = 0.0


class News(msgspec.Struct, frozen=True):
    """What to show of an account in trouble."""

    state: Impairment
    reason: str


class Pacing:
    """What this process has sent lately, and what was answered. Times are those of the loop."""

    def __init__(self, budget_of: Callable[[str], Budget] = budget_of) -> None:
        self._budget_of = budget_of
        self._shares = Shares()
        self._full_at: dict[Hashable, float] = {}  # Buckets: of accounts, and of chats.
        self._not_before: dict[Account, float] = {}
        self._chat_not_before: dict[tuple[int, str], float] = {}
        self._troubles: dict[Account, Trouble] = {}

    def may_begin(self, due: DueMessage, *, now: float) -> bool:
        """Whether a message may leave now; one that may not is passed over until it may."""
        account, chat = account_of(due), (due.org, due.chat_id)
        trouble = self._troubles.get(account)
        own_at = trouble.paused_until if trouble is not None else now
        chat_at = now
        for key, rate in self._rates(due):
            free_at = rate.free_at(self._full_at.get(key, 0.0))
            if key == chat:
                chat_at = max(chat_at, free_at)
            else:
                own_at = max(own_at, free_at)
        if own_at > now:
            self._not_before[account] = own_at
        if chat_at > now:
            self._chat_not_before[chat] = chat_at
        return own_at <= now and chat_at <= now and self._has_lane(account, now)

    def begin(self, due: DueMessage, *, now: float) -> None:
        """It leaves."""
        self._shares.begin(account_of(due), due.chat_id, now=now)
        for key, rate in self._rates(due):
            self._full_at[key] = rate.after_one(self._full_at.get(key, 0.0), now=now)
        if len(self._full_at) > BUCKETS_KEPT_MAX:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}

    def give_back(self, due: DueMessage) -> None:
        """It did not leave after all."""
        for key, rate in self._rates(due):
            if key in self._full_at:
                self._full_at[key] -= rate.interval

    def end(self, due: DueMessage) -> None:
        """Its lane is free."""
        self._shares.end(account_of(due), due.chat_id)

    def note(
        self, due: DueMessage, answer: SendAnswer, *, begun_at: float, now: float
    ) -> News | None:
        """What an answer means for the account; what is to be shown of that, if anything.

        Sends that were on their way together fail together: only one that began after the last
        trouble says anything new.
        """
        account = account_of(due)
        trouble = self._troubles.get(account)
        is_new = trouble is None or begun_at >= trouble.noted_at
        match answer:
            case Rejected(code=None):  # Ours: the platform was not asked.
                return None
            case Accepted() | Rejected() | AccountUnusable():
                if is_new:
                    self._troubles.pop(account, None)
                return None
            case Deferred(reason=reason) if reason in OF_ONE_CHAT:
                return None
            case Deferred() | Unsettled():
                trouble = self._troubles.setdefault(account, Trouble())
                trouble.times += is_new
                trouble.noted_at = now if is_new else trouble.noted_at
                return self._pause(trouble, answer, now)

    def passed_over(self, *, now: float) -> PassedOver:
        """Whose messages need not be looked at: they could not begin."""
        self._not_before = {each: at for each, at in self._not_before.items() if at > now}
        self._chat_not_before = {each: at for each, at in self._chat_not_before.items() if at > now}
        full = [each for each in self._shares.busy() if not self._has_lane(each, now)]
        return PassedOver(
            accounts=list({*self._not_before, *full}), chats=list(self._chat_not_before)
        )

    def next_at(self) -> float | None:
        """When one of those that are passed over may begin, as far as that is known."""
        return min([*self._not_before.values(), *self._chat_not_before.values()], default=None)

    def paused(self, *, now: float) -> dict[str, int]:
        """How many accounts of each platform are left in peace."""
        counts: dict[str, int] = {}
        for account, trouble in self._troubles.items():
            if trouble.paused_until > now:
                counts[account.platform] = counts.get(account.platform, 0) + 1
        return counts

    def _has_lane(self, account: Account, now: float) -> bool:
        # After a pause one message tries whether all is well again.
        lanes_max = 1 if account in self._troubles else ACCOUNT_LANES_MAX
        return self._shares.has_room(account, now=now, lanes_max=lanes_max)

    def _pause(self, trouble: Trouble, answer: Deferred | Unsettled, now: float) -> News | None:
        named = answer.retry_after_seconds if isinstance(answer, Deferred) else None
        seconds = back_off(trouble.times).total_seconds() if named is None else named
        is_shown = trouble.times >= NEWS_AFTER_TIMES or (named or 0) >= NEWS_AFTER_SECONDS
        # One lost answer is no outage, and what comes behind it should not wait.
        if isinstance(answer, Deferred) or is_shown:
            until = now + min(seconds, PAUSE_SECONDS_MAX)
            trouble.paused_until = max(trouble.paused_until, until)
        if not is_shown:
            return None
        return News("limited" if answer.reason in LIMIT_REASONS else "unreachable", answer.reason)

    def _rates(self, due: DueMessage) -> list[tuple[Hashable, Rate]]:
        budget = self._budget_of(due.platform)
        of_chat = budget.group if due.is_group else budget.pair
        rates = ((account_of(due), budget.account), ((due.org, due.chat_id), of_chat))
        return [(key, rate) for key, rate in rates if rate is not None]


def account_of(due: DueMessage) -> Account:
    """Whose message it is."""
    return Account(due.org, due.platform, due.account_id)
