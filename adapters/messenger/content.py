"""What a message says: Messenger's texts and attachments in Trunkline's words."""

from typing import Any

from adapters.readers import chosen, identifier, is_number, objects, part, text
from domain.inbound import Content

Message = dict[str, Any]
Attachment = dict[str, Any]

FILES = frozenset({"image", "audio", "video", "file", "sticker"})

# Something that stands elsewhere: an address that was written, a post, a reel.
SHARES = frozenset({"fallback", "reel", "ig_reel", "post", "ig_post", "share", "ig_story"})

LINK_FIELDS = {"url": "url", "title": "title", "reel_video_id": "video_id", "id": "id"}


def describe(message: Message) -> tuple[str, Content]:
    """The kind and the content of a message; what is not understood is of kind `unknown`."""
    body = text(message.get("text"))
    attachments = _once(objects(message.get("attachments")))
    files = [each for each in attachments if _type(each) in FILES]
    link = next((_link(each) for each in attachments if _type(each) in SHARES), None)
    payload = text(part(message, "quick_reply").get("payload"))
    if payload is not None:
        return "button_reply", Content(text=body, payload=payload)
    if files:
        return _type(files[0]), Content(text=body, media=_media(files), link=link)
    location = next((each for each in attachments if each.get("type") == "location"), None)
    if location is not None and (place := _location(location)):
        return "location", Content(text=body or text(location.get("title")), location=place)
    if body is not None:
        return "text", Content(text=body, link=link)
    if link is not None:
        return "share", Content(link=link)
    named = attachments[0].get("type") if attachments else None
    return "unknown", Content(raw_type=text(named))


def _once(attachments: list[Attachment]) -> list[Attachment]:
    """Until 2026-08-30 a sticker came as an image as well, under the same sticker's id."""
    stickers = {_sticker_id(each) for each in attachments if each.get("type") == "sticker"}
    return [
        each
        for each in attachments
        if each.get("type") == "sticker" or _sticker_id(each) not in stickers - {None}
    ]


def _type(attachment: Attachment) -> str:
    return text(attachment.get("type")) or ""


def _sticker_id(attachment: Attachment) -> str | None:
    return identifier(part(attachment, "payload").get("sticker_id"))


def _media(files: list[Attachment]) -> dict[str, Any]:
    """The first file; the rest of them beside it."""
    first, *others = [_file(each) for each in files]
    return first | ({"others": others} if others else {})


def _file(attachment: Attachment) -> dict[str, Any]:
    payload = part(attachment, "payload")
    found = {
        "type": text(attachment.get("type")),
        "url": text(payload.get("url")),
        "sticker_id": _sticker_id(attachment),
    }
    return {name: value for name, value in found.items() if value is not None}


def _link(attachment: Attachment) -> dict[str, Any]:
    """Its payload can be null; the address then stands beside it."""
    return chosen(attachment, LINK_FIELDS) | chosen(part(attachment, "payload"), LINK_FIELDS)


def _location(attachment: Attachment) -> dict[str, Any]:
    coordinates = part(part(attachment, "payload"), "coordinates")
    latitude, longitude = coordinates.get("lat"), coordinates.get("long")
    if not is_number(latitude) or not is_number(longitude):
        return {}
    return {"latitude": latitude, "longitude": longitude}
