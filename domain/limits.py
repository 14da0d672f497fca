"""What each platform takes, as data: how long a text, how large a file, and of which types (C9).

Checked before anything is queued, so that a person learns it while still writing.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from domain.refusal import FileTooLarge, Invalid, WrongFile

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
    still_bytes_max: int | None = None  # Where what does not move may have less.


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """One platform's limits. What is not listed cannot be sent there."""

    text: TextLimit
    caption: TextLimit | None = None  # None: a file goes without words.
    without_words: tuple[str, ...] = ("sticker",)  # Kinds that never have any.
    files: Mapping[str, FileLimit] = {}
    kinds: tuple[str, ...] = ()  # Beside text, templates and files.
    templates: tuple[str, ...] = ()  # Categories of those that can be sent.
    quotes: Literal["id", "token"] | None = None  # By what a message can quote another.
    quoting: tuple[str, ...] | None = None  # Kinds that can; None: all.
    marks_read: bool = False  # Whether the customer can be shown that we have read theirs.


JPEG_PNG = ("image/jpeg", "image/png")

LIMITS: Mapping[str, Limits] = {
    "whatsapp": Limits(
        text=TextLimit(4096),
        caption=TextLimit(1024),
        without_words=("audio", "sticker"),
        files={
            "image": FileLimit(5 * MB, JPEG_PNG),
            "audio": FileLimit(
                16 * MB, ("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg")
            ),
            "video": FileLimit(16 * MB, ("video/mp4", "video/3gpp")),
            "document": FileLimit(100 * MB),
            "sticker": FileLimit(500 * KB, ("image/webp",), still_bytes_max=100 * KB),
        },
        kinds=("location",),
        templates=("marketing", "utility", "authentication", "service"),
        quotes="id",
        marks_read=True,
    ),
    "messenger": Limits(
        # Meta writes "characters"; this is the stricter way to count them.
        text=TextLimit(2000, "UTF-16 units"),
        files={
            "image": FileLimit(25 * MB, (*JPEG_PNG, "image/gif", "image/webp")),
            "audio": FileLimit(25 * MB),
            "video": FileLimit(25 * MB),
            "document": FileLimit(25 * MB),
        },
        templates=("utility",),
        quotes="id",
        marks_read=True,
    ),
    "line": Limits(
        text=TextLimit(5000, "UTF-16 units"),
        files={
            "image": FileLimit(10 * MB, JPEG_PNG),
            "audio": FileLimit(200 * MB, ("audio/mpeg", "audio/mp4")),
            "video": FileLimit(200 * MB, ("video/mp4",)),
        },
        kinds=("location", "sticker"),
        quotes="token",
        quoting=("text", "sticker"),
        marks_read=True,
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
        quotes="id",
    ),
    "wechat": Limits(
        text=TextLimit(2048, "bytes"),
        files={
            "image": FileLimit(10 * MB, (*JPEG_PNG, "image/gif", "image/bmp")),
            "audio": FileLimit(2 * MB, ("audio/amr", "audio/mpeg")),
            "video": FileLimit(10 * MB, ("video/mp4",)),
        },
        templates=("utility", "authentication", "service"),
    ),
}


def require_text(platform: str, text: str, *, field: str = "text") -> None:
    """Raises Invalid for a text that the platform would refuse for its length."""
    limit = LIMITS[platform].text
    if limit.length(text) > limit.length_max:
        raise Invalid(field, f"must have at most {limit.length_max} {limit.unit} on {platform}")


def require_file(
    platform: str, kind: str, *, mime_type: str, byte_count: int, is_still: bool = False
) -> None:
    """Raises for a file that the platform would refuse as this kind of message. Spec C9."""
    limit = LIMITS[platform].files.get(kind)
    if limit is None:
        raise Invalid("kind", f"a file cannot be sent as {kind} on {platform}")
    if limit.types and mime_type not in limit.types:
        raise WrongFile(
            f"On {platform}, {kind} is one of {', '.join(limit.types)}; this file is {mime_type}.",
            mime_type=mime_type,
            allowed=list(limit.types),
        )
    bytes_max = (limit.still_bytes_max if is_still else None) or limit.bytes_max
    if byte_count > bytes_max:
        raise FileTooLarge(
            f"On {platform}, {kind} has at most {bytes_max} bytes; this file has {byte_count}.",
            bytes=byte_count,
            bytes_max=bytes_max,
        )


def require_caption(platform: str, kind: str, caption: str) -> None:
    """Raises Invalid for words that the platform would not take beside a file."""
    limits = LIMITS[platform]
    if limits.caption is None or kind in limits.without_words:
        raise Invalid("caption", f"{kind} goes without words on {platform}; send a text as well")
    if limits.caption.length(caption) > limits.caption.length_max:
        raise Invalid(
            "caption",
            f"must have at most {limits.caption.length_max} {limits.caption.unit} on {platform}",
        )


def require_kind(platform: str, kind: str) -> None:
    """Raises Invalid for a kind without a file that the platform does not know."""
    if kind not in LIMITS[platform].kinds:
        raise Invalid("kind", f"{kind} cannot be sent on {platform}")


def require_template(platform: str, category: str) -> None:
    """Raises Invalid where templates of this category cannot be sent."""
    categories = LIMITS[platform].templates
    if not categories:
        raise Invalid("category", f"templates cannot be sent on {platform}")
    if category not in categories:
        raise Invalid("category", f"must be {' or '.join(categories)} on {platform}")


def require_quoting(platform: str, kind: str) -> None:
    """Raises Invalid where a message of this kind cannot quote another."""
    limits = LIMITS[platform]
    if limits.quotes is None:
        raise Invalid("reply_to", f"messages cannot be quoted on {platform}")
    if limits.quoting is not None and kind not in limits.quoting:
        raise Invalid("reply_to", f"{kind} cannot quote a message on {platform}")
