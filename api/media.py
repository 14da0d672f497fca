"""Files: POST and GET /v1/media; GET /media/{token} for platforms that fetch them (C9, S4).

Both GETs answer HEAD and single ranges too: a player asks for a video piece by piece.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import HttpMethod, Request, Response, post, route
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromPath
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK, HTTP_206_PARTIAL_CONTENT

from api import links
from api.answers import answer, known_id
from api.authentication import Principal, actor_of
from api.chats import INBOX, MEDIA, viewer_of
from api.commands.attachments import file_in
from api.commands.media import MediaFiles
from api.forms import BODY_BYTES_MAX, FIELD, file_of
from api.media_view import ids_in
from api.parts import Part
from api.problems import NoSuchRange
from api.ranges import asked_for
from api.reading import Reading
from api.views import VisibleMessage, message_view
from domain.chat_events import ReplyRequested
from domain.file_types import agreed, is_still, kind_of
from domain.inbound import Content
from domain.media import StoredFile, require_may_upload
from domain.media_ports import FileGone
from domain.organisation import may_view
from domain.ports import Clock, Directory, Keys, Org, Unreadable
from domain.refusal import NotFound, Refusal, WrongFile
from projections import media as files
from projections.engine.projection import Connection
from projections.engine.sealed_parts import SealedPart
from projections.inbox import queries as inbox
from projections.media import Use

AnyRequest = Request[Any, Any, Any]
NO_SUCH_FILE = "There is no such file in this organisation."

READING = [HttpMethod.GET, HttpMethod.HEAD]

# Each file is answered with its own type.
ANYTHING = "*/*"

# Whatever is in a file, a browser that is given it is to do nothing with it but save it.
HARMLESS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-store",
}


class UploadedView(msgspec.Struct, kw_only=True):
    """A file that can be sent now."""

    media_id: str
    kind: str
    bytes: int


@dataclass
class UploadOperation(Operation):
    """The body is a form, which we read ourselves."""

    def __post_init__(self) -> None:
        """Say what the form holds."""
        file = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        form = Schema(
            type=OpenAPIType.OBJECT,
            properties={FIELD: file},
            required=[FIELD],
            additional_properties=False,
        )
        content = {"multipart/form-data": OpenAPIMediaType(schema=form)}
        self.request_body = RequestBody(content=content, required=True)


@dataclass
class DownloadOperation(Operation):
    """The answer may be a part, if a part is asked for."""

    def __post_init__(self) -> None:
        """Say how one asks, and what is answered."""
        text = Schema(type=OpenAPIType.STRING)
        asks = Parameter(
            name="Range",
            param_in="header",
            schema=text,
            description="`bytes=first-last`, `bytes=first-` or `bytes=-count`; others are ignored.",
        )
        self.parameters = [*(self.parameters or []), asks]
        assert self.responses is not None
        content = {ANYTHING: OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))}
        self.responses["206"] = OpenAPIResponse(description="Partial Content", content=content)


@post(
    "/v1/media",
    opt={"form": True},
    operation_class=UploadOperation,
    request_max_body_size=BODY_BYTES_MAX,
)
async def post_media(
    request: AnyRequest, principal: Part[Principal], media: Part[MediaFiles]
) -> Response[UploadedView]:
    """Put a file here, to be sent within 24 hours by whoever put it here. Spec C9.

    What it is is told by its first bytes; a file that calls itself something else is refused.
    """
    principal.require_scope("reply")
    require_may_upload(principal.organisation, principal.user_id)
    form = await file_of(request)
    mime_type = agreed(form.mime_type, form.head)
    if mime_type is None:
        raise WrongFile(f"The file is not what it is called ({form.mime_type}).")
    file = await media.keep(
        principal.keys,
        form.chunks,
        mime_type=mime_type,
        kind=kind_of(mime_type),
        name=form.name,
        is_still=is_still(form.head),
    )
    try:
        body = f"{file.sha256} {file.mime_type} {file.name}"
        actor = await actor_of(request, principal, scope="reply", status=201, body=body)
    except Refusal:
        await media.store.remove(principal.keys.org, file.address)
        raise
    outcome = await media.upload(actor, file)
    view = UploadedView(media_id=outcome.ids["media"], kind=file.kind, bytes=file.byte_count)
    return answer(view, outcome, status=201)


@route(
    "/v1/media/{media_id:str}",
    http_method=READING,
    media_type=ANYTHING,
    opt={"refusals": (416,)},
    operation_class=DownloadOperation,
)
async def get_media(
    request: AnyRequest,
    media_id: FromPath[str],
    principal: Part[Principal],
    media: Part[MediaFiles],
    reading: Part[Reading],
    clock: Part[Clock],
) -> Stream:
    """A file of a message that the caller may see; or one's own, until it is sent. Spec S4.

    Of any other nobody is told whether it is there. HEAD answers the same without the file.
    """
    known = known_id(media_id)
    async with reading.of(request, principal, INBOX, MEDIA) as connection:
        part = await _file_for(connection, principal, known, clock)
    file = _opened(principal.keys, part) if part is not None else None
    if file is None:
        raise NotFound(NO_SUCH_FILE)
    disposition = _attachment(file.name or f"{media_id}{_ending(file.mime_type)}")
    more = {"Content-Disposition": disposition}
    return await _streamed(request, media, principal.keys.org, file, more)


@route(
    "/media/{token:str}",
    http_method=READING,
    media_type=ANYTHING,
    opt={"raw_body": True, "refusals": (404, 416, 503)},
    operation_class=DownloadOperation,
)
async def get_linked_media(
    request: AnyRequest,
    token: FromPath[str],
    media: Part[MediaFiles],
    reading: Part[Reading],
    directory: Part[Directory],
    clock: Part[Clock],
) -> Stream:
    """The file of one message, for the platform that was given this address to fetch it.

    HEAD answers the same without the file.
    """
    said = links.read(token)
    org = await directory.organisation(said[0].organization_id) if said else None
    if said is None or org is None:
        raise NotFound(NO_SUCH_FILE)
    linked, proof = said
    keys = await directory.keys(org.number)
    if not links.is_ours(keys, linked, proof, now=clock.now()):
        raise NotFound(NO_SUCH_FILE)
    async with reading.now(org.number) as connection:
        use = await files.file_of(
            connection, org=org.number, chat_id=linked.chat_id, message_id=linked.message_id
        )
    file = _opened(keys, use.file) if use is not None else None
    if file is None:
        raise NotFound(NO_SUCH_FILE)
    return await _streamed(request, media, org, file, {})


async def _file_for(
    connection: Connection, principal: Principal, media_id: str, clock: Clock
) -> SealedPart | None:
    """The sealed file, if the caller is shown a message that it stands in."""
    org = principal.keys.org.number
    uses = await files.uses(connection, org=org, media_id=media_id)
    for use in uses:
        if await _is_shown(connection, principal, use, media_id, clock):
            return use.file
    icon = await files.icon(connection, org=org, media_id=media_id)
    if icon is not None:  # Whoever belongs to the org may look at its channels.
        return icon
    if uses:
        return None
    upload = await files.upload(connection, org=org, media_id=media_id)
    if upload is None or upload.user_id != principal.user_id or clock.now() >= upload.expires_at:
        return None
    return upload.file


async def _is_shown(
    connection: Connection, principal: Principal, use: Use, media_id: str, clock: Clock
) -> bool:
    """Whether one of the caller's services is shown this file: the very view of it is made."""
    organisation, org = principal.organisation, principal.keys.org.number
    for service in organisation.services:
        if not may_view(organisation, principal.user_id, service):
            continue
        chat = await inbox.chat(connection, org=org, service=service, chat_id=use.chat_id)
        if chat is None or not chat.connected:
            continue
        row = await inbox.message(
            connection, org=org, chat_id=use.chat_id, view=chat.view, message_id=use.message_id
        )
        if row is None:
            continue
        shown = message_view(row, viewer_of(principal, service, clock), profiles={})
        if isinstance(shown, VisibleMessage) and media_id in ids_in(shown.content.get("media", {})):
            return True
    return False


