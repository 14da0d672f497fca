"""Our messages in WeChat's words."""

from collections.abc import Mapping
from typing import Any

from adapters.outgoing import recipient_of
from adapters.unsendable import Unsendable
from domain.outbound import OutboundMessage

# Our kinds of files, and what WeChat calls them.
FILES = {"image": "image", "audio": "voice", "video": "video"}

JsonObject = dict[str, Any]


def open_id_of(message: OutboundMessage) -> str:
    """Whom it goes to. Raises Unsendable."""
    return recipient_of(
        message,
        [f"wechat:{message.account_id}"],
        otherwise="There is no OpenID of this account to send to.",
    )


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
