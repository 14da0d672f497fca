"""Questions to the channels projection."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal

import msgspec
from psycopg.rows import class_row, dict_row

from domain import parent
from domain.channel import ParentChosen
from domain.parent import Cause
from projections.channels.projection import SQL, Candidate
from projections.engine.projection import Connection

HealthState = Literal["ok", "unsubscribed", "restricted", "limited", "unreachable", "stopped"]

_candidates = msgspec.json.Decoder(tuple[Candidate, ...])


class Health(msgspec.Struct, frozen=True):
    """Whether the platform takes messages from the account, and delivers those of customers."""

    state: HealthState
    since: datetime
    reason: str | None


class ServiceOnChannel(msgspec.Struct, frozen=True):
    """A service with a connection to the channel."""

    service: str
    state: Literal["active", "disabled"]
    parent: bool
    connected_at: datetime


class ChannelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A channel; `cursor` is where a page that ends here goes on."""

    id: str
    cursor: int
    platform: str
    account_id: str
    business_account_id: str | None
    address: str | None
    name: str
    icon_media_id: str | None
    shared: bool
    state: Literal["active", "dormant"]
    parent: str | None
    released: bool
    verification: str
    verification_reason: str | None
    health: Health | None
    services: tuple[ServiceOnChannel, ...]  # In the order of their connection.


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A choice of a parent, with positions instead of versions for ranks (S9)."""

    position: int
    at: datetime
    kind: str
    rule: str
    cause: Cause
    candidates: tuple[Candidate, ...]
    chosen: str | None
    previous: str | None

    @property
    def event(self) -> ParentChosen:
        """As rules take it: positions order candidates as versions did, so they answer the same."""
        return ParentChosen(
            kind=self.kind,
            rule=self.rule,
            cause=self.cause,
            candidates=tuple(
                parent.Candidate(each.service, each.created_position, each.joined_position)
                for each in self.candidates
            ),
            chosen=self.chosen,
            previous=self.previous,
        )


async def channels_page(
    connection: Connection, *, org: int, after: int = 0, limit: int
) -> list[ChannelRow]:
    """Channels in the order in which they were made, behind the cursor `after`."""
    parameters = {"org": org, "after": after, "limit": limit}
    return await _channels(connection, "c.created_position > %(after)s", parameters)


async def channel(connection: Connection, *, org: int, channel_id: str) -> ChannelRow | None:
    """One channel, released ones too."""
    parameters = {"org": org, "channel_id": channel_id, "limit": 1}
    rows = await _channels(connection, "c.channel_id = %(channel_id)s", parameters)
    return rows[0] if rows else None


async def channels_named(
    connection: Connection, *, org: int, channel_ids: Collection[str], accounts: Collection[str]
) -> list[ChannelRow]:
    """Channels by their ids, and those of accounts that are written `<platform>:<id>`."""
    parameters = {
        "org": org,
        "channel_ids": list(channel_ids),
        "accounts": list(accounts),
        "limit": None,
    }
    named = (
        "(c.channel_id = ANY (%(channel_ids)s::text[])"
        " OR c.platform || ':' || c.account_id = ANY (%(accounts)s::text[]))"
    )
    return await _channels(connection, named, parameters)


class AccountsByHealth(msgspec.Struct, frozen=True):
    """How many accounts of a platform are in a state."""

    platform: str
    health: HealthState
    accounts: int


async def accounts_by_health(connection: Connection) -> list[AccountsByHealth]:
    """Of all organisations that this connection sees; released accounts aside."""
    async with connection.cursor(row_factory=class_row(AccountsByHealth)) as cursor:
        await cursor.execute(SQL["accounts_by_health"])
        return await cursor.fetchall()


async def decisions(
    connection: Connection, *, org: int, channel_id: str, after: int = 0, limit: int
) -> list[Decision]:
    """A channel's decisions about its parent, oldest first, behind the position `after`."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            SQL["decisions"],
            {"org": org, "channel_id": channel_id, "after": after, "limit": limit},
        )
        rows = await cursor.fetchall()
    return [Decision(**row | {"candidates": _candidates.decode(row["candidates"])}) for row in rows]


async def _channels(
    connection: Connection, wanted: str, parameters: dict[str, Any]
) -> list[ChannelRow]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL["channels"].format(wanted=wanted), parameters)
        return [_channel_row(row) for row in await cursor.fetchall()]


def _channel_row(row: dict[str, Any]) -> ChannelRow:
    services = _services(row)
    return ChannelRow(
        id=row["channel_id"],
        cursor=row["created_position"],
        platform=row["platform"],
        account_id=row["account_id"],
        business_account_id=row["business_account_id"],
        address=row["address"],
        name=row["name"],
        icon_media_id=row["icon_media_id"],
        shared=row["shared"],
        state="active" if any(each.state == "active" for each in services) else "dormant",
        parent=row["parent"],
        released=row["released"],
        verification=row["verification"] or "pending",
        verification_reason=row["verification_reason"],
        health=_health(row),
        services=services,
    )


def _services(row: dict[str, Any]) -> tuple[ServiceOnChannel, ...]:
    return tuple(
        ServiceOnChannel(
            service=service,
            state="active" if active else "disabled",
            parent=service == row["parent"],
            connected_at=connected_at,
        )
        for service, active, connected_at in zip(
            row["services"] or (), row["active"] or (), row["connected_at"] or (), strict=True
        )
    )


def _health(row: dict[str, Any]) -> Health | None:
    if row["health_since"] is None:
        return None
    ended: datetime | None = row["health_ended"]
    takes_messages = ended is not None or row["health"] == "ok"
    if takes_messages and row["unsubscribed"] is not None:
        since = row["unsubscribed_since"]
        return Health(state="unsubscribed", since=since, reason=row["unsubscribed"])
    if ended is not None:
        return Health(state="ok", since=ended, reason=None)
    return Health(state=row["health"], since=row["health_since"], reason=row["health_reason"])
