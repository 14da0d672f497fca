"""What every command needs to know and to have at hand."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from api.commands.billing import Billing
from api.commands.credentials import AccountCredentials
from api.commands.execute import Executor, Repeatable
from api.commands.people import People
from api.commands.unit import Unit
from domain import account as accounts
from domain import channel as channels
from domain import chat as chats
from domain import organisation
from domain.account import Account
from domain.channel import Channel
from domain.chat import Chat
from domain.identifiers import NewId
from domain.organisation import Organisation
from domain.ports import Clock, Directory, Keys, Log, Org
from domain.refusal import NotConnected, NotFound, NotParent
from domain.windows import DEFAULT_WINDOW_RULES


@dataclass(frozen=True)
class Context:
    """The machinery, the same for all commands."""

    log: Log
    executor: Executor
    people: People
    directory: Directory
    credentials: AccountCredentials
    clock: Clock
    new_id: NewId
    billing: Billing


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: a user of an organisation, and whether the request may be a repetition."""

    keys: Keys
    user_id: str
    request: Repeatable | None = None

    @property
    def org(self) -> Org:
        """The actor's organisation."""
        return self.keys.org


def the_organisation(unit: Unit) -> Organisation:
    """The actor's organisation as it stands."""
    return unit.state(organisation.STREAM, Organisation)


def the_chat(unit: Unit, chat_id: str) -> Chat:
    """A chat of the organisation. Raises NotFound."""
    chat = unit.state(chats.stream_of(chat_id), Chat)
    if chat.chat_id is None:
        raise NotFound("There is no such chat.")
    return chat


def the_channel(unit: Unit, channel_id: str) -> Channel:
    """A channel of the organisation. Raises NotFound."""
    channel = unit.state(channels.stream_of(channel_id), Channel)
    if channel.channel_id is None:
        raise NotFound("There is no such channel.")
    return channel


def the_account(unit: Unit, platform: str, account_id: str) -> Account:
    """An account that the organisation has, or had, a channel on. Raises NotFound."""
    account = unit.state(accounts.stream_of(platform, account_id), Account)
    if not account.channels:
        raise NotFound("There is no such account in this organisation.")
    return account


def accounts_named(unit: Unit, account_id: str) -> Iterator[tuple[str, Account]]:
    """The accounts of this org that have this id, each with its platform."""
    for platform in DEFAULT_WINDOW_RULES:
        account = unit.state(accounts.stream_of(platform, account_id), Account)
        if account.channels:
            yield platform, account


def require_manages(unit: Unit, platform: str, account_id: str, service: str) -> None:
    """Raises NotParent, with the manager's name, for any service but an account's manager.

    Credentials and credits are the shared channel's parent's, or else the earliest separate
    channel's. Spec S2, S12.
    """
    account = unit.state(accounts.stream_of(platform, account_id), Account)
    for channel_id in account.channels:
        parent = unit.state(channels.stream_of(channel_id), Channel).parent
        if parent == service:
            return
        if parent is not None:
            raise NotParent(parent=parent)
    raise NotParent(parent=None)


def channel_of(unit: Unit, chat: Chat, service: str) -> Channel:
    """The channel through which a service sees a chat. Raises NotConnected. Spec S16."""
    channel = channel_in_use(unit, chat.platform, chat.account_id, service)
    if channel is None:
        raise NotConnected
    return channel


def channel_in_use(unit: Unit, platform: str, account_id: str, service: str) -> Channel | None:
    """The one channel through which a service uses an account, if it does. Spec S2."""
    account = unit.state(accounts.stream_of(platform, account_id), Account)
    for channel_id in account.channels:
        channel = unit.state(channels.stream_of(channel_id), Channel)
        if channel.is_active(service):
            return channel
    return None
