"""Timelines and writing: GET and POST messages, retry, discard; starting a chat."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody

from api.answers import POSITION_MAX, Listing, Page, answer, known_id, read_answer
from api.authentication import Principal, actor_of
from api.chats import INBOX, MEDIA, chat_row_of, require_shown, viewer_of
from api.commands.attachments import FileReply, LocationReply
from api.commands.canned import CannedReply
from api.commands.execute import Executor, Outcome
from api.commands.quoting import Quoted
from api.commands.replies import AnyReply, Replies, Start, TemplateReply, TextReply, Write
from api.names import Names
from api.notices import with_names
from api.parts import Part
from api.reading import Reading
from api.views import MaskedMessage, VisibleMessage, message_view, people_on
from domain.canned import shortcut_of
from domain.ports import Clock
from domain.refusal import AnsweredMeanwhile, Invalid, NotFound, NotOwner
from projections.engine.checkpoints import position as position_of
from projections.engine.projection import Connection
from projections.inbox import queries as inbox
from projections.inbox.rows import MessageCursor, MessageRow
from projections.masking import Masked, shown_to

AnyRequest = Request[Any, Any, Any]
MessageView = VisibleMessage | MaskedMessage

# The longest text that any platform takes, in characters.
TEXT_LENGTH_MAX = 5000

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class LocationBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A place on the map, in degrees."""

    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=300)] | None = None


# What belongs to which kind, beside what belongs to all.
_FIELDS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"text", "reply_to"}),
    "template": frozenset({"name", "language", "parameters"}),
    "canned": frozenset({"shortcut", "fields", "reply_to"}),
    "location": frozenset({"location", "reply_to"}),
    **dict.fromkeys(
        ("image", "audio", "video", "document", "sticker"),
        frozenset({"media_id", "caption", "reply_to"}),
    ),
}


class MessageBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`text` needs a text; `template` a name, a language and every parameter; `canned` a shortcut,
    and the fields that its text has and we do not know; `location` a place; all others the
    `media_id` of an uploaded file."""

    kind: Literal[
        "text",
        "template",
        "canned",
        "image",
        "audio",
        "video",
        "document",
        "sticker",
        "location",
    ]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_LENGTH_MAX)] | None = None
    name: Name | None = None
    language: Annotated[str, msgspec.Meta(min_length=2, max_length=15)] | None = None
    parameters: dict[str, Annotated[str, msgspec.Meta(max_length=1024)]] | None = None
    shortcut: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None
    fields: dict[str, Annotated[str, msgspec.Meta(max_length=1024)]] | None = None
    reply_to: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    media_id: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    caption: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_LENGTH_MAX)] | None = None
    location: LocationBody | None = None
    seen_position: Annotated[int, msgspec.Meta(ge=0, le=POSITION_MAX)] | None = None
    confirm: bool = False

    def message(self) -> AnyReply:
        """What is to be sent. Raises Invalid, NotFound."""
        self._refuse_others()
        match self.kind:
            case "text":
                return self._text()
            case "template":
                return self._template()
            case "canned":
                return self._canned()
            case "location":
                return self._location()
            case _:
                return self._file()

    def _text(self) -> TextReply:
        if self.text is None or not self.text.strip():
            raise Invalid("text", "must not be empty")
        return TextReply(text=self.text)

    def _template(self) -> TemplateReply:
        if self.name is None or self.language is None:
            missing = "name" if self.name is None else "language"
            raise Invalid(missing, "is needed for a template")
        return TemplateReply(
            name=self.name, language=self.language, parameters=self.parameters or {}
        )

    def _canned(self) -> CannedReply:
        if self.shortcut is None:
            raise Invalid("shortcut", "is needed for a canned reply")
        return CannedReply(shortcut=shortcut_of(self.shortcut), fields=self.fields or {})

    def _location(self) -> LocationReply:
        if self.location is None:
            raise Invalid("location", "is needed for a message of kind location")
        return LocationReply(**msgspec.structs.asdict(self.location))

    def _file(self) -> FileReply:
        if self.media_id is None:
            raise Invalid("media_id", f"is needed for a message of kind {self.kind}")
        return FileReply(kind=self.kind, media_id=known_id(self.media_id), caption=self.caption)

    def _refuse_others(self) -> None:
        for field in frozenset().union(*_FIELDS.values()) - _FIELDS[self.kind]:
            if getattr(self, field) is not None:
                raise Invalid(field, f"does not belong to a message of kind {self.kind}")


class StartBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Whom to write to, through which channel; `address` is a number such as +819012345678."""

    channel_id: str
    address: Annotated[str, msgspec.Meta(max_length=40)]
    message: MessageBody


