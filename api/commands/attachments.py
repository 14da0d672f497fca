"""Files and places that go to a customer (C9)."""

from typing import Any

import msgspec

from api.commands.context import Actor, Context
from api.commands.unit import Unit
from domain import media
from domain.chat import Chat
from domain.event import Sealed
from domain.inbound import Content
from domain.limits import require_caption, require_file, require_kind
from domain.media import IconChanged, MediaUploaded, StoredFile, Upload
from domain.ports import Unreadable
from domain.refusal import NotFound


class FileReply(msgspec.Struct, frozen=True, kw_only=True):
    """An uploaded file, as this kind of message, with some words where the platform has any."""

    kind: str
    media_id: str
    caption: str | None = None


class LocationReply(msgspec.Struct, frozen=True, kw_only=True):
    """A place on the map."""

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


def content_of(
    unit: Unit, context: Context, actor: Actor, chat: Chat, message: FileReply | LocationReply
) -> Content:
    """What is sent, if the platform takes it. Raises Invalid, NotFound, WrongFile, FileTooLarge."""
    if isinstance(message, LocationReply):
        require_kind(chat.platform, "location")
        given: dict[str, Any] = msgspec.structs.asdict(message)
        place = {name: value for name, value in given.items() if value is not None}
        return Content(text=message.name, location=place)
    file = own_file(unit, context, actor, message.media_id)
    require_file(
        chat.platform,
        message.kind,
        mime_type=file.mime_type,
        byte_count=file.byte_count,
        is_still=file.is_still,
    )
    if message.caption is not None:
        require_caption(chat.platform, message.kind, message.caption)
    as_sent = msgspec.structs.replace(file, kind=message.kind)
    return Content(text=message.caption, media=msgspec.to_builtins(as_sent))


def icon_of(
    unit: Unit, context: Context, actor: Actor, media_id: str, *, stream: str
) -> IconChanged:
    """An uploaded file as a channel's icon. Raises NotFound, WrongFile, FileTooLarge."""
    file = own_file(unit, context, actor, media_id)
    media.require_icon(file)
    key_id = f"icon:{context.new_id()}"  # An upload's own key does not last.
    unit.keys.append(actor.keys.new_key(key_id))
    data = msgspec.json.encode(file)
    return IconChanged(
        media_id=media_id,
        address=file.address,
        icon=actor.keys.seal(data, stream=stream, event=IconChanged, key_id=key_id),
        user_id=actor.user_id,
    )


def file_in(content: Content) -> StoredFile | None:
    """The file that goes with an answer, if one does."""
    if content.media is None or "address" not in content.media:
        return None
    return msgspec.convert(content.media, StoredFile)


def own_file(unit: Unit, context: Context, actor: Actor, media_id: str) -> StoredFile:
    """A file that the actor has put here. Raises NotFound, Missing."""
    upload = unit.state(media.stream_of(media_id), Upload)
    sealed = media.require_own(upload, user_id=actor.user_id, now=context.clock.now())
    file = unit.fact(("upload", media_id), lambda: _opened(context, actor, media_id, sealed))
    if file is None:
        raise NotFound(media.NO_SUCH_UPLOAD)
    return file


async def _opened(
    context: Context, actor: Actor, media_id: str, sealed: Sealed
) -> StoredFile | None:
    wrapped = await context.people.wrapped_keys(actor.org, [sealed.key])
    try:
        data = actor.keys.open(
            sealed,
            stream=media.stream_of(media_id),
            stored_type=MediaUploaded.stored_type,
            wrapped=wrapped.get(sealed.key),
        )
    except Unreadable:
        return None
    return msgspec.json.decode(data, type=StoredFile)
