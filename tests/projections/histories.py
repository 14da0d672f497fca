"""The words in which tests tell a history of channels, chats and contacts, as the log holds it."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import psycopg

from domain import account, channel, chat, chat_events, contact, media
from domain.event import Event, Recorded, Sealed
from domain.parent import Candidate
from projections.inbox.projection import Inbox

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORGS = count(1)
PLATFORM, ACCOUNT = "whatsapp", "1055"


def at(minutes: float) -> datetime:
    """A time after noon."""
    return NOON + timedelta(minutes=minutes)


def sealed(text: str, owner: str = "contact:ann") -> Sealed:
    return Sealed(owner, b"0" * 16, text.encode())


def key(name: str) -> bytes:
    """The keyed hash of a platform's id."""
    return name.encode()


class History:
    """A log of one org: each word adds an event."""

    def __init__(self) -> None:
        self.log: list[Recorded] = []
        self._versions: Counter[str] = Counter()

    def add(self, stream: str, event: Event) -> int:
        """Returns the position."""
        self._versions[stream] += 1
        position = len(self.log) + 1
        recorded_at = NOON + timedelta(seconds=position)
        self.log.append(Recorded(position, stream, self._versions[stream], recorded_at, event))
        return position

    # Accounts and channels.

    def on_account(self, event: Event, account_id: str = ACCOUNT) -> int:
        return self.add(account.stream_of(PLATFORM, account_id), event)

    def claimed(self, account_id: str = ACCOUNT) -> int:
        return self.on_account(
            account.AccountClaimed(platform=PLATFORM, account_id=account_id), account_id
        )

    def channel(self, channel_id: str, *, shared: bool = True, account_id: str = ACCOUNT) -> int:
        created = channel.ChannelCreated(
            channel_id=channel_id,
            platform=PLATFORM,
            account_id=account_id,
            shared=shared,
            name=channel_id.title(),
        )
        return self.add(channel.stream_of(channel_id), created)

    def on_channel(self, event: Event, channel_id: str = "shared") -> int:
        return self.add(channel.stream_of(channel_id), event)

    def connected(self, service: str, channel_id: str = "shared") -> int:
        return self.on_channel(channel.ConnectionCreated(service=service), channel_id)

    def disabled(self, service: str, channel_id: str = "shared") -> int:
        return self.on_channel(channel.ConnectionDisabled(service=service), channel_id)

    def enabled(self, service: str, channel_id: str = "shared") -> int:
        return self.on_channel(channel.ConnectionEnabled(service=service), channel_id)

    def deleted(self, service: str, channel_id: str = "shared") -> int:
        return self.on_channel(channel.ConnectionDeleted(service=service), channel_id)

    def chosen(self, service: str | None, cause: Any, *candidates: Candidate) -> int:
        return self.on_channel(
            channel.ParentChosen(
                kind="parent",
                rule="earliest-created/1",
                cause=cause,
                candidates=candidates,
                chosen=service,
                previous=None,
            )
        )

    # Customers.

    def named(self, name: str, contact_id: str = "ann") -> int:
        event = contact.ContactNamed(key=name.encode(), profile=sealed(name))
        return self.add(contact.stream_of(contact_id), event)

    def address(self, kind: str, value: str, contact_id: str = "ann") -> int:
        event = contact.AddressAdded(kind=kind, key=value.encode(), address=sealed(value))
        return self.add(contact.stream_of(contact_id), event)

    def no_address(self, value: str, contact_id: str = "ann") -> int:
        return self.add(contact.stream_of(contact_id), contact.AddressRemoved(key=value.encode()))

    def wants_marketing(self, wants: bool, minutes: float = 0, account_id: str = ACCOUNT) -> int:
        event = contact.MarketingPreferenceChanged(
            account=f"{PLATFORM}:{account_id}", wants_marketing=wants, at=at(minutes)
        )
        return self.add(contact.stream_of("ann"), event)

    # Chats.

    def chat(
        self,
        chat_id: str = "a",
        contact_id: str = "ann",
        *,
        account_id: str = ACCOUNT,
        group: bool = False,
    ) -> int:
        started = chat_events.ChatStarted(
            chat_id=chat_id,
            platform=PLATFORM,
            account_id=account_id,
            contact_id=contact_id,
            group=group,
        )
        return self.add(chat.stream_of(chat_id), started)

    def on_chat(self, event: Event, chat_id: str = "a") -> int:
        return self.add(chat.stream_of(chat_id), event)

    def customer(self, name: str, minutes: float = 0, chat_id: str = "a", **facts: Any) -> int:
        """A customer's message; its id and its platform's id are made of its name."""
        facts = {"kind": "text", "content": sealed(name), **facts}
        received = chat_events.MessageReceived(
            message_id=name, at=at(minutes), key=key(name), **facts
        )
        return self.on_chat(received, chat_id)

    def window_opened(self, minutes: float = 0, chat_id: str = "a") -> int:
        return self.on_chat(chat_events.WindowOpened(at=at(minutes), by="reaction"), chat_id)

    def echo(
        self, name: str, minutes: float = 0, chat_id: str = "a", *, of: str | None = None
    ) -> int:
        echo = chat_events.EchoReceived(
            message_id=name, kind="text", at=at(minutes), content=sealed(name), key=key(of or name)
        )
        return self.on_chat(echo, chat_id)

    def reply(
        self,
        name: str,
        service: str,
        minutes: float = 0,
        chat_id: str = "a",
        *,
        channel_id: str = "shared",
        **facts: Any,
    ) -> int:
        requested = chat_events.ReplyRequested(
            message_id=name,
            channel_id=channel_id,
            service=service,
            user_id=f"{service}-agent",
            kind="text",
            at=at(minutes),
            content=sealed(name),
            **facts,
        )
        return self.on_chat(requested, chat_id)

    # Files.

    def uploaded(self, media_id: str) -> int:
        uploaded = media.MediaUploaded(
            media_id=media_id,
            user_id="crm-agent",
            expires_at=at(60),
            address=media_id,
            file=sealed(media_id, media.key_of(media_id)),
        )
        return self.add(media.stream_of(media_id), uploaded)

    def fetched(self, name: str, part: int, chat_id: str = "a") -> int:
        stored = media.MediaStored(
            message_id=name,
            part=part,
            media_id=f"{name}-{part}",
            address=f"{name}-{part}",
            file=sealed(f"{name}-{part}"),
        )
        return self.on_chat(stored, chat_id)

    def not_fetched(self, name: str, part: int, reason: str, chat_id: str = "a") -> int:
        event = media.MediaUnavailable(message_id=name, part=part, reason=reason)
        return self.on_chat(event, chat_id)

    def sent(self, name: str, chat_id: str = "a") -> int:
        return self.on_chat(chat_events.MessageSent(message_id=name, key=key(name)), chat_id)

    def failed(self, name: str, reason: str = "refused", chat_id: str = "a") -> int:
        return self.on_chat(chat_events.MessageFailed(message_id=name, reason=reason), chat_id)

    def receipt(
        self, name: str, status: str, minutes: float = 0, chat_id: str = "a", **facts: Any
    ) -> int:
        received = chat_events.ReceiptReceived(
            key=key(name), status=status, at=at(minutes), **facts
        )
        return self.on_chat(received, chat_id)

    def edited(self, name: str, text: str, minutes: float = 0, chat_id: str = "a") -> int:
        edit = chat_events.EditReceived(target=key(name), at=at(minutes), content=sealed(text))
        return self.on_chat(edit, chat_id)

    def unsent(self, name: str, minutes: float = 0, chat_id: str = "a") -> int:
        return self.on_chat(chat_events.UnsendReceived(target=key(name), at=at(minutes)), chat_id)

    def reacted(
        self, name: str, emoji: str | None, minutes: float = 0, chat_id: str = "a", **facts: Any
    ) -> int:
        content = sealed(emoji) if emoji else None
        reaction = chat_events.ReactionReceived(
            target=key(name), at=at(minutes), content=content, **facts
        )
        return self.on_chat(reaction, chat_id)

    def assigned(self, service: str, owner: str, minutes: float = 0, chat_id: str = "a") -> int:
        event = chat_events.ChatAssigned(service=service, owner=owner, at=at(minutes))
        return self.on_chat(event, chat_id)

    def unassigned(self, service: str, chat_id: str = "a") -> int:
        return self.on_chat(chat_events.ChatUnassigned(service=service, previous="x"), chat_id)

    def closed(self, service: str, chat_id: str = "a") -> int:
        return self.on_chat(chat_events.ChatClosed(service=service), chat_id)

    def opened(self, service: str, chat_id: str = "a") -> int:
        return self.on_chat(chat_events.ChatOpened(service=service), chat_id)

    def blocked(self, service: str, chat_id: str = "a") -> int:
        return self.on_chat(chat_events.CustomerBlocked(service=service), chat_id)

    def unblocked(self, service: str, chat_id: str = "a") -> int:
        return self.on_chat(chat_events.CustomerUnblocked(service=service), chat_id)


def shared_by(*services: str) -> History:
    """A history that begins with a channel these services share, and the chat `a` on it."""
    history = History()
    history.channel("shared")
    for service in services:
        history.connected(service)
    history.chat("a")
    return history


class Projected:
    """A projection's tables for one org, fed with a history."""

    def __init__(self, connection: psycopg.AsyncConnection, projection: Any = None) -> None:
        self.connection = connection
        self.org = next(ORGS)
        self.projection = projection or Inbox()
        self.position = 0

    async def project(self, history: History) -> None:
        """Fold what is new in the history, in one batch."""
        await self.fold(history.log[self.position :])

    async def fold(self, batch: list[Recorded]) -> None:
        if batch:
            async with self.connection.transaction():
                await self.projection.apply(self.connection, self.org, batch)
            self.position = max(self.position, batch[-1].position)
