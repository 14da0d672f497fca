"""Our messages in the words of Meta's Send API."""

from typing import Any

from adapters.unsendable import Unsendable
from domain.limits import LIMITS
from domain.outbound import OutboundFile, OutboundMessage

# Our kinds of files, and what Messenger calls them.
FILES = {"image": "image", "audio": "audio", "video": "video", "document": "file"}

JsonObject = dict[str, Any]


def envelope(message: OutboundMessage) -> JsonObject:
    """All of a request but what the message says. Raises Unsendable."""
    body: JsonObject = {
        "recipient": {"id": _recipient(message)},
        "messaging_type": "RESPONSE",
    }
    if message.tag is not None:
        body |= {"messaging_type": "MESSAGE_TAG", "tag": message.tag}
    if message.quotes is not None:
        body["reply_to"] = {"mid": message.quotes}
    return body


def text_of(message: OutboundMessage) -> str:
    """The text to send. Raises Unsendable."""
    body, limit = message.content.text, LIMITS["messenger"].text
    if not body:
        raise Unsendable("invalid", "There is no text to send.")
    if limit.length(body) > limit.length_max:
        raise Unsendable("invalid", f"A text has at most {limit.length_max} {limit.unit}.")
    return body


def file_of(message: OutboundMessage) -> tuple[str, OutboundFile]:
    """The file to send, after what Messenger calls its kind. Raises Unsendable."""
    named = FILES.get(message.kind)
    if named is None:
        raise Unsendable("invalid", f"Messages of kind {message.kind!r} cannot be sent.")
    if message.file is None:
        raise Unsendable("media", "The file is missing.")
    if message.content.text:
        raise Unsendable("invalid", "A file is sent without words.")
    return named, message.file


def _recipient(message: OutboundMessage) -> str:
    kind = f"messenger:{message.account_id}"
    for address in message.recipient:
        if address.kind == kind:
            return address.value
    raise Unsendable("address", "There is no user id of this page to send to.")
