"""What platforms tell us, on its way into the log. Nothing here is refused (P2, P3)."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence

from msgspec.structs import replace

from api.commands.execute import Executor
from api.commands.people import People
from api.commands.reception import Reception
from api.commands.unit import Unit
from domain import account as accounts
from domain.account import Account
from domain.identifiers import NewId
from domain.inbound import AccountNoticed, AnyOccurrence
from domain.ports import AlreadyDone, Clock, Directory, Keys, Org, Unavailable

# How long this process believes that an account belongs to the org it last looked up.
HOLDER_BELIEVED_SECONDS = 1.0

# A delivery may hold a thousand messages, each of somebody who has to be looked up. So many at once
# fill the log's batches, and leave others their turn at the connections.
LANES_AT_ONCE_MAX = 32

logger = logging.getLogger(__name__)


class NotHeld(Exception):
    """The org that was believed to hold the account has released it."""


class Inbound:
    """Turns occurrences into events of the org that holds their account."""

    def __init__(
        self,
        executor: Executor,
        people: People,
        directory: Directory,
        clock: Clock,
        new_id: NewId,
        *,
        system: Org,
    ) -> None:
        self._executor = executor
        self._people = people
        self._directory = directory
        self._clock = clock
        self._new_id = new_id
        self._system = system
        self._holders: dict[tuple[str, str], tuple[float, int]] = {}
        self._turns = asyncio.Semaphore(LANES_AT_ONCE_MAX)  # Of deliveries that hold several.

    async def receive(
        self, platform: str, occurrences: Sequence[AnyOccurrence], *, holder: int | None = None
    ) -> None:
        """Write down everything a webhook says; returns when all of it is durable.

        Raises Unavailable, and then the platform is to send it again: what is written already
        changes nothing. What concerns one person is written in the order given. `holder` is the
        org whose secret it was signed with, where accounts have secrets of their own.
        """
        # Deliveries that came together are parsed first and then decided together: to do one kind
        # of work at a time is a tenth quicker than to go to and fro.
        await asyncio.sleep(0)
        if len(occurrences) == 1:
            await self._receive_lane(platform, occurrences, holder)
            return
        lanes: dict[object, list[AnyOccurrence]] = defaultdict(list)
        for index, occurrence in enumerate(occurrences):
            lanes[_lane(occurrence) or index].append(occurrence)

        async def receive_in_turn(lane: Sequence[AnyOccurrence]) -> None:
            async with self._turns:
                await self._receive_lane(platform, lane, holder)

        receiving = [asyncio.create_task(receive_in_turn(lane)) for lane in lanes.values()]
        try:
            await asyncio.gather(*receiving)
        except Unavailable:
            # All of it comes again; until then the rest need not queue for what is away.
            for each in receiving:
                each.cancel()
            raise

    async def _receive_lane(
        self, platform: str, lane: Sequence[AnyOccurrence], holder: int | None
    ) -> None:
        for occurrence in lane:
            if holder is not None:
                await self.receive_for(await self._directory.keys(holder), platform, occurrence)
            elif not await self._receive_as_believed(platform, occurrence):
                await self._receive_as_listed(platform, occurrence)
            await self._tell_accounts(platform, occurrence)

    async def _receive_as_believed(self, platform: str, occurrence: AnyOccurrence) -> bool:
        """Write it down for who held the account a moment ago; False if that is nobody any more.

        The directory is not asked, but that org's log is: the append proves that the account was
        not released meanwhile, so nobody else can have it (S15).
        """
        account = (platform, occurrence.account_id or "")
        believed_until, number = self._holders.get(account, (0.0, 0))
        if asyncio.get_running_loop().time() >= believed_until:
            return False
        keys = await self._directory.keys(number)
        try:
            await self.receive_for(keys, platform, occurrence, only_while_held=True)
        except NotHeld:
            return False
        return True

    async def _receive_as_listed(self, platform: str, occurrence: AnyOccurrence) -> None:
        """Write it down for whom the directory names.

        What is kept because that is nobody is looked at again: whoever has taken the account
        meanwhile may have been handed over what waited without it (S10).
        """
        holders: list[int] = []
        while (found := await self._holders_of(platform, occurrence)) != holders:
            for number in found:
                keys = await self._directory.keys(number)
                await self.receive_for(keys, platform, occurrence)
            if found != [self._system.number]:
                return
            holders = found

    async def _tell_accounts(self, platform: str, occurrence: AnyOccurrence) -> None:
        """What is said of a business account's health or templates concerns all its accounts."""
        business_account_id = occurrence.business_account_id
        if (
            not isinstance(occurrence, AccountNoticed)
            or (occurrence.condition is None and occurrence.template is None)
            or occurrence.account_id is not None
            or business_account_id is None
        ):
            return
        # As it came it is kept once, with the business account, whose id may be that of an account.
        said = replace(occurrence, raw=None, dedupe=("told", *occurrence.dedupe))
        for number, account_id in await self._directory.accounts_of(platform, business_account_id):
            keys = await self._directory.keys(number)
            await self.receive_for(keys, platform, replace(said, account_id=account_id))

    async def _holders_of(self, platform: str, occurrence: AnyOccurrence) -> list[int]:
        if occurrence.account_id is not None:
            return [await self._holder(platform, occurrence.account_id)]
        if occurrence.business_account_id is None:
            return [self._system.number]
        held = await self._directory.business_account(platform, occurrence.business_account_id)
        return [holder.org for holder in held] or [self._system.number]

    async def _holder(self, platform: str, account_id: str) -> int:
        """Who holds an account; believed for a moment, as long as that org's log says so too."""
        holder = await self._directory.account(platform, account_id)
        # Who held it last gets what comes after the release (S10).
        number = holder.org if holder else self._system.number
        now = asyncio.get_running_loop().time()
        until = now + HOLDER_BELIEVED_SECONDS if holder and holder.held else 0.0
        self._holders[platform, account_id] = (until, number)
        return number

    async def receive_for(
        self,
        keys: Keys,
        platform: str,
        occurrence: AnyOccurrence,
        *,
        only_while_held: bool = False,
    ) -> None:
        """Write one occurrence down for one org, once for ever.

        With `only_while_held` it raises NotHeld where the org has released the account.
        """
        account = occurrence.account_id or occurrence.business_account_id or ""
        command = keys.hash("occurrence", platform, account, *occurrence.dedupe)
        reception = Reception(
            self._people,
            self._new_id,
            keys,
            platform,
            account,
            occurrence,
            self._clock.now(),
            is_unclaimed=keys.org == self._system,
        )

        def decide(unit: Unit) -> None:
            stream = accounts.stream_of(platform, account)
            if only_while_held and not unit.state(stream, Account).claimed:
                raise NotHeld
            reception.decide(unit)

        try:
            await self._executor.execute(keys.org, decide, command=command)
        except AlreadyDone:
            return
        except (Unavailable, NotHeld):
            raise
        except Exception:
            # A mistake of ours must not make the platform send the rest for days (P3).
            logger.exception("An occurrence could not be written as what it is; it is kept raw")
            await self._executor.execute(keys.org, reception.keep_raw, command=command)


def _lane(occurrence: AnyOccurrence) -> object | None:
    """What is written one after the other: all that concerns one person or group."""
    person = getattr(occurrence, "person", None)
    group = getattr(occurrence, "group", None)
    addresses = (group,) if group else person.addresses if person else ()
    return (occurrence.account_id, addresses[0]) if addresses else None
