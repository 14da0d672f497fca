"""Identifiers: 128 random bits, in letters and digits that survive URLs and double clicks."""

from collections.abc import Callable

NewId = Callable[[], str]

ID_LENGTH = 26

# Base 32, two characters at a time: base64.b32encode takes four times as long, for each message.
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)


def identifier(random_bytes: bytes) -> str:
    """26 lower-case letters and digits from 16 random bytes."""
    assert len(random_bytes) == 16
    bits = int.from_bytes(random_bytes, "big") << 2
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])
