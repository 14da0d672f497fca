"""Looking after chats: owners, status, block, visits."""

from collections.abc import Callable

from api.commands.context import Actor, Context, channel_of, the_chat, the_organisation
from api.commands.execute import Outcome
from api.commands.markings import ask_to_mark
from api.commands.unit import Unit
from domain import chat as chats
from domain import ownership, reader
from domain.channel import Channel
from domain.chat import Chat
from domain.event import Event
from domain.organisation import Organisation, require_view, require_visit
from domain.ownership import Assign
from domain.reader import ChatVisited, ServiceVisited

Decision = Callable[[Chat, Channel, Organisation], list[Event]]


class Chats:
    """Commands about chats that write nothing to the customer."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def assign(self, actor: Actor, chat_id: str, command: Assign) -> Outcome[None]:
        """Give the chat an owner in one service. Spec C18, S7."""
        now = self._context.clock.now()
        return await self._change(
            actor,
            command.service,
            chat_id,
            lambda chat, channel, organisation: ownership.assign(
                chat, channel, organisation, command, user_id=actor.user_id, now=now
            ),
        )

    async def unassign(self, actor: Actor, service: str, chat_id: str) -> Outcome[None]:
        """Take the owner off. Spec S5."""
        return await self._simple(actor, service, chat_id, ownership.unassign)

    async def close(self, actor: Actor, service: str, chat_id: str) -> Outcome[None]:
        """Close the chat in one service. Spec C4."""
        return await self._simple(actor, service, chat_id, ownership.close)

    async def open(self, actor: Actor, service: str, chat_id: str) -> Outcome[None]:
        """Open it again. Spec C4."""
        return await self._simple(actor, service, chat_id, ownership.open_again)

    async def block(self, actor: Actor, service: str, chat_id: str) -> Outcome[None]:
        """Block the customer in one service. Spec C7."""
        return await self._simple(actor, service, chat_id, ownership.block)

    async def unblock(self, actor: Actor, service: str, chat_id: str) -> Outcome[None]:
        """Listen to the customer again. Spec C7."""
        return await self._simple(actor, service, chat_id, ownership.unblock)

    async def visit_service(self, actor: Actor, service: str) -> Outcome[None]:
        """The user has seen everything in the service. Spec C6."""

        def decide(unit: Unit) -> None:
            require_visit(the_organisation(unit), actor.user_id, service)
            visited = ServiceVisited(user_id=actor.user_id, service=service)
            unit.record(reader.stream_of(actor.user_id, service), [visited])

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

    async def visit_chat(self, actor: Actor, service: str, chat_id: str) -> Outcome[None]:
        """The user has seen everything in one chat. Spec C6."""

        def decide(unit: Unit) -> None:
            require_visit(the_organisation(unit), actor.user_id, service)
            channel_of(unit, the_chat(unit, chat_id), service)
            visited = ChatVisited(user_id=actor.user_id, service=service, chat_id=chat_id)
            unit.record(reader.stream_of(actor.user_id, service), [visited])
            ask_to_mark(
                unit,
                self._context.clock,
                chat_id=chat_id,
                service=service,
                user_id=actor.user_id,
            )

        return await self._context.executor.execute(actor.org, decide, request=actor.request)

    async def _simple(
        self, actor: Actor, service: str, chat_id: str, decision: Callable[..., list[Event]]
    ) -> Outcome[None]:
        return await self._change(
            actor,
            service,
            chat_id,
            lambda chat, channel, organisation: decision(
                chat, channel, organisation, service=service, user_id=actor.user_id
            ),
        )

    async def _change(
        self, actor: Actor, service: str, chat_id: str, decision: Decision
    ) -> Outcome[None]:
        def decide(unit: Unit) -> None:
            organisation = the_organisation(unit)
            require_view(organisation, actor.user_id, service)
            chat = the_chat(unit, chat_id)
            channel = channel_of(unit, chat, service)
            unit.record(chats.stream_of(chat_id), decision(chat, channel, organisation))

        return await self._context.executor.execute(actor.org, decide, request=actor.request)
