"""Facts: how an event is written down, and how it is found again."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import msgspec


# Facts refer to nothing that could refer back to them: the garbage collector, who would else look
# at each again and again, took half the time of reading many.
class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A fact. Once stored it never changes meaning; new facts get new types or optional fields."""

    stored_type: ClassVar[str]
    schema_version: ClassVar[int]


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """Personal data, encrypted once for one person; destroying that person's key erases it.

    The associated data of the encryption is org, stream, event type and `id`.
    """

    key: str  # Whose key: `contact:<id>`, `user:<id>` or `delivery:<id>`.
    id: bytes  # 16 random bytes; the first 12 are the nonce.
    box: bytes


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An event with its place in the log of one organisation."""

    position: int
    stream: str
    version: int
    recorded_at: datetime
    event: Event


EventClass = TypeVar("EventClass", bound=type[Event])
Old = TypeVar("Old", bound=Event)

EVENT_CLASSES: dict[tuple[str, int], type[Event]] = {}


class UnknownEventType(LookupError):
    """The log holds a type that this code does not know: an older program reads a newer log."""


class UndecodedEvent(Event, frozen=True, kw_only=True):
    """Stands for one of such a type, for those who go on without it. It is never stored."""

    type: str
    version: int


def stored_as(name: str, *, version: int = 1) -> Callable[[EventClass], EventClass]:
    """Give an event class the type name and schema version it is stored under, for ever."""

    def register(event_class: EventClass) -> EventClass:
        assert (name, version) not in EVENT_CLASSES, f"{name}/{version} is taken"
        event_class.stored_type = name
        event_class.schema_version = version
        EVENT_CLASSES[name, version] = event_class
        return event_class

    return register


# What an event of an older version means today; see `upcast`.
_UPCASTS: dict[type[Event], Callable[[Any], Event]] = {}


def upcast(old: type[Old]) -> Callable[[Callable[[Old], Event]], Callable[[Old], Event]]:
    """Make a function say what an older version means in the next one. Spec E5.

    It is pure and looks at nothing but the event. Versions are chained: 1 becomes 2, 2 becomes 3,
    so what was written once is never looked at again when a version is added.
    """

    def register(step: Callable[[Old], Event]) -> Callable[[Old], Event]:
        assert old not in _UPCASTS, f"{old.stored_type}/{old.schema_version} is upcast already"
        _UPCASTS[old] = step
        return step

    return register


_encoder = msgspec.json.Encoder()
_decoders: dict[tuple[str, int], msgspec.json.Decoder[Any]] = {}


def encode(event: Event) -> bytes:
    """The stored bytes of an event: JSON without its type, which has a column of its own."""
    return _encoder.encode(event)


def decode(stored_type: str, schema_version: int, data: bytes) -> Event:
    """Read a stored event back, as what it means today. Raises UnknownEventType. Spec E5."""
    event = decode_as_stored(stored_type, schema_version, data)
    while (step := _UPCASTS.get(type(event))) is not None:
        event = step(event)
    return event


def decode_if_known(stored_type: str, schema_version: int, data: bytes) -> Event:
    """The same for those who can go on without: what is not known is an UndecodedEvent."""
    try:
        return decode(stored_type, schema_version, data)
    except UnknownEventType:
        return UndecodedEvent(type=stored_type, version=schema_version)


def decode_as_stored(stored_type: str, schema_version: int, data: bytes) -> Event:
    """Read a stored event back in the version it was written in. Raises UnknownEventType."""
    key = (stored_type, schema_version)
    decoder = _decoders.get(key)
    if decoder is None:
        event_class = EVENT_CLASSES.get(key)
        if event_class is None:
            raise UnknownEventType(f"{stored_type}/{schema_version}")
        decoder = _decoders[key] = msgspec.json.Decoder(event_class)
    event: Event = decoder.decode(data)
    return event
