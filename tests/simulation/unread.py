"""Unread messages counted one by one, against the numbers that the projection keeps (C6)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from random import Random

from domain import channel as channels
from domain import chat_events
from domain import organisation as organisations
from domain import reader as readers
from projections.unread.counting import Counting
from tests.simulation.database import Row


class ByHand:
    """Every message, looked at once for every user. Nobody here loses access or is blocked."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.accounts: dict[str, str] = {}  # By chat and by channel.
        self.messages: list[tuple[int, str]] = []  # Position and chat.
        self.began: dict[tuple[str, str], int] = {}  # A service on a channel, and since when.
        self.active: set[tuple[str, str]] = set()
        self.users: dict[str, int] = {}
        self.seen: defaultdict[tuple[str, str, str], list[tuple[int, str | None]]] = defaultdict(
            list
        )
        for row in rows:
            self._take(row)

    def _take(self, row: Row) -> None:
        subject, at = row.stream.partition(":")[2], row.position
        match row.event:
            case chat_events.ChatStarted() | channels.ChannelCreated() as event:
                self.accounts[subject] = f"{event.platform}:{event.account_id}"
            case chat_events.MessageReceived():
                self.messages.append((at, subject))
            case channels.ConnectionCreated() | channels.ConnectionEnabled() as event:
                self.began.setdefault((event.service, subject), at)
                self.active.add((event.service, subject))
            case channels.ConnectionDisabled() | channels.ConnectionDeleted() as event:
                self.active.discard((event.service, subject))
            case organisations.UserAdded() as event:
                self.users[event.added_user_id] = at
            case chat_events.ReplyRequested() as event:
                self._see_chat(event.user_id, event.service, subject, at)
            case readers.ChatVisited() as event:
                self._see_chat(event.user_id, event.service, event.chat_id, at)
            case readers.ServiceVisited() as event:
                for service, channel in self.active:
                    if service == event.service:
                        self.seen[event.user_id, service, channel].append((at, None))

    def _see_chat(self, user: str, service: str, chat: str, at: int) -> None:
        for name, channel in self.began:
            if name == service and self.accounts[channel] == self.accounts[chat]:
                self.seen[user, service, channel].append((at, chat))

    def unread(self, user: str, service: str, channel: str) -> int:
        since = max(self.began[service, channel], self.users[user])
        seen = self.seen[user, service, channel]
        return sum(
            at > since
            and self.accounts[chat] == self.accounts[channel]
            and not any(later > at and each in (None, chat) for later, each in seen)
            for at, chat in self.messages
        )


def require_same_unread(rows: Sequence[Row], *, chance: Random) -> None:
    """For each user and service on a channel, at the end and at some moment before."""
    for count in (len(rows), chance.randint(0, len(rows))):
        counting = Counting()
        for row in rows[:count]:
            counting.take(row.recorded)
        by_hand = ByHand(rows[:count])
        for (service, channel), lane in counting.lanes.items():
            newest = counting.tallies[lane.account][service]
            for user in counting.users:
                reader = counting.reader(user, service, channel)
                unread = newest - reader.ordinal - reader.seen_in_chats
                expected = by_hand.unread(user, service, channel)
                assert unread == expected, f"{user} in {service} at {count}: {unread}, {expected}"
