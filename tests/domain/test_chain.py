"""The chain's format is for ever: the same events must give the same hashes in twenty years."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import chain

FIRST: dict[str, Any] = {
    "org_id": b"org_7f3a",
    "position": 1,
    "stream": "chat:花子".encode(),
    "version": 1,
    "stored_type": b"chat.started",
    "schema_version": 1,
    "recorded_at": 1_778_328_000_000_001,
    "command": bytes(range(32)),
    "data": b'{"chat_id":"c1"}',
}
# The same, byte by byte, and its hash as sha256sum gives it.
FIRST_LEAF = (
    b"\x01"
    b"\x00\x00\x00\x08org_7f3a"
    b"\x00\x00\x00\x00\x00\x00\x00\x01"
    b"\x00\x00\x00\x0bchat:\xe8\x8a\xb1\xe5\xad\x90"
    b"\x00\x00\x00\x01"
    b"\x00\x00\x00\x0cchat.started"
    b"\x00\x01"
    b"\x00\x06\x51\x61\x40\xbb\xf0\x01"
    b"\x00\x00\x00\x20\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
    b"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"
    b'\x00\x00\x00\x10{"chat_id":"c1"}'
)
FIRST_HASH = bytes.fromhex("497c1a47f6eca526f0d7f76de938fef7947e593b2c85577b6956b1979a099256")


def test_the_first_event_of_a_log() -> None:
    assert chain.link(bytes(32), **FIRST) == FIRST_HASH
    assert hashlib.sha256(bytes(32) + hashlib.sha256(FIRST_LEAF).digest()).digest() == FIRST_HASH


def test_an_event_on_top_of_another() -> None:
    second = FIRST | {"position": 2, "version": 2, "data": b""}
    leaf = FIRST_LEAF[:13] + b"\x00\x00\x00\x00\x00\x00\x00\x02" + FIRST_LEAF[21:36]
    leaf += b"\x00\x00\x00\x02" + FIRST_LEAF[40:-20] + b"\x00\x00\x00\x00"
    expected = hashlib.sha256(FIRST_HASH + hashlib.sha256(leaf).digest()).digest()
    assert chain.link(FIRST_HASH, **second) == expected


@pytest.mark.parametrize("field", FIRST)
def test_every_field_counts(field: str) -> None:
    value = FIRST[field]
    changed = FIRST | {field: value + 1 if isinstance(value, int) else value + b"x"}
    assert chain.link(bytes(32), **changed) != FIRST_HASH


def test_nothing_moves_from_one_field_to_the_next() -> None:
    moved = FIRST | {"org_id": b"org_7f3", "stream": b"a" + FIRST["stream"]}
    assert chain.link(bytes(32), **moved) != FIRST_HASH


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_as_microseconds(time: datetime) -> None:
    assert chain.moment(chain.microseconds(time)) == time
