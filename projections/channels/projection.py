"""Channels as their list and page show them, and every decision about a parent (S1, S8, S9).

An org has few channels and they change seldom: what a batch touches is loaded, folded event by
event, and written back whole.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg.rows import class_row

from domain.account import (
    AccountClaimed,
    AccountImpaired,
    AccountResubscribed,
    AccountResumed,
    AccountStopped,
    AccountUnsubscribed,
    AccountVerified,
    CredentialsChanged,
    VerificationFailed,
)
from domain.channel import (
    ChannelCreated,
    ChannelReclaimed,
    ChannelReleased,
    ChannelRenamed,
    ConnectionCreated,
    ConnectionDeleted,
    ConnectionDisabled,
    ConnectionEnabled,
    ParentChosen,
)
from domain.event import Recorded
from projections.engine.named_sql import load
from projections.engine.projection import Connection

SQL = load(__file__)


class _Channel(msgspec.Struct):
    """A row of channels."""

    channel_id: str
    created_position: int
    platform: str
    account_id: str
    address: str | None
    name: str
    shared: bool
    parent: str | None = None
    released: bool = False


class _Link(msgspec.Struct):
    """A row of channels_connections."""

    channel_id: str
    service: str
    active: bool
    created_position: int
    created_version: int
    joined_position: int
    joined_version: int
    connected_at: datetime


class _Account(msgspec.Struct):
    """A row of channels_accounts."""

    platform: str
    account_id: str
    business_account_id: str | None
    verification: str
    verification_reason: str | None
    health: str
    health_reason: str | None
    health_until: datetime | None
    health_since: datetime
    unsubscribed: str | None = None
    unsubscribed_since: datetime | None = None


class Candidate(msgspec.Struct, frozen=True):
    """A candidate of a decision, with the positions of the events that its ranks name."""

    service: str
    created_position: int
    joined_position: int


class _Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A row of channels_decisions."""

    channel_id: str
    position: int
    at: datetime
    kind: str
    rule: str
    cause: str
    candidates: bytes
    chosen: str | None
    previous: str | None


class _Changes:
    """What is known of everything that a batch touches."""

    def __init__(
        self,
        channels: Iterable[_Channel],
        links: Iterable[_Link],
        accounts: Iterable[_Account],
    ) -> None:
        self.channels = {each.channel_id: each for each in channels}
        self.links = {(each.channel_id, each.service): each for each in links}
        self.accounts = {f"account:{each.platform}:{each.account_id}": each for each in accounts}
        self.decisions: list[_Decision] = []

    def fold(self, recorded: Recorded) -> None:
        """Take one event in."""
        if recorded.stream.startswith("account:"):
            self._fold_account(recorded)
        else:
            self._fold_channel(recorded, recorded.stream.removeprefix("channel:"))

    def _fold_account(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, AccountClaimed):
            self.accounts[recorded.stream] = _Account(
                platform=event.platform,
                account_id=event.account_id,
                business_account_id=event.business_account_id,
                verification="pending",
                verification_reason=None,
                health="ok",
                health_reason=None,
                health_until=None,
                health_since=recorded.recorded_at,
            )
            return
        account = self.accounts.get(recorded.stream)
        if account is None:  # News about a business account, which nobody claims.
            return
        match event:
            case CredentialsChanged():
                account.verification, account.verification_reason = "pending", None
                _set_health(account, recorded.recorded_at, "ok")
            case AccountVerified():
                account.verification, account.verification_reason = "verified", None
            case VerificationFailed():
                account.verification, account.verification_reason = "failed", event.reason
            case AccountStopped():
                _set_health(account, recorded.recorded_at, "stopped", event.reason)
            case AccountImpaired():
                at = recorded.recorded_at
                _set_health(account, at, event.state, event.reason, event.until)
            case AccountResumed():
                _set_health(account, recorded.recorded_at, "ok")
            case AccountUnsubscribed():
                account.unsubscribed = event.reason
                account.unsubscribed_since = account.unsubscribed_since or recorded.recorded_at
            case AccountResubscribed():
                account.unsubscribed = account.unsubscribed_since = None
                if account.health == "ok":
                    account.health_since = recorded.recorded_at

    def _fold_channel(self, recorded: Recorded, channel_id: str) -> None:
        match recorded.event:
            case ChannelCreated() as created:
                self.channels[channel_id] = _Channel(
                    channel_id=channel_id,
                    created_position=recorded.position,
                    platform=created.platform,
                    account_id=created.account_id,
                    address=created.address,
                    name=created.name,
                    shared=created.shared,
                )
            case ConnectionCreated(service=service):
                self.links[channel_id, service] = _Link(
                    channel_id=channel_id,
                    service=service,
                    active=True,
                    created_position=recorded.position,
                    created_version=recorded.version,
                    joined_position=recorded.position,
                    joined_version=recorded.version,
                    connected_at=recorded.recorded_at,
                )
            case ConnectionEnabled(service=service):
                link = self.links[channel_id, service]
                link.active = True
                link.joined_position, link.joined_version = recorded.position, recorded.version
            case ConnectionDisabled(service=service):
                self.links[channel_id, service].active = False
            case ConnectionDeleted(service=service):
                self.links.pop((channel_id, service), None)
            case ParentChosen() as decision:
                self.channels[channel_id].parent = decision.chosen
                self.decisions.append(self._decision(recorded, channel_id, decision))
            case ChannelRenamed(name=name):
                self.channels[channel_id].name = name
            case ChannelReleased():
                self.channels[channel_id].released = True
            case ChannelReclaimed():
                self.channels[channel_id].released = False

    def _decision(self, recorded: Recorded, channel_id: str, decision: ParentChosen) -> _Decision:
        """The candidates' ranks are versions; who asks sees positions, as everywhere outside."""
        positions: dict[int, int] = {}
        for (owner, _), link in self.links.items():
            if owner == channel_id:
                positions[link.created_version] = link.created_position
                positions[link.joined_version] = link.joined_position
        candidates = [
            Candidate(each.service, positions[each.created], positions[each.joined])
            for each in decision.candidates
        ]
        return _Decision(
            channel_id=channel_id,
            position=recorded.position,
            at=recorded.recorded_at,
            kind=decision.kind,
            rule=decision.rule,
            cause=decision.cause,
            candidates=msgspec.json.encode(candidates),
            chosen=decision.chosen,
            previous=decision.previous,
        )


