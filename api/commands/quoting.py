"""The message that a reply quotes: found in the log, and named as its platform names it."""

import msgspec

from api.commands.context import Actor, Context
from api.commands.unit import Unit
from domain import chat as chats
from domain.chat import Chat
from domain.chat_events import EchoReceived, MessageReceived, MessageSent
from domain.event import Event, Recorded, Sealed
from domain.inbound import Content
from domain.limits import LIMITS
from domain.ports import Unreadable
from domain.refusal import Invalid

# A platform's answer stands this many events behind the request, or the message is not quoted.
EVENTS_SCANNED_MAX = 200

NOT_QUOTABLE = "names no message of this chat that can be quoted"


class Quoted(msgspec.Struct, frozen=True, kw_only=True):
    """A message that its quoter may read, as the inbox has it."""

    message_id: str
    position: int
    key: bytes


def name_of(unit: Unit, context: Context, actor: Actor, chat: Chat, quoted: Quoted) -> str:
    """What the platform knows a message by. Raises Invalid where we do not know it, Missing."""
    found: str | None = unit.fact(
        ("name of", quoted.message_id), lambda: _find(context, actor, chat, quoted)
    )
    if found is None:
        raise Invalid("reply_to", NOT_QUOTABLE)
    return found


async def _find(context: Context, actor: Actor, chat: Chat, quoted: Quoted) -> str | None:
    assert chat.chat_id is not None
    stream = chats.stream_of(chat.chat_id)
    by_token = LIMITS[chat.platform].quotes == "token"
    version = await context.log.version_at(actor.org, stream, position=quoted.position)
    recorded = await context.log.read_stream(
        actor.org, stream, after=version - 1, limit=EVENTS_SCANNED_MAX
    )
    for each in recorded:
        sealed = _naming(each.event, quoted.message_id, by_token=by_token)
        if sealed is not None:
            return await _opened(context, actor, each, sealed, by_token=by_token)
    return None


def _naming(event: Event, message_id: str, *, by_token: bool) -> Sealed | None:
    """What holds the platform's name of a message, if this is the event that tells of it."""
    match event:
        case MessageReceived() | EchoReceived() if event.message_id == message_id:
            return event.content
        case MessageSent() if event.message_id == message_id:
            return event.quote_token if by_token else event.platform
        case _:
            return None


async def _opened(
    context: Context, actor: Actor, recorded: Recorded, sealed: Sealed, *, by_token: bool
) -> str | None:
    wrapped = await context.people.wrapped_keys(actor.org, [sealed.key])
    try:
        data = actor.keys.open(
            sealed,
            stream=recorded.stream,
            stored_type=recorded.event.stored_type,
            wrapped=wrapped.get(sealed.key),
        )
    except Unreadable:
        return None
    if isinstance(recorded.event, MessageSent):
        return data.decode()
    content = msgspec.json.decode(data, type=Content)
    return content.quote_token if by_token else content.platform_id
