"""Counting what is unread, in memory: what a batch of events does to the numbers it touches.

`batch.py` loads a `Counting`, lets it take the events one by one, and writes what changed.
"""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field

from domain import channel as channels
from domain import chat_events
from domain import organisation as organisations
from domain import reader as readers
from domain.event import Recorded


@dataclass(frozen=True, slots=True)
class User:
    """What somebody has access to."""

    role: str
    services: frozenset[str]

    def may_view(self, service: str) -> bool:
        """Admins, supervisors and auditors read every service."""
        return self.role != "agent" or service in self.services


@dataclass(slots=True)
class Lane:
    """A service on a channel: it counts what comes after `begins_after`, also while away."""

    account: str
    begins_after: int
    active: bool = True


@dataclass(slots=True)
class ChatCount:
    """The messages of one chat that one service counted."""

    account: str
    messages: int = 0
    ordinal: int = 0
    position: int = 0
    blocked: bool = False
    stored_messages: int = 0  # As they were before this batch,
    stored_ordinal: int = 0
    fresh: list[int] = field(default_factory=list)  # and the ordinals that it added.


@dataclass(frozen=True, slots=True)
class Reader:
    """How far one user has seen one lane."""

    ordinal: int
    seen_in_chats: int = 0  # Messages behind `ordinal` that visits of their chats have seen.


NOBODY = User(role="agent", services=frozenset())


