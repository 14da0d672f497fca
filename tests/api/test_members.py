"""Whoever gives a map with a wrong value is told which one it is."""

import msgspec
import pytest

from api.problems import invalid_field


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """With a map."""

    sizes: dict[str, int] = {}


class Body(msgspec.Struct):
    """With maps of maps."""

    named: dict[str, Part] = {}
    many: list[Part] = []
    later: int = 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"many": [{}, {"sizes": {"a": 1, "b": "two", "c": 3}}]}, "many[1].sizes.b"),
        ({"named": {"x": {}, "y": {"sizes": {"a": 1, "b": None}}}}, "named.y.sizes.b"),
        ({"named": {"a.b": {"sizes": {"c[0]": "1"}}}}, "named.a.b.sizes.c[0]"),
        ({"named": {"x": {}, "y": {"size": 1}, "z": {}}}, "named.y.size"),
        ({"named": {"x": {}, "y": 7}, "later": "wrong, too"}, "named.y"),
        ({"named": {"x": 7, "y": 7}}, "named.x"),
        (
            {"many": [{"sizes": {f"s{n}": n for n in range(999)} | {"last": ""}}]},
            "many[0].sizes.last",
        ),
        ({"later": ""}, "later"),
    ],
)
def test_the_member_is_named(body: object, field: str) -> None:
    encoded = msgspec.json.encode(body)
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.json.decode(encoded, type=Body)
    (told,) = invalid_field(error.value, Body, encoded).facts["errors"]
    assert told["field"] == field


def test_a_body_that_is_a_map() -> None:
    encoded = b'{"crm": 1, "desk": "two"}'
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.json.decode(encoded, type=dict[str, int])
    (told,) = invalid_field(error.value, dict[str, int], encoded).facts["errors"]
    assert told["field"] == "desk"
