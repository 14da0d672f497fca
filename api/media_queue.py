"""Files that are still to be fetched, opened for asking the platform; and those to be removed."""

from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec

from api.commands.credentials import AccountCredentials
from domain.credentials import Credentials
from domain.inbound import Content
from domain.media_ports import MediaStore, WaitingMessage
from domain.ports import Clock, Directory, Unreadable
from projections import media
from projections.engine.builds import LiveBuilds
from projections.media import Waiting

# Between an upload's end and the removal of its bytes: what was sent at the last moment is known.
FORGOTTEN_AFTER = timedelta(hours=1)
# How long a server may have been away and still find what it is to remove.
FORGOTTEN_WITHIN = timedelta(days=30)
AT_ONCE_MAX = 200


class ProjectedMedia:
    """Messages whose files are still with their platforms, over all organisations."""

    def __init__(
        self, live: LiveBuilds, directory: Directory, credentials: AccountCredentials, clock: Clock
    ) -> None:
        """`live` is of role trunkline_project: it sees all organisations."""
        self._live = live
        self._directory = directory
        self._credentials = credentials
        self._clock = clock

    async def waiting(
        self, *, platforms: Collection[str], skipped: Collection[str], limit: int
    ) -> list[WaitingMessage]:
        """The oldest first, without those that are to be left alone for now."""
        async with self._live.within(None) as connection:
            found = await media.waiting(
                connection, platforms=platforms, skipped=skipped, limit=limit
            )
        return [await self._opened(each) for each in found]

    async def credentials(self, message: WaitingMessage) -> Credentials:
        """What the account's files are fetched with, as it is now."""
        return await self._credentials.current(message.org, message.platform, message.account_id)

    async def _opened(self, waiting: Waiting) -> WaitingMessage:
        keys = await self._directory.keys(waiting.org)
        part = waiting.content
        content: Content | None
        try:
            data = keys.open(
                part.sealed, stream=part.stream, stored_type=part.type, wrapped=part.wrapped
            )
            content = msgspec.json.decode(data, type=Content)
        except Unreadable:
            content = None
        return WaitingMessage(
            org=waiting.org,
            platform=waiting.platform,
            account_id=waiting.account_id,
            chat_id=waiting.chat_id,
            message_id=waiting.message_id,
            kind=waiting.kind,
            files=waiting.files,
            sealed_for=part.sealed.key.partition(":")[2],
            content=content,
            settled=waiting.settled,
            age_seconds=(self._clock.now() - waiting.received_at).total_seconds(),
        )


async def remove_forgotten(
    live: LiveBuilds, directory: Directory, store: MediaStore, *, now: datetime
) -> None:
    """Remove the bytes of files that nobody sent in time; their keys are gone already."""
    after, before = now - FORGOTTEN_WITHIN, now - FORGOTTEN_AFTER
    while True:
        async with live.within(None) as connection:
            found = await media.forgotten(connection, after=after, before=before, limit=AT_ONCE_MAX)
        for each in found:
            keys = await directory.keys(each.org)
            await store.remove(keys.org, each.address)
            after = each.expires_at
        if not found:
            return
