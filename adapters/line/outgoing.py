"""Our messages in the words of LINE's Messaging API."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from adapters.outgoing import recipient_of, text_of
from adapters.readers import is_number
from adapters.unsendable import Unsendable
from domain.inbound import Content
from domain.outbound import OutboundFile, OutboundMessage

JsonObject = dict[str, Any]

# Any that nobody else uses; another one would make other keys for messages that are on their way.
RETRY_KEYS = uuid.UUID("5b0f3a52-6e1c-4f6e-9c55-1f8d3c0a7e21")

# LINE shows how long a recording is, and believes what it is told.
DURATION_UNKNOWN_MILLISECONDS = 60_000


def retry_key(mark: str) -> str:
    """The same for every try of a message, and for no other message (N3)."""
    return str(uuid.uuid5(RETRY_KEYS, mark))


def request_body(message: OutboundMessage) -> JsonObject:
    """The body of `POST /v2/bot/message/push`. Raises Unsendable."""
    writer = WRITERS.get(message.kind)
    if writer is None:
        raise Unsendable("invalid", f"LINE takes no messages of kind {message.kind!r}.")
    written = writer(message)
    if message.quotes is not None:
        written["quoteToken"] = message.quotes
    return {"to": _recipient(message), "messages": [written]}


def _recipient(message: OutboundMessage) -> str:
    """The first address that LINE can use."""
    return recipient_of(
        message,
        [f"group:{message.account_id}", f"line:{message.account_id}"],
        otherwise="There is no LINE user or group to send to.",
    )


def _text(message: OutboundMessage) -> JsonObject:
    return {"type": "text", "text": text_of(message, platform="line")}


def _image(message: OutboundMessage) -> JsonObject:
    return {"type": "image", **_shown(message)}


def _video(message: OutboundMessage) -> JsonObject:
    return {"type": "video", **_shown(message)}


def _audio(message: OutboundMessage) -> JsonObject:
    address = _address(_file(message))
    return {"type": "audio", "originalContentUrl": address, "duration": _duration(message.content)}


def _shown(message: OutboundMessage) -> JsonObject:
    """What is played or looked at, and the picture that stands for it until then."""
    address = _address(_file(message))
    preview = (message.content.media or {}).get("preview_url")
    return {
        "originalContentUrl": address,
        "previewImageUrl": preview if isinstance(preview, str) else address,
    }


def _file(message: OutboundMessage) -> OutboundFile:
    if message.file is None:
        raise Unsendable("media", "There is no file to send.")
    if message.content.text:
        raise Unsendable("invalid", "LINE shows no text beside a file.")
    return message.file


def _address(file: OutboundFile) -> str:
    """LINE has no uploads: it fetches files for itself."""
    if file.url is None or not file.url.startswith("https://"):
        raise Unsendable(
            "media", "LINE fetches files itself, so this server needs a public HTTPS address."
        )
    return file.url


def _duration(content: Content) -> int:
    seconds = (content.media or {}).get("duration_seconds")
    if isinstance(seconds, int | float) and seconds > 0:
        return round(seconds * 1000)
    return DURATION_UNKNOWN_MILLISECONDS


def _location(message: OutboundMessage) -> JsonObject:
    """LINE wants a title and an address too."""
    place = message.content.location or {}
    latitude, longitude = place.get("latitude"), place.get("longitude")
    if not is_number(latitude) or not is_number(longitude):
        raise Unsendable("invalid", "A location needs a latitude and a longitude.")
    where = f"{latitude}, {longitude}"
    name, address = place.get("name"), place.get("address")
    title, address = str(name or address or where)[:100], str(address or where)[:100]
    return {
        "type": "location",
        "title": title,
        "address": address,
        "latitude": latitude,
        "longitude": longitude,
    }


def _sticker(message: OutboundMessage) -> JsonObject:
    """One of the stickers that LINE lets accounts send."""
    sticker = message.content.media or {}
    package_id, sticker_id = sticker.get("package_id"), sticker.get("sticker_id")
    if not isinstance(package_id, str) or not isinstance(sticker_id, str):
        raise Unsendable("invalid", "A sticker needs a package_id and a sticker_id.")
    return {"type": "sticker", "packageId": package_id, "stickerId": sticker_id}


WRITERS: Mapping[str, Callable[[OutboundMessage], JsonObject]] = {
    "text": _text,
    "image": _image,
    "video": _video,
    "audio": _audio,
    "location": _location,
    "sticker": _sticker,
}
