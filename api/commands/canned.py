"""Canned replies: kept by service, and written out for a customer (C8)."""

from collections.abc import Callable

import msgspec

from api.commands.context import Actor, Context, the_organisation
from api.commands.execute import Outcome
from api.commands.people import People
from api.commands.unit import Unit
from domain import canned
from domain.canned import CannedReplies
from domain.chat import Chat
from domain.event import Event
from domain.organisation import require_role, require_view
from domain.ports import Keys, Org


class CannedReply(msgspec.Struct, frozen=True, kw_only=True):
    """A canned reply of the service, with what its writer fills in."""

    shortcut: str
    fields: dict[str, str]


def canned_of(unit: Unit, service: str) -> CannedReplies:
    """The canned replies of a service."""
    return unit.state(canned.stream_of(service), CannedReplies)


def written_out(
    unit: Unit, people: People, keys: Keys, chat: Chat, service: str, reply: CannedReply
) -> str:
    """The text that a customer is sent. Raises NotFound, ParameterMissing, Missing."""
    name = people.name_of(unit, keys, chat.contact_id)
    return canned.fill(
        canned_of(unit, service),
        shortcut=reply.shortcut,
        given=reply.fields,
        known={"customer.name": name} if name else {},
    )


class Canned:
    """Commands about canned replies."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def replies(self, org: Org, service: str) -> CannedReplies:
        """All canned replies of a service."""
        return await self._context.executor.look(org, lambda unit: canned_of(unit, service))

    async def define(
        self, actor: Actor, *, service: str, shortcut: str, text: str
    ) -> Outcome[None]:
        """Let a shortcut of a service stand for a text."""
        return await self._change(
            actor,
            service,
            lambda known: canned.define(known, shortcut=shortcut, text=text, user_id=actor.user_id),
        )

    async def remove(self, actor: Actor, *, service: str, shortcut: str) -> Outcome[None]:
        """Let it stand for nothing."""
        return await self._change(
            actor,
            service,
            lambda known: canned.remove(known, shortcut=shortcut, user_id=actor.user_id),
        )

    async def _change(
        self, actor: Actor, service: str, decision: Callable[[CannedReplies], list[Event]]
    ) -> Outcome[None]:
        def decide(unit: Unit) -> None:
            organisation = the_organisation(unit)
            require_role(organisation, actor.user_id, "admin", "supervisor")
            require_view(organisation, actor.user_id, service)
            unit.record(canned.stream_of(service), decision(canned_of(unit, service)))

        return await self._context.executor.execute(actor.org, decide, request=actor.request)
