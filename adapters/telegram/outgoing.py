"""Our messages in the words of Telegram's Bot API."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from adapters.outgoing import text_of
from adapters.readers import is_number
from adapters.telegram.naming import is_chat_id, read_name
from adapters.unsendable import Unsendable
from domain.inbound import CONNECTION_KIND, Content
from domain.limits import LIMITS
from domain.outbound import OutboundFile, OutboundMessage

JsonObject = dict[str, Any]


class Method(NamedTuple):
    """A method of the Bot API, what it is called with, and the file that goes under a name."""

    name: str
    arguments: JsonObject
    file_name: str = ""
    file: OutboundFile | None = None


def chat_of(message: OutboundMessage) -> str:
    """The first address that Telegram can use. Raises Unsendable."""
    kinds = (f"group:{message.account_id}", f"telegram:{message.account_id}")
    for address in message.recipient:
        if address.kind in kinds and is_chat_id(address.value):
            return address.value
    raise Unsendable("address", "There is no Telegram chat to send to.")


def method_for(message: OutboundMessage, *, chat_id: str) -> Method:
    """How the message is sent to a chat. Raises Unsendable."""
    writer = WRITERS.get(message.kind)
    if writer is None:
        raise Unsendable("invalid", f"Telegram takes no messages of kind {message.kind!r}.")
    method = writer(message)
    connection = _connection_of(message, chat_id)
    to = {"chat_id": int(chat_id), **_quoting(message, connection, chat_id)}
    if connection:
        to["business_connection_id"] = connection
    return method._replace(arguments={**to, **method.arguments})


def _connection_of(message: OutboundMessage, chat_id: str) -> str:
    """The connection to the business account that they wrote to; empty where it was the bot."""
    for address in message.recipient:
        connection, _, customer = address.value.rpartition(":")
        if address.kind == f"{CONNECTION_KIND}:{message.account_id}" and customer == chat_id:
            return connection
    return ""


def _quoting(message: OutboundMessage, connection: str, chat_id: str) -> JsonObject:
    """The message that is answered, if it stands in the same chat and is still there."""
    name = read_name(message.quotes or "")
    if name is None or (name.connection, name.chat_id) != (connection, chat_id):
        return {}
    answered = {"message_id": int(name.message_id), "allow_sending_without_reply": True}
    return {"reply_parameters": answered}


def _text(message: OutboundMessage) -> Method:
    return Method("sendMessage", {"text": text_of(message, platform="telegram")})


def _upload(name: str, file_name: str) -> Callable[[OutboundMessage], Method]:
    def write(message: OutboundMessage) -> Method:
        if message.file is None:
            raise Unsendable("media", "There is no file to send.")
        return Method(name, _caption(message.content), file_name, message.file)

    return write


def _sticker(message: OutboundMessage) -> Method:
    """A file, or one of Telegram's own stickers by the id under which this bot knows it."""
    if message.content.text:
        raise Unsendable("invalid", "Telegram shows no text beside a sticker.")
    if message.file is not None:
        return Method("sendSticker", {}, "sticker", message.file)
    known = (message.content.media or {}).get("sticker_id")
    if not isinstance(known, str):
        raise Unsendable("media", "There is no sticker to send.")
    return Method("sendSticker", {"sticker": known})


def _caption(content: Content) -> JsonObject:
    limit = LIMITS["telegram"].caption
    if not content.text or limit is None:
        return {}
    if limit.length(content.text) > limit.length_max:
        raise Unsendable("invalid", f"A caption has at most {limit.length_max} {limit.unit}.")
    return {"caption": content.text}


def _location(message: OutboundMessage) -> Method:
    place = message.content.location or {}
    coordinates = {name: place.get(name) for name in ("latitude", "longitude")}
    if not all(map(is_number, coordinates.values())):
        raise Unsendable("invalid", "A location needs a latitude and a longitude.")
    name, address = place.get("name"), place.get("address")
    if name and address:
        return Method("sendVenue", {**coordinates, "title": str(name), "address": str(address)})
    return Method("sendLocation", coordinates)


WRITERS: Mapping[str, Callable[[OutboundMessage], Method]] = {
    "text": _text,
    "image": _upload("sendPhoto", "photo"),
    "audio": _upload("sendAudio", "audio"),
    "video": _upload("sendVideo", "video"),
    "document": _upload("sendDocument", "document"),
    "sticker": _sticker,
    "location": _location,
}
