"""The OpenAPI document is true (E1): what it says is so, and what is so it says.

Every answer that any test here gets is held against it (`OpenApiCheck`); that this finds what is
wrong, and that it meets every operation, is shown here.
"""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.api.conftest import VERIFY_TOKEN, Trunkline
from tests.api.openapi_check import OpenApiCheck
from tests.api.operations import (
    NOBODYS_ID,
    Office,
    from_elsewhere,
    is_public,
    office_of,
    operations,
)
from tests.api.problems import assert_problem
from tests.api.test_roles import PREPARATIONS

Json = dict[str, Any]

# POSTs that write nothing.
ONLY_READ = ("/replay", "/quotes")


@pytest.fixture(scope="module")
async def office(trunkline: Trunkline) -> Office:
    return await office_of(trunkline, "crm", "desk")


@pytest.fixture
def document(trunkline: Trunkline) -> Json:
    return trunkline.openapi.document


def operations_of(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_operations_have_names_of_their_own(document: Json) -> None:
    names = [operation["operationId"] for _, _, operation in operations_of(document)]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch("[a-z][a-z_]+", name)] == []


def test_every_operation_says_what_it_is_for(document: Json) -> None:
    told = {path: operation.get("description") for _, path, operation in operations_of(document)}
    assert [path for path, text in told.items() if not text] == []


def test_every_reference_leads_somewhere_and_every_schema_is_one(document: Json) -> None:
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        found = document
        for part in reference.split("/"):
            found = found[part]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_parameters_of_a_path_stand_in_it_and_no_parameter_twice(document: Json) -> None:
    for _, path, operation in operations_of(document):
        named = [(each["in"], each["name"]) for each in operation["parameters"]]
        assert len(named) == len(set(named)), path
        in_path = {name for place, name in named if place == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))


async def test_an_operation_needs_a_key_exactly_where_the_document_says_so(
    office: Office, document: Json
) -> None:
    assert document["components"]["securitySchemes"] == {
        "api_key": {"type": "http", "scheme": "bearer"}
    }
    for method, path, operation in operations_of(document):
        assert operation["security"] == ([] if is_public(path) else [{"api_key": []}]), path
        async with from_elsewhere(office.trunkline) as elsewhere:
            answered = await elsewhere.request(method, office.path(path))
        if is_public(path):
            assert answered.json()["code"] != "unauthenticated" if answered.is_error else True
        else:
            assert_problem(answered, 401, "unauthenticated")


def test_every_write_takes_an_idempotency_key_and_every_read_a_position(document: Json) -> None:
    for method, path, operation in operations_of(document):
        headers = {each["name"] for each in operation["parameters"] if each["in"] == "header"}
        is_write = method != "GET" and not path.endswith(ONLY_READ)
        assert ("Idempotency-Key" in headers) == (is_write and not is_public(path)), path
        assert ("Trunkline-Min-Position" in headers) == (not is_write and not is_public(path)), path


def test_bodies_are_closed_and_lists_bounded_as_they_are(document: Json) -> None:
    for method, path, operation in operations_of(document):
        for each in operation["parameters"]:
            if each["name"] == "limit" and path != "/v1/events":
                assert each["schema"] == {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 200,
                    "default": 50,
                }
        for content in operation.get("requestBody", {}).get("content", {}).values():
            named = re.findall(r"#/components/schemas/(\w+)", json.dumps(content["schema"]))
            schemas = [document["components"]["schemas"][name] for name in named]
            for schema in schemas or [content["schema"]]:
                assert schema["additionalProperties"] is False, (method, path)


async def test_a_body_is_needed_exactly_where_the_document_says_so(
    office: Office, document: Json
) -> None:
    """A POST without a body needs no Content-Type."""
    for method, template, operation in operations_of(document):
        if "requestBody" in operation and not is_public(template):
            response = await office.admin.call(method, office.path(template, message_id=NOBODYS_ID))
            is_missed = response.status_code in (400, 415)
            assert is_missed == operation["requestBody"]["required"], template


