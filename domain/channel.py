"""A channel: an account as services use it, and who of them is its parent. Stream `channel:{id}`.

A shared channel has many services, a separate one exactly one (S1, S2). The parent is chosen by a
rule of kind `parent`; each choice is an event that holds everything the rule looked at (S8, S9).
"""

from typing import Literal

import msgspec
from msgspec.structs import replace

from domain import parent
from domain.event import Event, stored_as
from domain.parent import Candidate, Cause
from domain.refusal import (
    ChannelActive,
    ChannelDormant,
    NotConnected,
    NotFound,
    NotParent,
    ServiceNotEligible,
)
from domain.rules import RULES

ACCOUNTING_SERVICES = frozenset(
    {"books", "inventory", "invoice", "billing", "expense", "commerce", "checkout", "payroll"}
)


def stream_of(channel_id: str) -> str:
    """The stream that holds one channel's events."""
    return f"channel:{channel_id}"


@stored_as("channel.created")
class ChannelCreated(Event, frozen=True, kw_only=True):
    """The first service connected to an account, or a separate one did (S1, S2)."""

    channel_id: str
    platform: str
    account_id: str
    shared: bool
    name: str
    address: str | None = None
    user_id: str | None = None


@stored_as("channel.connection_created")
class ConnectionCreated(Event, frozen=True, kw_only=True):
    """A service connected; its creation rank is this event's place in the stream (S8)."""

    service: str
    user_id: str | None = None


@stored_as("channel.connection_disabled")
class ConnectionDisabled(Event, frozen=True, kw_only=True):
    """The service left the sharing but keeps its connection and its rank (S8)."""

    service: str
    user_id: str | None = None


@stored_as("channel.connection_enabled")
class ConnectionEnabled(Event, frozen=True, kw_only=True):
    """The service is back, as a child unless nobody is parent (S8)."""

    service: str
    user_id: str | None = None


@stored_as("channel.connection_deleted")
class ConnectionDeleted(Event, frozen=True, kw_only=True):
    """The service left and its rank is forgotten (S8)."""

    service: str
    user_id: str | None = None


@stored_as("channel.parent_chosen")
class ParentChosen(Event, frozen=True, kw_only=True):
    """An automatic decision, with all that is needed to make it again (S9)."""

    kind: str
    rule: str
    cause: Cause
    candidates: tuple[Candidate, ...]
    chosen: str | None
    previous: str | None


@stored_as("channel.renamed")
class ChannelRenamed(Event, frozen=True, kw_only=True):
    """The name that all its services show."""

    name: str
    user_id: str | None = None


@stored_as("channel.connection_configured")
class ConnectionConfigured(Event, frozen=True, kw_only=True):
    """A service's own settings on this channel (S12)."""

    service: str
    department: str | None = None
    ticket_timer_hours: int | None = None
    user_id: str | None = None


@stored_as("channel.agents_associated")
class AgentsAssociated(Event, frozen=True, kw_only=True):
    """Whom a service gives the channel's chats to (C2)."""

    service: str
    user_ids: tuple[str, ...]
    user_id: str | None = None


@stored_as("channel.released")
class ChannelReleased(Event, frozen=True, kw_only=True):
    """The account of this dormant channel may be connected by another org (S15)."""

    user_id: str | None = None


@stored_as("channel.reclaimed")
class ChannelReclaimed(Event, frozen=True, kw_only=True):
    """The same org connected the account again: the channel lives on with its history (S10)."""

    user_id: str | None = None


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A service on the channel. Ranks are versions of the channel's stream."""

    created: int
    joined: int
    active: bool = True
    department: str | None = None
    ticket_timer_hours: int | None = None
    agents: tuple[str, ...] = ()


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """The channel as its decisions see it."""

    version: int = 0
    channel_id: str | None = None
    platform: str = ""
    account_id: str = ""
    shared: bool = True
    name: str = ""
    address: str | None = None
    connections: dict[str, Connection] = {}
    parent: str | None = None
    released: bool = False

    @property
    def sharing(self) -> list[str]:
        """The services that share the channel now, in the order of their joining."""
        active = [(each.joined, name) for name, each in self.connections.items() if each.active]
        return [name for _, name in sorted(active)]

    def is_active(self, service: str) -> bool:
        """Whether the service shares the channel now."""
        connection = self.connections.get(service)
        return connection is not None and connection.active


