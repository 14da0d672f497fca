"""Files: uploaded by users, fetched from platforms (C9)."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from api.commands.context import Actor, Context, the_organisation
from api.commands.execute import Outcome
from api.commands.unit import Unit
from domain import chat as chats
from domain import media
from domain.event import Event
from domain.media import MediaStored, MediaUnavailable, MediaUploaded, StoredFile
from domain.media_ports import MediaStore, WaitingMessage
from domain.ports import AlreadyDone, Keys
from domain.refusal import Refusal


class MediaFiles:
    """Commands that put files into the store, and the store itself."""

    def __init__(self, context: Context, store: MediaStore) -> None:
        self._context = context
        self.store = store

    async def keep(
        self,
        keys: Keys,
        chunks: AsyncIterator[bytes],
        *,
        mime_type: str,
        kind: str,
        name: str | None,
        is_still: bool = False,
    ) -> StoredFile:
        """Put the bytes into the store; nobody knows of them yet."""
        kept = await self.store.keep(keys.org, chunks)
        return StoredFile(
            media_id=self._context.new_id(),
            kind=kind,
            mime_type=mime_type,
            byte_count=kept.byte_count,
            sha256=kept.sha256,
            name=name,
            address=kept.address,
            key=kept.key,
            is_still=is_still,
        )

    async def upload(self, actor: Actor, file: StoredFile) -> Outcome[None]:
        """Make a stored file one that its uploader may send; `ids["media"]` of the outcome."""
        try:
            outcome = await self._context.executor.execute(
                actor.org, lambda unit: self._upload(unit, actor, file), request=actor.request
            )
        except Refusal:
            await self.store.remove(actor.org, file.address)
            raise
        if outcome.ids["media"] == file.media_id:
            await self.store.is_named(actor.org, file.address)
        else:  # The request had been answered before.
            await self.store.remove(actor.org, file.address)
        return outcome

    def _upload(self, unit: Unit, actor: Actor, file: StoredFile) -> None:
        media.require_may_upload(the_organisation(unit), actor.user_id)
        stream, key_id = media.stream_of(file.media_id), media.key_of(file.media_id)
        expires_at = self._context.clock.now() + media.UPLOAD_LIFETIME
        unit.begin(stream)
        unit.keys.append(actor.keys.new_key(key_id, expires_at=expires_at))
        data = msgspec.json.encode(file)
        uploaded = MediaUploaded(
            media_id=file.media_id,
            user_id=actor.user_id,
            expires_at=expires_at,
            address=file.address,
            file=actor.keys.seal(data, stream=stream, event=MediaUploaded, key_id=key_id),
        )
        unit.record(stream, [uploaded])
        unit.ids["media"] = file.media_id

    # What a fetcher does and writes down.

    async def keep_for(
        self,
        message: WaitingMessage,
        chunks: AsyncIterator[bytes],
        *,
        mime_type: str,
        kind: str,
        name: str | None,
    ) -> StoredFile:
        """Put a file of a message into the store; nobody knows of it yet."""
        keys = await self._context.directory.keys(message.org)
        return await self.keep(keys, chunks, mime_type=mime_type, kind=kind, name=name)

    async def forget(self, message: WaitingMessage, file: StoredFile) -> None:
        """Take a file that is of no use out of the store again."""
        keys = await self._context.directory.keys(message.org)
        await self.store.remove(keys.org, file.address)

    async def stored(self, message: WaitingMessage, part: int, file: StoredFile) -> bool:
        """A file of a message is in the store; False if another had brought it before."""
        keys = await self._context.directory.keys(message.org)
        data = msgspec.json.encode(file)

        def event(unit: Unit, stream: str) -> MediaStored:
            sealed = self._context.people.seal(
                unit, keys, message.sealed_for, data, stream, MediaStored
            )
            return MediaStored(
                message_id=message.message_id,
                part=part,
                media_id=file.media_id,
                address=file.address,
                file=sealed,
            )

        if not await self._settle(keys, message, part, event):
            return False
        await self.store.is_named(keys.org, file.address)
        return True

    async def unavailable(self, message: WaitingMessage, part: int, reason: str) -> None:
        """A file of a message is given up."""
        keys = await self._context.directory.keys(message.org)

        def event(_unit: Unit, _stream: str) -> MediaUnavailable:
            return MediaUnavailable(message_id=message.message_id, part=part, reason=reason)

        await self._settle(keys, message, part, event)

    async def _settle(self, keys: Keys, message: WaitingMessage, part: int, event: Any) -> bool:
        """Once for each file, whoever comes first."""
        stream = chats.stream_of(message.chat_id)

        def decide(unit: Unit) -> None:
            settled: Event = event(unit, stream)
            unit.record(stream, [settled])

        command = keys.hash("media", message.message_id, str(part))
        try:
            await self._context.executor.execute(keys.org, decide, command=command)
        except AlreadyDone:
            return False
        return True
