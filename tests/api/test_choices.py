"""Whoever gives a value that there is not is told those there are."""

from typing import Literal

import msgspec
import pytest

from api.choices import choices
from api.problems import invalid_field

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
        ("many[0]", ["green", "red"]),
        ("every[12]", ["green", "red"]),
        ("named[...][3].colour", ["green", "red"]),
        ("inner.name", []),
        ("inner", []),
        ("nothing", []),
        ("", []),
    ],
)
def test_the_values_at_a_place(place: str, values: list[str]) -> None:
    assert sorted(choices(Body, place)) == values


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"colour": "blue"}', "colour"),
        (b'{"colour": "red", "many": ["red", "blue"]}', "many[1]"),
        (b'{"colour": "red", "named": {"one": [{"colour": "blue"}]}}', "named.one[0].colour"),
    ],
)
def test_they_are_told_wherever_the_wrong_one_stands(body: bytes, field: str) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.json.decode(body, type=Body)
    refusal = invalid_field(error.value, Body, body)
    (told,) = refusal.facts["errors"]
    assert told["field"] == field
    assert sorted(told["message"].removeprefix("must be one of ").split(", ")) == ["green", "red"]
