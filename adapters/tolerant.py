"""Reads what a platform calls JSON into a value that can be stored, whatever is in it.

msgspec reads every body that follows the standard. The rest of this file is for those that do not:
one wrong character in one message must not lose the other messages of the same request (P3).
"""

import base64
import json
import math
import re
from typing import Any, NamedTuple

import msgspec

# Deeper values could be decoded here and then fail where less of the stack is left.
# A real webhook reaches a depth of about twelve.
NESTING_MAX = 64

# Python writes no integer of more than 4300 digits; no platform's number comes near this.
INTEGER_LENGTH_MAX = 300

# A string, also one that never ends, or a bracket. Possessive, so that no body takes long.
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)

_NAME_ENDS = re.compile(rb'"[ \t\n\r]*:')

_SURROGATE = re.compile("[\ud800-\udfff]")

_CONTAINERS = (dict, list)


class NotJson(ValueError):
    """These bytes are no JSON at all."""


class Decoded(NamedTuple):
    """A value, and whether it says exactly what the bytes said."""

    value: Any
    exact: bool


def decode(body: bytes) -> Decoded:
    """The value of a body. Raises NotJson.

    What could not be stored is replaced: half a surrogate pair and bytes that are not UTF-8 by
    U+FFFD, NaN and numbers out of range by their text, what is nested too deep by its base64.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Decoded(_decode_anyhow(body), exact=False)
    if body.count(b"[") + body.count(b"{") > NESTING_MAX and _is_too_deep(value):
        return Decoded(_decode_anyhow(body), exact=False)
    return Decoded(value, exact=True)


def read(body: bytes) -> tuple[Any, Any]:
    """The value of a body, and what to keep of the body as a whole where the value is no use.

    A body that is no JSON has the value None.
    """
    try:
        value, exact = decode(body)
    except NotJson:
        value, exact = None, False
    return value, value if exact else base64.b64encode(body).decode()


def _is_too_deep(value: Any) -> bool:
    containers = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(NESTING_MAX):
        containers = [
            inner
            for outer in containers
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, _CONTAINERS)
        ]
        if not containers:
            return False
    return True


def _decode_anyhow(body: bytes) -> Any:
    text = _without_depths(body).decode("utf-8-sig", "replace")
    try:
        value = json.loads(
            text, strict=False, parse_constant=str, parse_int=_integer, parse_float=_number
        )
    except (ValueError, RecursionError) as error:
        raise NotJson from error
    return _without_surrogates(value)


def _without_depths(body: bytes) -> bytes:
    """Replace what is nested too deep by the base64 of its bytes, so that its siblings survive."""
    kept: list[bytes] = []
    kept_until = deep_from = depth = 0
    for token in _TOKENS.finditer(body):
        bracket = body[token.start()]
        if bracket in b"[{":
            depth += 1
            if depth == NESTING_MAX + 1:
                deep_from = token.start()
        elif bracket in b"]}":
            if depth == NESTING_MAX + 1:
                deep = base64.b64encode(body[deep_from : token.end()])
                kept += (body[kept_until:deep_from], b'"', deep, b'"')
                kept_until = token.end()
            depth -= 1
    return b"".join((*kept, body[kept_until:]))


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return _SURROGATE.sub("\ufffd", value)
        case list():
            return [_without_surrogates(each) for each in value]
        case dict():
            return {
                _without_surrogates(key): _without_surrogates(each) for key, each in value.items()
            }
        case _:
            return value


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= INTEGER_LENGTH_MAX else text


def _number(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


class Malformed(ValueError):
    """These bytes are not what a platform's own program would write."""


def decode_strictly(body: bytes) -> Any:
    """The value of a body that nobody has signed: one with any trap in it is refused.

    Raises Malformed for what `decode` would have to replace, and for keys that stand twice, because
    another program may have looked at the other one.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Malformed from error
    if body.count(b"[") + body.count(b"{") > NESTING_MAX and _is_too_deep(value):
        raise Malformed
    # A name ends with a quote and a colon: as many of those as members leave none for a twin. Where
    # there are no more colons at all, as in most bodies, they need not be looked for.
    members = _member_count([value])
    if body.count(b":") != members and len(_NAME_ENDS.findall(body)) != members:
        _refuse_twins(body)
    return value


def _member_count(value: Any) -> int:
    """How many members all objects in a container have."""
    is_object = isinstance(value, dict)
    inner = value.values() if is_object else value
    count = len(value) if is_object else 0
    return count + sum([_member_count(each) for each in inner if isinstance(each, _CONTAINERS)])


def _refuse_twins(body: bytes) -> None:
    try:
        json.loads(body.decode(), object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise Malformed from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Malformed
    return members
