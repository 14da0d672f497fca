"""Writing to customers: replies, templates, sending again, giving up."""

from collections.abc import Callable

import msgspec

from api.commands.attachments import FileReply, LocationReply, content_of
from api.commands.canned import CannedReply, written_out
from api.commands.context import (
    Actor,
    Context,
    channel_of,
    the_channel,
    the_chat,
    the_organisation,
)
from api.commands.execute import Outcome
from api.commands.lessons import objection
from api.commands.markings import ask_to_mark
from api.commands.quoting import NOT_QUOTABLE, Quoted, name_of
from api.commands.unit import Unit
from api.commands.window_rules import window_rule_of
from domain import chat as chats
from domain import contact as contacts
from domain import sending
from domain import template as templates
from domain.channel import Channel, require_active
from domain.chat import Chat
from domain.chat_events import ChatAssigned, ChatStarted, ReplyRequested
from domain.contact import Contact, ContactChatStarted
from domain.inbound import Address, Content, Person
from domain.ledger import InsufficientCredits
from domain.limits import require_quoting, require_text
from domain.organisation import require_reply, require_view
from domain.outgoing import Outbound
from domain.ownership import owned_elsewhere
from domain.ports import Org
from domain.refusal import CannotStart, ChannelDormant, Invalid
from domain.sending import RequestReply
from domain.template import Templates
from domain.windows import window_rule


class TextReply(msgspec.Struct, frozen=True, kw_only=True):
    """Free-form text, inside the messaging window."""

    text: str


class TemplateReply(msgspec.Struct, frozen=True, kw_only=True):
    """An approved template, at any time."""

    name: str
    language: str
    parameters: dict[str, str]


ComposedReply = TextReply | TemplateReply | FileReply | LocationReply
AnyReply = ComposedReply | CannedReply


