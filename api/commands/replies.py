"""Writing to customers: replies, templates, sending again, giving up."""

import msgspec

from api.commands.context import Actor, Context, channel_of, the_chat, the_organisation
from api.commands.execute import Outcome
from api.commands.unit import Unit
from domain import chat as chats
from domain import sending
from domain import template as templates
from domain.chat import Chat, Outbound, ReplyRequested
from domain.inbound import Content
from domain.organisation import require_reply, require_role, require_view
from domain.ports import Org
from domain.refusal import NotFound
from domain.sending import RequestReply
from domain.template import Template, Templates


class TextReply(msgspec.Struct, frozen=True, kw_only=True):
    """Free-form text, inside the messaging window."""

    text: str


class TemplateReply(msgspec.Struct, frozen=True, kw_only=True):
    """An approved template, at any time."""

    name: str
    language: str
    parameters: dict[str, str]


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """A message to the customer of a chat, from one service."""

    service: str
    chat_id: str
    message: TextReply | TemplateReply
    seen_position: int | None = None
    confirm: bool = False


class Replies:
    """Commands that write to the customer."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def write(self, actor: Actor, command: Write) -> Outcome[None]:
        """Queue a message; `ids["message"]` of the outcome is the new one. Spec N3."""
        return await self._context.executor.execute(
            actor.org, lambda unit: self._write(unit, actor, command), request=actor.request
        )

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
        all_templates = _templates_of(unit, chat)
        content, kind, template, category = _compose(command.message, all_templates)
        stream = chats.stream_of(command.chat_id)
        message_id = unit.ids["message"] = self._context.new_id()
        request = RequestReply(
            message_id=message_id,
            service=command.service,
            kind=kind,
            content=self._context.people.seal(
                unit,
                actor.keys,
                chat.contact_id,
                msgspec.json.encode(content),
                stream,
                ReplyRequested,
            ),
            template=template,
            category=category,
            seen_version=self._seen_version(unit, stream, command.seen_position),
            confirm=command.confirm,
        )
        events = sending.request_reply(
            chat,
            channel,
            the_organisation(unit),
            request,
            approved_templates=all_templates.approved,
            user_id=actor.user_id,
            now=self._context.clock.now(),
        )
        unit.record(stream, events)

    def _seen_version(self, unit: Unit, stream: str, position: int | None) -> int | None:
        if position is None:
            return None
        return unit.fact(
            ("version_at", stream, position),
            lambda: self._context.log.version_at(unit.org, stream, position=position),
        )

    async def retry(
        self, actor: Actor, service: str, chat_id: str, message_id: str
    ) -> Outcome[None]:
        """Send an uncertain or failed message again, as a new one that names it. Spec N3."""

        def decide(unit: Unit) -> None:
            require_reply(the_organisation(unit), actor.user_id, service)
            chat = the_chat(unit, chat_id)
            channel = channel_of(unit, chat, service)
            old = sending.require_retryable(chat, message_id, service=service)
            stream = chats.stream_of(chat_id)
            requested = unit.fact(
                ("request", message_id), lambda: self._request_of(actor.org, stream, old)
            )
            new_id = unit.ids["message"] = self._context.new_id()
            request = RequestReply(
                message_id=new_id,
                service=service,
                kind=requested.kind,
                content=requested.content,  # Sealed for the same stream and type: it fits again.
                template=requested.template,
                category=requested.category,
                quotes=requested.quotes,
                retry_of=message_id,
            )
            events = sending.request_reply(
                chat,
                channel,
                the_organisation(unit),
                request,
                approved_templates=_templates_of(unit, chat).approved,
                user_id=actor.user_id,
                now=self._context.clock.now(),
            )
            unit.record(stream, events)

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

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

    async def template(
        self, org: Org, *, platform: str, account_id: str, name: str, language: str
    ) -> Template:
        """One template of an account. Raises NotFound."""
        stream = templates.stream_of(platform, account_id)
        known = await self._context.executor.look(org, lambda unit: unit.state(stream, Templates))
        template = known.by_name.get((name, language))
        if template is None:
            raise NotFound("There is no such template.")
        return template

    async def define_template(
        self,
        actor: Actor,
        *,
        platform: str,
        account_id: str,
        name: str,
        language: str,
        template: Template,
    ) -> Outcome[None]:
        """Set a template of an account. Spec C8."""

        def decide(unit: Unit) -> None:
            require_role(the_organisation(unit), actor.user_id, "admin", "supervisor")
            stream = templates.stream_of(platform, account_id)
            defined = templates.define(
                unit.state(stream, Templates),
                name=name,
                language=language,
                template=template,
                user_id=actor.user_id,
            )
            unit.record(stream, defined)

        return await self._context.executor.execute(actor.org, decide, request=actor.request)


def _templates_of(unit: Unit, chat: Chat) -> Templates:
    return unit.state(templates.stream_of(chat.platform, chat.account_id), Templates)


def _compose(
    message: TextReply | TemplateReply, all_templates: Templates
) -> tuple[Content, str, str | None, str | None]:
    """The content as it is sent, its kind, and for a template its name and category."""
    if isinstance(message, TextReply):
        return Content(text=message.text), "text", None, None
    template, text = templates.fill(
        all_templates,
        name=message.name,
        language=message.language,
        parameters=message.parameters,
    )
    ordered = [[each, message.parameters[each]] for each in template.parameters]
    asked = {"name": message.name, "language": message.language, "parameters": ordered}
    content = Content(text=text, template=asked)
    return content, "template", f"{message.name}/{message.language}", template.category