@dataclass(kw_only=True)
class StartedChat:
    """The chat, new or known, and the message that is on its way."""

    chat_id: str
    message: MessageView


@get("/v1/services/{service:str}/chats/{chat_id:str}/messages")
async def list_messages(
    request: AnyRequest,
    service: FromPath[str],
    chat_id: FromPath[str],
    principal: Part[Principal],
    reading: Part[Reading],
    names: Part[Names],
    clock: Part[Clock],
    page: Part[Page],
) -> Response[Listing[MessageView]]:
    """The timeline, newest first; other services' replies masked. Spec S4, S13, C0.

    The answer's position is what a reply may name as `seen_position` (S14).
    """
    viewer = viewer_of(principal, service, clock)
    after = page.after(datetime, int)
    async with reading.of(request, principal, INBOX, MEDIA) as connection:
        position = await position_of(connection, INBOX, org=principal.keys.org.number)
        chat = await chat_row_of(connection, principal, service, chat_id)
        rows = await inbox.messages_page(
            connection,
            org=principal.keys.org.number,
            chat_id=chat_id,
            view=chat.view,
            after=MessageCursor(*after) if after else None,
            limit=page.limit + 1,
        )
    shown = rows[: page.limit]
    profiles = await names.profiles(principal.keys, principal.organisation, people_on(shown))
    items = [message_view(row, viewer, profiles=profiles) for row in shown]
    last = shown[-1] if len(rows) > len(shown) else None
    more = page.cursor_of(last.at, last.position) if last else None
    return read_answer(Listing(items, more), position)


@post(
    "/v1/services/{service:str}/chats/{chat_id:str}/messages",
    status_code=202,
    opt={"refusals": (402,)},
)
async def post_message(
    request: AnyRequest,
    service: FromPath[str],
    chat_id: FromPath[str],
    data: JSONBody[MessageBody],
    principal: Part[Principal],
    replies: Part[Replies],
    executor: Part[Executor],
    reading: Part[Reading],
    names: Part[Names],
    clock: Part[Clock],
) -> Response[MessageView]:
    """Queue a message to the customer. Spec N1–N3, S14."""
    actor = await actor_of(request, principal, scope="reply", status=202)
    show = _Shower(principal, service, chat_id, reading, names, clock)
    await require_shown(principal, service, chat_id, executor, reading)
    command = Write(
        service=service,
        chat_id=known_id(chat_id),
        message=data.message(),
        reply_to=data.reply_to,
        quoted=await show.quotable(data.reply_to) if data.reply_to is not None else None,
        seen_position=data.seen_position,
        confirm=data.confirm,
    )
    try:
        outcome = await replies.write(actor, command)
    except NotOwner as refusal:
        raise await with_names(refusal, request, principal, names) from None
    except AnsweredMeanwhile as refusal:
        position = await replies.position(actor)
        message = await show.message(position, refusal.facts["message_id"])
        raise AnsweredMeanwhile(message=message) from None
    return await show.answer(outcome)


@post("/v1/services/{service:str}/chats", status_code=202, opt={"refusals": (402,)})
async def post_chat(
    request: AnyRequest,
    service: FromPath[str],
    data: JSONBody[StartBody],
    principal: Part[Principal],
    replies: Part[Replies],
    reading: Part[Reading],
    names: Part[Names],
    clock: Part[Clock],
) -> Response[StartedChat]:
    """The business writes first, with a template; who starts the chat owns it. Spec C2, N1."""
    actor = await actor_of(request, principal, scope="reply", status=202)
    message = data.message.message()
    if not isinstance(message, TemplateReply):
        raise Invalid("message.kind", "must be template: the customer has not written yet")
    command = Start(
        service=service,
        channel_id=known_id(data.channel_id),
        phone=_phone(data.address),
        message=message,
    )
    try:
        outcome = await replies.start(actor, command)
    except NotOwner as refusal:
        raise await with_names(refusal, request, principal, names) from None
    chat_id = outcome.ids["chat"]
    show = _Shower(principal, service, chat_id, reading, names, clock)
    shown = await show.message(outcome.position, outcome.ids["message"])
    return answer(StartedChat(chat_id=chat_id, message=shown), outcome, status=202)


