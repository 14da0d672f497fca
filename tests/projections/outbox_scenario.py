"""The words in which tests tell what happened to messages on their way out."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, LiteralString

import psycopg

from domain import account as accounts
from domain import channel as channels
from domain import chat_events
from domain.event import Event, Recorded, Sealed
from projections.outbox import projection as outbox
from projections.outbox.projection import Outbox, Outgoing
from tests.conftest import Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=30)
SECOND = timedelta(seconds=1)
CONTENT = Sealed("contact:kim", b"0" * 16, b"content")
ORGS = count(1)

Step = tuple[str, Event]


def started(chat: str, *, contact: str = "kim", account: str = "1", group: bool = False) -> Step:
    return f"chat:{chat}", chat_events.ChatStarted(
        chat_id=chat, platform="whatsapp", account_id=account, contact_id=contact, group=group
    )


def requested(message: str, *, chat: str = "a", service: str = "crm", **more: Any) -> Step:
    return f"chat:{chat}", chat_events.ReplyRequested(
        message_id=message,
        channel_id="shared",
        service=service,
        user_id="ann",
        kind="text",
        at=NOON,
        content=CONTENT,
        **more,
    )


def sending(message: str, *, chat: str = "a", attempt: int = 1) -> Step:
    event = chat_events.SendStarted(message_id=message, attempt=attempt, dispatcher="one")
    return f"chat:{chat}", event


def deferred(message: str, *, chat: str = "a", until: datetime) -> Step:
    event = chat_events.SendDeferred(message_id=message, reason="rate_limited", retry_at=until)
    return f"chat:{chat}", event


def sent(message: str, *, chat: str = "a") -> Step:
    return f"chat:{chat}", chat_events.MessageSent(message_id=message, key=b"key")


def uncertain(message: str, *, chat: str = "a") -> Step:
    return f"chat:{chat}", chat_events.SendUncertain(message_id=message, reason="timeout")


def failed(message: str, *, chat: str = "a") -> Step:
    return f"chat:{chat}", chat_events.MessageFailed(message_id=message, reason="invalid")


def receipt(mark: str | None, *, chat: str = "a") -> Step:
    return f"chat:{chat}", chat_events.ReceiptReceived(
        key=b"key", status="delivered", at=NOON, message_id=mark
    )


def on_account(event: Event, account: str = "1") -> Step:
    return f"account:whatsapp:{account}", event


STOPPED = accounts.AccountStopped(reason="token")
RESUMED = accounts.AccountResumed()
NEW_CREDENTIALS = accounts.CredentialsChanged(fields=("access_token",))


def on_channel(event: Event) -> Step:
    return "channel:shared", event


CHANNEL_CREATED = on_channel(
    channels.ChannelCreated(
        channel_id="shared", platform="whatsapp", account_id="1", shared=True, name="Shop"
    )
)
LEAVE = [channels.ConnectionDisabled(service="crm"), channels.ConnectionDeleted(service="crm")]


class Mail:
    """The outbox of one org, fed with one event a batch or with all in one; a second each."""

    def __init__(self, connection: psycopg.AsyncConnection, database: Database) -> None:
        self.connection = connection
        self.database = database
        self.org = next(ORGS)
        self.position = 0
        self.versions: dict[str, int] = {}

    async def happened(self, *steps: Step) -> None:
        for step in steps:
            await self.happened_at_once(step)

    async def happened_at_once(self, *steps: Step) -> None:
        batch = []
        for stream, event in steps:
            self.position += 1
            version = self.versions[stream] = self.versions.get(stream, 0) + 1
            batch.append(Recorded(self.position, stream, version, self.now, event))
        async with self.connection.transaction():
            await Outbox().apply(self.connection, self.org, batch)

    @property
    def now(self) -> datetime:
        return NOON + self.position * SECOND

    async def rows(self, now: datetime = LATER) -> list[Outgoing]:
        found = await outbox.due(self.connection, now=now, limit=1000, limit_per_account=1000)
        return [each for each in found if each.org == self.org]

    async def due(self, now: datetime = LATER) -> list[str]:
        return sorted(each.message_id for each in await self.rows(now))

    async def waiting(self) -> list[tuple[str, str]]:
        return await self.stored("message_id, state")

    async def stored(self, columns: LiteralString) -> list[tuple[Any, ...]]:
        cursor = await self.connection.execute(
            f"SELECT {columns} FROM outbox WHERE org = %s ORDER BY position", [self.org]
        )
        return await cursor.fetchall()

    async def key(self, key_id: str, wrapped: bytes) -> None:
        async with await psycopg.AsyncConnection.connect(
            self.database.superuser, autocommit=True
        ) as superuser:
            await superuser.execute(
                "INSERT INTO trunkline.keys (org, id, wrapped) VALUES (%s, %s, %s)",
                [self.org, key_id, wrapped],
            )
