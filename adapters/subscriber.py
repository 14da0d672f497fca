"""Asks platforms whether they still deliver to us, and to go on where they do not."""

import asyncio
from collections.abc import Mapping

from adapters.outages import Outages, report
from domain.credentials import missing_to_send
from domain.ports import Clock
from domain.subscription import (
    AGAIN_AFTER,
    HeldAccount,
    Subscribes,
    SubscriptionCommands,
    SubscriptionCredentials,
    SubscriptionSchedule,
    next_check,
)

AT_ONCE_MAX = 16
PAUSE_SECONDS = 30.0


class Subscriber:
    """One process's. Several may run: an account is looked at by whoever claims it."""

    def __init__(
        self,
        schedule: SubscriptionSchedule,
        credentials: SubscriptionCredentials,
        commands: SubscriptionCommands,
        platforms: Mapping[str, Subscribes],
        clock: Clock,
    ) -> None:
        self._schedule = schedule
        self._credentials = credentials
        self._commands = commands
        self._platforms = platforms
        self._clock = clock

    async def run(self) -> None:
        """Ask until cancelled."""
        outages = Outages("Looking after deliveries")
        while True:
            with outages.survived():
                while await self.check_due():
                    pass
            await asyncio.sleep(PAUSE_SECONDS)

    async def check_due(self) -> int:
        """Look at accounts whose time has come, as many as go at once; how many those were."""
        now = self._clock.now()
        due = await self._schedule.claim_checks(
            self._platforms.keys(), now=now, until=now + AGAIN_AFTER, limit=AT_ONCE_MAX
        )
        await asyncio.gather(*(self._check(each) for each in due))
        return len(due)

    async def _check(self, account: HeldAccount) -> None:
        """One that goes wrong holds up no other."""
        try:
            if await self._is_settled(account):
                at = next_check(account.account_id, after=self._clock.now())
                await self._schedule.plan_check(account, at=at)
        except Exception as error:
            report(error, "Deliveries could not be looked at")

    async def _is_settled(self, account: HeldAccount) -> bool:
        """Whether there is no more to be known about it for an hour."""
        credentials = await self._credentials.current(
            account.org, account.platform, account.account_id
        )
        if missing_to_send(account.platform, credentials):
            return True
        platform = self._platforms[account.platform]
        found = await platform.renew_subscription(account.account_id, credentials)
        if found is None:
            return False
        await self._commands.record_subscription(account, found)
        return True
