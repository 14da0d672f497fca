"""What each platform takes, as data: how long a text, how large a file, and of which types (C9).

Checked before anything is queued, so that a person learns it while still writing.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from domain.refusal import Invalid

KB, MB = 1 << 10, 1 << 20

Unit = Literal["characters", "UTF-16 units", "bytes"]


class TextLimit(msgspec.Struct, frozen=True):
    """How long a text may be, as the platform counts."""

    length_max: int
    unit: Unit = "characters"

    def length(self, text: str) -> int:
        """How long this text is for the platform."""
        if self.unit == "bytes":
            return len(text.encode("utf-8", "surrogatepass"))
        if self.unit == "UTF-16 units":
            return len(text.encode("utf-16-le", "surrogatepass")) // 2
        return len(text)


class FileLimit(msgspec.Struct, frozen=True):
    """How large a file may be and of which types; without types, of any."""

    bytes_max: int
    types: tuple[str, ...] = ()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """One platform's limits. What is not listed cannot be sent there."""

    text: TextLimit
    caption: TextLimit | None = None  # None: a file goes without words.
    files: Mapping[str, FileLimit] = {}
    kinds: tuple[str, ...] = ()  # Beside text, templates and files.
    quotes: bool = False  # Whether a message can quote another.
    marks_read: bool = False  # Whether the customer can be shown that we have read theirs.


JPEG_PNG = ("image/jpeg", "image/png")

LIMITS: Mapping[str, Limits] = {
    "whatsapp": Limits(
        text=TextLimit(4096),
        caption=TextLimit(1024),
        files={
            "image": FileLimit(5 * MB, JPEG_PNG),
            "audio": FileLimit(
                16 * MB, ("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg")
            ),
            "video": FileLimit(16 * MB, ("video/mp4", "video/3gpp")),
            "document": FileLimit(100 * MB),
            "sticker": FileLimit(500 * KB, ("image/webp",)),
        },
        kinds=("location",),
        quotes=True,
        marks_read=True,
    ),
    "messenger": Limits(
        text=TextLimit(2000),
        files={
            "image": FileLimit(25 * MB, (*JPEG_PNG, "image/gif", "image/webp")),
            "audio": FileLimit(25 * MB),
            "video": FileLimit(25 * MB),
            "document": FileLimit(25 * MB),
        },
        quotes=True,
    ),
    "line": Limits(
        text=TextLimit(5000, "UTF-16 units"),
        files={
            "image": FileLimit(10 * MB, JPEG_PNG),
            "audio": FileLimit(200 * MB, ("audio/mpeg", "audio/mp4")),
            "video": FileLimit(200 * MB, ("video/mp4",)),
        },
        kinds=("location", "sticker"),
    ),
    "telegram": Limits(
        text=TextLimit(4096),
        caption=TextLimit(1024),
        files={
            "image": FileLimit(10 * MB, JPEG_PNG),
            "audio": FileLimit(50 * MB),
            "video": FileLimit(50 * MB, ("video/mp4",)),
            "document": FileLimit(50 * MB),
            "sticker": FileLimit(512 * KB, ("image/webp",)),
        },
        kinds=("location",),
        quotes=True,
    ),
    "wechat": Limits(
        text=TextLimit(2048, "bytes"),
        files={
            "image": FileLimit(10 * MB, (*JPEG_PNG, "image/gif", "image/bmp")),
            "audio": FileLimit(2 * MB, ("audio/amr", "audio/mpeg")),
            "video": FileLimit(10 * MB, ("video/mp4",)),
        },
    ),
}


def require_text(platform: str, text: str, *, field: str = "text") -> None:
    """Raises Invalid for a text that the platform would refuse for its length."""
    limit = LIMITS[platform].text
    if limit.length(text) > limit.length_max:
        raise Invalid(field, f"must have at most {limit.length_max} {limit.unit} on {platform}")