def evolve(channel: Channel, event: Event) -> Channel:
    """The channel after one more fact."""
    version = channel.version + 1
    match event:
        case ChannelCreated():
            return replace(
                channel,
                version=version,
                channel_id=event.channel_id,
                platform=event.platform,
                account_id=event.account_id,
                shared=event.shared,
                name=event.name,
                address=event.address,
            )
        case ConnectionCreated():
            created = Connection(created=version, joined=version)
            connections = {**channel.connections, event.service: created}
            return replace(channel, version=version, connections=connections)
        case ConnectionDisabled():
            return _with(channel, version, event.service, active=False)
        case ConnectionEnabled():
            return _with(channel, version, event.service, active=True, joined=version)
        case ConnectionDeleted():
            rest = dict(channel.connections)
            rest.pop(event.service, None)
            return replace(channel, version=version, connections=rest)
        case ConnectionConfigured():
            return _with(
                channel,
                version,
                event.service,
                department=event.department,
                ticket_timer_hours=event.ticket_timer_hours,
            )
        case AgentsAssociated():
            return _with(channel, version, event.service, agents=event.user_ids)
        case ParentChosen():
            return replace(channel, version=version, parent=event.chosen)
        case ChannelRenamed():
            return replace(channel, version=version, name=event.name)
        case ChannelReleased():
            return replace(channel, version=version, released=True)
        case ChannelReclaimed():
            return replace(channel, version=version, released=False)
        case _:
            return replace(channel, version=version)


def _with(channel: Channel, version: int, service: str, **changes: object) -> Channel:
    connections = dict(channel.connections)
    if service in connections:
        connections[service] = replace(connections[service], **changes)
    return replace(channel, version=version, connections=connections)


# Decisions.


def require_eligible(service: str) -> None:
    """Accounting services are refused, by name. Spec S2."""
    if service in ACCOUNTING_SERVICES:
        raise ServiceNotEligible(
            f"{service} is an accounting service; those cannot use a messaging account.",
            reason="accounting_service",
        )


class Connect(msgspec.Struct, frozen=True, kw_only=True):
    """A service wants to use an account. The rest counts only when the channel is new."""

    channel_id: str
    service: str
    platform: str
    account_id: str
    shared: bool
    name: str
    address: str | None = None


def connect(channel: Channel, command: Connect, *, user_id: str) -> list[Event]:
    """Create the channel, join it, or revive it. Connected already: no event. S1."""
    require_eligible(command.service)
    events: list[Event] = []
    if channel.channel_id is None:
        events.append(
            ChannelCreated(
                channel_id=command.channel_id,
                platform=command.platform,
                account_id=command.account_id,
                shared=command.shared,
                name=command.name,
                address=command.address,
                user_id=user_id,
            )
        )
    if channel.released:
        events.append(ChannelReclaimed(user_id=user_id))
    connection = channel.connections.get(command.service)
    if connection is None:
        events.append(ConnectionCreated(service=command.service, user_id=user_id))
    elif not connection.active:
        events.append(ConnectionEnabled(service=command.service, user_id=user_id))
    first = channel.channel_id is None
    return _with_choice(channel, events, joining="first_creation" if first else "revival")


def enable(channel: Channel, service: str, *, user_id: str) -> list[Event]:
    """Bring a disabled connection back. Spec S8."""
    connection = _connection(channel, service)
    if connection.active:
        return []
    events: list[Event] = [ChannelReclaimed(user_id=user_id)] if channel.released else []
    events.append(ConnectionEnabled(service=service, user_id=user_id))
    return _with_choice(channel, events, joining="revival")


def disable(channel: Channel, service: str, *, user_id: str) -> list[Event]:
    """Leave the sharing, keeping connection and rank. Spec S8."""
    if not _connection(channel, service).active:
        return []
    return _with_choice(channel, [ConnectionDisabled(service=service, user_id=user_id)])


