"""Every event class that there is, and any value of each."""

import importlib
import pkgutil
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import domain
from domain.event import EVENT_CLASSES, Event

for _module in pkgutil.iter_modules(domain.__path__):
    importlib.import_module(f"domain.{_module.name}")

# By stored type and schema version, in the order of their names.
EVERY_EVENT: dict[tuple[str, int], type[Event]] = dict(sorted(EVENT_CLASSES.items()))


def any_event(event_class: type[msgspec.Struct]) -> SearchStrategy[Any]:
    """Any value of a struct, worked out from its annotations."""
    fields = msgspec.structs.fields(event_class)
    return st.builds(event_class, **{field.name: _any_value(field.type) for field in fields})


def _any_value(annotation: Any) -> SearchStrategy[Any]:
    arguments = get_args(annotation)
    if annotation is datetime:
        return st.datetimes(timezones=st.just(UTC))
    if annotation is int:  # JSON as msgspec reads it has 64 bits.
        return st.integers(-(2**63), 2**63 - 1)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return any_event(annotation)
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return st.one_of(*map(_any_value, arguments))
    if origin is tuple:
        return st.lists(_any_value(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(*map(_any_value, arguments), max_size=3)
    return st.from_type(annotation)
