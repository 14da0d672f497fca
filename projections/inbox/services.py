"""Each service's side of the inbox: its channel to an account, and what it decided about a chat."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from domain.channel import ConnectionCreated, ConnectionEnabled
from domain.chat_events import (
    ChatAssigned,
    ChatClosed,
    ChatOpened,
    ChatUnassigned,
    CustomerBlocked,
    CustomerUnblocked,
    MessageReceived,
    ReplyRequested,
)
from domain.event import Recorded

Account = tuple[str, str]  # Platform and account id.


class Channel(msgspec.Struct, frozen=True):
    """A row of inbox_channels."""

    channel_id: str
    platform: str
    account_id: str
    shared: bool
    created_position: int

    @property
    def account(self) -> Account:
        """The account it belongs to."""
        return (self.platform, self.account_id)

    @property
    def sees_from(self) -> int:
        """A separate channel's history begins with it; the shared one has all (S2, S13)."""
        return 0 if self.shared else self.created_position


class ServiceConnection(msgspec.Struct):
    """A row of inbox_connections."""

    service: str
    channel_id: str
    active: bool
    joined_position: int


class Seats:
    """Through which channel each service sees an account's chats: the one it joined last.

    It keeps its seat while it is away, so that its rows are up to date when it comes back (S16).
    """

    def __init__(
        self, channels: Iterable[Channel], connections: Iterable[ServiceConnection]
    ) -> None:
        self.channels = {each.channel_id: each for each in channels}
        self.connections = {(each.service, each.channel_id): each for each in connections}
        self._seats = self._derive()

    def take(
        self, created: Iterable[Channel], changes: Iterable[tuple[str, Recorded]]
    ) -> list[ServiceConnection]:
        """Take in new channels, and by channel what connections did; returns those as they are."""
        for channel in created:
            self.channels.setdefault(channel.channel_id, channel)
        changed = [self._join(channel_id, recorded) for channel_id, recorded in changes]
        return list({(each.service, each.channel_id): each for each in changed}.values())

    def _join(self, channel_id: str, recorded: Recorded) -> ServiceConnection:
        event = recorded.event
        service: str = event.service  # type: ignore[attr-defined]  # All of them name one.
        connection = self.connections.setdefault(
            (service, channel_id), ServiceConnection(service, channel_id, False, recorded.position)
        )
        connection.active = isinstance(event, ConnectionCreated | ConnectionEnabled)
        if connection.active:
            connection.joined_position = recorded.position
        return connection

    def settle(self) -> list[tuple[str, Channel]]:
        """Derive the seats anew; returns those that changed and may need rows for old chats."""
        before, self._seats = self._seats, self._derive()
        return [
            (service, channel)
            for account, seats in self._seats.items()
            for service, channel in seats.items()
            if before.get(account, {}).get(service) != channel
            # A separate channel begins with no chats; only a service that had another has rows.
            and (channel.shared or service in before.get(account, {}))
        ]

    def on(self, account: Account) -> dict[str, Channel]:
        """The channel of each service that has ever joined the account."""
        return self._seats.get(account, {})

    def _derive(self) -> dict[Account, dict[str, Channel]]:
        seats: dict[Account, dict[str, Channel]] = {}
        in_order = sorted(
            self.connections.values(), key=lambda each: (each.active, each.joined_position)
        )
        for connection in in_order:
            channel = self.channels[connection.channel_id]
            seats.setdefault(channel.account, {})[connection.service] = channel
        return seats


class Decided(msgspec.Struct):
    """What a service decided about a chat: columns of inbox_chats."""

    chat_id: str
    service: str
    owner: str = ""
    owner_since: datetime | None = None
    closed: bool = False
    blocked: bool = False
    reopened_position: int | None = None
    reopened_at: datetime | None = None
    decided_position: int = 0  # Of the last event that changed something here.


def decide(chat: Decided, recorded: Recorded) -> None:
    """Take an event in; one that the row knows already changes nothing."""
    event = recorded.event
    if recorded.position <= chat.decided_position:
        return
    if isinstance(event, MessageReceived):  # C4: in every service.
        _open(chat, recorded, event.at)
        return
    if getattr(event, "service", None) != chat.service:
        return
    match event:
        case ReplyRequested():
            _open(chat, recorded, event.at)
            return
        case ChatOpened():
            _open(chat, recorded, recorded.recorded_at)
            return
        case ChatAssigned():
            chat.owner, chat.owner_since = event.owner, event.at
        case ChatUnassigned():
            chat.owner, chat.owner_since = "", None
        case ChatClosed():
            chat.closed = True
        case CustomerBlocked():
            chat.blocked = True
        case CustomerUnblocked():
            chat.blocked = False
        case _:
            return
    chat.decided_position = recorded.position


def _open(chat: Decided, recorded: Recorded, at: datetime) -> None:
    if chat.closed:  # A new session (C11).
        chat.closed = False
        chat.reopened_position, chat.reopened_at = recorded.position, at
        chat.decided_position = recorded.position
