"""Answers to writes and lists: position headers, cursors, ids that come from outside."""

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from litestar import Request, Response
from litestar.params import QueryParameter
from litestar.types import Message, Scope

from api.commands.execute import Outcome
from domain.identifiers import ID_LENGTH
from domain.refusal import Invalid, NotFound

POSITION_HEADER = "Trunkline-Position"
MIN_POSITION_HEADER = "Trunkline-Min-Position"
PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200
POSITION_MAX = 2**63 - 1
POSITION_DIGITS_MAX = 19
PATH_DIGITS = 8  # Of its digest, in a cursor.

NOT_KEPT = (b"cache-control", b"no-store")

Item = TypeVar("Item")
Body = TypeVar("Body")


@dataclass
class Listing(Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next_cursor: str | None = None


class Page(msgspec.Struct, frozen=True):
    """Which page of a list is asked for: a size, and an opaque cursor of that list alone."""

    limit: int
    cursor: str | None
    path: str  # The list's.

    def after(self, *types: Any) -> tuple[Any, ...] | None:
        """What the cursor holds, as these types; None for the first page. Raises Invalid."""
        if self.cursor is None:
            return None
        try:
            data = base64.urlsafe_b64decode(self.cursor.encode() + b"==")
            of, *values = msgspec.json.decode(data, type=tuple[str, *types])  # type: ignore[valid-type]
        except (ValueError, msgspec.MsgspecError) as error:
            raise Invalid("cursor", "is not one of ours") from error
        if not all(map(_can_be_stored, values)):
            raise Invalid("cursor", "is not one of ours")
        if of != self._of:
            raise Invalid("cursor", "is another list's")
        return tuple(values)

    def cursor_of(self, *values: Any) -> str:
        """An opaque cursor that `after` reads, for the same list."""
        data = msgspec.json.encode((self._of, *values))
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    @property
    def _of(self) -> str:
        return hashlib.sha256(self.path.encode()).hexdigest()[:PATH_DIGITS]


def _can_be_stored(value: Any) -> bool:
    """Whether a database can compare with it; what we made ourselves always can be."""
    match value:
        case str():
            return "\0" not in value
        case int():
            return abs(value) <= POSITION_MAX
        case datetime():
            return value.tzinfo is not None
        case _:
            return True


def page(
    request: Request[Any, Any, Any],
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_SIZE_MAX)] = PAGE_SIZE_DEFAULT,
    cursor: Annotated[str | None, QueryParameter()] = None,
) -> Page:
    """The dependency of every list."""
    return Page(limit, cursor, request.url.path)


def min_position(request: Request[Any, Any, Any]) -> int:
    """The position that the answer to a read has to show at least. Raises Invalid."""
    values = request.headers.getall(MIN_POSITION_HEADER, ["0"])
    position = position_in(values[0]) if len(values) == 1 else None
    if position is None:
        raise Invalid(MIN_POSITION_HEADER, "must be given once, as a whole number from 0")
    return position


def position_in(text: str) -> int | None:
    """The position that a header names; None if that is none."""
    is_number = text.isascii() and text.isdigit() and len(text) <= POSITION_DIGITS_MAX
    return int(text) if is_number and int(text) <= POSITION_MAX else None


def answer(body: Body, outcome: Outcome[Any], *, status: int = 200) -> Response[Body]:
    """The answer to a write, with the position it produced."""
    headers = {POSITION_HEADER: str(outcome.position)}
    return Response(body, status_code=status, headers=headers)


def read_answer(body: Body, position: int) -> Response[Body]:
    """The answer to a read, with the position it shows."""
    return Response(body, headers={POSITION_HEADER: str(position)})


_SLUG = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def slug(value: str, *, field: str) -> str:
    """The name of a service. Raises Invalid."""
    if not _SLUG.fullmatch(value):
        raise Invalid(field, "must be lower-case letters, digits, - and _, at most 63")
    return value


_ACCOUNT_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,100}")


def known_account(value: str) -> str:
    """A platform's id of an account from a path; anything else names none. Raises NotFound."""
    if not _ACCOUNT_ID.fullmatch(value):
        raise NotFound("There is no such account in this organisation.")
    return value


def known_id(value: str) -> str:
    """An id of ours from a path; anything else names nothing. Raises NotFound."""
    if len(value) != ID_LENGTH or not value.isascii() or not value.isalnum():
        raise NotFound("There is no such thing in this organisation.")
    return value


def utc(moment: datetime, *, field: str) -> datetime:
    """A time that names its zone, in UTC. Raises Invalid."""
    if moment.tzinfo is None:
        raise Invalid(field, "must say its time zone, as in 2026-11-21T12:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise Invalid(field, "lies too far away") from error


async def keep_nowhere(message: Message, _: Scope) -> None:
    """Answers speak of people: no cache on the way keeps one, unless its route says otherwise."""
    if message["type"] == "http.response.start":
        headers = list(message["headers"])
        if all(name.lower() != NOT_KEPT[0] for name, _ in headers):
            message["headers"] = [*headers, NOT_KEPT]
