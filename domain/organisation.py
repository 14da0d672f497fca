"""An organisation: its services, its users and what they may do. Stream `organisation`."""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from domain.event import Event, Sealed, stored_as
from domain.refusal import Forbidden, Invalid, NotFound, Refusal, ViewOnly

STREAM = "organisation"

Subscription = Literal["bundled", "standalone", "upgraded"]
Masking = Literal["full", "none"]
Role = Literal["admin", "supervisor", "agent", "auditor"]
Permission = Literal["view", "reply"]

# Services in which only the owner of a chat may reply, unless the org says otherwise (C5).
OWNER_REPLIES_BY_DEFAULT = frozenset({"desk"})


@stored_as("organisation.created")
class OrganisationCreated(Event, frozen=True, kw_only=True):
    """The tenant exists."""

    name: str


@stored_as("organisation.service_added")
class ServiceAdded(Event, frozen=True, kw_only=True):
    """A service of the org became known, with its subscription."""

    service: str
    subscription: Subscription
    user_id: str | None = None


@stored_as("organisation.subscription_changed")
class SubscriptionChanged(Event, frozen=True, kw_only=True):
    """Holds for later connections; existing ones stay as they are (S16)."""

    service: str
    subscription: Subscription
    user_id: str | None = None


@stored_as("organisation.masking_changed")
class MaskingChanged(Event, frozen=True, kw_only=True):
    """How everything is shown to this service from now on (S4)."""

    service: str
    masking: Masking
    user_id: str | None = None


@stored_as("organisation.reply_ownership_changed")
class ReplyOwnershipChanged(Event, frozen=True, kw_only=True):
    """Whether only the owner of a chat may reply in this service (C5)."""

    service: str
    required: bool
    user_id: str | None = None


@stored_as("organisation.ticket_timer_changed")
class TicketTimerChanged(Event, frozen=True, kw_only=True):
    """After how many hours a customer's message opens a new ticket (C12)."""

    service: str
    hours: int | None
    user_id: str | None = None


@stored_as("organisation.read_marking_changed")
class ReadMarkingChanged(Event, frozen=True, kw_only=True):
    """Whether customers are shown that this service has read what they wrote."""

    service: str
    enabled: bool
    user_id: str | None = None


@stored_as("organisation.user_added")
class UserAdded(Event, frozen=True, kw_only=True):
    """A person who works in the org; name and e-mail address are sealed with their own key."""

    added_user_id: str
    role: Role
    services: dict[str, Permission]
    profile: Sealed
    user_id: str | None = None


@stored_as("organisation.user_role_changed")
class UserRoleChanged(Event, frozen=True, kw_only=True):
    """Holds from the user's next request."""

    changed_user_id: str
    role: Role
    user_id: str | None = None


@stored_as("organisation.user_services_changed")
class UserServicesChanged(Event, frozen=True, kw_only=True):
    """All services of the user, with what they may do in each."""

    changed_user_id: str
    services: dict[str, Permission]
    user_id: str | None = None


@stored_as("organisation.user_away_changed")
class UserAwayChanged(Event, frozen=True, kw_only=True):
    """Someone who is away is given no new chats."""

    changed_user_id: str
    away: bool
    user_id: str | None = None


@stored_as("organisation.api_key_created")
class ApiKeyCreated(Event, frozen=True, kw_only=True):
    """A key was made; its secret is nowhere in the log."""

    key_id: str
    for_user_id: str
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None = None
    user_id: str | None = None


@stored_as("organisation.api_key_revoked")
class ApiKeyRevoked(Event, frozen=True, kw_only=True):
    """The key opens nothing any more."""

    key_id: str
    user_id: str | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One application of the org."""

    subscription: Subscription
    masking: Masking = "full"
    owner_replies: bool = False
    ticket_timer_hours: int | None = None
    marks_read: bool = False


class User(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions look at in a user."""

    role: Role
    services: dict[str, Permission]
    profile: Sealed
    away: bool = False


