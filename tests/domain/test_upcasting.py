"""Older versions of an event are read as what they mean today (E5)."""

import os
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import event as events
from domain.event import EVENT_CLASSES, Event, decode, decode_as_stored, encode, stored_as, upcast
from tests.domain.every_event import EVERY_EVENT, any_event

LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"


class NameV1(Event, frozen=True):
    """As it was written first."""

    name: str


class NameV2(Event, frozen=True):
    """Then there were two parts."""

    given: str
    family: str


class NameV3(Event, frozen=True):
    """And then a language."""

    given: str
    family: str
    language: str


def split(event: NameV1) -> NameV2:
    """The last word was the family's."""
    first, _, last = event.name.rpartition(" ")
    return NameV2(given=first, family=last)


def in_english(event: NameV2) -> NameV3:
    """There was no other language then."""
    return NameV3(given=event.given, family=event.family, language="en")


@pytest.fixture(scope="module", autouse=True)
def three_versions() -> Iterator[None]:
    """An event that has had three versions, known to this module alone."""
    versions: tuple[type[Event], ...] = (NameV1, NameV2, NameV3)
    for version, event_class in enumerate(versions, start=1):
        stored_as("person.named", version=version)(event_class)
    upcast(NameV1)(split)
    upcast(NameV2)(in_english)
    yield
    for version, event_class in enumerate(versions, start=1):
        del EVENT_CLASSES["person.named", version]
        events._UPCASTS.pop(event_class, None)
        events._decoders.pop(("person.named", version), None)


def test_e5_an_event_of_the_first_version_is_read_as_one_of_the_last() -> None:
    stored = encode(NameV1(name="Aiko Mori"))
    assert decode("person.named", 1, stored) == NameV3(given="Aiko", family="Mori", language="en")


def test_e5_one_in_between_takes_the_steps_that_are_left() -> None:
    stored = encode(NameV2(given="Aiko", family="Mori"))
    assert decode("person.named", 2, stored) == NameV3(given="Aiko", family="Mori", language="en")


def test_e5_one_of_the_last_version_is_itself() -> None:
    event = NameV3(given="愛子", family="森", language="ja")
    assert decode("person.named", 3, encode(event)) == event


@given(name=st.text())
def test_e5_reading_twice_gives_the_same_and_leaves_what_is_stored(name: str) -> None:
    stored = encode(NameV1(name=name))
    assert decode("person.named", 1, stored) == decode("person.named", 1, stored)
    assert encode(decode_as_stored("person.named", 1, stored)) == stored


def test_a_version_is_upcast_in_one_way() -> None:
    with pytest.raises(AssertionError, match=r"person\.named/1 is upcast already"):
        upcast(NameV1)(split)


def test_e5_every_version_but_the_last_is_upcast() -> None:
    """Of every event there is; a new version without its step fails here."""
    for (name, version), (next_name, next_version) in pairwise(sorted(EVENT_CLASSES)):
        if name == next_name:
            step = events._UPCASTS.get(EVENT_CLASSES[name, version])
            assert step is not None, f"say what {name}/{version} means as /{next_version}"


@pytest.mark.parametrize("key", EVERY_EVENT, ids=lambda key: f"{key[0]}/{key[1]}")
@settings(max_examples=500 if LONG else 10)
@given(data=st.data())
def test_e5_every_event_is_read_as_the_newest_of_its_kind(
    key: tuple[str, int], data: st.DataObject
) -> None:
    event = decode(*key, encode(data.draw(any_event(EVERY_EVENT[key]))))
    newest = max(version for name, version in EVENT_CLASSES if name == event.stored_type)
    assert event.schema_version == newest