def delete(channel: Channel, service: str, *, user_id: str) -> list[Event]:
    """Leave and forget the rank. Chats, messages and events stay. Spec S8, S11."""
    _connection(channel, service)
    return _with_choice(channel, [ConnectionDeleted(service=service, user_id=user_id)])


def release(channel: Channel, *, user_id: str) -> list[Event]:
    """Give the account of a dormant channel up. Spec S15."""
    if channel.channel_id is None:
        raise NotFound("There is no such channel.")
    if channel.sharing:
        raise ChannelActive(services=channel.sharing)
    return [] if channel.released else [ChannelReleased(user_id=user_id)]


def configure_connection(
    channel: Channel,
    service: str,
    *,
    department: str | None | msgspec.UnsetType,
    ticket_timer_hours: int | None | msgspec.UnsetType,
    user_id: str,
) -> list[Event]:
    """Each service manages its own connection. Spec S12."""
    connection = require_active(channel, service)
    if department is msgspec.UNSET:
        department = connection.department
    if ticket_timer_hours is msgspec.UNSET:
        ticket_timer_hours = connection.ticket_timer_hours
    if (department, ticket_timer_hours) == (connection.department, connection.ticket_timer_hours):
        return []
    return [
        ConnectionConfigured(
            service=service,
            department=department,
            ticket_timer_hours=ticket_timer_hours,
            user_id=user_id,
        )
    ]


def associate_agents(
    channel: Channel, service: str, *, user_ids: tuple[str, ...], user_id: str
) -> list[Event]:
    """Say whom a service gives the channel's chats to. Spec C2."""
    connection = require_active(channel, service)
    if connection.agents == user_ids:
        return []
    return [AgentsAssociated(service=service, user_ids=user_ids, user_id=user_id)]


def rename(channel: Channel, *, service: str, name: str, user_id: str) -> list[Event]:
    """Only the parent renames the channel. Spec S12."""
    require_parent(channel, service)
    return [] if name == channel.name else [ChannelRenamed(name=name, user_id=user_id)]


def require_active(channel: Channel, service: str) -> Connection:
    """The service's connection; raises NotConnected when it does not share the channel. S16."""
    if not channel.is_active(service):
        raise NotConnected
    return channel.connections[service]


def require_parent(channel: Channel, service: str) -> None:
    """Raises NotParent, with the parent's name, for everybody else. Spec S12."""
    if not channel.sharing:
        raise ChannelDormant
    require_active(channel, service)
    if channel.parent != service:
        raise NotParent(parent=channel.parent)


def _connection(channel: Channel, service: str) -> Connection:
    connection = channel.connections.get(service)
    if connection is None:
        raise NotFound(f"The service {service!r} has no connection to this channel.")
    return connection


# The choice of the parent.


def _with_choice(
    channel: Channel,
    events: list[Event],
    *,
    joining: Literal["first_creation", "revival"] = "revival",
) -> list[Event]:
    """The events, and behind them the choice they cause, if they cause one."""
    after = channel
    for event in events:
        after = evolve(after, event)
    if after.parent is not None and after.is_active(after.parent):
        return events
    if after.parent is None and not after.sharing:
        return events  # It was dormant before and is so still.
    cause: Cause = joining
    if after.parent is not None:
        cause = "succession" if after.sharing else "nobody_left"
    return [*events, choose_parent(after, cause=cause)]


def choose_parent(channel: Channel, *, cause: Cause) -> ParentChosen:
    """Decide by the default rule, over all services that share the channel. Spec S8, S9."""
    sharing = [(service, channel.connections[service]) for service in channel.sharing]
    candidates = tuple(
        Candidate(service=service, created=each.created, joined=each.joined)
        for service, each in sharing
    )
    return ParentChosen(
        kind="parent",
        rule=parent.DEFAULT_RULE,
        cause=cause,
        candidates=candidates,
        chosen=RULES["parent"][parent.DEFAULT_RULE](candidates),
        previous=channel.parent,
    )


def replay_choice(decision: ParentChosen, *, rule: str | None = None) -> str | None:
    """What a rule answers on the recorded candidates; without a name, the recorded rule. S9.

    Raises KeyError for a rule that is not registered.
    """
    chosen: str | None = RULES[decision.kind][rule or decision.rule](decision.candidates)
    return chosen