async def test_every_operation_answers_what_it_promises(office: Office, document: Json) -> None:
    """Each answer is checked by `OpenApiCheck` as it comes; none may be left out."""
    openapi = office.trunkline.openapi
    for method, template in await operations(office.admin.http):
        operation = f"{method} {template}"
        names = await PREPARATIONS[operation](office) if operation in PREPARATIONS else {}
        path, query = office.path(template, **names), office.query(method, template)
        body = office.arguments(method, template, **names)
        await office.admin.call(method, path, params=query, **body)
    await office.admin.connect("crm", office.trunkline.account())
    part = {"Range": "bytes=0-0"}
    await office.admin.call("GET", office.path("/v1/media/{media_id}"), headers=part)
    promised = {
        (method, path, int(status))
        for method, path, operation in operations_of(document)
        for status in operation["responses"]
        if status.startswith("2") and not path.startswith(("/webhooks/", "/media/"))
    }
    assert promised - openapi.seen == set()


async def test_webhooks_answer_what_they_promise(office: Office) -> None:
    """The other platforms' are held to their adapters' tests."""
    openapi = office.trunkline.openapi
    await office.trunkline.deliver(b"{}")
    query = {"hub.mode": "subscribe", "hub.verify_token": VERIFY_TOKEN, "hub.challenge": "1"}
    await office.admin.http.get("/webhooks/whatsapp", params=query)
    assert {(method, "/webhooks/whatsapp", 200) for method in ("GET", "POST")} <= openapi.seen


# Controls: a document that is not true is found out.


def without_a_field(document: Json) -> None:
    del document["components"]["schemas"]["ServiceView"]["properties"]["masking"]


def with_another_type(document: Json) -> None:
    services = document["components"]["schemas"]["ServiceView"]["properties"]
    services["reply_requires_ownership"] = {"type": "integer"}


def with_a_field_that_is_not_there(document: Json) -> None:
    document["components"]["schemas"]["ServiceView"]["required"].append("colour")


def without_the_status(document: Json) -> None:
    responses = document["paths"]["/v1/services"]["get"]["responses"]
    responses["201"] = responses.pop("200")


def with_another_media_type(document: Json) -> None:
    answer = document["paths"]["/v1/services"]["get"]["responses"]["200"]
    answer["content"] = {"text/plain": {"schema": {"type": "string"}}}


def with_a_header_that_is_not_there(document: Json) -> None:
    answer = document["paths"]["/v1/services"]["get"]["responses"]["200"]
    answer["headers"] = {"Colour": {"required": True, "schema": {"type": "string"}}}


def without_the_operation(document: Json) -> None:
    del document["paths"]["/v1/services"]


@pytest.mark.parametrize(
    "spoil",
    [
        without_a_field,
        with_another_type,
        with_a_field_that_is_not_there,
        without_the_status,
        with_another_media_type,
        with_a_header_that_is_not_there,
        without_the_operation,
    ],
)
async def test_a_document_that_is_not_true_is_found_out(
    office: Office, document: Json, spoil: Any
) -> None:
    answer = await office.admin.call("GET", "/v1/services", expect=200)
    spoiled = deepcopy(document)
    await OpenApiCheck(spoiled).check(answer)
    spoil(spoiled)
    with pytest.raises(AssertionError):
        await OpenApiCheck(spoiled).check(answer)


async def test_a_time_without_its_z_is_found_out(office: Office, document: Json) -> None:
    answer = await office.admin.call("GET", "/v1/api-keys", expect=200)
    spoiled = httpx.Response(
        200,
        headers=answer.headers,
        text=re.sub(r'(\d)Z"', r'\1+00:00"', answer.text),
        request=answer.request,
    )
    with pytest.raises(AssertionError):
        await OpenApiCheck(document).check(spoiled)
