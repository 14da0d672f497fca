"""Our messages in the words of Meta's Send API."""

from typing import Any

from adapters.outgoing import recipient_of
from domain.outbound import OutboundMessage

# Our kinds of files, and what Messenger calls them.
FILES = {"image": "image", "audio": "audio", "video": "video", "document": "file"}

JsonObject = dict[str, Any]


def envelope(message: OutboundMessage) -> JsonObject:
    """All of a request but what the message says. Raises Unsendable."""
    body: JsonObject = {
        "recipient": {"id": _recipient(message)},
        "messaging_type": "RESPONSE",
    }
    if message.kind == "template":  # The one kind that needs no tag outside the window.
        body["messaging_type"] = "UTILITY"
    if message.tag is not None:
        body |= {"messaging_type": "MESSAGE_TAG", "tag": message.tag}
    if message.quotes is not None:
        body["reply_to"] = {"mid": message.quotes}
    return body


def _recipient(message: OutboundMessage) -> str:
    return recipient_of(
        message,
        [f"messenger:{message.account_id}"],
        otherwise="There is no user id of this page to send to.",
    )
