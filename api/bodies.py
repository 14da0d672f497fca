"""Request bodies and queries, read strictly: what is unknown or of another type is refused.

Runs before a handler. The framework would turn "5" into 5, let the last of two equal keys win and
answer 500 to NUL characters, broken UTF-8 and deep nesting; clients get 400 with the field instead.
"""

import json
import math
import re
from datetime import datetime
from functools import cache
from typing import Any, Literal, get_args, get_origin

import msgspec
from litestar import Request
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.typing import FieldDefinition

from api.problems import TooLarge, WrongMedia, invalid_field
from domain.refusal import Invalid

BODY_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 32
INTEGER_LENGTH_MAX = 40

# At the end of a pattern: `$` alone lets a line end pass.
END = r"$(?!\n)"

_SURROGATE = re.compile("[\ud800-\udfff]")

# What the framework would take for a number or a time too: 5.0, 1e1, and 5 for 1970.
_FORMS: dict[type, tuple[re.Pattern[str], str]] = {
    int: (re.compile(r"-?[0-9]+"), "must be a whole number"),
    datetime: (re.compile(r"[0-9]{4}-.+"), "must be a time such as 2026-11-21T12:00:00Z"),
}


async def check_request(request: Request[Any, Any, Any]) -> None:
    """Refuse what a handler would misread. Raises Invalid, TooLarge, WrongMedia."""
    handler = request.route_handler
    if not isinstance(handler, HTTPRouteHandler) or handler.opt.get("raw_body"):
        return
    _check_query(request, handler)
    if handler.opt.get("form"):
        return  # Read as it comes, by the handler.
    body_type = _body_type(handler)
    body = await _body(request)
    if body_type is None:
        if body.strip() not in (b"", b"{}"):
            raise Invalid("body", "this request takes no body")
        return
    if not body and isinstance(None, body_type):
        return
    if request.content_type[0] != "application/json":
        raise WrongMedia
    try:
        _decoder(body_type).decode(_checked(body))
    except msgspec.ValidationError as error:
        raise invalid_field(error, body_type, body) from error
    except msgspec.DecodeError as error:
        raise Invalid("body", f"is not valid JSON: {error}") from error


async def _body(request: Request[Any, Any, Any]) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
        raise TooLarge
    body = await request.body()
    if len(body) > BODY_BYTES_MAX:
        raise TooLarge
    return body


def _checked(body: bytes) -> bytes:
    """The body, if it is one JSON text without traps. Raises Invalid."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_single, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise Invalid("body", "is not valid UTF-8") from error
    except ValueError as error:
        raise Invalid("body", f"is not valid JSON: {error}") from error
    except RecursionError as error:
        raise Invalid("body", f"is nested more than {DEPTH_MAX} levels deep") from error
    _require_harmless(value, "body", depth=0)
    return body


def _integer(text: str) -> int | float:
    """Python refuses integers of more than 4,300 digits; so long before that do we."""
    return int(text) if len(text) <= INTEGER_LENGTH_MAX else math.inf


def _single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(twice, "stands twice in the same object")
    return members


def _require_harmless(value: Any, place: str, *, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise Invalid("body", f"is nested more than {DEPTH_MAX} levels deep")
    if isinstance(value, str):
        if "\0" in value:
            raise Invalid(place, "must not contain NUL characters")
        if not value.isascii() and _SURROGATE.search(value):
            raise Invalid(place, "must not contain half of a surrogate pair")
    elif isinstance(value, float) and not math.isfinite(value):
        raise Invalid(place, "must be a number within range")
    elif isinstance(value, dict):
        for name, member in value.items():
            _require_harmless(name, place, depth=depth + 1)
            _require_harmless(member, name if depth == 0 else f"{place}.{name}", depth=depth + 1)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            _require_harmless(member, f"{place}[{index}]", depth=depth + 1)


@cache
def _decoder(body_type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(body_type, strict=True)


@cache
def _body_type(handler: HTTPRouteHandler) -> Any:
    data = handler.parsed_fn_signature.parameters.get("data")
    return data.annotation if data is not None else None


def _check_query(request: Request[Any, Any, Any], handler: HTTPRouteHandler) -> None:
    allowed = _query_forms(handler)
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in allowed:
            raise Invalid(name, "is not a parameter of this request")
        if name in seen:
            raise Invalid(name, "stands twice")
        if "\0" in value:
            raise Invalid(name, "must not contain NUL characters")
        form = allowed[name]
        if form is not None and not form[0].fullmatch(value):
            raise Invalid(name, form[1])
        seen.add(name)


@cache
def _query_forms(handler: HTTPRouteHandler) -> dict[str, tuple[re.Pattern[str], str] | None]:
    """The query parameters of a handler and of the dependencies it takes, with their form."""
    own = handler.parsed_fn_signature.parameters
    providers = handler.resolve_dependencies()
    signatures = [own, *(_parameters(providers[name]) for name in own if name in providers)]
    return {
        parameter.kwarg_definition.name or name: _form(parameter)
        for parameters in signatures
        for name, parameter in parameters.items()
        if isinstance(parameter.kwarg_definition, QueryParameter)
    }


def _form(parameter: FieldDefinition) -> tuple[re.Pattern[str], str] | None:
    types = (parameter.annotation, *get_args(parameter.annotation))
    names = [name for each in types if get_origin(each) is Literal for name in get_args(each)]
    if names:  # The framework would take the text null for nothing at all.
        return re.compile("|".join(map(re.escape, names))), f"must be one of {', '.join(names)}"
    return next((_FORMS[each] for each in types if each in _FORMS), None)


def _parameters(provider: Provide) -> dict[str, FieldDefinition]:
    return provider.parsed_fn_signature.parameters
