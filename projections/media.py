"""Files: in which messages they stand, who put them here, which are still to be fetched (C9)."""

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
from psycopg.rows import class_row, dict_row

from domain import channel as channels
from domain import chat as chats
from domain import media as uploads
from domain.chat_events import EchoReceived, MessageReceived, ReplyRequested, UnsendReceived
from domain.event import Event, Recorded
from domain.media import IconChanged, MediaStored, MediaUnavailable, MediaUploaded
from projections.engine.bulk import arrays
from projections.engine.named_sql import load
from projections.engine.projection import Connection
from projections.engine.sealed_parts import SealedPart, pack, unpack

SQL = load(__file__)

# An uploaded file may be sent to many; whoever may see one of so many messages may see it.
USES_MAX = 100


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose files are still with its platform."""

    org: int
    platform: str
    account_id: str
    chat_id: str
    message_id: str
    kind: str
    files: int
    received_at: datetime
    content: SealedPart
    settled: frozenset[int]  # The files that are not waited for any more.


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """A message in which a file stands. Of an answer, `file` is all that it says."""

    chat_id: str
    message_id: str
    part: int
    file: SealedPart


class UploadRow(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a user put here."""

    user_id: str
    expires_at: datetime
    file: SealedPart


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """A file that nobody sent in time."""

    org: int
    expires_at: datetime
    address: str


async def waiting(
    connection: Connection, *, platforms: Collection[str], skipped: Collection[str], limit: int
) -> list[Waiting]:
    """Messages with files to fetch, over all organisations, the longest waiting first."""
    parameters = {"platforms": list(platforms), "skipped": list(skipped), "limit": limit}
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(SQL["waiting"], parameters)
    return [_waiting(row) for row in await cursor.fetchall()]


def _waiting(row: dict[str, Any]) -> Waiting:
    content, _, stored_type, wrapped = (
        row.pop(name) for name in ("content", "content_key", "content_type", "wrapped_key")
    )
    part = unpack(content, chats.stream_of(row["chat_id"]), stored_type, wrapped)
    return Waiting(content=part, settled=frozenset(row.pop("settled")), **row)


async def uses(connection: Connection, *, org: int, media_id: str) -> list[Use]:
    """The messages in which a file stands."""
    parameters = {"org": org, "media_id": media_id, "limit": USES_MAX}
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(SQL["uses"], parameters)
    return [_use(row) for row in await cursor.fetchall()]


async def file_of(connection: Connection, *, org: int, chat_id: str, message_id: str) -> Use | None:
    """The file that stands in a message, if one does."""
    cursor = connection.cursor(row_factory=dict_row)
    parameters = {"org": org, "chat_id": chat_id, "message_id": message_id}
    await cursor.execute(SQL["use"], parameters)
    row = await cursor.fetchone()
    return _use(row) if row else None


def _use(row: dict[str, Any]) -> Use:
    file, stored_type, wrapped = (row.pop(name) for name in ("file", "file_type", "wrapped"))
    part = unpack(file, chats.stream_of(row["chat_id"]), stored_type, wrapped)
    return Use(file=part, **row)


async def upload(connection: Connection, *, org: int, media_id: str) -> UploadRow | None:
    """A file that a user put here; its key is gone when its time is over."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(SQL["upload"], {"org": org, "media_id": media_id})
    row = await cursor.fetchone()
    if row is None:
        return None
    stream = uploads.stream_of(media_id)
    part = unpack(row["file"], stream, MediaUploaded.stored_type, row["wrapped"])
    return UploadRow(user_id=row["user_id"], expires_at=row["expires_at"], file=part)


async def icon(connection: Connection, *, org: int, media_id: str) -> SealedPart | None:
    """The file of a channel's icon, if this is one."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(SQL["icon"], {"org": org, "media_id": media_id})
    row = await cursor.fetchone()
    if row is None:
        return None
    stream = channels.stream_of(row["channel_id"])
    return unpack(row["file"], stream, IconChanged.stored_type, row["wrapped"])


