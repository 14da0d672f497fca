"""One message or event as an occurrence: WeChat's fields in Trunkline's words."""

import base64
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from adapters.happening import Happening
from adapters.readers import digest, identifier, moment, number, text
from adapters.wechat.document import Fields
from domain.inbound import Address, AnyOccurrence, Content, Person, ReceiptOccurred

# The name of a kind and the content that goes with it; None: not understood.
Reading = tuple[str, Content] | None

# What became of a template, as its own event says; all that is not a success has failed. With what
# stands behind `failed:`, where a blank may be or not.
SUCCESS = "success"
FAILURES: Mapping[str, str] = {"user block": "blocked", "system failed": "platform_failed"}

# Events of one sender and second that their key tells apart: what else they say adds nothing.
TOLD_BY_KEY = frozenset({"click", "scan", "subscribe", "unsubscribe", "view", "view_miniprogram"})


def read_message(account_id: str, fields: Fields) -> AnyOccurrence:
    """What a delivery says: it holds one message or one event."""
    happening = Happening(
        account_id=account_id,
        at=moment(fields.get("CreateTime")),
        dedupe=("digest", digest(fields)),
        raw=fields,
        person=_person(account_id, fields),
    )
    kind = text(fields.get("MsgType"))
    if kind == "event":
        return _read_event(happening, fields)
    platform_id = identifier(fields.get("MsgId"))
    if kind is None or platform_id is None:
        return happening.not_understood()
    reader = CONTENTS.get(kind)
    reading = reader(fields) if reader is not None else None
    name, content = reading or ("unknown", Content(raw_type=kind))
    return happening.named("message", platform_id).message(name, content, platform_id=platform_id)


def keep_whole(account_id: str, message: bytes) -> AnyOccurrence:
    """A message that is no document."""
    raw = base64.b64encode(message).decode()
    named = ("digest", digest(raw))
    return Happening(account_id=account_id, at=None, dedupe=named, raw=raw).not_understood()


def _person(account_id: str, fields: Fields) -> Person:
    open_id = identifier(fields.get("FromUserName"))
    return Person(addresses=(Address(f"wechat:{account_id}", open_id),) if open_id else ())


# Events.


def _read_event(happening: Happening, fields: Fields) -> AnyOccurrence:
    """Events have no id; two of the same second differ in their key or in whatever they say."""
    event, key = text(fields.get("Event")), _key(fields) or ""
    sender, written = identifier(fields.get("FromUserName")), identifier(fields.get("CreateTime"))
    if event is None or sender is None or written is None:
        return happening.not_understood()
    # Their upper and lower case follow no rule.
    kind = event.lower()
    # A delivery that is tried again says the same, so its digest is the same, too.
    rest = () if kind in TOLD_BY_KEY else (digest(fields),)
    happening = happening.named("event", f"{sender}:{written}:{event}:{key}", *rest)
    reader = EVENTS.get(kind)
    return reader(happening, fields) if reader is not None else happening.not_understood()


def _key(fields: Fields) -> str | None:
    """The key of an event. It may be a number in JSON, and an address is longer than any id."""
    key = fields.get("EventKey")
    return identifier(key) if isinstance(key, int) else text(key)


def _click(happening: Happening, fields: Fields) -> AnyOccurrence:
    """A pressed button of the menu."""
    content = Content(payload=_key(fields))
    return happening.message("postback", content, platform_id=happening.dedupe[-1])


def _follow(kind: str, follows: bool, happening: Happening, _: Fields) -> AnyOccurrence:
    return happening.follow(kind, follows=follows)


def _activity(kind: str, happening: Happening, _: Fields) -> AnyOccurrence:
    return happening.activity(kind)


def _account_news(kind: str, happening: Happening, _: Fields) -> AnyOccurrence:
    return happening.account_news(kind)