class Counting:
    """The numbers that a batch touches. Spec C6, C7."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.channel_accounts: dict[str, str] = {}
        self.chat_accounts: dict[str, str] = {}
        self.lanes: dict[tuple[str, str], Lane] = {}  # By service and channel.
        self.channels: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self.tallies: defaultdict[str, dict[str, int]] = defaultdict(dict)  # Account, service.
        self.chats: dict[tuple[str, str], ChatCount] = {}  # By service and chat.
        self.readers: dict[tuple[str, str, str], Reader] = {}  # By user, service, channel.
        # By user, service and account; then by chat, how many messages it had when visited.
        self.visits: defaultdict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
        self.earlier: dict[tuple[str, str, int], int] = {}  # By service, chat, ordinal.
        # What is to be written.
        self.messages: list[tuple[str, str, int, int]] = []
        self.changed_users: set[str] = set()
        self.new_channels: dict[str, str] = {}
        self.new_chats: dict[str, str] = {}
        self.changed_lanes: set[tuple[str, str]] = set()
        self.changed_tallies: set[tuple[str, str]] = set()  # By service and account.
        self.changed_chats: set[tuple[str, str]] = set()
        self.changed_readers: set[tuple[str, str, str]] = set()
        self.cleared_visits: set[tuple[str, str, str]] = set()  # By user, service, account.
        self.new_visits: defaultdict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)

    def take(self, recorded: Recorded) -> None:
        """Count one event. Those that leave the numbers as they are, are passed over."""
        subject = recorded.stream.partition(":")[2]
        match recorded.event:
            case chat_events.MessageReceived():
                self._count(subject, recorded.position)
            case chat_events.ChatStarted() as event:
                account = f"{event.platform}:{event.account_id}"
                self.chat_accounts[subject] = self.new_chats[subject] = account
            case chat_events.CustomerBlocked() as event:
                self._block(subject, event.service, blocked=True)
            case chat_events.CustomerUnblocked() as event:
                self._block(subject, event.service, blocked=False)
            case chat_events.ReplyRequested() as event:
                self._visit_chat(event.user_id, event.service, subject)
            case readers.ChatVisited() as event:
                self._visit_chat(event.user_id, event.service, event.chat_id)
            case readers.ServiceVisited() as event:
                self._visit_service(event.user_id, event.service)
            case channels.ChannelCreated() as event:
                account = f"{event.platform}:{event.account_id}"
                self.channel_accounts[subject] = self.new_channels[subject] = account
            case channels.ConnectionCreated() | channels.ConnectionEnabled() as event:
                self._join(subject, event.service)
            case channels.ConnectionDisabled() | channels.ConnectionDeleted() as event:
                self._leave(subject, event.service)
            case organisations.UserAdded() as event:
                user = User(event.role, frozenset(event.services))
                self._change_access(event.added_user_id, user)
            case organisations.UserRoleChanged() as event:
                before = self.users.get(event.changed_user_id, NOBODY)
                self._change_access(event.changed_user_id, User(event.role, before.services))
            case organisations.UserServicesChanged() as event:
                before = self.users.get(event.changed_user_id, NOBODY)
                user = User(before.role, frozenset(event.services))
                self._change_access(event.changed_user_id, user)

    # Messages and blocks.

    def _count(self, chat_id: str, position: int) -> None:
        account = self.chat_accounts[chat_id]
        tally = self.tallies[account]
        for service in tally:
            chat = self._chat(service, chat_id)
            if chat.blocked:
                continue  # C7: it counts for nothing, also after an unblock.
            tally[service] += 1
            chat.messages += 1
            chat.ordinal = tally[service]
            chat.position = position
            chat.fresh.append(chat.ordinal)
            self.messages.append((service, chat_id, chat.ordinal, chat.messages))
            self.changed_tallies.add((service, account))
            self.changed_chats.add((service, chat_id))

    def _block(self, chat_id: str, service: str, *, blocked: bool) -> None:
        self._chat(service, chat_id).blocked = blocked
        self.changed_chats.add((service, chat_id))

    def _chat(self, service: str, chat_id: str) -> ChatCount:
        chat = self.chats.get((service, chat_id))
        if chat is None:
            chat = self.chats[service, chat_id] = ChatCount(self.chat_accounts[chat_id])
        return chat

    # Lanes.

    def _join(self, channel_id: str, service: str) -> None:
        lane = self.lanes.get((service, channel_id))
        if lane is None:
            account = self.channel_accounts[channel_id]
            newest = self.tallies[account].setdefault(service, 0)
            self.changed_tallies.add((service, account))
            self.add_lane(service, channel_id, Lane(account, begins_after=newest))
        else:
            lane.active = True
        self.changed_lanes.add((service, channel_id))

    def _leave(self, channel_id: str, service: str) -> None:
        self.lanes[service, channel_id].active = False
        self.changed_lanes.add((service, channel_id))

    def add_lane(self, service: str, channel_id: str, lane: Lane) -> None:
        """A service has one channel of an account, or two: a separate one and the shared one."""
        self.lanes[service, channel_id] = lane
        self.channels[service, lane.account].append(channel_id)

    # Readers.

    def reader(self, user_id: str, service: str, channel_id: str) -> Reader:
        """How far the user has seen; who was there before the lane began, starts with it."""
        reader = self.readers.get((user_id, service, channel_id))
        return reader or Reader(self.lanes[service, channel_id].begins_after)

    def _visit_service(self, user_id: str, service: str) -> None:
        for (name, account), channel_ids in self.channels.items():
            if name != service:
                continue
            newest = Reader(self.tallies[account][service])
            # What comes to a channel while the service is away counts on its return.
            active = [each for each in channel_ids if self.lanes[service, each].active]
            behind = [each for each in active if self.reader(user_id, service, each) != newest]
            for channel_id in behind:
                self._set_reader(user_id, service, channel_id, newest)
            if behind and active == channel_ids:
                self._forget_visits(user_id, service, account)

    def _set_reader(self, user_id: str, service: str, channel_id: str, reader: Reader) -> None:
        self.readers[user_id, service, channel_id] = reader
        self.changed_readers.add((user_id, service, channel_id))

    def _forget_visits(self, user_id: str, service: str, account: str) -> None:
        key = (user_id, service, account)
        self.visits.pop(key, None)
        self.new_visits.pop(key, None)
        self.cleared_visits.add(key)

    def _visit_chat(self, user_id: str, service: str, chat_id: str) -> None:
        chat = self.chats.get((service, chat_id))
        if chat is None or chat.messages == 0:
            return
        key = (user_id, service, chat.account)
        visited = self.visits[key].get(chat_id, 0)
        newest = self.tallies[chat.account][service]
        channel_ids = self.channels[service, chat.account]
        has_news = has_seen_all = False
        for channel_id in channel_ids:
            reader = self.reader(user_id, service, channel_id)
            seen = max(visited, self._messages_at(service, chat_id, reader.ordinal))
            if seen < chat.messages:
                has_news = True
                seen_in_chats = reader.seen_in_chats + chat.messages - seen
                has_seen_all = seen_in_chats == newest - reader.ordinal
                after = Reader(newest) if has_seen_all else Reader(reader.ordinal, seen_in_chats)
                self._set_reader(user_id, service, channel_id, after)
        if has_seen_all and len(channel_ids) == 1:
            # Who opens every chat has visited the service: single visits need not pile up.
            self._forget_visits(user_id, service, chat.account)
        elif has_news:
            self.visits[key][chat_id] = self.new_visits[key][chat_id] = chat.messages

    def _messages_at(self, service: str, chat_id: str, ordinal: int) -> int:
        chat = self.chats[service, chat_id]
        if ordinal < chat.stored_ordinal:
            return self.earlier[service, chat_id, ordinal]
        return chat.stored_messages + bisect_right(chat.fresh, ordinal)

    # Access.

    def _change_access(self, user_id: str, after: User) -> None:
        before = self.users.get(user_id, NOBODY)
        self.users[user_id] = after
        self.changed_users.add(user_id)
        for (service, channel_id), lane in self.lanes.items():
            if after.may_view(service) and not before.may_view(service):
                newest = self.tallies[lane.account][service]
                self._set_reader(user_id, service, channel_id, Reader(newest))
                self._forget_visits(user_id, service, lane.account)
