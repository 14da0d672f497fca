"""What an event of the log may change for somebody who looks at a service (live stream, E1).

Pure, and says only where to look: what a viewer is shown is looked up, masked and opened as for
every other read. An event that changes nothing that anybody is shown is no news.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from domain import account as accounts
from domain import channel as channels
from domain import chat_events, media
from domain import contact as contacts
from domain import organisation as organisations
from domain import reader as readers
from domain.event import Event, Recorded
from domain.outgoing import STATUS_RANK

# `written`: there is a new message; `status`: what became of it; `content`: an edit, a reaction,
# an unsending, a file that has come: only those hear of it who may see the content (S4).
Change = Literal["written", "status", "content"]


class OfMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message and its chat may look different; it is named by our id or by its key."""

    position: int
    chat_id: str
    change: Change
    message_id: str | None = None
    key: bytes | None = None
    from_customer: bool = False


class OfChat(msgspec.Struct, frozen=True, kw_only=True):
    """A service decided something about a chat, a user saw what was unread, its window opened."""

    position: int
    chat_id: str
    service: str | None  # None: it concerns every service.
    user_id: str | None = None  # None: it concerns every user of the service.


class OfContact(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's name, address or wishes changed."""

    position: int
    contact_id: str


class OfChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel may look different; `service` is the one that came or left, if one did."""

    position: int
    channel_id: str
    service: str | None = None


class OfAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account's credentials or health changed, and so its channels'."""

    position: int
    account: str  # `<platform>:<account id>`


class OfService(msgspec.Struct, frozen=True, kw_only=True):
    """A service's settings changed: with another masking policy all of it looks different."""

    position: int
    service: str


class OfReader(msgspec.Struct, frozen=True, kw_only=True):
    """A user has seen everything in a service."""

    position: int
    service: str
    user_id: str


class OfRights(msgspec.Struct, frozen=True, kw_only=True):
    """Users or keys changed: whoever looks on must be asked again whether they may."""

    position: int


News = OfMessage | OfChat | OfContact | OfChannel | OfAccount | OfService | OfReader | OfRights


def news_of(recorded: Recorded) -> News | None:
    """What an event is news of; None for what no viewer is shown."""
    tell = _TELLERS.get(type(recorded.event))
    if tell is None:
        return None
    return tell(recorded.position, recorded.stream.partition(":")[2], recorded.event)


def _written(position: int, chat_id: str, event: Any) -> News:
    return OfMessage(
        position=position,
        chat_id=chat_id,
        change="written",
        message_id=event.message_id,
        from_customer=isinstance(event, chat_events.MessageReceived),
    )


def _settled(position: int, chat_id: str, event: Any) -> News:
    return OfMessage(
        position=position, chat_id=chat_id, change="status", message_id=event.message_id
    )


def _receipt(position: int, chat_id: str, event: chat_events.ReceiptReceived) -> News | None:
    if event.status not in STATUS_RANK:
        return None
    return OfMessage(
        position=position,
        chat_id=chat_id,
        change="status",
        message_id=event.message_id,
        key=event.key,
    )


def _fetched(position: int, chat_id: str, event: Any) -> News:
    return OfMessage(
        position=position,
        chat_id=chat_id,
        change="content",
        message_id=event.message_id,
        from_customer=True,
    )


def _changed(position: int, chat_id: str, event: Any) -> News:
    return OfMessage(
        position=position,
        chat_id=chat_id,
        change="content",
        key=event.target,
        from_customer=not event.echo,
    )


def _decided(position: int, chat_id: str, event: Any) -> News:
    return OfChat(position=position, chat_id=chat_id, service=event.service)


def _window_opened(position: int, chat_id: str, _event: Any) -> News:
    return OfChat(position=position, chat_id=chat_id, service=None)


def _contact(position: int, contact_id: str, _event: Any) -> News:
    return OfContact(position=position, contact_id=contact_id)


def _connection(position: int, channel_id: str, event: Any) -> News:
    return OfChannel(position=position, channel_id=channel_id, service=event.service)


def _channel(position: int, channel_id: str, _event: Any) -> News:
    return OfChannel(position=position, channel_id=channel_id)


def _account(position: int, account: str, _event: Any) -> News:
    return OfAccount(position=position, account=account)


def _service(position: int, _: str, event: Any) -> News:
    return OfService(position=position, service=event.service)


def _rights(position: int, _: str, _event: Any) -> News:
    return OfRights(position=position)


def _chat_seen(position: int, _: str, event: readers.ChatVisited) -> News:
    return OfChat(
        position=position, chat_id=event.chat_id, service=event.service, user_id=event.user_id
    )


def _service_seen(position: int, _: str, event: readers.ServiceVisited) -> News:
    return OfReader(position=position, service=event.service, user_id=event.user_id)


_TELLERS: dict[type[Event], Callable[[int, str, Any], News | None]] = {
    chat_events.MessageReceived: _written,
    chat_events.EchoReceived: _written,
    chat_events.ReplyRequested: _written,
    chat_events.MessageSent: _settled,
    chat_events.SendUncertain: _settled,
    chat_events.MessageFailed: _settled,
    chat_events.ReceiptReceived: _receipt,
    chat_events.EditReceived: _changed,
    chat_events.UnsendReceived: _changed,
    chat_events.ReactionReceived: _changed,
    chat_events.WindowOpened: _window_opened,
    media.MediaStored: _fetched,
    media.MediaUnavailable: _fetched,
    chat_events.ChatAssigned: _decided,
    chat_events.ChatUnassigned: _decided,
    chat_events.ChatClosed: _decided,
    chat_events.ChatOpened: _decided,
    chat_events.CustomerBlocked: _decided,
    chat_events.CustomerUnblocked: _decided,
    contacts.ContactNamed: _contact,
    contacts.AddressAdded: _contact,
    contacts.AddressRemoved: _contact,
    contacts.MarketingPreferenceChanged: _contact,
    channels.ConnectionCreated: _connection,
    channels.ConnectionEnabled: _connection,
    channels.ConnectionDisabled: _connection,
    channels.ConnectionDeleted: _connection,
    channels.ParentChosen: _channel,
    channels.ChannelRenamed: _channel,
    media.IconChanged: _channel,
    accounts.CredentialsChanged: _account,
    accounts.AccountVerified: _account,
    accounts.VerificationFailed: _account,
    accounts.AccountStopped: _account,
    accounts.AccountImpaired: _account,
    accounts.AccountResumed: _account,
    accounts.AccountUnsubscribed: _account,
    accounts.AccountResubscribed: _account,
    organisations.SubscriptionChanged: _service,
    organisations.MaskingChanged: _service,
    organisations.ReplyOwnershipChanged: _service,
    organisations.TicketTimerChanged: _service,
    organisations.ReadMarkingChanged: _service,
    organisations.UserRoleChanged: _rights,
    organisations.UserServicesChanged: _rights,
    organisations.ApiKeyRevoked: _rights,
    readers.ChatVisited: _chat_seen,
    readers.ServiceVisited: _service_seen,
}

# Where a type's name stands in the log: nothing else need be read.
TYPES: list[str] = sorted(event.stored_type for event in _TELLERS)
