"""What a message says: Meta's message types in Trunkline's words."""

from collections.abc import Callable
from functools import partial
from typing import Any

from adapters.readers import chosen, identifier, text
from adapters.tolerant import NotJson, decode
from adapters.whatsapp.readers import first_error
from domain.inbound import Content

# The name of a kind and the fields of `Content` that go with it; None: not understood.
Reading = tuple[str, dict[str, Any]] | None

FILES = ("image", "video", "audio", "document", "sticker")

MEDIA_FIELDS = {each: each for each in ("mime_type", "sha256", "voice", "filename", "animated")}
LOCATION_FIELDS = {each: each for each in ("latitude", "longitude", "name", "address", "url")}


def describe(
    message: dict[str, Any],
    *,
    platform_id: str,
    raw: dict[str, Any],
    error_beside: dict[str, Any] | None = None,
) -> tuple[str, Content]:
    """The kind and the content of a message; what is not understood is of kind `unknown`.

    `error_beside` is the error of the whole value: it speaks of a message that came without the
    object which its type promises.
    """
    named = message.get("type")
    type_name = named if isinstance(named, str) else ""
    reader = READERS.get(type_name)
    reading = reader(message.get(type_name)) if reader is not None else None
    error = first_error(message.get("errors"))
    if reading is None:
        reading = "unknown", {"raw_type": text(named)}
        error = error or error_beside
    kind, fields = reading
    content = Content(
        **fields,
        forwarded=_is_forwarded(message.get("context")),
        error=error,
        platform_id=platform_id,
        raw=raw,
    )
    return kind, content


def quoted(message: dict[str, Any]) -> str | None:
    """The platform's id of the message that this one answers."""
    context = message.get("context")
    return identifier(context.get("id")) if isinstance(context, dict) else None


def _is_forwarded(context: Any) -> bool:
    if not isinstance(context, dict):
        return False
    return context.get("forwarded") is True or context.get("frequently_forwarded") is True


def _text(part: Any) -> Reading:
    body = text(part.get("body")) if isinstance(part, dict) else None
    return None if body is None else ("text", {"text": body})


def _media(kind: str, part: Any) -> Reading:
    platform_id = identifier(part.get("id")) if isinstance(part, dict) else None
    if platform_id is None:
        return None
    media = {"platform_id": platform_id, **chosen(part, MEDIA_FIELDS)}
    return kind, {"text": text(part.get("caption")), "media": media}


def _location(part: Any) -> Reading:
    if not isinstance(part, dict):
        return None
    location = chosen(part, LOCATION_FIELDS)
    if not {"latitude", "longitude"} <= location.keys():
        return None
    return "location", {"text": text(part.get("name")), "location": location}


def _contacts(part: Any) -> Reading:
    return ("contacts", {"contacts": part}) if isinstance(part, list) else None


def _order(part: Any) -> Reading:
    if not isinstance(part, dict):
        return None
    return "order", {"text": text(part.get("text")), "order": part}


def _template_button(part: Any) -> Reading:
    """A quick reply of a template; the buttons of other messages come as `interactive`."""
    if not isinstance(part, dict):
        return None
    label, payload = text(part.get("text")), text(part.get("payload"))
    if label is None and payload is None:
        return None
    return "button_reply", {"text": label, "payload": payload}


def _interactive(part: Any) -> Reading:
    if not isinstance(part, dict):
        return None
    subtype = part.get("type")
    answer = part.get(subtype) if isinstance(subtype, str) else None
    if not isinstance(answer, dict):
        return None
    if subtype in ("button_reply", "list_reply"):
        return _choice(subtype, answer)
    if subtype == "nfm_reply":
        return _form(answer)
    return "unknown", {"raw_type": text(subtype)}


def _choice(kind: str, answer: dict[str, Any]) -> Reading:
    title, payload = text(answer.get("title")), text(answer.get("id"))
    if title is None and payload is None:
        return None
    return kind, {"text": title, "payload": payload}


def _form(answer: dict[str, Any]) -> Reading:
    """A filled-in form ("native flow message"); its fields are JSON inside a JSON string."""
    form = {"name": text(answer.get("name")), "response": _unpacked(answer.get("response_json"))}
    return "form_reply", {"text": text(answer.get("body")), "form": form}


def _unpacked(written: Any) -> Any:
    if not isinstance(written, str):
        return written
    try:
        return decode(written.encode()).value
    except NotJson:
        return written


def _unsupported(part: Any) -> Reading:
    """What WhatsApp shows to people and does not give to businesses, such as polls."""
    named = part.get("type") if isinstance(part, dict) else None
    return "unsupported", {"raw_type": text(named)}


READERS: dict[str, Callable[[Any], Reading]] = {
    "text": _text,
    **{kind: partial(_media, kind) for kind in FILES},
    "location": _location,
    "contacts": _contacts,
    "order": _order,
    "button": _template_button,
    "interactive": _interactive,
    "unsupported": _unsupported,
}
