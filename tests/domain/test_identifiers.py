"""Identifiers: 26 letters and digits for 128 random bits."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.identifiers import ID_LENGTH, identifier

sixteen_bytes = st.binary(min_size=16, max_size=16)


@pytest.mark.parametrize(
    ("random_bytes", "text"),
    [
        (bytes(16), "aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (b"\xff" * 16, "77777777777777777777777774"),
        (bytes(range(16)), "aaaqeayeaudaocajbifqydiob4"),
    ],
)
def test_the_same_bytes_give_the_same_identifier_for_ever(random_bytes: bytes, text: str) -> None:
    assert identifier(random_bytes) == text


@given(sixteen_bytes)
def test_an_identifier_survives_addresses_and_double_clicks(random_bytes: bytes) -> None:
    assert re.fullmatch(rf"[a-z2-7]{{{ID_LENGTH}}}", identifier(random_bytes))


@given(sixteen_bytes, sixteen_bytes)
def test_other_bytes_give_another_identifier(one: bytes, other: bytes) -> None:
    assert (identifier(one) == identifier(other)) is (one == other)


@given(sixteen_bytes, st.integers(0, 127))
def test_no_bit_is_lost(random_bytes: bytes, bit: int) -> None:
    flipped = int.from_bytes(random_bytes) ^ (1 << bit)
    assert identifier(flipped.to_bytes(16)) != identifier(random_bytes)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_an_identifier_is_made_of_sixteen_bytes(length: int) -> None:
    with pytest.raises(AssertionError):
        identifier(bytes(length))