class Composed(msgspec.Struct, frozen=True):
    """A message as it is sent."""

    kind: str
    content: Content
    template: str | None = None  # `<name>/<language>`
    category: str | None = None


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """A message to the customer of a chat, from one service."""

    service: str
    chat_id: str
    message: AnyReply
    reply_to: str | None = None  # A message of the chat,
    quoted: Quoted | None = None  # and what that is, if its quoter may read it.
    seen_position: int | None = None
    confirm: bool = False


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The business writes first, to a telephone number, with a template."""

    service: str
    channel_id: str
    phone: str  # Digits, without plus.
    message: TemplateReply


class Replies:
    """Commands that write to the customer."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def write(self, actor: Actor, command: Write) -> Outcome[None]:
        """Queue a message; `ids["message"]` of the outcome is the new one. Spec N3."""
        return await self._answer(actor, lambda unit: self._write(unit, actor, command))

    async def _answer(self, actor: Actor, decide: Callable[[Unit], None]) -> Outcome[None]:
        """Execute what may cost something; where it is refused for that, recharge. Spec L4, L5."""
        executor, billing = self._context.executor, self._context.billing
        try:
            return await executor.execute(actor.org, decide, request=actor.request)
        except InsufficientCredits as refusal:
            refused, now = refusal, self._context.clock.now()
            await executor.execute(
                actor.org, lambda unit: billing.recharge_after(unit, refused, at=now)
            )
            raise

    def _write(self, unit: Unit, actor: Actor, command: Write) -> None:
        require_view(the_organisation(unit), actor.user_id, command.service)
        chat = the_chat(unit, command.chat_id)
        channel = channel_of(unit, chat, command.service)
        # Who may not write is told so before anything about the message is looked at.
        sending.require_may_write(
            chat,
            channel,
            the_organisation(unit),
            service=command.service,
            user_id=actor.user_id,
        )
        if command.reply_to is not None:
            require_quoting(chat.platform, _kind_of(command.message))
            if command.quoted is None:
                raise Invalid("reply_to", NOT_QUOTABLE)
        stream = chats.stream_of(command.chat_id)
        self._request(
            unit,
            actor,
            chat,
            channel,
            service=command.service,
            message=command.message,
            quoted=command.quoted,
            seen_version=self._seen_version(unit, stream, command.seen_position),
            confirm=command.confirm,
        )

    def _request(
        self,
        unit: Unit,
        actor: Actor,
        chat: Chat,
        channel: Channel,
        *,
        service: str,
        message: AnyReply,
        quoted: Quoted | None = None,
        seen_version: int | None = None,
        confirm: bool = False,
    ) -> None:
        assert chat.chat_id is not None
        stream = chats.stream_of(chat.chat_id)
        if isinstance(message, CannedReply):
            people = self._context.people
            text = written_out(unit, people, actor.keys, chat, service, message)
            message = TextReply(text=text)
        if isinstance(message, TextReply):
            require_text(chat.platform, message.text)
        composed = self._compose(unit, actor, chat, message)
        content = composed.content
        if quoted is not None:
            name = name_of(unit, self._context, actor, chat, quoted)
            content = msgspec.structs.replace(content, quotes=name)
        data = msgspec.json.encode(content)
        message_id = unit.ids["message"] = self._context.new_id()
        request = RequestReply(
            message_id=message_id,
            service=service,
            kind=composed.kind,
            content=self._context.people.seal(
                unit, actor.keys, chat.contact_id, data, stream, ReplyRequested
            ),
            template=composed.template,
            category=composed.category,
            quotes=quoted.key if quoted is not None else None,
            media_id=message.media_id if isinstance(message, FileReply) else None,
            seen_version=seen_version,
            confirm=confirm,
        )
        self._queue(unit, actor, chat, channel, request)

    def _queue(
        self, unit: Unit, actor: Actor, chat: Chat, channel: Channel, request: RequestReply
    ) -> None:
        """Write a reply down with what it costs, or refuse it. Spec N1–N3, N5, L4."""
        assert chat.chat_id is not None
        now = self._context.clock.now()
        (requested,) = sending.request_reply(
            chat,
            channel,
            the_organisation(unit),
            request,
            rule=window_rule_of(unit, chat.platform, chat.account_id, at=now),
            approved_templates=_templates_of(unit, chat).approved,
            unwanted=objection(unit, chat, request.category, at=now),
            user_id=actor.user_id,
            now=now,
        )
        answered = self._context.billing.answer(unit, chat, requested)
        unit.record(chats.stream_of(chat.chat_id), answered)
        ask_to_mark(
            unit,
            self._context.clock,
            chat_id=chat.chat_id,
            service=request.service,
            user_id=actor.user_id,
        )

    def _compose(self, unit: Unit, actor: Actor, chat: Chat, message: ComposedReply) -> Composed:
        match message:
            case TextReply():
                return Composed("text", Content(text=message.text))
            case TemplateReply():
                return _fill(message, _templates_of(unit, chat))
            case _:
                content = content_of(unit, self._context, actor, chat, message)
                return Composed(_kind_of(message), content)

    async def start(self, actor: Actor, command: Start) -> Outcome[None]:
        """Write first; `ids` of the outcome name the chat and the message. Spec C2, N1."""
        return await self._answer(actor, lambda unit: self._start(unit, actor, command))

    def _start(self, unit: Unit, actor: Actor, command: Start) -> None:
        organisation, service = the_organisation(unit), command.service
        require_view(organisation, actor.user_id, service)
        channel = the_channel(unit, command.channel_id)
        if not channel.sharing:
            raise ChannelDormant
        require_active(channel, service)
        require_reply(organisation, actor.user_id, service)
        if not window_rule(channel.platform).business_may_start:
            raise CannotStart
        person = Person(addresses=(Address("phone", command.phone),))
        contact_id = self._context.people.find_or_make(unit, actor.keys, person)
        chat = self._chat_with(unit, contact_id, channel, service)
        # Who starts a chat owns it (C2); one that is owned elsewhere is not taken by that (S7).
        if service not in chat.owners and not owned_elsewhere(
            chat, channel, organisation, service=service, viewer=actor.user_id
        ):
            now = self._context.clock.now()
            mine = ChatAssigned(service=service, owner=actor.user_id, at=now, user_id=actor.user_id)
            unit.record(chats.stream_of(unit.ids["chat"]), [mine])
            chat = the_chat(unit, unit.ids["chat"])
        self._request(unit, actor, chat, channel, service=service, message=command.message)

    def _chat_with(self, unit: Unit, contact_id: str, channel: Channel, service: str) -> Chat:
        account = f"{channel.platform}:{channel.account_id}"
        contact_stream = contacts.stream_of(contact_id)
        chat_id = unit.state(contact_stream, Contact).chats.get(account)
        if chat_id is None:
            chat_id = self._context.new_id()
            unit.record(contact_stream, [ContactChatStarted(account=account, chat_id=chat_id)])
            started = ChatStarted(
                chat_id=chat_id,
                platform=channel.platform,
                account_id=channel.account_id,
                contact_id=contact_id,
                started_by=service,
            )
            unit.begin(chats.stream_of(chat_id))
            unit.record(chats.stream_of(chat_id), [started])
        unit.ids["chat"] = chat_id
        return the_chat(unit, chat_id)

    def _seen_version(self, unit: Unit, stream: str, position: int | None) -> int | None:
        if position is None:
            return None
        return unit.fact(
            ("version_at", stream, position), lambda: self._version_at(unit.org, stream, position)
        )

    async def _version_at(self, org: Org, stream: str, position: int) -> int:
        if position > await self._context.log.position(org):
            raise Invalid("seen_position", "lies ahead of the log")
        return await self._context.log.version_at(org, stream, position=position)

    async def retry(
        self, actor: Actor, service: str, chat_id: str, message_id: str
    ) -> Outcome[None]:
        """Send an uncertain or failed message again, as a new one that names it. Spec N3."""

        def decide(unit: Unit) -> None:
            require_reply(the_organisation(unit), actor.user_id, service)
            chat = the_chat(unit, chat_id)
            channel = channel_of(unit, chat, service)
            old = sending.require_retryable(chat, channel, message_id, service=service)
            stream = chats.stream_of(chat_id)
            requested = unit.fact(
                ("request", message_id), lambda: self._request_of(actor.org, stream, old)
            )
            new_id = unit.ids["message"] = self._context.new_id()
            category = requested.category
            if requested.template is not None:
                # As it is now: of what it is today depend its price and whom it may go to.
                category = templates.approved(
                    _templates_of(unit, chat), requested.template
                ).category
            request = RequestReply(
                message_id=new_id,
                service=service,
                kind=requested.kind,
                content=requested.content,  # Sealed for the same stream and type: it fits again.
                template=requested.template,
                category=category,
                quotes=requested.quotes,
                retry_of=message_id,
                media_id=requested.media_id,
            )
            self._queue(unit, actor, chat, channel, request)

        return await self._answer(actor, decide)

    async def _request_of(self, org: Org, stream: str, message: Outbound) -> ReplyRequested:
        recorded = await self._context.log.read_stream(
            org, stream, after=message.requested - 1, limit=1
        )
        event = recorded[0].event
        assert isinstance(event, ReplyRequested)
        return event

    async def discard(
        self, actor: Actor, service: str, chat_id: str, message_id: str
    ) -> Outcome[None]:
        """Give an uncertain message up. Spec C15."""

        def decide(unit: Unit) -> None:
            organisation = the_organisation(unit)
            require_view(organisation, actor.user_id, service)
            chat = the_chat(unit, chat_id)
            channel = channel_of(unit, chat, service)
            unit.ids["message"] = message_id
            events = sending.discard(
                chat, channel, organisation, message_id, service=service, user_id=actor.user_id
            )
            unit.record(chats.stream_of(chat_id), events)

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

    async def position(self, actor: Actor) -> int:
        """How far the org's log is."""
        return await self._context.log.position(actor.org)


def _kind_of(message: AnyReply) -> str:
    """What kind of message it is sent as; a canned reply is a text."""
    match message:
        case FileReply():
            return message.kind
        case LocationReply():
            return "location"
        case TemplateReply():
            return "template"
        case _:
            return "text"


def _templates_of(unit: Unit, chat: Chat) -> Templates:
    return unit.state(templates.stream_of(chat.platform, chat.account_id), Templates)


def _fill(message: TemplateReply, all_templates: Templates) -> Composed:
    filled = templates.fill(
        all_templates,
        name=message.name,
        language=message.language,
        parameters=message.parameters,
    )
    ordered = [[each, message.parameters[each]] for each in filled.template.parameters]
    sent = {"name": message.name, "language": filled.language, "parameters": ordered}
    content = Content(text=filled.text, template=sent)
    reference = f"{message.name}/{filled.language}"
    return Composed("template", content, reference, filled.template.category)
