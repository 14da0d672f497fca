"""Who looks after a chat in a service: owner, status, block (S5–S7, C3, C4, C7, C18)."""

from datetime import datetime

import msgspec

from domain.channel import Channel, require_active
from domain.chat import Chat, Owner
from domain.chat_events import (
    ChatAssigned,
    ChatClosed,
    ChatOpened,
    ChatUnassigned,
    CustomerBlocked,
    CustomerUnblocked,
)
from domain.event import Event
from domain.organisation import (
    Organisation,
    may_view,
    require_reply,
    require_role,
    require_view,
)
from domain.refusal import Invalid, NoSuchUser, OwnedElsewhere, OwnedHere


class OwnedElsewhereNotice(msgspec.Struct, frozen=True):
    """The chat is owned in another service; `owner` only for a viewer who may know (S6)."""

    owner: str | None
    since: datetime


def owned_elsewhere(
    chat: Chat, channel: Channel, organisation: Organisation, *, service: str, viewer: str
) -> OwnedElsewhereNotice | None:
    """What the viewer is told when other services on the channel have owners. Spec S6."""
    others = [
        (name, owner)
        for name, owner in chat.owners.items()
        if name != service and channel.is_active(name)
    ]
    if not others:
        return None
    known = [owner for name, owner in others if may_view(organisation, viewer, name)]
    latest: Owner = max(known or [owner for _, owner in others], key=lambda owner: owner.version)
    return OwnedElsewhereNotice(owner=latest.user_id if known else None, since=latest.since)


class Assign(msgspec.Struct, frozen=True, kw_only=True):
    """Give a chat an owner in one service."""

    service: str
    owner: str
    confirm: bool = False


def assign(
    chat: Chat,
    channel: Channel,
    organisation: Organisation,
    command: Assign,
    *,
    user_id: str,
    now: datetime,
) -> list[Event]:
    """A compare-and-set: without `confirm` only a chat that nobody owns is given. Spec C18, S7."""
    service = command.service
    require_active(channel, service)
    _require_may_change_owner(organisation, user_id, service, owner=command.owner)
    _require_may_own(organisation, command.owner, service)
    present = chat.owners.get(service)
    if present is not None and present.user_id == command.owner:
        return []
    if not command.confirm:
        if present is not None:
            raise OwnedHere(owner=present.user_id, since=present.since)
        notice = owned_elsewhere(chat, channel, organisation, service=service, viewer=user_id)
        if notice is not None:
            raise OwnedElsewhere(notice=notice)
    return [
        ChatAssigned(
            service=service,
            owner=command.owner,
            at=now,
            user_id=user_id,
            previous=present.user_id if present else None,
        )
    ]


def unassign(
    chat: Chat, channel: Channel, organisation: Organisation, *, service: str, user_id: str
) -> list[Event]:
    """Take the owner off, in this service only. Someone else's needs a supervisor. Spec S5."""
    require_active(channel, service)
    owner = chat.owners.get(service)
    _require_may_change_owner(
        organisation, user_id, service, owner=owner.user_id if owner else user_id
    )
    if owner is None:
        return []
    return [ChatUnassigned(service=service, previous=owner.user_id, user_id=user_id)]


def close(
    chat: Chat, channel: Channel, organisation: Organisation, *, service: str, user_id: str
) -> list[Event]:
    """Close it in this service. Spec C4."""
    require_active(channel, service)
    require_reply(organisation, user_id, service)
    return [] if service in chat.closed else [ChatClosed(service=service, user_id=user_id)]


def open_again(
    chat: Chat, channel: Channel, organisation: Organisation, *, service: str, user_id: str
) -> list[Event]:
    """Open it in this service. Spec C4."""
    require_active(channel, service)
    require_reply(organisation, user_id, service)
    return [ChatOpened(service=service, user_id=user_id)] if service in chat.closed else []


def block(
    chat: Chat, channel: Channel, organisation: Organisation, *, service: str, user_id: str
) -> list[Event]:
    """Block the customer in this service. Spec C7."""
    require_active(channel, service)
    require_reply(organisation, user_id, service)
    return [] if service in chat.blocked else [CustomerBlocked(service=service, user_id=user_id)]


def unblock(
    chat: Chat, channel: Channel, organisation: Organisation, *, service: str, user_id: str
) -> list[Event]:
    """Listen to the customer again. Spec C7."""
    require_active(channel, service)
    require_reply(organisation, user_id, service)
    return [CustomerUnblocked(service=service, user_id=user_id)] if service in chat.blocked else []


def _require_may_change_owner(
    organisation: Organisation, user_id: str, service: str, *, owner: str
) -> None:
    # One's own chats need the right to reply, others' chats a role: a supervisor may hand out
    # chats also where they may not write.
    if owner == user_id:
        require_reply(organisation, user_id, service)
    else:
        require_view(organisation, user_id, service)
        require_role(organisation, user_id, "admin", "supervisor")


def _require_may_own(organisation: Organisation, owner: str, service: str) -> None:
    user = organisation.users.get(owner)
    if user is None:
        raise NoSuchUser("user_id")
    if user.role == "auditor" or not may_view(organisation, owner, service):
        raise Invalid("user_id", f"this user does not work in the service {service!r}")