def _opened(keys: Keys, part: SealedPart) -> StoredFile | None:
    try:
        data = keys.open(
            part.sealed, stream=part.stream, stored_type=part.type, wrapped=part.wrapped
        )
    except Unreadable:
        return None  # Erased, or nobody sent it in time (E4).
    if part.type == ReplyRequested.stored_type:
        return file_in(msgspec.json.decode(data, type=Content))
    return msgspec.json.decode(data, type=StoredFile)


async def _streamed(
    request: AnyRequest, media: MediaFiles, org: Org, file: StoredFile, headers: dict[str, str]
) -> Stream:
    part = _part_of(request, file)
    if part is not None and not part:
        raise NoSuchRange(byte_count=file.byte_count)
    sent = range(file.byte_count) if part is None else part
    chunks = media.store.read(org, file, start=sent.start, end=sent.stop)
    try:
        first = await anext(chunks)
    except FileGone as error:
        raise NotFound("The file is not in the store any more.") from error
    about = {
        "Content-Length": str(len(sent)),
        "Content-Type": file.mime_type,
        "Accept-Ranges": "bytes",
        "ETag": _tag(file),
    }
    if part is not None:
        about["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.byte_count}"
    return Stream(
        _after(first, chunks),
        status_code=HTTP_200_OK if part is None else HTTP_206_PARTIAL_CONTENT,
        headers=HARMLESS | about | headers,
    )


def _part_of(request: AnyRequest, file: StoredFile) -> range | None:
    """The bytes that are asked for; None: all of them. Nobody is to join parts of two files."""
    is_of_another = request.headers.get("if-range", _tag(file)) != _tag(file)
    if request.method != HttpMethod.GET or is_of_another:
        return None
    return asked_for(request.headers.get("range"), byte_count=file.byte_count)


def _tag(file: StoredFile) -> str:
    """What is under one address never changes."""
    return f'"{file.sha256}"'


async def _after(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


def _attachment(name: str) -> str:
    """RFC 6266: the name in UTF-8, percent-encoded."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def _ending(mime_type: str) -> str:
    """What a nameless file is called at its end."""
    subtype = mime_type.partition("/")[2]
    return f".{subtype}" if subtype.isalnum() else ""


HANDLERS = (post_media, get_media, get_linked_media)
