"""What a file is, by its first bytes: what its sender says of it is only believed where it fits."""

import re
from collections.abc import AsyncIterator, Mapping

# As many bytes as `detect` looks at.
HEAD_BYTES = 64

UNKNOWN = "application/octet-stream"

_MIME_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")

# Other names for the same thing.
_ALIASES: Mapping[str, str] = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "audio/mp3": "audio/mpeg",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/opus": "audio/ogg",
    "audio/x-aac": "audio/aac",
    "application/x-pdf": "application/pdf",
}

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"OggS", "audio/ogg"),
    (b"#!AMR", "audio/amr"),
    (b"ID3", "audio/mpeg"),
    (b"%PDF-", "application/pdf"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)

# In a WebP: how a picture alone begins, and where the extended form says that it moves.
_STILL_WEBP = (b"VP8 ", b"VP8L")
_WEBP_FLAGS_AT, _WEBP_MOVES = 20, 0x02

# What a box of type `ftyp` names first (ISO 14496-12).
_BRANDS: tuple[tuple[bytes, str], ...] = (
    (b"M4A", "audio/mp4"),
    (b"M4B", "audio/mp4"),
    (b"3gp", "video/3gpp"),
    (b"3g2", "video/3gpp2"),
    (b"qt", "video/quicktime"),
    (b"heic", "image/heic"),
    (b"heix", "image/heic"),
    (b"mif1", "image/heif"),
    (b"avif", "image/avif"),
)

# A container that holds sound alone has no other beginning than one with pictures.
_ALSO: Mapping[str, frozenset[str]] = {
    "video/mp4": frozenset({"audio/mp4", "video/quicktime"}),
    "audio/mp4": frozenset({"video/mp4"}),
    "video/3gpp": frozenset({"audio/3gpp", "video/mp4"}),
    "audio/ogg": frozenset({"video/ogg", "application/ogg"}),
    "video/webm": frozenset({"audio/webm", "video/x-matroska", "audio/x-matroska"}),
    "image/heif": frozenset({"image/heic"}),
}

_SEEN_AND_HEARD = ("image/", "audio/", "video/")


def detect(head: bytes) -> str | None:
    """The type that a file's first bytes tell, if they tell one."""
    for beginning, mime_type in _BEGINNINGS:
        if head.startswith(beginning):
            return mime_type
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return next((each for start, each in _BRANDS if brand.startswith(start)), "video/mp4")
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    return _frames(head)


def is_still(head: bytes) -> bool:
    """Whether a picture, of a type whose pictures can move, does not. So far: WebP."""
    if detect(head) != "image/webp":
        return False
    form, flags = head[12:16], head[_WEBP_FLAGS_AT : _WEBP_FLAGS_AT + 1]
    return form in _STILL_WEBP or (form == b"VP8X" and flags != b"" and not flags[0] & _WEBP_MOVES)


def _frames(head: bytes) -> str | None:
    """Sound without a header begins with its first frame."""
    if len(head) < 2 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "audio/aac"
    # Of layer III alone: a text in UTF-16 may begin like one of layer I.
    is_frame = head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08
    return "audio/mpeg" if is_frame else None


def agreed(declared: str | None, head: bytes) -> str | None:
    """The type of a file that is called `declared`; None where its bytes say that it is not."""
    named = (declared or UNKNOWN).partition(";")[0].strip().lower()
    named = _ALIASES.get(named, named)
    if not _MIME_TYPE.fullmatch(named):
        named = UNKNOWN
    found = detect(head)
    if found is None:
        return None if named.startswith(_SEEN_AND_HEARD) else named
    if named in (UNKNOWN, found):
        return found
    return named if named in _ALSO.get(found, ()) else None


def kind_of(mime_type: str) -> str:
    """How a file of this type is shown, unless its sender wants otherwise."""
    family = mime_type.partition("/")[0]
    return family if family in ("image", "audio", "video") else "document"


async def with_head(chunks: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """How a file begins, as far as `detect` looks, and all of it."""
    head = b""
    while len(head) < HEAD_BYTES and (chunk := await anext(chunks, b"")):
        head += chunk
    return head, _after(head, chunks)


async def _after(head: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if head:
        yield head
    async for chunk in chunks:
        yield chunk
