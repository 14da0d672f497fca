"""Sealed content as projections keep and return it: unopened, with all that opening needs."""

import msgspec

from domain.event import Sealed

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Sealed)


class SealedPart(msgspec.Struct, frozen=True):
    """Personal data as the log holds it. Opened by the API, for a viewer who may see it."""

    sealed: Sealed
    stream: str  # It was sealed for this stream and event type (domain.event.Sealed).
    type: str
    wrapped: bytes | None  # The key that opens it, wrapped; None when it was destroyed (E4).


def pack(sealed: Sealed) -> bytes:
    """What a projection's row holds of sealed content."""
    return _encoder.encode(sealed)


def unpack(packed: bytes, stream: str, event_type: str, wrapped: bytes | None) -> SealedPart:
    """Sealed content from a row."""
    return SealedPart(_decoder.decode(packed), stream, event_type, wrapped)