def _set_health(
    account: _Account,
    at: datetime,
    health: str,
    reason: str | None = None,
    until: datetime | None = None,
) -> None:
    if (account.health, account.health_reason, account.health_until) != (health, reason, until):
        account.health, account.health_reason = health, reason
        account.health_until, account.health_since = until, at


class Channels:
    """The projection."""

    name = "channels"
    version = 3
    is_watched = False
    tables = SQL["tables"]

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """Fold a batch; most hold nothing about channels and cost nothing."""
        relevant = [each for each in batch if each.stream.startswith(("channel:", "account:"))]
        if not relevant:
            return
        changes = await _load(connection, org, {each.stream for each in relevant})
        for recorded in relevant:
            changes.fold(recorded)
        await _write(connection, org, changes)


async def _load(connection: Connection, org: int, streams: set[str]) -> _Changes:
    channel_ids = [each.removeprefix("channel:") for each in streams if each.startswith("channel:")]
    accounts = [each.split(":", 2)[1:] for each in streams if each.startswith("account:")]
    of_channels = {"org": org, "channel_ids": channel_ids}
    of_accounts = {
        "org": org,
        "platforms": [platform for platform, _ in accounts],
        "account_ids": [account_id for _, account_id in accounts],
    }
    async with connection.cursor(row_factory=class_row(_Channel)) as channels:
        await channels.execute(SQL["read_channels"], of_channels)
        known_channels = await channels.fetchall()
    async with connection.cursor(row_factory=class_row(_Link)) as links:
        await links.execute(SQL["read_connections"], of_channels)
        known_links = await links.fetchall()
    async with connection.cursor(row_factory=class_row(_Account)) as found:
        await found.execute(SQL["read_accounts"], of_accounts)
        known_accounts = await found.fetchall()
    return _Changes(known_channels, known_links, known_accounts)


async def _write(connection: Connection, org: int, changes: _Changes) -> None:
    def rows(structs: Iterable[Any]) -> list[dict[str, Any]]:
        return [msgspec.structs.asdict(each) | {"org": org} for each in structs]

    async with connection.cursor() as cursor:
        await cursor.executemany(SQL["write_channel"], rows(changes.channels.values()))
        await cursor.execute(
            SQL["forget_connections"], {"org": org, "channel_ids": list(changes.channels)}
        )
        await cursor.executemany(SQL["write_connection"], rows(changes.links.values()))
        await cursor.executemany(SQL["write_account"], rows(changes.accounts.values()))
        await cursor.executemany(SQL["write_decision"], rows(changes.decisions))
