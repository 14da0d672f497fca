"""The OpenAPI document: what handlers say of themselves, and what holds for all of them."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from http import HTTPStatus
from typing import Any

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig

from api.answers import MIN_POSITION_HEADER, POSITION_HEADER
from api.authentication import IDEMPOTENCY_KEY_HEADER, IDEMPOTENCY_KEY_LENGTH_MAX
from api.handlers import is_write, takes
from api.problems import MEDIA_TYPE

Json = dict[str, Any]

SCHEMAS = "#/components/schemas/"
RESPONSES = "#/components/responses/"
KEY_SCHEME = "api_key"

_POSITION = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}

# The shape of every refusal; a code may bring facts of its own.
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "pattern": "^[a-z][a-z_]*$"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": True,
}

_IDEMPOTENCY_KEY = {
    "name": IDEMPOTENCY_KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "The same request with the same key again changes nothing.",
    "schema": {
        "type": "string",
        "pattern": f"^[!-~]{{1,{IDEMPOTENCY_KEY_LENGTH_MAX}}}$",
    },
}
_MIN_POSITION = {
    "name": MIN_POSITION_HEADER,
    "in": "header",
    "required": False,
    "description": "The answer shows at least this position, or is 503.",
    "schema": _POSITION,
}
_REFUSALS = (400, 401, 402, 403, 404, 409, 413, 415, 416, 422, 429, 503)
_HEADERS: dict[int, Json] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    416: {"Content-Range": {"required": True, "schema": {"type": "string"}}},
    429: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
    503: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
}


def openapi_document(handlers: Sequence[HTTPRouteHandler], dependencies: Mapping[str, Any]) -> Json:
    """What these handlers take and answer.

    The framework finds it out in an application of its own, so that the one that serves has none
    of the pages that the framework would add.
    """
    app = Litestar(
        handlers,
        dependencies=dependencies,
        openapi_config=OpenAPIConfig(
            title="Trunkline",
            version="1",
            use_handler_docstrings=True,
            operation_id_creator=lambda handler, method, _: f"{method}_{handler.handler_name}",
        ),
        logging_config=None,
    )
    document: Json = deepcopy(app.openapi_schema.to_schema())
    by_name = {handler.handler_name: handler for handler in handlers}
    for path, methods in document["paths"].items():
        methods.pop("head", None)  # What there is to say of it, its GET says.
        for operation in methods.values():
            operation["operationId"] = operation["operationId"].partition("_")[2]
            _complete(operation, path, by_name[operation["operationId"]])
    _close_bodies(document)
    components = document["components"]
    components["schemas"]["Problem"] = _PROBLEM
    components["responses"] = {_name(status): _refusal(status) for status in _REFUSALS}
    components["securitySchemes"] = {KEY_SCHEME: {"type": "http", "scheme": "bearer"}}
    return document


def _complete(operation: Json, path: str, handler: HTTPRouteHandler) -> None:
    """Add what the framework does not know: keys, headers, refusals."""
    has_principal = takes(handler, "principal")
    operation["security"] = [{KEY_SCHEME: []}] if has_principal else []
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        parameter["schema"] = _without_null(parameter["schema"])
    if takes(handler, "data"):
        body = handler.parsed_fn_signature.parameters["data"]
        operation["requestBody"]["required"] = not body.is_optional
    if is_write(handler):
        parameters.append(_IDEMPOTENCY_KEY)
        for status, answer in operation["responses"].items():
            if status.startswith("2"):
                answer["headers"] = {POSITION_HEADER: {"required": True, "schema": _POSITION}}
    elif has_principal:
        parameters.append(_MIN_POSITION)
    operation["responses"].pop("400", None)  # Of the framework's own form.
    for status in sorted(_refusals(operation, path, handler)):
        operation["responses"][str(status)] = {"$ref": f"{RESPONSES}{_name(status)}"}


def _refusal(status: int) -> Json:
    refusal: Json = {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"{SCHEMAS}Problem"}}},
    }
    return refusal | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


def _refusals(operation: Json, path: str, handler: HTTPRouteHandler) -> set[int]:
    """The statuses of the problems that may be answered; 405 and 500 belong to no operation."""
    statuses = set(handler.opt.get("refusals", ()))
    if takes(handler, "principal"):
        statuses |= {400, 401, 403, 413, 429, 503}
    if takes(handler, "principal") and ("{" in path or "requestBody" in operation):
        statuses.add(404)
    if "requestBody" in operation:
        statuses.add(415)
    if is_write(handler):
        statuses |= {409, 422}
    return statuses


def _without_null(schema: Json) -> Json:
    """A parameter is there or not; it is never null."""
    if isinstance(schema.get("type"), list):
        schema["type"] = next(each for each in schema["type"] if each != "null")
        schema["enum"] = [each for each in schema["enum"] if each is not None]
    if "oneOf" in schema:
        (schema,) = [each for each in schema["oneOf"] if each.get("type") != "null"]
    return schema


def _close_bodies(document: Json) -> None:
    """Unknown fields in a request are refused, so the schemas of bodies say so."""
    schemas = document["components"]["schemas"]
    bodies = [
        operation["requestBody"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    waiting, closed = list(_references(bodies)), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in closed:
            closed.add(name)
            schemas[name]["additionalProperties"] = False
            waiting += _references(schemas[name])


def _references(value: Any) -> Iterator[str]:
    match value:
        case {"$ref": str(reference)}:
            yield reference.removeprefix(SCHEMAS)
        case dict():
            for each in value.values():
                yield from _references(each)
        case list():
            for each in value:
                yield from _references(each)