def _template_finished(happening: Happening, fields: Fields) -> AnyOccurrence:
    """What became of a template; here the id is written `MsgID`, and can be 0 for none."""
    platform_id, said = identifier(fields.get("MsgID")), text(fields.get("Status"))
    if platform_id is None or platform_id == "0" or said is None:
        return happening.not_understood()
    status = "delivered" if said == SUCCESS else "failed"
    return ReceiptOccurred(
        kind=f"status.{status}",
        account_id=happening.account_id,
        business_account_id=None,
        at=happening.at,
        dedupe=("status", platform_id, status),
        platform_id=platform_id,
        status=status,
        person=happening.person,
        reason=None if said == SUCCESS else _reason(said),
        detail=fields,
    )


def _reason(said: str) -> str:
    return FAILURES.get(said.removeprefix("failed").lstrip(": "), "unknown")


EVENTS: Mapping[str, Callable[[Happening, Fields], AnyOccurrence]] = {
    "click": _click,
    "subscribe": partial(_follow, "contact.follow", True),
    "unsubscribe": partial(_follow, "contact.unfollow", False),
    "scan": partial(_activity, "event.scan"),
    "view": partial(_activity, "event.view"),
    "view_miniprogram": partial(_activity, "event.view"),
    # Where somebody is who lets the account know; a place that they send is a message.
    "location": partial(_activity, "event.location"),
    "templatesendjobfinish": _template_finished,
    "masssendjobfinish": partial(_account_news, "account.mass_send"),
    **{
        name: partial(_activity, "event.other")
        for name in (
            "kf_close_session",
            "kf_create_session",
            "kf_switch_session",
            "location_select",
            "pic_photo_or_album",
            "pic_sysphoto",
            "pic_weixin",
            "scancode_push",
            "scancode_waitmsg",
            "subscribe_msg_change_event",
            "subscribe_msg_popup_event",
            "subscribe_msg_sent_event",
            "user_authorize_invoice",
            "user_get_card",
        )
    },
}


# Messages.


def _text(fields: Fields) -> Reading:
    """A text; if a menu was sent, the words of the choice and its id."""
    body, chosen_id = text(fields.get("Content")), identifier(fields.get("bizmsgmenuid"))
    if body is None:
        return None
    if chosen_id is not None:
        return "button_reply", Content(text=body, payload=chosen_id)
    return "text", Content(text=body)


def _media(kind: str, fields: Fields) -> Reading:
    platform_id = identifier(fields.get("MediaId"))
    if platform_id is None:
        return None
    media: dict[str, Any] = {
        "platform_id": platform_id,
        "url": text(fields.get("PicUrl")),
        "format": text(fields.get("Format")),
        "thumbnail_id": identifier(fields.get("ThumbMediaId")),
        "better_id": identifier(fields.get("MediaId16K")),
        "recognition": text(fields.get("Recognition")) or None,
        "voice": True if kind == "audio" else None,
    }
    present = {name: value for name, value in media.items() if value is not None}
    return kind, Content(media=present)


def _location(fields: Fields) -> Reading:
    """X is the latitude."""
    latitude, longitude = number(fields.get("Location_X")), number(fields.get("Location_Y"))
    if latitude is None or longitude is None:
        return None
    label = text(fields.get("Label")) or None
    place: dict[str, Any] = {"latitude": latitude, "longitude": longitude}
    return "location", Content(text=label, location=place | ({"name": label} if label else {}))


def _link(fields: Fields) -> Reading:
    url = text(fields.get("Url"))
    if url is None:
        return None
    title, description = text(fields.get("Title")), text(fields.get("Description"))
    link = {"url": url, "title": title, "description": description}
    present = {name: value for name, value in link.items() if value is not None}
    return "link", Content(text=title, link=present)


CONTENTS: Mapping[str, Callable[[Fields], Reading]] = {
    "text": _text,
    "image": partial(_media, "image"),
    "voice": partial(_media, "audio"),
    "video": partial(_media, "video"),
    "shortvideo": partial(_media, "video"),
    "location": _location,
    "link": _link,
}
