"""Old events stay readable for ever: stored samples and histories (E5).

A sample and a history never change, for logs hold their like. The state beside a history may: it
says what decisions need, and they may come to need more.
"""

from base64 import b64encode
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.event import Event, decode, decode_as_stored, encode
from tests.domain.every_event import EVERY_EVENT
from tests.domain.stored_samples import LATER_SAMPLES, SAMPLES
from tests.scenario import fold_stream

STORED = Path(__file__).parent.parent / "stored_events"
HISTORIES = sorted(
    path for path in STORED.glob("histories/*.json") if not path.name.endswith(".state.json")
)
KINDS_WITH_STATE = {
    "account",
    "canned",
    "channel",
    "chat",
    "contact",
    "credits",
    "marking",
    "media",
    "organisation",
    "rules",
    "template",
    "watermark",
}


class StoredEvent(msgspec.Struct):
    """One line of a history."""

    type: str
    schema_version: int
    data: msgspec.Raw


def history_of(kind: str) -> list[Event]:
    """The events of a stream of this kind; none for kinds without a history."""
    path = STORED / "histories" / f"{kind}.json"
    if not path.exists():
        return []
    stored = msgspec.json.decode(path.read_bytes(), type=list[StoredEvent])
    return [decode(each.type, each.schema_version, bytes(each.data)) for each in stored]


every_event = pytest.mark.parametrize(
    ("stored_type", "version"), EVERY_EVENT, ids=lambda part: str(part)
)


@every_event
def test_e5_there_is_a_stored_sample_of_every_event(stored_type: str, version: int) -> None:
    path = STORED / f"{stored_type}.{version}.json"
    said = (stored_type, version) in SAMPLES
    assert path.exists(), f"add tests/stored_events/{path.name}, as `encode` writes such an event"
    assert said, f"say in tests/domain/stored_samples.py what {path.name} holds"


@every_event
def test_e5_a_sample_is_read_as_what_it_says_and_written_as_it_was(
    stored_type: str, version: int
) -> None:
    stored = (STORED / f"{stored_type}.{version}.json").read_bytes()
    event = decode_as_stored(stored_type, version, stored)
    assert event == SAMPLES[stored_type, version]
    assert type(event) is EVERY_EVENT[stored_type, version]
    assert encode(event) == stored


@every_event
def test_e5_a_sample_is_taken_up_by_its_stream(stored_type: str, version: int) -> None:
    kind = stored_type.partition(".")[0]
    sample = SAMPLES[stored_type, version]
    fold_stream(kind, [*history_of(kind), decode(stored_type, version, encode(sample))])


def test_e5_no_sample_is_of_an_event_that_is_gone() -> None:
    known = {f"{name}.{version}.json" for name, version in EVERY_EVENT}
    assert {path.name for path in STORED.glob("*.json")} - known == set()
    assert SAMPLES.keys() - EVERY_EVENT.keys() == set()


@pytest.mark.parametrize("name", LATER_SAMPLES)
def test_e5_a_field_that_came_later_is_read_and_written_as_it_was(name: str) -> None:
    sample = LATER_SAMPLES[name]
    stored = (STORED / "later" / f"{name}.json").read_bytes()
    assert decode_as_stored(sample.stored_type, 1, stored) == sample
    assert encode(sample) == stored


# Histories.


def test_e5_there_is_a_history_of_every_stream_that_has_a_state() -> None:
    assert {path.stem for path in HISTORIES} == KINDS_WITH_STATE


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_e5_a_stored_history_folds_to_the_state_that_is_kept_beside_it(path: Path) -> None:
    expected = msgspec.json.decode(path.with_suffix(".state.json").read_bytes())
    assert readable(fold_stream(path.stem, history_of(path.stem))) == expected


IN_HISTORIES = {
    (event.stored_type, event.schema_version)
    for path in HISTORIES
    for event in history_of(path.stem)
}
ALONE = [
    (stored_type, version)
    for stored_type, version in EVERY_EVENT
    if stored_type.partition(".")[0] in KINDS_WITH_STATE
    and (stored_type, version) not in IN_HISTORIES
]


@pytest.mark.parametrize(("stored_type", "version"), ALONE, ids=lambda part: str(part))
def test_e5_what_stands_in_no_history_folds_behind_it_to_the_state_that_is_kept(
    stored_type: str, version: int
) -> None:
    kind = stored_type.partition(".")[0]
    expected = msgspec.json.decode(
        (STORED / "folded" / f"{stored_type}.{version}.json").read_bytes()
    )
    state = fold_stream(kind, [*history_of(kind), SAMPLES[stored_type, version]])
    assert readable(state) == expected


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_e5_a_history_is_written_as_it_was(path: Path) -> None:
    stored = msgspec.json.decode(path.read_bytes(), type=list[StoredEvent])
    for each in stored:
        event = decode_as_stored(each.type, each.schema_version, bytes(each.data))
        assert encode(event) == bytes(each.data)


def readable(value: Any) -> Any:
    """A state as plain JSON: keys become texts, sets are sorted."""
    match value:
        case msgspec.Struct():
            return {name: readable(getattr(value, name)) for name in value.__struct_fields__}
        case dict():
            return {_key(key): readable(each) for key, each in value.items()}
        case frozenset():
            return sorted(value)
        case tuple() | list():
            return [readable(each) for each in value]
        case bytes():
            return b64encode(value).decode()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case _:
            return value


def _key(key: Any) -> str:
    return "/".join(key) if isinstance(key, tuple) else str(readable(key))
