"""The people, services and channel that the domain's tests are about."""

from datetime import UTC, datetime, timedelta

from domain.channel import Channel, ChannelCreated, ConnectionCreated, ParentChosen
from domain.chat import Chat
from domain.chat_events import (
    ChatAssigned,
    ChatStarted,
    MessageReceived,
    MessageSent,
    ReplyRequested,
    SendStarted,
    SendUncertain,
)
from domain.event import Event, Sealed
from domain.organisation import Organisation, OrganisationCreated, ServiceAdded, UserAdded
from domain.parent import Candidate
from tests.scenario import fold

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)
A_BIT = timedelta(microseconds=1)

PROFILE = Sealed("user:one", bytes(16), b"name and address")
CONTENT = Sealed("contact:kim", bytes(16), b"what is written")

ORGANISATION_EVENTS: tuple[Event, ...] = (
    OrganisationCreated(name="Acme"),
    *(
        ServiceAdded(service=each, subscription="bundled")
        for each in ("crm", "desk", "salesiq", "bigin")
    ),
    UserAdded(added_user_id="admin", role="admin", services={}, profile=PROFILE),
    UserAdded(
        added_user_id="supervisor",
        role="supervisor",
        services={"crm": "reply", "desk": "view"},
        profile=PROFILE,
    ),
    UserAdded(
        added_user_id="ann",
        role="agent",
        services={"crm": "reply", "salesiq": "reply"},
        profile=PROFILE,
    ),
    UserAdded(added_user_id="bob", role="agent", services={"crm": "reply"}, profile=PROFILE),
    UserAdded(
        added_user_id="dora",
        role="agent",
        services={"desk": "reply", "salesiq": "view"},
        profile=PROFILE,
    ),
    UserAdded(added_user_id="viewer", role="agent", services={"crm": "view"}, profile=PROFILE),
    UserAdded(added_user_id="auditor", role="auditor", services={}, profile=PROFILE),
)
ORGANISATION = fold(Organisation, *ORGANISATION_EVENTS)

CREATED = ChannelCreated(
    channel_id="shared", platform="whatsapp", account_id="1055", shared=True, name="Acme"
)
FIRST_CHOSEN = ParentChosen(
    kind="parent",
    rule="earliest-created/1",
    cause="first_creation",
    candidates=(Candidate("crm", created=2, joined=2),),
    chosen="crm",
    previous=None,
)
# CRM made the channel, Desk and SalesIQ joined it.
SHARED_EVENTS: tuple[Event, ...] = (
    CREATED,
    ConnectionCreated(service="crm"),
    FIRST_CHOSEN,
    ConnectionCreated(service="desk"),
    ConnectionCreated(service="salesiq"),
)
SHARED = fold(Channel, *SHARED_EVENTS)

STARTED = ChatStarted(chat_id="chat", platform="whatsapp", account_id="1055", contact_id="kim")


def wrote(at: datetime = NOON, *, key: bytes = b"hello", member: str | None = None) -> Event:
    """The customer did."""
    return MessageReceived(
        message_id=key.decode(), kind="text", at=at, content=CONTENT, key=key, member=member
    )


def reply(
    message_id: str = "reply",
    *,
    service: str = "crm",
    user_id: str = "ann",
    at: datetime = NOON,
    channel_id: str = "shared",
    template: str | None = None,
    category: str | None = None,
    retry_of: str | None = None,
    quotes: bytes | None = None,
    kind: str = "text",
) -> ReplyRequested:
    return ReplyRequested(
        message_id=message_id,
        channel_id=channel_id,
        service=service,
        user_id=user_id,
        kind=kind,
        at=at,
        content=CONTENT,
        template=template,
        category=category,
        quotes=quotes,
        retry_of=retry_of,
    )


def started(message_id: str = "reply", *, attempt: int = 1) -> Event:
    return SendStarted(message_id=message_id, attempt=attempt, dispatcher="one")


def sent(message_id: str = "reply", *, key: bytes = b"key") -> Event:
    return MessageSent(message_id=message_id, key=key)


def uncertain(message_id: str = "reply") -> Event:
    return SendUncertain(message_id=message_id, reason="timeout")


def assigned(service: str, owner: str, *, at: datetime = NOON) -> ChatAssigned:
    return ChatAssigned(service=service, owner=owner, at=at)


# The customer wrote at noon.
CHAT_EVENTS: tuple[Event, ...] = (STARTED, wrote())
CHAT = fold(Chat, *CHAT_EVENTS)
