"""Identifiers: 128 random bits, in letters and digits that survive URLs and double clicks."""

import base64
from collections.abc import Callable

NewId = Callable[[], str]

ID_LENGTH = 26


def identifier(random_bytes: bytes) -> str:
    """26 lower-case letters and digits from 16 random bytes."""
    assert len(random_bytes) == 16
    return base64.b32encode(random_bytes)[:ID_LENGTH].decode().lower()
