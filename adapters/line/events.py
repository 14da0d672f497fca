"""One event of a webhook as an occurrence: LINE's event and message types in Trunkline's words."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from adapters.happening import Happening
from adapters.readers import chosen, identifier, number, part, text
from domain.inbound import AnyOccurrence, Condition, Content

Event = dict[str, Any]
Part = dict[str, Any]

# The name of a kind and the content that goes with it; None: not understood.
Reading = tuple[str, Content] | None

FILE_FIELDS = {"fileName": "filename", "fileSize": "size"}
STICKER_FIELDS = {
    "packageId": "package_id",
    "stickerId": "sticker_id",
    "stickerResourceType": "resource_type",
    "keywords": "keywords",
}
LOCATION_FIELDS = {
    "latitude": "latitude",
    "longitude": "longitude",
    "title": "name",
    "address": "address",
}


def read_event(happening: Happening, event: Event) -> AnyOccurrence:
    """What an event says."""
    named = event.get("type")
    reader = READERS.get(named) if isinstance(named, str) else None
    return reader(happening, event) if reader is not None else happening.not_understood()


def _message(happening: Happening, event: Event) -> AnyOccurrence:
    message = part(event, "message")
    platform_id = identifier(message.get("id"))
    if platform_id is None:
        return happening.not_understood()
    kind, content = describe(message)
    content = replace(
        content,
        quote_token=identifier(message.get("quoteToken")),
        read_token=identifier(message.get("markAsReadToken")),
    )
    quotes = identifier(message.get("quotedMessageId"))
    return happening.message(kind, content, platform_id=platform_id, quotes=quotes)


def _edit(happening: Happening, event: Event) -> AnyOccurrence:
    """Since 2026-07, in groups only; the newest edit holds, in whatever order they come."""
    message = part(event, "message")
    target = identifier(message.get("id"))
    if target is None:
        return happening.not_understood()
    _, content = describe(message)
    return happening.change("edited", content, target=target)


def _unsend(happening: Happening, event: Event) -> AnyOccurrence:
    target = identifier(part(event, "unsend").get("messageId"))
    if target is None:
        return happening.not_understood()
    return happening.change("deleted", None, target=target)


def _postback(happening: Happening, event: Event) -> AnyOccurrence:
    """A pressed button. It has no message id; the event's own takes its place."""
    postback = part(event, "postback")
    payload, params = text(postback.get("data")), postback.get("params")
    if payload is None:
        return happening.not_understood()
    form = {"response": params} if isinstance(params, dict) else None
    content = Content(payload=payload, form=form)
    return happening.message("postback", content, platform_id=":".join(happening.dedupe))


def _follow(kind: str, follows: bool, happening: Happening, _: Event) -> AnyOccurrence:
    return happening.follow(kind, follows=follows)


def _activity(kind: str, happening: Happening, _: Event) -> AnyOccurrence:
    return happening.activity(kind)


def _account_news(
    kind: str, happening: Happening, _: Event, condition: Condition | None = None
) -> AnyOccurrence:
    return happening.account_news(kind, condition)


SUSPENDED = Condition(state="stopped", reason="suspended")

READERS: Mapping[str, Callable[[Happening, Event], AnyOccurrence]] = {
    "message": _message,
    "messageEdited": _edit,
    "unsend": _unsend,
    "postback": _postback,
    "follow": partial(_follow, "contact.follow", True),
    "unfollow": partial(_follow, "contact.unfollow", False),
    "join": partial(_follow, "group.joined", True),
    "leave": partial(_follow, "group.left", False),
    "memberJoined": partial(_activity, "group.member_joined"),
    "memberLeft": partial(_activity, "group.member_left"),
    "accountLink": partial(_activity, "event.other"),
    "beacon": partial(_activity, "event.other"),
    "membership": partial(_activity, "event.other"),
    "things": partial(_activity, "event.other"),
    "videoPlayComplete": partial(_activity, "event.other"),
    "activated": partial(_account_news, "account.activated"),
    "deactivated": partial(_account_news, "account.deactivated"),
    "botSuspended": partial(_account_news, "account.suspended", condition=SUSPENDED),
    "botResumed": partial(_account_news, "account.resumed", condition=Condition(state="ok")),
    "module": partial(_account_news, "account.module"),
    # The outcome of a notification that was sent to a telephone number.
    "delivery": partial(_account_news, "account.notification_delivered"),
}


def describe(message: Part) -> tuple[str, Content]:
    """The kind and the content of a message; what is not understood is of kind `unknown`."""
    named = message.get("type")
    reader = CONTENTS.get(named) if isinstance(named, str) else None
    reading = reader(message) if reader is not None else None
    return reading or ("unknown", Content(raw_type=text(named)))


def _text(message: Part) -> Reading:
    body = text(message.get("text"))
    return None if body is None else ("text", Content(text=body))


def _media(kind: str, message: Part) -> Reading:
    """LINE gives the file under the message's own id, unless the sender's program holds it."""
    provider, images = part(message, "contentProvider"), part(message, "imageSet")
    duration = number(message.get("duration"))
    media = {
        "platform_id": identifier(message.get("id")),
        "url": text(provider.get("originalContentUrl")),
        "preview_url": text(provider.get("previewImageUrl")),
        "album": identifier(images.get("id")),
        "duration_seconds": None if duration is None else duration / 1000,
        **chosen(message, FILE_FIELDS),
    }
    present = {name: value for name, value in media.items() if value is not None}
    return kind, Content(media=present)


def _sticker(message: Part) -> Reading:
    content = Content(text=text(message.get("text")), media=chosen(message, STICKER_FIELDS))
    return "sticker", content


def _location(message: Part) -> Reading:
    location = chosen(message, LOCATION_FIELDS)
    if not {"latitude", "longitude"} <= location.keys():
        return None
    return "location", Content(text=text(message.get("title")), location=location)


CONTENTS: Mapping[str, Callable[[Part], Reading]] = {
    "text": _text,
    **{kind: partial(_media, kind) for kind in ("image", "video", "audio", "file")},
    "sticker": _sticker,
    "location": _location,
}
