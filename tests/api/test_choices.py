"""Whoever gives a value that there is not is told those there are."""

from typing import Literal

import msgspec
import pytest

from api.choices import choices

Colour = Literal["red", "green"]


class Inner(msgspec.Struct):
    """With a choice."""

    colour: Colour | None = None
    size: Literal[1, 2] = 1
    name: str = ""


class Body(msgspec.Struct):
    """With choices wherever they can stand."""

    colour: Colour
    inner: Inner | None = None
    many: list[Colour] = []
    named: dict[str, list[Inner]] = {}
    every: tuple[Colour, ...] = ()


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ("colour", ["green", "red"]),
        ("inner.colour", ["green", "red"]),
        ("inner.size", ["1", "2"]),
        ("many[...]", ["green", "red"]),
        ("every[...]", ["green", "red"]),
        ("named[...][...].colour", ["green", "red"]),
        ("inner.name", []),
        ("inner", []),
        ("nothing", []),
        ("", []),
    ],
)
def test_the_values_at_a_place(place: str, values: list[str]) -> None:
    assert sorted(choices(Body, place)) == values
