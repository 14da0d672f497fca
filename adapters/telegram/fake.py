"""A Bot API to develop against: it behaves like Telegram's, and fails on demand.

async with FakeTelegram(webhook_url="http://127.0.0.1:8000/webhooks/telegram") as fake:
    fake.base_url                       # For TRUNKLINE_TELEGRAM_API_BASE.
    fake.customer_says(5512345678, "Hello", name="Nika")
    fake.next_requests(limits(3), accepts_then_drops())
    await fake.settled()
    fake.accepted                       # Every message it took, doubles included.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any

import msgspec

from adapters.fakes.courier import RETRY_DELAYS_SECONDS, Courier
from adapters.fakes.fake import AcceptedSend, Fake
from adapters.fakes.server import Answer, Request, json_answer
from adapters.telegram.fake_behaviour import refusal_answer
from adapters.telegram.fake_rules import (
    FILES,
    METHODS,
    BotRefusal,
    Chat,
    FakeBot,
    JsonObject,
    check_message,
    read_arguments,
)

BLOCKED = "Forbidden: bot was blocked by the user"
DEACTIVATED = "Forbidden: user is deactivated"
KICKED = "Forbidden: bot was kicked from the group chat"

RETRY_AFTER_SECONDS_MAX = 3600.0


class FakeTelegram(Fake):
    """The fake, running between `async with` and its end.

    Webhooks of a bot go to `webhook_url`, a slash and the bot's id, those of a chat one after the
    other: one that is refused holds up its chat. `rate_limit` switches the pauses between two
    messages to one chat on.
    """

    SENDS = "/send"

    def __init__(
        self,
        *,
        accounts: Sequence[FakeBot] = (FakeBot(),),
        webhook_url: str | None = None,
        rate_limit: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seed: int = 0,
        retry_delays_seconds: Sequence[float] = RETRY_DELAYS_SECONDS,
        port: int = 0,
    ) -> None:
        self.files: dict[str, bytes] = {}  # What customers have sent, by the id it is asked for.
        self._bots = {bot.bot_id: bot for bot in accounts}
        self._chats: dict[tuple[str, int], Chat] = {}
        self._has_rate_limit = rate_limit
        self._now = now
        # Numbers of updates begin anywhere.
        self._updates = count(Random(seed).randrange(100_000_000, 900_000_000))  # noqa: S311
        courier = Courier(
            webhook_url=webhook_url,
            sign=lambda _: {},
            retry_delays_seconds=retry_delays_seconds,
            retry_after_seconds_max=RETRY_AFTER_SECONDS_MAX,
        )
        super().__init__(courier, port=port)

    # What a test or a demo does to it.

    def customer_says(
        self,
        user_id: int,
        text: str,
        *,
        name: str = "Customer",
        account_id: str | None = None,
        group_id: int | None = None,
        quotes: int | None = None,
        connection: str | None = None,
    ) -> int:
        """A customer writes; the number of their message in its chat."""
        item: JsonObject = {"text": text}
        if quotes is not None:
            chat = self._chat(account_id, group_id or user_id, name)
            item["reply_to_message"] = {"message_id": quotes, "chat": chat.chat, "date": 0}
        return self.customer_sends(
            user_id,
            item,
            name=name,
            account_id=account_id,
            group_id=group_id,
            connection=connection,
        )

    def customer_sends(
        self,
        user_id: int,
        item: JsonObject,
        *,
        name: str = "Customer",
        account_id: str | None = None,
        group_id: int | None = None,
        connection: str | None = None,
    ) -> int:
        """A customer sends anything at all: `item` is what Telegram puts into the message.

        With `connection` they write to a business account whose owner connected the bot.
        """
        chat = self._chat(account_id, group_id or user_id, name)
        chat.connection = connection
        number = chat.next_number()
        sender = {"id": user_id, "is_bot": False, "first_name": name}
        message = {
            "message_id": number,
            "from": sender,
            "chat": chat.chat,
            "date": self._seconds(),
            **chat.through,
            **item,
        }
        self._post(chat, "business_message" if connection else "message", message)
        return number

    def customer_sends_file(
        self, user_id: int, kind: str, data: bytes, *, account_id: str | None = None, **more: Any
    ) -> int:
        """A customer sends a file; `more` is what Telegram says of it."""
        file_id = f"file{len(self.files)}"
        self.files[file_id] = data
        about = {"file_id": file_id, "file_unique_id": file_id, "file_size": len(data), **more}
        item = {kind: [{**about, "width": 90, "height": 90}] if kind == "photo" else about}
        return self.customer_sends(user_id, item, account_id=account_id)

    def edits(self, user_id: int, number: int, text: str, *, account_id: str | None = None) -> None:
        """A customer changes a message."""
        chat = self._chat(account_id, user_id)
        message = {
            "message_id": number,
            "from": {"id": user_id, "is_bot": False, "first_name": chat.chat["first_name"]},
            "chat": chat.chat,
            "date": self._seconds(),
            "edit_date": self._seconds(),
            "text": text,
        }
        self._post(chat, "edited_message", message)

    def reacts(
        self, user_id: int, number: int, emoji: str | None, *, account_id: str | None = None
    ) -> None:
        """A customer leaves a reaction on a message, or with None takes theirs back."""
        chat = self._chat(account_id, user_id)
        left = [] if emoji is None else [{"type": "emoji", "emoji": emoji}]
        reaction = {
            "chat": chat.chat,
            "message_id": number,
            "user": {"id": user_id, "is_bot": False, "first_name": chat.chat["first_name"]},
            "date": self._seconds(),
            "old_reaction": [],
            "new_reaction": left,
        }
        self._post(chat, "message_reaction", reaction)

    def blocks(self, user_id: int, *, account_id: str | None = None) -> None:
        """A customer blocks the bot."""
        chat = self._chat(account_id, user_id)
        chat.closed = BLOCKED
        self._post_membership(chat, user_id, "member", "kicked")

    def unblocks(self, user_id: int, *, account_id: str | None = None) -> None:
        """They let it in again."""
        chat = self._chat(account_id, user_id)
        chat.closed = None
        self._post_membership(chat, user_id, "kicked", "member")

    def vanishes(self, user_id: int, *, account_id: str | None = None) -> None:
        """A customer's account is deleted: nobody is told so."""
        self._chat(account_id, user_id).closed = DEACTIVATED

    def removes(self, group_id: int, by: int, *, account_id: str | None = None) -> None:
        """A group puts the bot out."""
        chat = self._chat(account_id, group_id)
        chat.closed = KICKED
        self._post_membership(chat, by, "member", "kicked")

    def migrates(self, group_id: int, *, account_id: str | None = None) -> int:
        """A group becomes a supergroup: its new id. Both of its chats say so."""
        before = self._chat(account_id, group_id)
        after = self._chat(account_id, -1_000_000_000_000 - abs(group_id))
        before.moved_to = after.chat_id
        for chat, name, other in (
            (before, "migrate_to_chat_id", after),
            (after, "migrate_from_chat_id", before),
        ):
            told = {
                "message_id": chat.next_number(),
                "chat": chat.chat,
                "date": self._seconds(),
                name: other.chat_id,
            }
            self._post(chat, "message", told)
        return after.chat_id

    def _post_membership(self, chat: Chat, by: int, before: str, after: str) -> None:
        bot = _about(chat.bot)
        change = {
            "chat": chat.chat,
            "from": {"id": by, "is_bot": False, "first_name": "Customer"},
            "date": self._seconds(),
            "old_chat_member": {"user": bot, "status": before},
            "new_chat_member": {"user": bot, "status": after},
        }
        self._post(chat, "my_chat_member", change)

    def _post(self, chat: Chat, kind: str, what: JsonObject) -> None:
        token = chat.bot.secret_token
        headers = {
            "Content-Type": "application/json",
            "X-Telegram-Bot-Api-Secret-Token": token,
        }
        self._courier.post(
            msgspec.json.encode({"update_id": next(self._updates), kind: what}),
            path=f"/{chat.bot.bot_id}",
            lane=f"{chat.bot.bot_id}:{chat.chat_id}",
            sign=lambda _: headers,
        )

    def _chat(self, account_id: str | None, chat_id: int, name: str = "Customer") -> Chat:
        """A chat of a bot, which begins when somebody first writes there."""
        bot = self._bots[account_id] if account_id else next(iter(self._bots.values()))
        known = self._chats.get((bot.bot_id, chat_id))
        if known is not None:
            return known
        about: JsonObject = {"id": chat_id, "type": "private", "first_name": name}
        if chat_id < 0:
            about = {"id": chat_id, "type": "group", "title": "Group"}
        chat = Chat(bot=bot, chat=about)
        self._chats[bot.bot_id, chat_id] = chat
        return chat

    def _seconds(self) -> int:
        return int(self._now().timestamp())

    # What it answers.

    def answer(self, request: Request) -> Answer:
        """What Telegram answers."""
        try:
            if request.path.startswith("/file/bot"):
                return self._file(request)
            return json_answer({"ok": True, "result": self._answer(request)})
        except BotRefusal as refusal:
            return refusal_answer(refusal)

    def _file(self, request: Request) -> Answer:
        token, _, path = request.path.removeprefix("/file/bot").partition("/")
        data = self.files.get(path.removeprefix("files/"))
        if data is None or token not in {bot.token for bot in self._bots.values()}:
            raise BotRefusal(404, "Not Found")
        return Answer(body=data, headers=(("Content-Type", "application/octet-stream"),))

    def _answer(self, request: Request) -> Any:
        token, _, method = request.path.removeprefix("/bot").partition("/")
        bot = next((bot for bot in self._bots.values() if bot.token == token), None)
        if bot is None:
            raise BotRefusal(401, "Unauthorized") if ":" in token else BotRefusal(404, "Not Found")
        if method == "getMe":
            return _about(bot)
        if method == "getFile":
            return self._place(request.query.get("file_id", ""))
        if method not in METHODS:
            raise BotRefusal(404, "Not Found: method not found")
        arguments = read_arguments(request.body, request.headers.get("content-type", ""))
        return self._take(bot, method, arguments)

    def _place(self, file_id: str) -> JsonObject:
        if file_id not in self.files:
            raise BotRefusal(400, "Bad Request: invalid file_id")
        return {"file_id": file_id, "file_path": f"files/{file_id}"}

    def _take(self, bot: FakeBot, method: str, arguments: JsonObject) -> JsonObject:
        chat = self._chats.get((bot.bot_id, _number(arguments.get("chat_id"))))
        if chat is None:
            raise BotRefusal(400, "Bad Request: chat not found")
        chat.require_open()
        chat.require_way(arguments.get("business_connection_id"))
        check_message(method, arguments)
        if self._has_rate_limit:
            chat.require_pause(self._now())
        message = {
            "message_id": chat.next_number(),
            "from": _about(bot),
            "chat": chat.chat,
            "date": self._seconds(),
            **chat.through,
            **_said(method, arguments),
        }
        self.accepted.append(self._accepted(chat, method, arguments, message))
        return message

    def _accepted(
        self, chat: Chat, method: str, arguments: JsonObject, message: JsonObject
    ) -> AcceptedSend:
        return AcceptedSend(
            account_id=chat.bot.bot_id,
            platform_id=f"{chat.connection or ''}:{chat.chat_id}:{message['message_id']}",
            to=str(chat.chat_id),
            kind="text" if method == "sendMessage" else method.removeprefix("send").lower(),
            text=arguments.get("text", arguments.get("caption")),
            mark=None,
            at=self._now(),
            body=arguments,
        )


def _said(method: str, arguments: JsonObject) -> JsonObject:
    """What the message holds that Telegram answers with."""
    said: JsonObject = {name: arguments[name] for name in ("text", "caption") if name in arguments}
    if method in FILES:
        said[FILES[method]] = {"file_id": "fake-file"}
    if method in ("sendLocation", "sendVenue"):
        said["location"] = {name: arguments[name] for name in ("latitude", "longitude")}
    return said


def _about(bot: FakeBot) -> JsonObject:
    return {
        "id": int(bot.bot_id),
        "is_bot": True,
        "first_name": "Fake Business",
        "username": bot.username,
    }


def _number(chat_id: Any) -> int:
    try:
        return int(chat_id)
    except (TypeError, ValueError):
        return 0
