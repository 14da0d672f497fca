"""The rules by which the fake Bot API takes or refuses a message, as Telegram documents them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from email.parser import BytesParser
from typing import Any

import msgspec

JsonObject = dict[str, Any]

TEXT_LENGTH_MAX = 4096
CAPTION_LENGTH_MAX = 1024

# About one message a second in a chat, 20 a minute in a group.
CHAT_INTERVAL = timedelta(seconds=1)
GROUP_INTERVAL = timedelta(seconds=3)

# The name under which a method takes its file, and what the message then holds.
FILES: Mapping[str, str] = {
    "sendPhoto": "photo",
    "sendAudio": "audio",
    "sendVideo": "video",
    "sendDocument": "document",
    "sendSticker": "sticker",
}
# What comes as JSON in a form, where all else is a text.
OBJECTS = ("reply_parameters",)
METHODS = ("sendMessage", "sendLocation", "sendVenue", *FILES)


class FakeBot(msgspec.Struct, frozen=True, kw_only=True):
    """A bot that the fake knows, and what is good for it."""

    bot_id: str = "7012345678"
    secret: str = "fake-bot-secret"  # noqa: S105 - It guards nothing.
    username: str = "fake_bot"
    secret_token: str = "fake-secret-token"  # noqa: S105 - It guards nothing.

    @property
    def token(self) -> str:
        """As BotFather gives it."""
        return f"{self.bot_id}:{self.secret}"


class BotRefusal(Exception):
    """An answer in Telegram's form for a request that is not taken."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code = code
        self.body: JsonObject = {"ok": False, "error_code": code, "description": description}
        if parameters:
            self.body["parameters"] = parameters


def read_arguments(body: bytes, content_type: str) -> JsonObject:
    """What a method is called with: JSON, or a form with a file."""
    if content_type.startswith("multipart/form-data"):
        return _read_form(body, content_type)
    try:
        arguments = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, ValueError):
        raise BotRefusal(400, "Bad Request: can't parse JSON object") from None
    return arguments if isinstance(arguments, dict) else {}


def _read_form(body: bytes, content_type: str) -> JsonObject:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    arguments: JsonObject = {}
    for each in BytesParser().parsebytes(head + body).walk():
        name = each.get_param("name", header="content-disposition")
        content = each.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            continue
        if each.get_filename() is None:
            written = content.decode()
            arguments[name] = msgspec.json.decode(written) if name in OBJECTS else written
        else:
            arguments[name] = {
                "file_name": each.get_filename(),
                "mime_type": each.get_content_type(),
                "file_size": len(content),
            }
    return arguments


def check_message(method: str, arguments: JsonObject) -> None:
    """Raises BotRefusal for what Telegram would not send."""
    if method == "sendMessage":
        text = arguments.get("text")
        if not isinstance(text, str) or not text.strip():
            raise BotRefusal(400, "Bad Request: message text is empty")
        if len(text) > TEXT_LENGTH_MAX:
            raise BotRefusal(400, "Bad Request: message is too long")
    if len(arguments.get("caption", "")) > CAPTION_LENGTH_MAX:
        raise BotRefusal(400, "Bad Request: message caption is too long")
    name = FILES.get(method)
    if name is not None and not arguments.get(name):
        raise BotRefusal(400, f"Bad Request: there is no {name} in the request")
    if method in ("sendLocation", "sendVenue") and "latitude" not in arguments:
        raise BotRefusal(400, "Bad Request: latitude is empty")


class Chat(msgspec.Struct, kw_only=True):
    """A chat of a bot: with a person, or of a group."""

    bot: FakeBot
    chat: JsonObject  # As Telegram writes it into messages.
    newest: int = 0  # Number of its newest message.
    closed: str | None = None  # Why nothing can be sent there.
    moved_to: int | None = None
    free_at: datetime | None = None
    connection: str | None = None  # It is a business account's chat, shown to the bot.

    @property
    def through(self) -> JsonObject:
        """What its messages have beside those of other chats."""
        return {"business_connection_id": self.connection} if self.connection else {}

    @property
    def chat_id(self) -> int:
        """The chat's id."""
        chat_id: int = self.chat["id"]
        return chat_id

    @property
    def is_group(self) -> bool:
        """Whether several people write there."""
        return bool(self.chat["type"] != "private")

    def next_number(self) -> int:
        """The number of one more message."""
        self.newest += 1
        return self.newest

    def require_open(self) -> None:
        """Raises BotRefusal where nothing can be sent."""
        if self.moved_to is not None:
            raise BotRefusal(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=self.moved_to,
            )
        if self.closed is not None:
            raise BotRefusal(403, self.closed)

    def require_way(self, connection: Any) -> None:
        """Raises BotRefusal where they cannot be written to in this way."""
        if connection is None and self.connection is not None:
            raise BotRefusal(403, "Forbidden: bot can't initiate conversation with a user")
        if connection != self.connection:
            raise BotRefusal(400, "Bad Request: business connection not found")

    def require_pause(self, now: datetime) -> None:
        """Count one message. Raises BotRefusal where it comes too soon after another."""
        if self.free_at is not None and now < self.free_at:
            seconds = int((self.free_at - now) / timedelta(seconds=1)) + 1
            raise BotRefusal(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)
        self.free_at = now + (GROUP_INTERVAL if self.is_group else CHAT_INTERVAL)
