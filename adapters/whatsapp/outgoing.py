"""Our messages in the words of Meta's Cloud API."""

from collections.abc import Mapping
from typing import Any

from adapters.meta_templates import template_of
from adapters.outgoing import text_of
from adapters.unsendable import Unsendable
from adapters.whatsapp.readers import phone_number
from domain.outbound import OutboundMessage

CAPTION_LENGTH_MAX = 1024
FILE_KINDS = frozenset({"image", "audio", "video", "document", "sticker"})
WITHOUT_WORDS = frozenset({"audio", "sticker"})

JsonObject = dict[str, Any]


def request_body(message: OutboundMessage, *, media_id: str | None = None) -> JsonObject:
    """The body of `POST /{phone_number_id}/messages`. Raises Unsendable.

    `media_id` is WhatsApp's id of the file that goes with it.
    """
    body = {
        "messaging_product": "whatsapp",
        **_recipient(message),
        **_content(message, media_id),
        "biz_opaque_callback_data": message.mark,
    }
    if message.quotes is not None:
        body["context"] = {"message_id": message.quotes}
    return body


def _recipient(message: OutboundMessage) -> JsonObject:
    """The first address that WhatsApp can use."""
    for address in message.recipient:
        if address.kind == f"group:{message.account_id}":
            return {"recipient_type": "group", "to": address.value}
        if address.kind.startswith("bsuid:"):
            return {"recipient_type": "individual", "recipient": address.value}
        if address.kind == "phone" and phone_number(address.value) is not None:
            # Without the plus Meta may put the business's own country code before it.
            to = f"+{phone_number(address.value)}"
            return {"recipient_type": "individual", "to": to}
    raise Unsendable("address", "There is no telephone number, user id or group to send to.")


def _content(message: OutboundMessage, media_id: str | None) -> JsonObject:
    match message.kind:
        case "text":
            body = text_of(message, platform="whatsapp")
            return {"type": "text", "text": {"body": body, "preview_url": False}}
        case "template":
            return {"type": "template", "template": template_of(message)}
        case "location":
            return {"type": "location", "location": _location(message.content.location)}
        case kind if kind in FILE_KINDS and media_id is not None:
            return {"type": kind, kind: _file(message, media_id)}
        case kind:
            raise Unsendable("invalid", f"Messages of kind {kind!r} cannot be sent yet.")


def _file(message: OutboundMessage, media_id: str) -> JsonObject:
    """A file by its id; only documents have a name, and neither sound nor stickers have words."""
    file: JsonObject = {"id": media_id}
    caption = message.content.text
    if caption and message.kind not in WITHOUT_WORDS:
        if len(caption) > CAPTION_LENGTH_MAX:
            raise Unsendable("invalid", f"A caption has at most {CAPTION_LENGTH_MAX} characters.")
        file["caption"] = caption
    if message.kind == "document" and message.file is not None and message.file.name:
        file["filename"] = message.file.name
    return file


def _location(location: Mapping[str, Any] | None) -> JsonObject:
    given = location or {}
    if not {"latitude", "longitude"} <= given.keys():
        raise Unsendable("invalid", "A place needs its latitude and longitude.")
    names = ("latitude", "longitude", "name", "address")
    return {name: given[name] for name in names if given.get(name) is not None}
