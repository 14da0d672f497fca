"""The words in which tests tell what happened to an inbox, and what is unread there."""

from datetime import UTC, datetime
from itertools import count

import psycopg

from domain import channel as channels
from domain import chat_events
from domain import organisation as organisations
from domain import reader as readers
from domain.event import Event, Recorded, Sealed
from domain.organisation import Permission, Role
from projections.unread.projection import Unread, unread, unread_of_chats

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEALED = Sealed("contact:x", b"0" * 16, b"")
ORGS = count(1)

Step = tuple[str, Event]


def user_added(user: str, role: Role = "agent", services: str = "crm desk") -> Step:
    permissions: dict[str, Permission] = dict.fromkeys(services.split(), "reply")
    return organisations.STREAM, organisations.UserAdded(
        added_user_id=user, role=role, services=permissions, profile=SEALED
    )


def role_changed(user: str, role: Role) -> Step:
    event = organisations.UserRoleChanged(changed_user_id=user, role=role)
    return organisations.STREAM, event


def services_changed(user: str, services: str) -> Step:
    permissions: dict[str, Permission] = dict.fromkeys(services.split(), "reply")
    event = organisations.UserServicesChanged(changed_user_id=user, services=permissions)
    return organisations.STREAM, event


def created(channel: str, account: str = "1", *, shared: bool = True) -> Step:
    return f"channel:{channel}", channels.ChannelCreated(
        channel_id=channel, platform="line", account_id=account, shared=shared, name=channel
    )


def connected(service: str, channel: str = "shared") -> Step:
    return f"channel:{channel}", channels.ConnectionCreated(service=service)


def disabled(service: str, channel: str = "shared") -> Step:
    return f"channel:{channel}", channels.ConnectionDisabled(service=service)


def enabled(service: str, channel: str = "shared") -> Step:
    return f"channel:{channel}", channels.ConnectionEnabled(service=service)


def deleted(service: str, channel: str = "shared") -> Step:
    return f"channel:{channel}", channels.ConnectionDeleted(service=service)


def started(chat: str, account: str = "1") -> Step:
    return f"chat:{chat}", chat_events.ChatStarted(
        chat_id=chat, platform="line", account_id=account, contact_id="x"
    )


def message(chat: str) -> Step:
    return f"chat:{chat}", chat_events.MessageReceived(
        message_id="m", kind="text", at=NOON, content=SEALED, key=b""
    )


def reply(chat: str, user: str, service: str) -> Step:
    return f"chat:{chat}", chat_events.ReplyRequested(
        message_id="r",
        channel_id="shared",
        service=service,
        user_id=user,
        kind="text",
        at=NOON,
        content=SEALED,
    )


def blocked(chat: str, service: str) -> Step:
    return f"chat:{chat}", chat_events.CustomerBlocked(service=service)


def unblocked(chat: str, service: str) -> Step:
    return f"chat:{chat}", chat_events.CustomerUnblocked(service=service)


def visit(user: str, service: str) -> Step:
    return f"reader:{user}:{service}", readers.ServiceVisited(user_id=user, service=service)


def chat_visit(chat: str, user: str, service: str) -> Step:
    return f"reader:{user}:{service}", readers.ChatVisited(
        user_id=user, service=service, chat_id=chat
    )


class Counters:
    """The counters of one org, fed with one event a batch or with all in one."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self.connection = connection
        self.org = next(ORGS)
        self.position = 0

    async def happened(self, *steps: Step) -> None:
        for step in steps:
            await self.happened_at_once(step)

    async def happened_at_once(self, *steps: Step) -> None:
        batch = [
            Recorded(self.position + i, stream, 1, NOON, event)
            for i, (stream, event) in enumerate(steps, 1)
        ]
        self.position += len(batch)
        async with self.connection.transaction():
            await Unread().apply(self.connection, self.org, batch)

    async def of(self, user: str, service: str) -> tuple[int, dict[str, int]]:
        return await unread(self.connection, org=self.org, user_id=user, service=service)

    async def page(self, user: str, service: str, chat_ids: list[str]) -> dict[str, int]:
        return await unread_of_chats(
            self.connection, org=self.org, user_id=user, service=service, chat_ids=chat_ids
        )

    async def total(self, user: str, service: str) -> int:
        return (await self.of(user, service))[0]
