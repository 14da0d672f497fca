"""Changes a body as JSON, so that most of what is tried gets past the decoder."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**53 + 1,
    2**64,
    10**310,
    1.5,
    "",
    "\0",
    "0",
    "１２",
    "x" * 600,
    "\ud83d\ude42",
    [],
    {},
    [[]],
    {"": ""},
)


def mutated(body: bytes, *, seed: int) -> bytes | None:
    """The body with a few values exchanged, doubled, moved or left out; None if it is no JSON."""
    chance = random.Random(seed)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for _ in range(chance.randint(1, 4)):
        value = _changed(value, chance)
    compact = (",", ":") if chance.random() < 0.5 else None
    written = json.dumps(value, ensure_ascii=chance.random() < 0.5, separators=compact)
    if chance.random() < 0.1:
        written = _with_twin(written, _name(value, chance), chance)
    return written.encode("utf-8", "replace")


def _with_twin(written: str, name: str, chance: random.Random) -> str:
    """One more member in some object, perhaps of a name that it has already."""
    beginnings = [index for index, letter in enumerate(written) if letter == "{"]
    if not beginnings:
        return written
    place = chance.choice(beginnings) + 1
    blank = chance.choice(["", " ", "\n\t"])
    return f"{written[:place]}{json.dumps(name)}{blank}:0,{written[place:]}"


def _changed(value: Any, chance: random.Random) -> Any:
    places = [place for place in _places(value) if place]
    if not places:
        return chance.choice(ODD)
    path = chance.choice(places)
    changed = copy.deepcopy(value)
    parent = _at(changed, path[:-1])
    key = path[-1]
    match chance.randrange(5):
        case 0:
            parent[key] = chance.choice(ODD)
        case 1:
            parent[key] = copy.deepcopy(_at(value, chance.choice(places)))
        case 2:
            del parent[key]
        case 3 if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        case 3:
            parent[_name(value, chance)] = parent.pop(key)
        case _:
            parent[key] = [parent[key]] if chance.random() < 0.5 else {str(key): parent[key]}
    return changed


def _name(value: Any, chance: random.Random) -> str:
    """A name that is a member's elsewhere."""
    names = [place[-1] for place in _places(value) if place and isinstance(place[-1], str)]
    return chance.choice(names or ["id"])


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, each in inner:
        yield from _places(each, (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value
