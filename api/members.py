"""Names the members of maps on the way to a fault: msgspec says of them only that it is in one."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

ANY_MEMBER = "[...]"
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")

Step = str | int  # Into an object, or into an array.


def name_members(error: msgspec.ValidationError, place: str, body_type: Any, body: bytes) -> str:
    """The place of an error in a body, with names instead of `[...]`: `fields.number`."""
    value = msgspec.json.decode(body)
    named = ""
    steps: list[Step] = []
    *before, last = place.split(ANY_MEMBER)
    for part in before:
        steps += _steps(part)
        name = _faulty_member(str(error), value, steps, body_type)
        steps.append(name)
        named += f"{part}.{name}"
    return (named + last).lstrip(".")


def _faulty_member(error: str, value: Any, steps: Sequence[Step], body_type: Any) -> str:
    """The first member that is refused, found by halving: a map may have thousands."""
    members = value
    for step in steps:
        members = members[step]
    names: list[str] = list(members)
    while len(names) > 1:
        half = names[: len(names) // 2]
        halved = _replaced(value, steps, {name: members[name] for name in half})
        names = half if _refusal(halved, body_type) == error else names[len(half) :]
    return names[0]


def _refusal(value: Any, body_type: Any) -> str:
    try:
        msgspec.json.decode(msgspec.json.encode(value), type=body_type, strict=True)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _replaced(value: Any, steps: Sequence[Step], members: dict[str, Any]) -> Any:
    if not steps:
        return members
    first, *rest = steps
    copy = value.copy()
    copy[first] = _replaced(value[first], rest, members)
    return copy


def _steps(place: str) -> list[Step]:
    return [int(index) if index else name for index, name in _STEP.findall(place)]
