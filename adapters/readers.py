"""Reads single values of webhooks. None of these functions raises, whatever the value is."""

import hashlib
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

# A platform's ids are shorter by far; a database index takes no key of more than 2,700 bytes.
IDENTIFIER_LENGTH_MAX = 512

# Seconds since 1970. The platforms began in 2009 and later, so an earlier time is a fault, and so
# is one that leaves no room for adding days to it, or that was given in milliseconds.
TIMESTAMP_MIN = 1_230_768_000  # 2009-01-01
TIMESTAMP_MAX = 4_102_444_800  # 2100-01-01

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

_canonical = msgspec.json.Encoder(order="sorted")


def text(value: Any) -> str | None:
    """A string as it can be kept in a database, which takes no NUL."""
    if not isinstance(value, str):
        return None
    return value.replace("\0", "\ufffd") if "\0" in value else value


def identifier(value: Any) -> str | None:
    """An id, which may be written as a number. What is empty or far too long is none."""
    if isinstance(value, str):
        return text(value) if 0 < len(value) <= IDENTIFIER_LENGTH_MAX else None
    if isinstance(value, int) and not isinstance(value, bool):
        return identifier(str(value))
    return None


def moment(value: Any) -> datetime | None:
    """A time in seconds since 1970, which may be written as a string or as a number."""
    seconds = number(value)
    if seconds is not None and TIMESTAMP_MIN <= seconds < TIMESTAMP_MAX:
        return datetime.fromtimestamp(seconds, UTC)
    return None


def moment_of_milliseconds(value: Any) -> datetime | None:
    """A time in milliseconds since 1970."""
    milliseconds = number(value)
    if milliseconds is None or not TIMESTAMP_MIN <= milliseconds / 1000 < TIMESTAMP_MAX:
        return None
    return _BEGINNING + timedelta(milliseconds=int(milliseconds))


def number(value: Any) -> float | None:
    """A finite number, also one that is written as a string."""
    if not isinstance(value, str) and not is_number(value):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def is_number(value: Any) -> bool:
    """Whether it is a number and not one of JSON's two truth values."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of what should be a list of objects."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def digest(*parts: Any) -> str:
    """A name for what has no id of its own: the same for the same content, however batched."""
    return hashlib.sha256(_canonical.encode(parts)).hexdigest()


def part(whole: dict[str, Any], name: str) -> dict[str, Any]:
    """An object inside an object; an empty one where there is none."""
    found = whole.get(name)
    return found if isinstance(found, dict) else {}


def chosen(part: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Members of an object that are what they should be, by our names for them.

    `names` leads from the platform's names to ours; the type of a member follows from ours.
    """
    values = ((ours, _typed(ours, part.get(theirs))) for theirs, ours in names.items())
    return {ours: value for ours, value in values if value is not None}


def _typed(name: str, value: Any) -> Any:
    reader = _TYPES.get(name)
    return text(value) if reader is None else reader(value)


def _amount(value: Any) -> float | None:
    return value if is_number(value) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _texts(value: Any) -> list[str] | None:
    if not isinstance(value, list):
        return None
    return [each for each in map(text, value) if each is not None]


# What members of a content are, by our names for them; all others are texts.
_TYPES: Mapping[str, Callable[[Any], Any]] = {
    "animated": _truth,
    "duration_seconds": _amount,
    "height": _whole,
    "id": identifier,
    "keywords": _texts,
    "latitude": _amount,
    "longitude": _amount,
    "package_id": identifier,
    "platform_id": identifier,
    "size": _whole,
    "sticker_id": identifier,
    "video_id": identifier,
    "voice": _truth,
    "width": _whole,
}
