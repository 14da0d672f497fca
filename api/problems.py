"""Every error becomes RFC 9457 problem details. Refusals bring their code; a status is ours."""

import logging
import re
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from api.choices import choices
from api.members import ANY_MEMBER, name_members
from domain.media_ports import StoreAway
from domain.ports import Unavailable
from domain.refusal import Invalid, Refusal

TYPE_BASE = "https://trunkline.dev/problems/"
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1

# 409 is the default: a refusal is mostly a conflict with what is already so.
STATUS_CODES = {
    "invalid": 400,
    "unauthenticated": 401,
    "webhook_refused": 401,
    "insufficient_credits": 402,
    "forbidden": 403,
    "view_only": 403,
    "not_owner": 403,
    "not_parent": 403,
    "not_found": 404,
    "not_connected": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "wrong_media": 415,
    "range_not_satisfiable": 416,
    "idempotency_key_reused": 422,
    "service_not_eligible": 422,
    "parameter_missing": 422,
    "too_many_requests": 429,
    "internal": 500,
    "unavailable": 503,
    "behind": 503,
}
CODES_BY_STATUS = {
    400: "invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "wrong_media",
    429: "too_many_requests",
    503: "unavailable",
}

# What the framework says, for want of a type, of a client that was gone before its body had come.
HUNG_UP = "client disconnected prematurely"

logger = logging.getLogger(__name__)


class Unauthenticated(Refusal):
    """The API key is missing or not valid. Send it as `Authorization: Bearer <api key>`."""

    code = "unauthenticated"


class WebhookRefused(Refusal):
    """This delivery is not authentic."""

    code = "webhook_refused"


class TooManyRequests(Refusal):
    """Too many requests; wait for as long as Retry-After says."""

    code = "too_many_requests"

    def __init__(self, detail: str | None = None, *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class TooLarge(Refusal):
    """The body is larger than what is taken here."""

    code = "too_large"


class WrongMedia(Refusal):
    """The body must be application/json."""

    code = "wrong_media"


class NoSuchRange(Refusal):
    """The file has none of the bytes that were asked for; Content-Range says how many it has."""

    code = "range_not_satisfiable"

    def __init__(self, *, byte_count: int) -> None:
        super().__init__()
        self.byte_count = byte_count


class Behind(Refusal):
    """What is read has not yet reached the position you asked for; try again in a moment."""

    code = "behind"


def problem(
    code: str,
    detail: str,
    *,
    facts: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Response[bytes]:
    """A problem+json answer."""
    status = STATUS_CODES.get(code, 409)
    body = {
        "type": f"{TYPE_BASE}{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        **(facts or {}),
    }
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def refused(_: Request[Any, Any, Any], refusal: Refusal) -> Response[bytes]:
    """A refusal with its facts."""
    headers = {}
    if STATUS_CODES.get(refusal.code) in (429, 503):
        seconds = getattr(refusal, "retry_after", RETRY_AFTER_SECONDS)
        headers["Retry-After"] = str(seconds)
    if isinstance(refusal, NoSuchRange):
        headers["Content-Range"] = f"bytes */{refusal.byte_count}"
    if isinstance(refusal, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return problem(refusal.code, refusal.detail, facts=refusal.facts, headers=headers)


def unavailable(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The database is away. What was acknowledged is safe; the rest may be sent again."""
    reason = str(error).partition("\n")[0]  # Behind it are the server's hints.
    logger.warning("The database is away: %s", reason, extra={"path": request.url.path})
    return problem(
        "unavailable",
        "The database cannot be reached. Try again in a moment.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def store_away(request: Request[Any, Any, Any], error: StoreAway) -> Response[bytes]:
    """The files are away; all else goes on."""
    logger.warning("The store of files is away: %s", error, extra={"path": request.url.path})
    return problem(
        "unavailable",
        "The store of files cannot be reached. Try again in a moment.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework refuses: unknown paths, methods, parameters."""
    if error.detail == HUNG_UP:
        return problem("invalid", "The body ended early.")  # Nobody hears it, and nobody need.
    if error.status_code >= 500:
        return internal_error(request, error)
    code = CODES_BY_STATUS.get(error.status_code, "invalid")
    if code == "invalid":
        return refused(request, _from_framework(error))
    return problem(code, error.detail, headers=error.headers)


def _from_framework(error: HTTPException) -> Refusal:
    extra = error.extra
    if isinstance(extra, list) and extra and isinstance(extra[0], dict):
        found = extra[0]
        return Invalid(str(found.get("key", "request")), str(found.get("message", "is not valid")))
    return Invalid("request", error.detail)


def internal_error(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
    """Our own mistake: nothing of it goes out."""
    logger.exception("A request failed", extra={"path": request.url.path})
    return problem("internal", "Internal error; it has been logged.")


# How msgspec begins to say that a value is none of those there are, without saying which.
NOT_A_CHOICE = "Invalid enum value"

_PLACE = re.compile(r"^(?P<message>.*?)(?: - at `(?P<place>[^`]*)`)?$", re.DOTALL)


def invalid_field(error: msgspec.ValidationError, body_type: Any, body: bytes) -> Invalid:
    """msgspec's message, as the field that is at fault and what is wrong with it."""
    found = _PLACE.match(str(error))
    assert found is not None
    place = (found["place"] or "$").removeprefix("$").lstrip(".")
    unknown = re.search(r"unknown field `([^`]*)`", found["message"])
    missing = re.search(r"missing required field `([^`]*)`", found["message"])
    named = unknown or missing
    if named:
        place = f"{place}.{named[1]}".lstrip(".")
    values = choices(body_type, place) if found["message"].startswith(NOT_A_CHOICE) else None
    message = f"must be one of {', '.join(values)}" if values else found["message"]
    if ANY_MEMBER in place:
        place = name_members(error, place, body_type, body)
    return Invalid(place or "body", message)


EXCEPTION_HANDLERS: dict[type[Exception] | int, Any] = {
    Refusal: refused,
    Unavailable: unavailable,
    OperationalError: unavailable,
    PoolTimeout: unavailable,
    StoreAway: store_away,
    HTTPException: http_error,
    Exception: internal_error,
}
