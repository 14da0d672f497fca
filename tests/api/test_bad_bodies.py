"""Bad bodies are refused with their field and rule, change nothing, and fast (R1)."""

import gzip
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.api.conftest import Trunkline
from tests.api.operations import BODIES, FORMS, Office, is_public, office_of, operations, positions
from tests.api.problems import assert_problem

MEBIBYTE = 1024 * 1024

Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
async def office(trunkline: Trunkline) -> Office:
    return await office_of(trunkline, "crm", "desk")


@pytest.fixture(autouse=True)
async def nothing_is_written(office: Office) -> AsyncIterator[None]:
    """Invariant: a refused request leaves the log where it was."""
    before = await positions(office.trunkline)
    yield
    assert await positions(office.trunkline) == before


async def send(
    office: Office, operation: str, body: bytes, content_type: str | None = "application/json"
) -> httpx.Response:
    method, template = operation.split(" ")
    headers = {} if content_type is None else {"Content-Type": content_type}
    return await office.admin.call(
        method, office.path(template), content=body, headers=headers | {"Idempotency-Key": "bad"}
    )


# Bodies as a whole.

NOT_AN_OBJECT = {
    "an array": b"[]",
    "a string": b'"text"',
    "a number": b"5",
    "true": b"true",
    "NaN": b"NaN",
    "not JSON": b"<xml/>",
    "half an object": b'{"name": "A',
    "two objects": b"{}{}",
    "a comment": b"{} // done",
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "an encoded surrogate": b'{"name": "\xed\xa0\x80"}',
    "UTF-16": '{"name": "A"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "gzip": gzip.compress(b"{}"),
    "a NUL": b"\0",
    "100,000 open arrays": b"[" * 100_000,
    "100,000 nested arrays": b"[" * 100_000 + b"]" * 100_000,
    "100,000 open objects": b'{"name":' * 100_000,
    "40 nested arrays": b'{"name":' + b"[" * 40 + b"]" * 40 + b"}",
    "100,000 keys": json.dumps({f"key{number}": 1 for number in range(50_000)}).encode(),
}


@pytest.mark.parametrize("operation", BODIES)
async def test_a_body_that_is_no_object_is_refused(office: Office, operation: str) -> None:
    for body in NOT_AN_OBJECT.values():
        assert_problem(await send(office, operation, body), 400, "invalid")


async def test_who_gives_a_value_that_there_is_not_is_told_those_there_are(office: Office) -> None:
    """Spec R1: the field and the rule."""
    body = json.dumps({"name": "A", "role": "boss", "services": {}}).encode()
    answer = await send(office, "POST /v1/users", body)
    assert_problem(answer, 400, "invalid", field="role")
    (told,) = answer.json()["errors"]
    assert told["message"] == "must be one of admin, agent, auditor, supervisor"


@pytest.mark.parametrize("operation", BODIES)
async def test_a_body_that_is_not_json_by_its_type_is_refused(
    office: Office, operation: str
) -> None:
    method, template = operation.split(" ")
    body = json.dumps(office.body(method, template)).encode()
    for content_type in (
        None,
        "text/plain",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "json",
        "application/json+x",
    ):
        assert_problem(await send(office, operation, body, content_type), 415, "wrong_media")


@pytest.mark.parametrize("operation", BODIES)
async def test_a_body_of_more_than_a_mebibyte_is_refused(office: Office, operation: str) -> None:
    """413, whether its length is declared or it comes in chunks."""
    body = b" " * (MEBIBYTE + 1)
    assert_problem(await send(office, operation, body), 413, "too_large")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(16):
            yield body[: MEBIBYTE // 16]
        yield b" "

    method, template = operation.split(" ")
    response = await office.admin.call(
        method,
        office.path(template),
        content=chunks(),
        headers={"Content-Type": "application/json"},
    )
    assert_problem(response, 413, "too_large")


async def test_a_body_of_a_mebibyte_is_read(office: Office) -> None:
    body = b'{"subscription": "bundled", "masking": "no such thing"}'.ljust(MEBIBYTE)
    problem = assert_problem(await send(office, "PUT /v1/services/{service}", body), 400)
    assert problem["errors"][0]["field"] == "masking"


async def test_an_operation_without_a_body_refuses_one(office: Office) -> None:
    for method, template in await operations(office.admin.http):
        if is_public(template) or f"{method} {template}" in {*BODIES, *FORMS}:
            continue
        response = await send(office, f"{method} {template}", b'{"confirm": true}')
        assert_problem(response, 400, "invalid", field="body")


# Fields.

IN_PLACE_OF_A_TEXT = (
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    "5",
    "true",
    "NaN",
    "Infinity",
    "1e400",
    '["text"]',
    '{"text": "text"}',
)
IN_PLACE_OF_A_NUMBER = (
    '"5"',
    '"five"',
    "1.0",
    "1.5",
    "1e2",
    "true",
    "NaN",
    "-Infinity",
    "1e400",
    "-1",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "9" * 4_000,
    "9" * 5_000,
    "[5]",
)
IN_PLACE_OF_A_TRUTH = ('"true"', "1", "0", '""', "[]", "NaN")


def places(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value in a body, itself included, with its place."""
    yield place, value
    members = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, member in members:
        yield from places(member, (*place, key))


def replaced(body: Any, place: Place, literal: str) -> bytes:
    """The body with a JSON text in this place."""
    if not place:
        return literal.encode()
    changed = json.loads(json.dumps(body))
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = "here it stands"
    return json.dumps(changed).replace('"here it stands"', literal).encode()


def bad_bodies(body: Any) -> Iterator[tuple[set[str], bytes]]:
    """Every way in which a good body can be made bad, with what may be named as the fault."""
    for place, value in places(body):
        names = {"body", *(key for key in place if isinstance(key, str))}
        literals: tuple[str, ...]
        match value:
            case bool():
                literals = IN_PLACE_OF_A_TRUTH
            case str():
                literals = IN_PLACE_OF_A_TEXT
            case int():
                literals = IN_PLACE_OF_A_NUMBER
            case dict():
                text = json.dumps(value)
                names |= {"colour", *value}
                twice = f"{text[:-1]}, {text[1:]}"  # The last of two equal keys would win.
                literals = (twice, f'{text[:-1]}, "colour": 5}}', '"text"', "[]", "5")
            case _:
                literals = ()
        for literal in literals:
            yield names, replaced(body, place, literal)


@pytest.mark.parametrize("operation", BODIES)
async def test_a_bad_value_is_refused_and_its_field_named(office: Office, operation: str) -> None:
    """Spec R1: other types, traps of JSON, what no database takes, unknown and doubled."""
    method, template = operation.split(" ")
    for names, body in bad_bodies(office.body(method, template)):
        problem = assert_problem(await send(office, operation, body), 400, "invalid")
        named = problem["errors"][0]["field"]
        assert names & set(re.split(r"[.\[\]]+", named)), (body, problem)
