"""Which values a field of a body can have, to be told to whoever gave it another one."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from api.members import ANY_MEMBER

# The steps of msgspec's path to a value: names of fields, indexes, one mark for any value of a map.
_STEP = re.compile(r"\[\.\.\.\]|[^.\[\]]+")
_INDEX = re.compile(r"\[\d+\]")


def choices(body_type: Any, place: str) -> list[str]:
    """The values that can stand at a place of a body; none where they cannot be listed."""
    steps = _STEP.findall(_INDEX.sub(ANY_MEMBER, place))
    found = _choices(msgspec.inspect.type_info(body_type), steps)
    return list(dict.fromkeys(found))


def _choices(kind: msgspec.inspect.Type, steps: Sequence[str]) -> Iterator[str]:
    match kind:
        case msgspec.inspect.UnionType():
            for each in kind.types:
                yield from _choices(each, steps)
        case msgspec.inspect.Metadata():
            yield from _choices(kind.type, steps)
        case msgspec.inspect.LiteralType() if not steps:
            yield from map(str, kind.values)
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType() if steps[:1] == [
            ANY_MEMBER
        ]:
            yield from _choices(kind.item_type, steps[1:])
        case msgspec.inspect.DictType() if steps[:1] == [ANY_MEMBER]:
            yield from _choices(kind.value_type, steps[1:])
        case msgspec.inspect.StructType():
            for field in kind.fields:
                if [field.encode_name] == list(steps[:1]):
                    yield from _choices(field.type, steps[1:])
        case _:
            return
