"""What of a message goes to most platforms alike, or to none of them."""

from collections.abc import Collection, Mapping

from adapters.unsendable import Unsendable
from domain.limits import LIMITS
from domain.outbound import OutboundFile, OutboundMessage


def recipient_of(message: OutboundMessage, kinds: Collection[str], *, otherwise: str) -> str:
    """The first address of one of these kinds. Raises Unsendable, which says `otherwise`."""
    for address in message.recipient:
        if address.kind in kinds:
            return address.value
    raise Unsendable("address", otherwise)


def text_of(message: OutboundMessage, *, platform: str) -> str:
    """The text to send. Raises Unsendable."""
    body, limit = message.content.text, LIMITS[platform].text
    if not body:
        raise Unsendable("invalid", "There is no text to send.")
    if limit.length(body) > limit.length_max:
        raise Unsendable("invalid", f"A text has at most {limit.length_max} {limit.unit}.")
    return body


def file_of(message: OutboundMessage, names: Mapping[str, str]) -> tuple[str, OutboundFile]:
    """The file to send, where it goes without words, after its kind's name. Raises Unsendable.

    `names` are the platform's, by kind.
    """
    named = names.get(message.kind)
    if named is None:
        raise Unsendable("invalid", f"Messages of kind {message.kind!r} cannot be sent.")
    if message.file is None:
        raise Unsendable("media", "The file is missing.")
    if message.content.text:
        raise Unsendable("invalid", "A file is sent without words.")
    return named, message.file
