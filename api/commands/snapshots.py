"""States as bytes, and which code they belong to."""

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import msgspec

from domain.aggregates import AGGREGATES


class StrangeState(Exception):
    """These bytes are no state of such a stream."""


def encode_state(state: Any) -> bytes:
    """A state as it is kept. Nothing personal stands in one that is not sealed (E4)."""
    return msgspec.msgpack.encode(state)


def decode_state(stream: str, data: bytes) -> Any:
    """A state as it was kept. Raises StrangeState."""
    try:
        return _decoder(_kind(stream)).decode(data)
    except msgspec.MsgspecError as error:
        raise StrangeState(stream) from error


def code_of(stream: str) -> bytes:
    """A digest of all the code that a stream's state depends on: its fold, and what that uses."""
    return _digest(_kind(stream))


def _kind(stream: str) -> str:
    return stream.partition(":")[0]


@cache
def _decoder(kind: str) -> msgspec.msgpack.Decoder[Any]:
    empty, _ = AGGREGATES[kind]
    return msgspec.msgpack.Decoder(type(empty))


@cache
def _digest(kind: str) -> bytes:
    empty, evolve = AGGREGATES[kind]
    digest = hashlib.sha256(msgspec.__version__.encode())
    for module in _used_by(type(empty), evolve):
        digest.update(hashlib.sha256(inspect.getsource(module).encode()).digest())
    return digest.digest()


def _used_by(*parts: Callable[..., Any]) -> list[ModuleType]:
    """The domain's modules that these parts stand in, or that those import."""
    waiting = {part.__module__ for part in parts}
    found: dict[str, ModuleType] = {}
    while waiting:
        name = waiting.pop()
        found[name] = sys.modules[name]
        waiting |= set(_imports(found[name])) - found.keys()
    return [found[name] for name in sorted(found)]


def _imports(module: ModuleType) -> Iterator[str]:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        else:
            continue
        for name in named:
            if name.startswith("domain.") and name in sys.modules:
                yield name
