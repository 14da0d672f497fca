"""Bad paths, queries and headers are refused with their field and rule, change nothing, and fast.

Spec R1, R2; bodies and webhooks have files of their own.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.api.conftest import Trunkline
from tests.api.operations import Office, is_public, office_of, operations, positions
from tests.api.problems import assert_problem


@pytest.fixture(scope="module")
async def office(trunkline: Trunkline) -> Office:
    return await office_of(trunkline, "crm", "desk")


@pytest.fixture(autouse=True)
async def nothing_is_written(office: Office) -> AsyncIterator[None]:
    """Invariant: a refused request leaves the log where it was."""
    before = await positions(office.trunkline)
    yield
    assert await positions(office.trunkline) == before


# What stands in a path.

NO_IDS = (
    "99999999999999999999",
    "-1",
    "0",
    "%00",
    "a%00b",
    "%2e%2e",
    "..%2F..%2Fetc%2Fpasswd",
    "..%2Fx",
    "%ff%fe",
    "%ED%A0%80",
    "%F0%9F%92%A9" * 7,
    "%EF%BC%92" * 26,
    ";",
    "'%20OR%20'1'='1",
    "%25s",
    "{service}",
    "%0d%0aSet-Cookie:%20a=b",
    "99999%0a",
    "A" * 26,
    "2" * 25,
    "2" * 27,
    "a" * 10_000,
)
# What people name themselves.
NAMES = ("name", "language", "shortcut")
NO_NAMES = ("%00", "a%00b", "%0d%0aSet-Cookie:%20a=b", "%7f", "%E2%80%AE", "a" * 10_000)


async def test_an_id_does_not_end_in_a_new_line(office: Office) -> None:
    """It would stand for ever in names of streams, and cut headers in two."""
    body = {"service": "crm", "platform": "whatsapp", "account_id": "102290\n", "name": "Main"}
    problem = assert_problem(await office.admin.call("POST", "/v1/channels", json=body), 400)
    assert [each["field"] for each in problem["errors"]] == ["account_id"]


async def test_what_is_no_id_names_nothing(office: Office) -> None:
    """Ids are opaque strings; a new name that breaks a rule is refused as such."""
    for method, template in await operations(office.admin.http):
        for name in (part[1:-1] for part in template.split("/") if part.startswith("{")):
            for value in NO_IDS if name not in NAMES else NO_NAMES:
                response = await office.admin.call(
                    method,
                    office.path(template, **{name: value}),
                    json=office.body(method, template),
                )
                names_something_new = (
                    method == "PUT" and template.endswith(f"{{{name}}}") and name != "kind"
                )
                is_rule = names_something_new or (method, name) == ("PUT", "name")
                leads_elsewhere = "%2F" in value.upper()
                if leads_elsewhere:
                    expected = 404
                elif template.startswith("/webhooks/"):
                    expected = 401  # An account that nobody holds (P2).
                else:
                    expected = 400 if is_rule else 404
                assert_problem(response, expected)


async def test_a_path_that_climbs_leads_nowhere(office: Office) -> None:
    host, _, port = office.trunkline.url.removeprefix("http://").partition(":")
    for path in (
        "/v1/../v1/me",
        "/v1/services/../me",
        "/../../etc/passwd",
        "/v1/./me",
        "/v1/me%00",
        "/v1/me;x=1",
        "/V1/ME",
        "/.env",
        "*",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {office.admin.api_key}\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        status, _, rest = answer.partition(b"\r\n")
        assert (status, b'"code":"not_found"' in rest) == (b"HTTP/1.1 404 Not Found", True), path


# What stands in a query or a header.


async def test_a_query_parameter_that_nobody_knows_is_refused(office: Office) -> None:
    for method, template in await operations(office.admin.http):
        if is_public(template):
            continue
        for name in ("colour", "org", "Limit", "limit[]", "%00", "api_key"):
            response = await office.admin.call(
                method,
                f"{office.path(template)}?{name}=1",
                json=office.body(method, template),
            )
            assert_problem(response, 400, "invalid")


NOT_A_NUMBER = (
    "",
    "five",
    "5.0",
    "5.5",
    "1e1",
    "true",
    "NaN",
    "0x5",
    "5_0",
    "%20",
    "%D9%A3",
    "%00",
    "null",
    "-1",
    "9" * 5_000,
)


async def parameters(office: Office, kind: str) -> list[tuple[str, str]]:
    """Operation and name of each query parameter of this type, as the document says."""
    document = (await office.admin.http.get("/openapi.json")).json()
    return [
        (path, parameter["name"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query" and method == "get" and kind in json.dumps(parameter)
    ]


async def test_a_number_in_a_query_is_held_to_its_rule(office: Office) -> None:
    found = await parameters(office, '"type": "integer"')
    assert ("/v1/events", "after") in found
    for path, name in found:
        for value in (*NOT_A_NUMBER, str(2**63), str(2**64)):
            response = await office.admin.call("GET", f"{office.path(path)}?{name}={value}")
            assert_problem(response, 400, "invalid", field=name)
        if name == "limit":
            for value in ("0", "10001", "1000000000"):
                response = await office.admin.call("GET", f"{office.path(path)}?{name}={value}")
                assert_problem(response, 400, "invalid", field=name)


async def test_a_time_in_a_query_is_held_to_its_rule(office: Office) -> None:
    found = await parameters(office, '"format": "date-time"')
    assert ("/v1/services/{service}/chats", "first_from") in found
    for path, name in found:
        for value in (
            "",
            "yesterday",
            "5",
            "2026-11-21",
            "2026-11-21T12:00:00",
            "2026-13-01T00:00:00Z",
            "2026-11-21T25:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00%2B14:00",
            "9999-12-31T23:59:59-14:00",
            "10000-01-01T00:00:00Z",
            "2026-11-21T12:00:00Z%00",
        ):
            response = await office.admin.call("GET", f"{office.path(path)}?{name}={value}")
            assert_problem(response, 400, "invalid", field=name)
        for value in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
            await office.admin.call("GET", f"{office.path(path)}?{name}={value}", expect=200)


async def test_a_choice_in_a_query_is_one_of_those_there_are(office: Office) -> None:
    found = await parameters(office, '"enum"')
    assert ("/v1/services/{service}/chats", "status") in found
    for path, name in found:
        for value in ("", "null", "NULL", "none", "Open", "open,closed", "open ", "%00"):
            response = await office.admin.call("GET", f"{office.path(path)}?{name}={value}")
            assert_problem(response, 400, "invalid", field=name)


async def test_a_text_in_a_query_reaches_no_database_with_what_it_cannot_hold(
    office: Office,
) -> None:
    found = await parameters(office, '"type": "string"')
    assert ("/v1/events", "stream") in found
    for path, name in found:
        for value in ("%00", "a%00b"):
            response = await office.admin.call("GET", f"{office.path(path)}?{name}={value}")
            assert_problem(response, 400, "invalid", field=name)
        for value in ("%ff", "%ED%A0%80", "'", "%25", "x" * 10_000, "%F0%9F%92%A9"):
            response = await office.admin.call("GET", f"{office.path(path)}?{name}={value}")
            assert response.status_code in (200, 400, 404)


async def test_a_thousand_query_parameters_are_refused(office: Office) -> None:
    path = office.path("/v1/services/{service}/chats")
    for query in (
        "&".join(f"key{number}=1" for number in range(1_000)),
        "&".join("limit=5" for _ in range(1_000)),
        "limit=5&limit=6",
    ):
        assert_problem(await office.admin.call("GET", f"{path}?{query}"), 400, "invalid")


async def test_a_header_of_64_kibibytes_is_survived(office: Office) -> None:
    long = "x" * 64 * 1024
    for name in ("X-Long", "Accept-Language", "Cookie", "Accept", "User-Agent"):
        response = await office.admin.call("GET", "/v1/me", headers={name: long})
        assert response.status_code in (200, 431)
    for name in ("Trunkline-Min-Position", "Idempotency-Key"):
        response = await office.admin.call(
            "POST" if name == "Idempotency-Key" else "GET",
            office.path("/v1/services/{service}/visit")
            if name == "Idempotency-Key"
            else "/v1/channels",
            headers={name: long},
        )
        assert_problem(response, 400, "invalid", field=name)
