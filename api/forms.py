"""A form with one file, read as it comes: what is sent is never held whole, nor put on a disk."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from litestar import Request
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from api.problems import TooLarge, WrongMedia
from domain.file_types import with_head
from domain.media import FILE_BYTES_MAX, NAME_LENGTH_MAX
from domain.refusal import Invalid

# What stands around the file: boundaries, headers of the part.
AROUND_BYTES_MAX = 16 << 10
BODY_BYTES_MAX = FILE_BYTES_MAX + AROUND_BYTES_MAX
SILENCE_SECONDS = 30.0
FIELD = "file"

# Of a path the last part is a name; what ends a line or is not shown belongs to none.
_BEFORE_NAME = re.compile(r".*[/\\]", re.DOTALL)

# The head of a part, then bytes of its body, then None at its end.
Events = AsyncIterator[Any]


class FormFile(NamedTuple):
    """The file of a form. `chunks` are all of it; `head` is how they begin."""

    name: str | None
    mime_type: str | None
    head: bytes
    chunks: AsyncIterator[bytes]


async def file_of(request: Request[Any, Any, Any]) -> FormFile:
    """The file of a request's form. Raises Invalid, TooLarge, WrongMedia; so do its chunks."""
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get("boundary")
    if media_type != "multipart/form-data" or not boundary:
        raise WrongMedia("The body must be multipart/form-data.")
    events = _events(request, boundary)
    part = await anext(events, None)
    if not isinstance(part, MultipartSegment):
        raise Invalid(FIELD, "is missing")
    _require_file(part)
    head, chunks = await with_head(_content(events))
    if not head:
        raise Invalid(FIELD, "is empty")
    return FormFile(_plain(part.filename or ""), part.content_type, head, chunks)


def _require_file(part: MultipartSegment) -> None:
    if part.name != FIELD:
        raise Invalid(str(part.name)[:100], f"is not a field of this form; {FIELD} is the only one")
    if part.filename is None:
        raise Invalid(FIELD, "must be a file")


async def _events(request: Request[Any, Any, Any], boundary: str) -> Events:
    try:
        with PushMultipartParser(boundary, max_segment_count=2, strict=True) as parser:
            chunks = request.stream()
            while chunk := await _next(chunks):
                for event in parser.parse(chunk):
                    yield bytes(event) if isinstance(event, bytearray) else event
    except MultipartError as error:
        raise Invalid("body", f"is not a form: {error}") from error
    except (UnicodeError, LookupError) as error:
        raise Invalid("body", "is not a form in UTF-8") from error


async def _next(chunks: AsyncIterator[bytes]) -> bytes:
    """The next bytes that came; none at the end."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            async for chunk in chunks:
                if chunk:
                    return chunk
    except TimeoutError as error:
        raise Invalid("body", f"did not go on for {SILENCE_SECONDS:.0f} seconds") from error
    return b""


async def _content(events: Events) -> AsyncIterator[bytes]:
    byte_count = 0
    async for event in events:
        if event is None:
            break
        assert isinstance(event, bytes)
        byte_count += len(event)
        if byte_count > FILE_BYTES_MAX:
            raise TooLarge(f"A file has at most {FILE_BYTES_MAX} bytes.")
        yield event
    if await anext(events, None) is not None:
        raise Invalid("body", "must hold one file and nothing else")


def _plain(name: str) -> str | None:
    """The name without a path, and without what a name does not have."""
    last = _BEFORE_NAME.sub("", name)
    shown = "".join(each for each in last if each.isprintable()).strip(" .")
    return shown[:NAME_LENGTH_MAX] or None
