"""What a message says: Telegram's message contents in Trunkline's words."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from adapters.readers import chosen, identifier, is_number, objects, part, text
from domain.inbound import Content

Message = dict[str, Any]

# The name of a kind and the content that goes with it; None: not understood.
Reading = tuple[str, Content] | None

FILE_FIELDS = {
    "file_id": "platform_id",
    "file_unique_id": "unique_id",
    "file_name": "filename",
    "mime_type": "mime_type",
    "file_size": "size",
    "duration": "duration_seconds",
    "width": "width",
    "height": "height",
    "emoji": "emoji",
    "set_name": "set_name",
    "is_animated": "animated",
}

# What stands around the contents of a message.
ENVELOPE = frozenset(
    {
        "author_signature",
        "business_connection_id",
        "caption",
        "caption_entities",
        "chat",
        "date",
        "direct_messages_topic",
        "edit_date",
        "effect_id",
        "entities",
        "ephemeral_message_id",
        "external_reply",
        "forward_origin",
        "from",
        "guest_bot_caller_chat",
        "guest_bot_caller_user",
        "guest_query_id",
        "has_media_spoiler",
        "has_protected_content",
        "is_automatic_forward",
        "is_from_offline",
        "is_paid_post",
        "is_topic_message",
        "link_preview_options",
        "media_group_id",
        "message_id",
        "message_thread_id",
        "paid_star_count",
        "quote",
        "receiver_user",
        "reply_markup",
        "reply_to_checklist_task_id",
        "reply_to_message",
        "reply_to_poll_option_id",
        "reply_to_story",
        "sender_boost_count",
        "sender_business_bot",
        "sender_chat",
        "sender_tag",
        "show_caption_above_media",
        "suggested_post_info",
        "via_bot",
    }
)


def describe(message: Message) -> tuple[str, Content]:
    """The kind and the content of a message; what is not understood is of kind `unknown`."""
    for name, reader in READERS.items():
        reading = reader(message) if name in message else None
        if reading is not None:
            kind, content = reading
            break
    else:
        unknown = next((name for name in message if name not in ENVELOPE), None)
        kind, content = "unknown", Content(raw_type=text(unknown))
    return kind, replace(content, forwarded=True) if "forward_origin" in message else content


def is_forum_topic(message: Message) -> bool:
    """Whether it is the service message with which a topic begins."""
    return "forum_topic_created" in message


def _text(message: Message) -> Reading:
    body = text(message.get("text"))
    return None if body is None else ("text", Content(text=body))


def _media(name: str, kind: str, message: Message) -> Reading:
    return _file(kind, part(message, name), message)


def _voice(message: Message) -> Reading:
    return _file("audio", part(message, "voice"), message, voice=True)


def _photo(message: Message) -> Reading:
    """The same picture in several sizes, of which the largest counts."""
    sizes = [each for each in objects(message.get("photo")) if is_number(each.get("width"))]
    largest = max(sizes, key=lambda each: each["width"], default={})
    return _file("image", largest, message)


def _file(kind: str, file: dict[str, Any], message: Message, **more: Any) -> Reading:
    if identifier(file.get("file_id")) is None:
        return None
    media = chosen(file, FILE_FIELDS) | more
    album = identifier(message.get("media_group_id"))
    if album is not None:
        media["album"] = album
    return kind, Content(text=text(message.get("caption")), media=media)


def _venue(message: Message) -> Reading:
    venue = part(message, "venue")
    names = chosen(venue, {"title": "name", "address": "address"})
    return _place(part(venue, "location"), names)


def _location(message: Message) -> Reading:
    return _place(part(message, "location"), {})


def _place(location: dict[str, Any], names: dict[str, Any]) -> Reading:
    coordinates = chosen(location, {"latitude": "latitude", "longitude": "longitude"})
    if len(coordinates) < 2:
        return None
    return "location", Content(text=text(names.get("name")), location=coordinates | names)


def _contact(message: Message) -> Reading:
    contact = part(message, "contact")
    return ("contacts", Content(contacts=[contact])) if contact else None


def _web_app(message: Message) -> Reading:
    """What a page sends that was opened by a button of the bot's keyboard."""
    data = part(message, "web_app_data")
    form = {"response": data.get("data")}
    return "form_reply", Content(text=text(data.get("button_text")), form=form)


def _unsupported(name: str, message: Message) -> Reading:
    """What Telegram shows to people and we cannot."""
    return "unsupported", Content(text=text(message.get("caption")), raw_type=name)


# The more special one first: an animation has a document too, and a venue a location.
READERS: Mapping[str, Callable[[Message], Reading]] = {
    "text": _text,
    "animation": partial(_media, "animation", "video"),
    "photo": _photo,
    "video": partial(_media, "video", "video"),
    "video_note": partial(_media, "video_note", "video"),
    "voice": _voice,
    "audio": partial(_media, "audio", "audio"),
    "document": partial(_media, "document", "document"),
    "sticker": partial(_media, "sticker", "sticker"),
    "venue": _venue,
    "location": _location,
    "contact": _contact,
    "web_app_data": _web_app,
    **{
        name: partial(_unsupported, name)
        for name in (
            "checklist",
            "dice",
            "game",
            "giveaway",
            "giveaway_winners",
            "invoice",
            "live_photo",
            "paid_media",
            "poll",
            "rich_message",
            "story",
        )
    },
}