class Organisation(msgspec.Struct, frozen=True, kw_only=True):
    """The org as its decisions see it."""

    name: str | None = None
    services: dict[str, Service] = {}
    users: dict[str, User] = {}


def evolve(organisation: Organisation, event: Event) -> Organisation:
    """The org after one more fact."""
    match event:
        case OrganisationCreated():
            return replace(organisation, name=event.name)
        case ServiceAdded():
            added = Service(
                subscription=event.subscription,
                owner_replies=event.service in OWNER_REPLIES_BY_DEFAULT,
            )
            return replace(organisation, services={**organisation.services, event.service: added})
        case SubscriptionChanged():
            return _with_service(organisation, event.service, subscription=event.subscription)
        case MaskingChanged():
            return _with_service(organisation, event.service, masking=event.masking)
        case ReplyOwnershipChanged():
            return _with_service(organisation, event.service, owner_replies=event.required)
        case TicketTimerChanged():
            return _with_service(organisation, event.service, ticket_timer_hours=event.hours)
        case ReadMarkingChanged():
            return _with_service(organisation, event.service, marks_read=event.enabled)
        case UserAdded():
            user = User(role=event.role, services=event.services, profile=event.profile)
            return replace(organisation, users={**organisation.users, event.added_user_id: user})
        case UserRoleChanged():
            return _with_user(organisation, event.changed_user_id, role=event.role)
        case UserServicesChanged():
            return _with_user(organisation, event.changed_user_id, services=event.services)
        case UserAwayChanged():
            return _with_user(organisation, event.changed_user_id, away=event.away)
        case _:
            return organisation


def _with_service(organisation: Organisation, name: str, **changes: object) -> Organisation:
    present = organisation.services.get(name)
    if present is None:
        return organisation
    changed = replace(present, **changes)
    return replace(organisation, services={**organisation.services, name: changed})


def _with_user(organisation: Organisation, user_id: str, **changes: object) -> Organisation:
    present = organisation.users.get(user_id)
    if present is None:
        return organisation
    changed = replace(present, **changes)
    return replace(organisation, users={**organisation.users, user_id: changed})


# What users may do. Each returns nothing or raises.


def may_view(organisation: Organisation, user_id: str, service: str) -> bool:
    """Whether the user may read this service's chats. Admins, supervisors, auditors: all."""
    user = organisation.users.get(user_id)
    return user is not None and (user.role != "agent" or service in user.services)


def require_view(organisation: Organisation, user_id: str, service: str) -> None:
    """Raises NotFound for a service nobody has, Forbidden for one the user may not read."""
    if service not in organisation.services:
        raise NotFound(f"There is no service {service!r} in this organisation.")
    if not may_view(organisation, user_id, service):
        raise Forbidden(f"You have no access to the service {service!r}.")


def require_reply(organisation: Organisation, user_id: str, service: str) -> None:
    """Raises unless the user may write in this service's chats. Spec C5."""
    require_view(organisation, user_id, service)
    user = organisation.users[user_id]
    if user.role == "admin":
        return
    if user.role == "auditor":
        raise Forbidden("Auditors read; they do not write.")
    if user.services.get(service) != "reply":
        raise ViewOnly


def require_visit(organisation: Organisation, user_id: str, service: str) -> None:
    """Raises unless the user has an inbox of their own in this service. Spec C6."""
    require_view(organisation, user_id, service)
    if organisation.users[user_id].role == "auditor":
        raise Forbidden("Auditors leave no trace in unread counters.")


def require_role(organisation: Organisation, user_id: str, *roles: Role) -> None:
    """Raises Forbidden unless the user has one of these roles."""
    user = organisation.users.get(user_id)
    if user is None or user.role not in roles:
        raise Forbidden(f"This needs the role {' or '.join(roles)}.")


# Decisions.


class ConfigureService(msgspec.Struct, frozen=True, kw_only=True):
    """What is UNSET keeps its value."""

    service: str
    subscription: Subscription
    masking: Masking | msgspec.UnsetType = msgspec.UNSET
    owner_replies: bool | msgspec.UnsetType = msgspec.UNSET
    ticket_timer_hours: int | None | msgspec.UnsetType = msgspec.UNSET
    marks_read: bool | msgspec.UnsetType = msgspec.UNSET


