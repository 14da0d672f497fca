"""What else the commands and the dispatcher need from outside, in memory."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, cast

import msgspec

from adapters.postgres.batch import Head
from adapters.postgres.keys import KEY_BYTES, OrgKeys
from api.commands.credentials import AccountCredentials
from api.commands.marks import mark_of
from domain import account as accounts
from domain import chat as chats
from domain.account import Account, AccountClaimed, CredentialsChanged
from domain.chat import Chat
from domain.chat_events import ReplyRequested, SendDeferred, SendStarted
from domain.credentials import Credentials
from domain.dispatch_ports import DueMessage, PassedOver, WaitingAccount
from domain.inbound import Content
from domain.outbound import OutboundMessage
from domain.ports import AccountHolder, ApiKey, Clock, Directory, Org, StoredAnswer
from tests.simulation.database import MemoryDatabase
from tests.simulation.machine import Machine


@dataclass
class Tables:
    """The directory's own tables."""

    chance: Random
    organisations: dict[str, tuple[Org, bytes, bytes]] = field(default_factory=dict)
    accounts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    api_keys: dict[str, ApiKey] = field(default_factory=dict)


class MemoryDirectory:
    """What spans organisations."""

    def __init__(self, machine: Machine, database: MemoryDatabase, tables: Tables) -> None:
        self._machine = machine
        self._database = database
        self._tables = tables
        self._keys: dict[int, OrgKeys] = {}

    async def create_organisation(self, org_id: str) -> Org:
        await self._machine.ask_database()
        if org_id not in self._tables.organisations:
            org = Org(len(self._tables.organisations) + 1, org_id)
            wrapping, identity = [self._tables.chance.randbytes(KEY_BYTES) for _ in range(2)]
            self._tables.organisations[org_id] = (org, wrapping, identity)
            self._database.heads[org.number] = Head(0, bytes(32), 0)
        return self._tables.organisations[org_id][0]

    async def keys(self, number: int) -> OrgKeys:
        if number not in self._keys:
            await self._machine.ask_database()
            self._keys.setdefault(number, self.keys_of(number))
        return self._keys[number]

    def keys_of(self, number: int) -> OrgKeys:
        for org, wrapping, identity in self._tables.organisations.values():
            if org.number == number:
                return OrgKeys(org, wrapping_key=wrapping, identity_key=identity)
        raise LookupError(number)

    async def add_api_key(self, org: Org, key: ApiKey, *, digest: bytes) -> bool:
        await self._machine.ask_database()
        return self._tables.api_keys.setdefault(key.id, key) is key

    async def account(self, platform: str, account_id: str) -> AccountHolder | None:
        await self._machine.ask_database()
        row = self._tables.accounts.get((platform, account_id))
        return AccountHolder(**row) if row else None

    async def claim_account(
        self, org: Org, platform: str, account_id: str, *, business_account_id: str | None
    ) -> bool:
        await self._machine.ask_database()
        row = self._tables.accounts.get((platform, account_id))
        if row is not None and row["held"] and row["org"] != org.number:
            return False
        kept = row["secrets"] if row is not None and row["org"] == org.number else None
        claimed = {"org": org.number, "held": True, "secrets": kept}
        self._tables.accounts[platform, account_id] = claimed
        return True

    async def release_account(self, org: Org, platform: str, account_id: str) -> None:
        await self._machine.ask_database()
        row = self._tables.accounts.get((platform, account_id))
        if row is not None and row["org"] == org.number:
            row |= {"held": False, "secrets": None}

    async def store_secrets(
        self, org: Org, platform: str, account_id: str, *, sealed: bytes
    ) -> None:
        await self._machine.ask_database()
        row = self._tables.accounts.get((platform, account_id))
        if row is not None and row["org"] == org.number:
            row["secrets"] = sealed

    async def replace_secrets(
        self, org: Org, platform: str, account_id: str, *, before: bytes | None, sealed: bytes
    ) -> bool:
        await self._machine.ask_database()
        row = self._tables.accounts.get((platform, account_id))
        if row is None or row["org"] != org.number or row["secrets"] != before:
            return False
        row["secrets"] = sealed
        return True

    async def business_account(
        self, platform: str, business_account_id: str
    ) -> list[AccountHolder]:
        await self._machine.ask_database()
        return []

    async def accounts_of(self, platform: str, business_account_id: str) -> list[tuple[int, str]]:
        await self._machine.ask_database()
        return []


class MemoryRequests:
    """Remembered Idempotency-Keys."""

    def __init__(self, machine: Machine, database: MemoryDatabase) -> None:
        self._machine = machine
        self._database = database

    async def find(self, org: Org, key: bytes) -> StoredAnswer | None:
        await self._machine.ask_database()
        return self._database.requests.get((org.number, key))


class MemoryAddresses:
    """Whom addresses lead to, and people's keys."""

    def __init__(self, machine: Machine, database: MemoryDatabase) -> None:
        self._machine = machine
        self._database = database

    async def contacts(self, org: Org, keys: Sequence[bytes]) -> dict[bytes, str]:
        await self._machine.travel()
        known = self._database.addresses
        found = {key: known[org.number, key] for key in keys if (org.number, key) in known}
        await self._machine.ask_database()  # What was read may be old when it arrives.
        return found

    async def wrapped_keys(self, org: Org, ids: Sequence[str]) -> dict[str, bytes]:
        await self._machine.ask_database()
        known = self._database.keys
        return {
            each: known[org.number, each].wrapped for each in ids if (org.number, each) in known
        }


