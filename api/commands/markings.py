"""Marking as read: asked for by a visit or a reply, and written down once it is over."""

import msgspec

from api.commands.context import Context, the_organisation
from api.commands.unit import Unit
from domain import chat as chats
from domain import read_marking
from domain.chat import Chat
from domain.chat_events import MessageReceived
from domain.inbound import Content
from domain.ports import Clock, Unreadable
from domain.read_marking import Marking, Outcome, WaitingMarking


def ask_to_mark(unit: Unit, clock: Clock, *, chat_id: str, service: str, user_id: str) -> None:
    """Have the newest customer message marked, where the service wants that."""
    if not the_organisation(unit).services[service].marks_read:
        return
    chat = unit.state(chats.stream_of(chat_id), Chat)
    stream = read_marking.stream_of(chat_id)
    requested = read_marking.request(
        unit.state(stream, Marking), chat, service=service, user_id=user_id, now=clock.now()
    )
    unit.record(stream, requested)


class Markings:
    """What the process that marks needs of the log."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def message(self, marking: WaitingMarking) -> Content | None:
        """What the customer wrote; None if it is erased."""
        keys = await self._context.directory.keys(marking.org)
        (recorded,) = await self._context.log.read_stream(
            keys.org,
            chats.stream_of(marking.chat_id),
            after=marking.message_version - 1,
            limit=1,
        )
        message = recorded.event
        assert isinstance(message, MessageReceived)
        key_id = message.content.key
        wrapped = await self._context.people.wrapped_keys(keys.org, [key_id])
        try:
            data = keys.open(
                message.content,
                stream=recorded.stream,
                stored_type=message.stored_type,
                wrapped=wrapped.get(key_id),
            )
        except Unreadable:
            return None
        return msgspec.json.decode(data, type=Content)

    async def end_marking(self, marking: WaitingMarking, outcome: Outcome) -> None:
        """Write down that nothing more is to be done about the message."""
        keys = await self._context.directory.keys(marking.org)
        stream = read_marking.stream_of(marking.chat_id)

        def decide(unit: Unit) -> None:
            state = unit.state(stream, Marking)
            unit.record(stream, read_marking.end(state, marking.message_version, outcome))

        await self._context.executor.execute(keys.org, decide)
