"""Checks the credentials of accounts once they are given (S15)."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from adapters.lanes import Lanes, Rounds
from adapters.outages import report
from domain.credentials import Credentials, missing_to_send
from domain.dispatch_ports import Outbox, Platform, VerifyCommands, WaitingAccount
from domain.outbound import NotReached, NotVerified, VerificationAnswer
from domain.ports import Wakener

VERIFYING_MAX = 16  # At once, for each platform: one that is slow holds up no other.
VERIFICATION_PAUSE_FIRST_SECONDS = 2.0
VERIFICATION_PAUSE_MAX_SECONDS = 60.0
ANSWER_REMEMBERED_SECONDS = 60.0


class Pause(NamedTuple):
    """Until when an account is not asked about, in the loop's time, and how long that is."""

    until: float
    seconds: float


class Verifier:
    """Asks platforms whether credentials hold, each account by itself."""

    def __init__(
        self,
        outbox: Outbox,
        commands: VerifyCommands,
        platforms: Mapping[str, Platform],
        wakener: Wakener,
    ) -> None:
        self._outbox = outbox
        self._commands = commands
        self._platforms = platforms
        self._wakener = wakener
        self._pauses: dict[WaitingAccount, Pause] = {}
        self._lanes = {platform: Lanes(at_once_max=VERIFYING_MAX) for platform in platforms}

    async def run(self) -> None:
        """Check until cancelled; a platform that does not answer is asked again later."""
        rounds = Rounds(self._wakener, "Checking credentials")
        try:
            while True:
                with rounds.survived():
                    await self._check_all()
                await rounds.next()
        finally:
            await asyncio.gather(*(lanes.stop() for lanes in self._lanes.values()))

    async def _check_all(self) -> None:
        now = asyncio.get_running_loop().time()
        kept_since = now - VERIFICATION_PAUSE_MAX_SECONDS
        self._pauses = {
            each: pause for each, pause in self._pauses.items() if pause.until > kept_since
        }
        left_alone = [each for each, pause in self._pauses.items() if pause.until > now]
        for account in await self._outbox.unverified(self._platforms.keys(), left_alone):
            lanes = self._lanes[account.platform]
            if lanes.has_room(account):
                lanes.start(account, partial(self._check, account))

    async def _check(self, account: WaitingAccount) -> None:
        try:
            await self._verify(account)
        except Exception as error:
            report(error, "Credentials could not be checked")

    async def _verify(self, account: WaitingAccount) -> None:
        credentials = await self._credentials_of(account)
        answer = await self._answer(account, credentials)
        # Those that replaced them meanwhile are checked in the next round.
        if await self._credentials_of(account) != credentials:
            return
        now = asyncio.get_running_loop().time()
        if isinstance(answer, NotReached):
            before = self._pauses.get(account)
            longer = before.seconds * 2 if before else VERIFICATION_PAUSE_FIRST_SECONDS
            seconds = min(longer, VERIFICATION_PAUSE_MAX_SECONDS)
            self._pauses[account] = Pause(now + seconds, seconds)
            return
        await self._commands.record_verification(account, answer)
        # That is in the log, and what waits to be checked shows it a moment later.
        self._pauses[account] = Pause(now + ANSWER_REMEMBERED_SECONDS, 0.0)

    async def _answer(
        self, account: WaitingAccount, credentials: Credentials
    ) -> VerificationAnswer:
        missing = missing_to_send(account.platform, credentials)
        if missing:
            return NotVerified(reason=f"{missing} is missing")
        return await self._platforms[account.platform].verify(account.account_id, credentials)

    async def _credentials_of(self, account: WaitingAccount) -> Credentials:
        return await self._outbox.credentials(account.org, account.platform, account.account_id)
