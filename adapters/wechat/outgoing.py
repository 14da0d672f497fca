"""Our messages in WeChat's words."""

from collections.abc import Mapping
from typing import Any

from adapters.unsendable import Unsendable
from domain.limits import LIMITS
from domain.outbound import OutboundFile, OutboundMessage

# Our kinds of files, and what WeChat calls them.
FILES = {"image": "image", "audio": "voice", "video": "video"}

JsonObject = dict[str, Any]


def open_id_of(message: OutboundMessage) -> str:
    """Whom it goes to. Raises Unsendable."""
    kind = f"wechat:{message.account_id}"
    for address in message.recipient:
        if address.kind == kind:
            return address.value
    raise Unsendable("address", "There is no OpenID of this account to send to.")


def text_of(message: OutboundMessage) -> str:
    """The text to send. Raises Unsendable."""
    body, limit = message.content.text, LIMITS["wechat"].text
    if not body:
        raise Unsendable("invalid", "There is no text to send.")
    if limit.length(body) > limit.length_max:
        raise Unsendable("invalid", f"A text has at most {limit.length_max} {limit.unit}.")
    return body


def file_of(message: OutboundMessage) -> tuple[str, OutboundFile]:
    """The file to send, after what WeChat calls its kind. Raises Unsendable."""
    named = FILES.get(message.kind)
    if named is None:
        raise Unsendable("invalid", f"Messages of kind {message.kind!r} cannot be sent.")
    if message.file is None:
        raise Unsendable("media", "The file is missing.")
    if message.content.text:
        raise Unsendable("invalid", "A file is sent without words.")
    return named, message.file


def template_of(message: OutboundMessage) -> JsonObject:
    """The template's id, which is its name for us, and its fields. Raises Unsendable."""
    given: Mapping[str, Any] = message.content.template or {}
    name = given.get("name")
    if not isinstance(name, str):
        raise Unsendable("template", "A template needs a name.")
    try:
        fields = {str(key): {"value": str(value)} for key, value in given.get("parameters") or ()}
    except (TypeError, ValueError):
        raise Unsendable("template", "A template's parameters are pairs.") from None
    return {"template_id": name, "data": fields}