@post(
    "/v1/services/{service:str}/chats/{chat_id:str}/messages/{message_id:str}/retry",
    status_code=202,
    opt={"refusals": (402,)},
)
async def retry_message(
    request: AnyRequest,
    service: FromPath[str],
    chat_id: FromPath[str],
    message_id: FromPath[str],
    principal: Part[Principal],
    replies: Part[Replies],
    reading: Part[Reading],
    names: Part[Names],
    clock: Part[Clock],
) -> Response[MessageView]:
    """Send an uncertain or failed message again, as a new one. Spec N3."""
    actor = await actor_of(request, principal, scope="reply", status=202)
    try:
        outcome = await replies.retry(actor, service, known_id(chat_id), known_id(message_id))
    except NotOwner as refusal:
        raise await with_names(refusal, request, principal, names) from None
    show = _Shower(principal, service, chat_id, reading, names, clock)
    return await show.answer(outcome)


@post(
    "/v1/services/{service:str}/chats/{chat_id:str}/messages/{message_id:str}/discard",
    status_code=200,
)
async def discard_message(
    request: AnyRequest,
    service: FromPath[str],
    chat_id: FromPath[str],
    message_id: FromPath[str],
    principal: Part[Principal],
    replies: Part[Replies],
    reading: Part[Reading],
    names: Part[Names],
    clock: Part[Clock],
) -> Response[MessageView]:
    """Give an uncertain message up. Spec C15."""
    actor = await actor_of(request, principal, scope="reply", status=200)
    outcome = await replies.discard(actor, service, known_id(chat_id), known_id(message_id))
    show = _Shower(principal, service, chat_id, reading, names, clock)
    return await show.answer(outcome, status=200)


def _phone(address: str) -> str:
    digits = re.sub(r"[\s().-]", "", address).removeprefix("+")
    if not re.fullmatch(r"[1-9][0-9]{6,14}", digits):
        raise Invalid("address", "must be a telephone number with its country code")
    return digits


class _Shower:
    """Shows one message of a chat to the service that acted on it."""

    def __init__(
        self,
        principal: Principal,
        service: str,
        chat_id: str,
        reading: Reading,
        names: Names,
        clock: Clock,
    ) -> None:
        self._principal = principal
        self._org = principal.keys.org.number
        self._viewer = viewer_of(principal, service, clock)
        self._chat_id = chat_id
        self._reading = reading
        self._names = names

    async def answer(self, outcome: Outcome[None], *, status: int = 202) -> Response[MessageView]:
        """The message that a command was about, as the command has left it."""
        message = await self.message(outcome.position, outcome.ids["message"])
        return answer(message, outcome, status=status)

    async def quotable(self, message_id: str) -> Quoted | None:
        """A message that the service is shown, to be quoted. What is masked is not there. S4."""
        async with self._reading.now(self._org) as connection:
            row = await self._row(connection, message_id)
        if row is None or row.key is None or row.unsent:
            return None
        if isinstance(shown_to(self._viewer.service, row, policy=self._viewer.policy), Masked):
            return None
        return Quoted(message_id=row.message_id, position=row.position, key=row.key)

    async def message(self, position: int, message_id: str) -> MessageView:
        """A message that is there, as it stands at a position. Raises Behind, NotFound."""
        async with self._reading.after(self._org, position, INBOX) as connection:
            row = await self._row(connection, message_id)
            if row is None:  # As of an old request, if the channel is another one by now.
                raise NotFound("This service has no such message in this chat.")
        profiles = await self._names.profiles(
            self._principal.keys, self._principal.organisation, people_on([row])
        )
        return message_view(row, self._viewer, profiles=profiles)

    async def _row(self, connection: Connection, message_id: str) -> MessageRow | None:
        chat = await chat_row_of(connection, self._principal, self._viewer.service, self._chat_id)
        return await inbox.message(
            connection, org=self._org, chat_id=self._chat_id, view=chat.view, message_id=message_id
        )


HANDLERS = (
    list_messages,
    post_message,
    post_chat,
    retry_message,
    discard_message,
)