def configure_service(
    organisation: Organisation, command: ConfigureService, *, user_id: str
) -> list[Event]:
    """Add a service or change its settings: one event for each thing that changes."""
    require_role(organisation, user_id, "admin")
    name = command.service
    present = organisation.services.get(name)
    events: list[Event] = []
    if present is None:
        added = ServiceAdded(service=name, subscription=command.subscription, user_id=user_id)
        present = evolve(organisation, added).services[name]
        events.append(added)
    if command.subscription != present.subscription:
        events.append(
            SubscriptionChanged(service=name, subscription=command.subscription, user_id=user_id)
        )
    if command.masking is not msgspec.UNSET and command.masking != present.masking:
        events.append(MaskingChanged(service=name, masking=command.masking, user_id=user_id))
    if command.owner_replies not in (msgspec.UNSET, present.owner_replies):
        required = command.owner_replies is True
        events.append(ReplyOwnershipChanged(service=name, required=required, user_id=user_id))
    hours = command.ticket_timer_hours
    if hours is not msgspec.UNSET and hours != present.ticket_timer_hours:
        events.append(TicketTimerChanged(service=name, hours=hours, user_id=user_id))
    if command.marks_read not in (msgspec.UNSET, present.marks_read):
        enabled = command.marks_read is True
        events.append(ReadMarkingChanged(service=name, enabled=enabled, user_id=user_id))
    return events


class AddUser(msgspec.Struct, frozen=True, kw_only=True):
    """Services are named with what the user may do in each."""

    new_user_id: str
    role: Role
    services: dict[str, Permission]
    profile: Sealed


def add_user(organisation: Organisation, command: AddUser, *, user_id: str) -> list[Event]:
    """A new user; their unread counters start here (C6)."""
    require_role(organisation, user_id, "admin")
    _require_known(organisation, command.services)
    return [
        UserAdded(
            added_user_id=command.new_user_id,
            role=command.role,
            services=command.services,
            profile=command.profile,
            user_id=user_id,
        )
    ]


class ChangeUser(msgspec.Struct, frozen=True, kw_only=True):
    """What is UNSET keeps its value."""

    changed_user_id: str
    role: Role | msgspec.UnsetType = msgspec.UNSET
    services: dict[str, Permission] | msgspec.UnsetType = msgspec.UNSET
    away: bool | msgspec.UnsetType = msgspec.UNSET


class LastAdmin(Refusal):
    """The org would be left without an admin."""

    code = "last_admin"


def change_user(organisation: Organisation, command: ChangeUser, *, user_id: str) -> list[Event]:
    """Change a user's role, services or absence; only being away may be set for oneself."""
    changed = command.changed_user_id
    away_only = command.role is msgspec.UNSET and command.services is msgspec.UNSET
    if not (away_only and changed == user_id):
        require_role(organisation, user_id, "admin")
    present = organisation.users.get(changed)
    if present is None:
        raise NotFound("There is no such user.")
    events: list[Event] = []
    if command.role is not msgspec.UNSET and command.role != present.role:
        if present.role == "admin" and _admin_count(organisation) == 1:
            raise LastAdmin
        events.append(UserRoleChanged(changed_user_id=changed, role=command.role, user_id=user_id))
    if command.services is not msgspec.UNSET and command.services != present.services:
        _require_known(organisation, command.services)
        events.append(
            UserServicesChanged(changed_user_id=changed, services=command.services, user_id=user_id)
        )
    if command.away is not msgspec.UNSET and command.away != present.away:
        events.append(UserAwayChanged(changed_user_id=changed, away=command.away, user_id=user_id))
    return events


def _require_known(organisation: Organisation, services: dict[str, Permission]) -> None:
    for service in services:
        if service not in organisation.services:
            raise Invalid(f"services.{service}", "there is no such service; add it first")


def _admin_count(organisation: Organisation) -> int:
    return sum(user.role == "admin" for user in organisation.users.values())
