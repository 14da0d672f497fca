"""How facts are written down and found again (E5)."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.aggregates import AGGREGATES, aggregate_of
from domain.chat_events import ChatAssigned
from domain.event import Event, UnknownEventType, decode, decode_as_stored, encode, stored_as
from domain.organisation import UserAdded
from tests.domain.every_event import EVERY_EVENT, any_event
from tests.domain.world import NOON, PROFILE
from tests.scenario import fold_stream

LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"
KINDS = sorted({name.partition(".")[0] for name, _ in EVERY_EVENT})

every_event = pytest.mark.parametrize(
    ("stored_type", "version"), EVERY_EVENT, ids=lambda part: str(part)
)


@every_event
@settings(max_examples=500 if LONG else 10)
@given(data=st.data())
def test_e5_what_is_written_down_is_read_back(
    stored_type: str, version: int, data: st.DataObject
) -> None:
    event = data.draw(any_event(EVERY_EVENT[stored_type, version]))
    stored = encode(event)
    assert decode_as_stored(stored_type, version, stored) == event
    assert encode(decode_as_stored(stored_type, version, stored)) == stored


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=500 if LONG else 20)
@given(data=st.data())
def test_a_state_copes_with_every_fact_of_its_stream(kind: str, data: st.DataObject) -> None:
    classes = [each for (name, _), each in EVERY_EVENT.items() if name.startswith(f"{kind}.")]
    fact = st.sampled_from(classes).flatmap(any_event)
    fold_stream(kind, data.draw(st.lists(fact, max_size=12)))


def test_every_kind_of_event_has_a_stream_of_its_own() -> None:
    assert sorted(AGGREGATES) == KINDS
    for kind in KINDS:
        assert aggregate_of(f"{kind}:what:ever") is AGGREGATES[kind]


@every_event
def test_a_stored_name_is_the_stream_and_the_fact_in_small_letters(
    stored_type: str, version: int
) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", stored_type)
    assert version >= 1


def test_no_two_classes_share_a_name_and_no_class_has_two() -> None:
    names = defaultdict(list)
    for key, event_class in EVERY_EVENT.items():
        names[event_class].append(key)
        assert (event_class.stored_type, event_class.schema_version) == key
    assert [keys for keys in names.values() if len(keys) > 1] == []
    with pytest.raises(AssertionError, match=r"chat\.assigned/1 is taken"):
        stored_as("chat.assigned")(ChatAssigned)


def test_e5_an_event_that_this_program_does_not_know_is_an_error_of_its_own() -> None:
    with pytest.raises(UnknownEventType, match=r"chat\.sung/1"):
        decode("chat.sung", 1, b"{}")
    with pytest.raises(UnknownEventType, match=r"chat\.assigned/99"):
        decode("chat.assigned", 99, b"{}")


# What the stored form is.

ASSIGNED = ChatAssigned(service="crm", owner="ann", at=NOON)


def test_an_event_is_stored_as_json_without_its_type_and_what_is_the_default() -> None:
    assert encode(ASSIGNED) == b'{"service":"crm","owner":"ann","at":"2026-03-01T12:00:00Z"}'


def test_bytes_are_stored_as_base64() -> None:
    event = UserAdded(added_user_id="ann", role="agent", services={"crm": "view"}, profile=PROFILE)
    assert encode(event) == (
        b'{"added_user_id":"ann","role":"agent","services":{"crm":"view"},"profile":'
        b'{"key":"user:one","id":"AAAAAAAAAAAAAAAAAAAAAA==","box":"bmFtZSBhbmQgYWRkcmVzcw=="}}'
    )


def test_a_time_of_another_zone_is_the_same_time() -> None:
    in_tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    event = ChatAssigned(service="crm", owner="ann", at=in_tokyo)
    assert decode("chat.assigned", 1, encode(event)) == ASSIGNED


def test_a_time_keeps_its_microseconds() -> None:
    at = datetime.fromisoformat("2026-03-01T12:00:00.000001+00:00")
    event = ChatAssigned(service="crm", owner="ann", at=at)
    assert decode("chat.assigned", 1, encode(event)) == event


def test_e5_a_field_that_a_newer_program_added_is_passed_over() -> None:
    stored = encode(ASSIGNED).replace(b"{", b'{"mood":"good",', 1)
    assert decode("chat.assigned", 1, stored) == ASSIGNED


def test_what_lacks_a_field_or_is_no_json_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode("chat.assigned", 1, b'{"service":"crm"}')
    with pytest.raises(msgspec.DecodeError):
        decode("chat.assigned", 1, b"{")


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        ASSIGNED.owner = "bob"  # type: ignore[misc]
    assert all(each.__struct_config__.frozen for each in EVERY_EVENT.values())
    assert all(issubclass(each, Event) for each in EVERY_EVENT.values())


def test_no_more_can_a_state() -> None:
    assert all(type(empty).__struct_config__.frozen for empty, _ in AGGREGATES.values())


@pytest.mark.parametrize("reader", ["api.rebuilding", "adapters.postgres.recorder"])
def test_whatever_reads_a_log_by_itself_knows_every_event(reader: str) -> None:
    """Also what no projection or aggregate asks for: a worker's process loads little else."""
    program = f"import {reader}; from domain.event import EVENT_CLASSES; print(len(EVENT_CLASSES))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    ours = [each for each in EVERY_EVENT.values() if each.__module__.startswith("domain.")]
    assert int(told.stdout) == len(ours)
