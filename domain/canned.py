"""A service's canned replies, by shortcut. Stream `canned:{service}` (C8, S4)."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from domain import placeholders
from domain.event import Event, stored_as
from domain.refusal import Invalid, NotFound, ParameterMissing

SHORTCUT_LENGTH_MAX = 64
# The longest text that any platform takes; what one takes is looked at when it is sent.
TEXT_LENGTH_MAX = 5_000

# All of them are one state, which every command on them reads.
CANNED_REPLIES_MAX = 1_000


def stream_of(service: str) -> str:
    """The stream that holds one service's canned replies."""
    return f"canned:{service}"


@stored_as("canned.defined")
class CannedReplyDefined(Event, frozen=True, kw_only=True):
    """The shortcut stands for this text from now on."""

    shortcut: str
    text: str
    user_id: str | None = None


@stored_as("canned.removed")
class CannedReplyRemoved(Event, frozen=True, kw_only=True):
    """The shortcut stands for nothing any more."""

    shortcut: str
    user_id: str | None = None


class CannedReplies(msgspec.Struct, frozen=True, kw_only=True):
    """What each shortcut of a service stands for."""

    texts: dict[str, str] = {}


def evolve(canned: CannedReplies, event: Event) -> CannedReplies:
    """The canned replies after one more fact."""
    match event:
        case CannedReplyDefined():
            return replace(canned, texts={**canned.texts, event.shortcut: event.text})
        case CannedReplyRemoved():
            rest = {name: text for name, text in canned.texts.items() if name != event.shortcut}
            return replace(canned, texts=rest)
        case _:
            return canned


def bare(written: str) -> str:
    """A shortcut without the `#` that people write before it."""
    return written.removeprefix("#")


def shortcut_of(written: str) -> str:
    """The same of a shortcut that is to be new. Raises Invalid."""
    shortcut = bare(written)
    has_no_gap = shortcut.isprintable() and not any(map(str.isspace, shortcut))
    if not has_no_gap or "#" in shortcut or not 1 <= len(shortcut) <= SHORTCUT_LENGTH_MAX:
        raise Invalid(
            "shortcut",
            f"must be 1 to {SHORTCUT_LENGTH_MAX} printable characters without space or #",
        )
    return shortcut


def text_of(canned: CannedReplies, shortcut: str) -> str:
    """What a shortcut stands for. Raises NotFound."""
    text = canned.texts.get(shortcut)
    if text is None:
        raise NotFound(f"This service has no canned reply {shortcut!r}.")
    return text


def define(canned: CannedReplies, *, shortcut: str, text: str, user_id: str) -> list[Event]:
    """Let a shortcut stand for a text; nothing if it does already."""
    if canned.texts.get(shortcut) == text:
        return []
    if shortcut not in canned.texts and len(canned.texts) >= CANNED_REPLIES_MAX:
        raise Invalid("shortcut", f"there are {CANNED_REPLIES_MAX} canned replies already")
    return [CannedReplyDefined(shortcut=shortcut, text=text, user_id=user_id)]


def remove(canned: CannedReplies, *, shortcut: str, user_id: str) -> list[Event]:
    """Let a shortcut stand for nothing. Raises NotFound."""
    text_of(canned, shortcut)
    return [CannedReplyRemoved(shortcut=shortcut, user_id=user_id)]


def fill(
    canned: CannedReplies, *, shortcut: str, given: Mapping[str, str], known: Mapping[str, str]
) -> str:
    """The text that is sent: merged with what was given and, failing that, with what we know."""
    text = text_of(canned, shortcut)
    is_filled = placeholders.is_filled
    fields = {**known, **{name: value for name, value in given.items() if is_filled(value)}}
    missing = [each for each in placeholders.names_in(text) if not is_filled(fields.get(each))]
    if missing:
        raise ParameterMissing(
            errors=[{"field": f"fields.{each}", "message": "is missing"} for each in missing]
        )
    return placeholders.filled(text, fields)
