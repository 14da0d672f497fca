"""Turns the log's news into what a service is shown of them (E1, S4, S16).

An event says what changed and shows it as it is now, which may be newer than its position. What
the service is not shown in its lists it is not told either.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from api.authentication import Principal
from api.channels import channel_view
from api.commands.organisations import UserProfile
from api.organisations import service_view
from api.views import ChatView, MaskedMessage, Viewer, chat_view, message_view
from projections.channels.queries import ChannelRow, channels_named
from projections.engine.projection import Connection
from projections.inbox import queries as inbox
from projections.inbox.queries import MessageName
from projections.inbox.rows import ChatRow, MessageRow
from projections.news import (
    News,
    OfAccount,
    OfChannel,
    OfChat,
    OfContact,
    OfMessage,
    OfReader,
    OfService,
)
from projections.unread.projection import unread


class Told:
    """One event of a stream, for every user of the service or for one."""

    def __init__(
        self,
        position: int,
        event: str,
        *,
        chat: ChatView | None = None,
        user_id: str | None = None,
        **data: Any,
    ) -> None:
        """A chat's unread counter is filled in for each user."""
        self.position = position
        self.chat = chat
        self.user_id = user_id
        self._event = event.encode()
        self._data = data
        self._lines: dict[int, bytes] = {}

    def lines(self, unread: int) -> bytes:
        """Its `event` and `data` lines, encoded once for all who have as much unread."""
        if unread not in self._lines:
            data = self._data
            if self.chat is not None:
                data = data | {"chat": dataclasses.replace(self.chat, unread=unread)}
            lines = b"event: %s\ndata: %s\n" % (self._event, msgspec.json.encode(data))
            self._lines[unread] = lines
        return self._lines[unread]


class Rows(msgspec.Struct, kw_only=True):
    """What the news are about, as the service's channels see it."""

    chats: Mapping[str, ChatRow]
    messages: Mapping[tuple[str, str | bytes | None], MessageRow]  # By chat; and by id or key.
    channels: Sequence[ChannelRow]
    unread: Mapping[str, tuple[int, dict[str, int]]]  # Of users who have seen everything.
    chats_of_contacts: Mapping[str, Sequence[str]]


async def look_up(
    connection: Connection,
    *,
    org: int,
    service: str,
    news: Sequence[News],
    chats_of_contacts: Mapping[str, Sequence[str]],
) -> Rows:
    """The rows that these news are about: a few queries, however many news there are."""
    chat_ids = {each.chat_id for each in news if isinstance(each, OfMessage)}
    chat_ids |= {
        each.chat_id
        for each in news
        if isinstance(each, OfChat) and each.service in (service, None)
    }
    chat_ids = chat_ids.union(*chats_of_contacts.values())
    chats = (
        await inbox.chats_named(connection, org=org, service=service, chat_ids=chat_ids)
        if chat_ids
        else {}
    )
    names = {
        MessageName(
            chat_id=each.chat_id,
            message_id=each.message_id,
            key=each.key,
            view=chats[each.chat_id].view,
        )
        for each in news
        if isinstance(each, OfMessage) and each.chat_id in chats
    }
    messages = await inbox.messages_named(connection, org=org, names=names) if names else []
    channel_ids = {each.channel_id for each in news if isinstance(each, OfChannel)}
    accounts = {each.account for each in news if isinstance(each, OfAccount)}
    channels = (
        await channels_named(connection, org=org, channel_ids=channel_ids, accounts=accounts)
        if channel_ids or accounts
        else []
    )
    readers = {
        each.user_id for each in news if isinstance(each, OfReader) and each.service == service
    }
    return Rows(
        chats=chats,
        messages={(row.chat_id, row.key): row for row in messages}
        | {(row.chat_id, row.message_id): row for row in messages},
        channels=channels,
        unread={
            user_id: await unread(connection, org=org, user_id=user_id, service=service)
            for user_id in readers
        },
        chats_of_contacts=chats_of_contacts,
    )


class Teller:
    """Tells a viewer the news."""

    def __init__(
        self,
        rows: Rows,
        viewer: Viewer,
        principal: Principal,
        profiles: Mapping[str, UserProfile],
    ) -> None:
        self._rows = rows
        self._viewer = viewer
        self._organisation = principal.organisation
        self._profiles = profiles

    def tell(self, news: Iterable[News]) -> list[Told]:
        """What the viewer is told of the news, in their order."""
        return [told for each in news for told in self._tell(each)]

    def _tell(self, news: News) -> Iterator[Told]:
        match news:
            case OfMessage():
                yield from self._message(news)
            case OfChat() if news.service == self._viewer.service:
                yield from self._chat(news.position, news.chat_id, user_id=news.user_id)
            case OfChat(service=None) if not self._is_blocked(news.chat_id):
                yield from self._chat(news.position, news.chat_id)
            case OfContact():
                yield from self._contact(news)
            case OfChannel():
                yield from self._channel(news)
            case OfAccount():
                yield from self._account(news)
            case OfService() if news.service == self._viewer.service:
                service = service_view(self._organisation, news.service)
                yield Told(news.position, "service", service=service)
            case OfReader() if news.service == self._viewer.service:
                total, by_chat = self._rows.unread[news.user_id]
                yield Told(
                    news.position, "unread", user_id=news.user_id, unread=total, chats=by_chat
                )

    def _message(self, news: OfMessage) -> Iterator[Told]:
        chat = self._rows.chats.get(news.chat_id)
        message = self._rows.messages.get((news.chat_id, news.message_id or news.key))
        if chat is None or message is None:
            return
        if news.from_customer and self._is_blocked(news.chat_id):
            return
        shown = message_view(message, self._viewer, profiles=self._profiles)
        if isinstance(shown, MaskedMessage) and news.change == "content":
            return  # That there was an edit tells something of what is masked (S4).
        yield Told(news.position, "message", chat=self._chat_view(chat), message=shown)

    def _chat(self, position: int, chat_id: str, *, user_id: str | None = None) -> Iterator[Told]:
        chat = self._rows.chats.get(chat_id)
        if chat is not None:
            yield Told(position, "chat", chat=self._chat_view(chat), user_id=user_id)

    def _contact(self, news: OfContact) -> Iterator[Told]:
        for chat_id in self._rows.chats_of_contacts[news.contact_id]:
            chat = self._rows.chats.get(chat_id)
            # A name mostly comes with a message, whose own event then shows the chat with it.
            if chat is not None and chat.last_message.position < news.position:
                yield from self._chat(news.position, chat_id)

    def _channel(self, news: OfChannel) -> Iterator[Told]:
        for channel in self._rows.channels:
            # Who leaves is told so, and then no more (S16).
            if channel.id == news.channel_id and (
                news.service == self._viewer.service or self._is_on(channel)
            ):
                yield Told(news.position, "channel", channel=channel_view(channel))

    def _account(self, news: OfAccount) -> Iterator[Told]:
        for channel in self._rows.channels:
            of = f"{channel.platform}:{channel.account_id}"
            if of == news.account and self._is_on(channel):
                yield Told(news.position, "channel", channel=channel_view(channel))

    def _is_on(self, channel: ChannelRow) -> bool:
        active = [each.service for each in channel.services if each.state == "active"]
        return self._viewer.service in active

    def _is_blocked(self, chat_id: str) -> bool:
        """C7: this service wants to hear nothing more of the customer."""
        chat = self._rows.chats.get(chat_id)
        return chat is not None and chat.blocked

    def _chat_view(self, chat: ChatRow) -> ChatView:
        return chat_view(chat, self._viewer, unread=0, profiles=self._profiles)