class Bell:
    """Rings for everybody when the log has grown; a ring may be missed."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self, _orgs: Collection[int] | None = None) -> None:
        self._rung.set()
        self._rung = asyncio.Event()

    def grown(self) -> frozenset[int] | None:
        return None

    async def wait(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self._rung.wait()
        except TimeoutError:
            return False
        return True


@dataclass
class Projected:
    """A read model of what is to be sent, which follows the log at its own pace."""

    database: MemoryDatabase
    checkpoints: dict[int, int] = field(default_factory=dict)
    chats: dict[tuple[int, str], Chat] = field(default_factory=dict)
    accounts: dict[tuple[int, str], Account] = field(default_factory=dict)
    asked: dict[tuple[int, str], int] = field(default_factory=dict)  # When, for verification.
    moments: dict[str, datetime] = field(default_factory=dict)  # Due, or since when it is sent.

    def follow(self, chance: Random | None) -> None:
        """Take what is new; with a chance, not always all of it."""
        for org, events in self.database.events.items():
            done = self.checkpoints.get(org, 0)
            until = len(events) if chance is None else chance.randint(done, len(events))
            for row in events[done:until]:
                kind, _, subject = row.stream.partition(":")
                if kind == "chat":
                    before = self.chats.get((org, subject), Chat())
                    self.chats[org, subject] = chats.evolve(before, row.event)
                elif kind == "account":
                    known = self.accounts.get((org, subject), Account())
                    self.accounts[org, subject] = accounts.evolve(known, row.event)
                    if isinstance(row.event, AccountClaimed | CredentialsChanged):
                        self.asked[org, subject] = row.position
                if isinstance(row.event, SendDeferred):
                    self.moments[row.event.message_id] = row.event.retry_at
                elif isinstance(row.event, SendStarted):
                    self.moments[row.event.message_id] = row.recorded_at
            self.checkpoints[org] = until


class MemoryOutbox:
    """What waits to be sent or checked, as one machine sees it."""

    def __init__(
        self, machine: Machine, directory: MemoryDirectory, projected: Projected, clock: Clock
    ) -> None:
        self._machine = machine
        self._directory = directory
        self._projected = projected
        self._clock = clock

    async def _look(self) -> Projected:
        await self._machine.travel()
        weather = self._machine.weather
        self._projected.follow(None if weather.is_calm else weather.chance)
        return self._projected

    async def due(self, now: datetime, passed_over: PassedOver) -> list[DueMessage]:
        return [
            due
            for due, at in self._waiting(await self._look())
            if at <= now
            and (due.org, due.platform, due.account_id) not in passed_over.accounts
            and (due.org, due.chat_id) not in passed_over.chats
        ]

    async def next_due(self) -> datetime | None:
        return min((at for _, at in self._waiting(await self._look())), default=None)

    def _waiting(self, projected: Projected) -> list[tuple[DueMessage, datetime]]:
        found = []
        for (org, _), chat in projected.chats.items():
            queue = [(each, chat.outbound[each]) for each in chat.queue]
            if queue and not any(message.sending for _, message in queue):
                message_id, message = queue[0]
                at = projected.moments.get(message_id, message.requested_at)
                found.append((_due(org, chat, message_id, message.attempt), at))
        return found

    async def orphans(self, claimed_before: datetime) -> list[DueMessage]:
        projected = await self._look()
        return [
            _due(org, chat, message_id, chat.outbound[message_id].attempt)
            for (org, _), chat in projected.chats.items()
            for message_id in chat.queue
            if chat.outbound[message_id].sending and projected.moments[message_id] < claimed_before
        ]

    async def waiting(self, *, after: tuple[int, str]) -> list[DueMessage]:
        found = [due for due, _ in self._waiting(await self._look())]
        found.sort(key=lambda due: (due.org, due.chat_id))
        return [due for due in found if (due.org, due.chat_id) > after]

    async def open(self, due: DueMessage) -> OutboundMessage | None:
        await self._machine.ask_database()
        chat = self._projected.chats[due.org, due.chat_id]
        database, stream = self._projected.database, chats.stream_of(due.chat_id)
        request = database.streams[due.org, stream][chat.outbound[due.message_id].requested - 1]
        assert isinstance(request.event, ReplyRequested)
        sealed = request.event.content
        keys = await self._directory.keys(due.org)
        data = keys.open(
            sealed,
            stream=stream,
            stored_type=ReplyRequested.stored_type,
            wrapped=database.keys[due.org, sealed.key].wrapped,
        )
        return OutboundMessage(
            mark=mark_of(due.chat_id, due.message_id),
            account_id=due.account_id,
            recipient=(),
            kind=request.event.kind,
            content=msgspec.json.decode(data, type=Content),
        )

    async def unverified(
        self, platforms: Collection[str], left_alone: Collection[WaitingAccount]
    ) -> list[WaitingAccount]:
        projected = await self._look()
        found = []
        for (org, subject), account in projected.accounts.items():
            platform, _, account_id = subject.partition(":")
            is_pending = account.claimed and account.verification == "pending"
            if is_pending and platform in platforms:
                waiting = WaitingAccount(
                    org=org,
                    platform=platform,
                    account_id=account_id,
                    position=projected.asked[org, subject],
                )
                found.append(waiting)
        return [each for each in found if each not in left_alone]

    async def credentials(self, org: int, platform: str, account_id: str) -> Credentials:
        credentials = AccountCredentials(cast("Directory", self._directory), self._clock)
        return await credentials.current(org, platform, account_id)


def _due(org: int, chat: Chat, message_id: str, attempt: int) -> DueMessage:
    return DueMessage(
        org=org,
        platform=chat.platform,
        account_id=chat.account_id,
        chat_id=chat.chat_id or "",
        message_id=message_id,
        attempt=attempt,
    )