async def forgotten(
    connection: Connection, *, after: datetime, before: datetime, limit: int
) -> list[Forgotten]:
    """Files whose time was over between these two, and which nobody has sent."""
    cursor = connection.cursor(row_factory=class_row(Forgotten))
    await cursor.execute(SQL["forgotten"], {"after": after, "before": before, "limit": limit})
    return await cursor.fetchall()


_CAME = (MessageReceived, EchoReceived)
_FOLDED = (
    *_CAME,
    ReplyRequested,
    MediaStored,
    MediaUnavailable,
    MediaUploaded,
    UnsendReceived,
    IconChanged,
)


class Media:
    """A message waits until each of its files has come or is given up."""

    name = "media"
    version = 1
    is_watched = False
    tables = SQL["tables"]

    async def apply(self, connection: Connection, org: int, batch: Sequence[Recorded]) -> None:
        """Fold a batch, in runs between the rarer events."""
        folded = (each for each in batch if isinstance(each.event, _FOLDED))
        for came, run in groupby(folded, lambda each: isinstance(each.event, _CAME)):
            if came:
                await _await_files(connection, org, run)
            else:
                for recorded in run:
                    await _note(connection, org, recorded)


async def _await_files(connection: Connection, org: int, run: Any) -> None:
    rows = [
        (
            recorded.stream.partition(":")[2],
            recorded.event.message_id,
            recorded.event.key,
            recorded.recorded_at,
            recorded.event.kind,
            pack(recorded.event.content),
            recorded.event.content.key,
            recorded.event.stored_type,
            recorded.event.files,
        )
        for recorded in run
        if recorded.event.files
    ]
    if rows:
        statement = SQL["await_files"]
        await connection.execute(statement, {"org": org, **arrays(statement, rows)})


async def _note(connection: Connection, org: int, recorded: Recorded) -> None:
    """These events are rare: a few statements each."""
    name, event = recorded.stream.partition(":")[2], recorded.event
    match event:
        case ReplyRequested(media_id=str(media_id)):
            columns = {"media_id": media_id, "part": 0, **_sealed(event, event.content)}
            await _add_file(connection, org, name, event.message_id, **columns)
        case MediaStored():
            columns = {"media_id": event.media_id, "part": event.part}
            columns |= _sealed(event, event.file)
            await _settle(connection, org, name, event.message_id, **columns)
        case MediaUnavailable():
            columns = {"part": event.part, "reason": event.reason}
            await _settle(connection, org, name, event.message_id, **columns)
        case MediaUploaded():
            parameters = {
                "org": org,
                "media_id": event.media_id,
                "user_id": event.user_id,
                "expires_at": event.expires_at,
                "address": event.address,
                **_sealed(event, event.file),
            }
            await connection.execute(SQL["add_upload"], parameters)
        case IconChanged():
            parameters = {"org": org, "channel_id": name, "media_id": event.media_id}
            parameters |= _sealed(event, event.icon)
            await connection.execute(SQL["set_icon"], parameters)
        case UnsendReceived():
            parameters = {"org": org, "chat_id": name, "key": event.target}
            await connection.execute(SQL["forget_unsent"], parameters)


def _sealed(event: Event, file: Any) -> dict[str, Any]:
    return {"file": pack(file), "file_key": file.key, "file_type": event.stored_type}


async def _settle(
    connection: Connection, org: int, chat_id: str, message_id: str, **columns: Any
) -> None:
    await _add_file(connection, org, chat_id, message_id, **columns)
    parameters = {"org": org, "chat_id": chat_id, "message_id": message_id}
    await connection.execute(SQL["count_down"], parameters)
    await connection.execute(SQL["forget_settled"], parameters)


async def _add_file(
    connection: Connection, org: int, chat_id: str, message_id: str, **columns: Any
) -> None:
    """Write it down, once. How many rows that changed is not known yet in a batch's pipeline."""
    nothing = dict.fromkeys(("media_id", "file", "file_key", "file_type", "reason"))
    parameters = {"org": org, "chat_id": chat_id, "message_id": message_id, **nothing, **columns}
    await connection.execute(SQL["add_file"], parameters)
