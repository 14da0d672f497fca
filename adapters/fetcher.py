"""Fetches the files of messages from their platforms, once the message is durable (C9, P1).

What is fetched is an event, as is what cannot be had. If the process dies between, or that event
does not show for seconds, the file is fetched again; of two copies the second is thrown away.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from adapters.lanes import Lanes, Rounds
from adapters.outages import report
from adapters.readers import text
from domain.file_types import UNKNOWN, agreed, detect, with_head
from domain.inbound import files_of
from domain.media import NAME_LENGTH_MAX, StoredFile
from domain.media_ports import (
    Download,
    Gone,
    MediaCommands,
    MediaQueue,
    MediaSource,
    NotYet,
    WaitingMessage,
)
from domain.ports import Wakener

FETCHING_MAX = 8  # At once, over all accounts,
FETCHING_PER_ACCOUNT_MAX = 2  # so that a slow platform leaves room for the others.
LOOKED_AT_MAX = 64

PAUSE_FIRST_SECONDS = 2.0
PAUSE_MAX_SECONDS = 600.0
# What was written down of a message is in the log, and what waits to be fetched shows it later.
SETTLED_REMEMBERED_SECONDS = 5.0

# Until then a platform that is down, or credentials that are wrong, may be mended.
GIVEN_UP_AFTER_SECONDS = 24 * 60 * 60.0


class Fetcher:
    """One process's fetcher."""

    def __init__(
        self,
        queue: MediaQueue,
        commands: MediaCommands,
        sources: Mapping[str, MediaSource],
        wakener: Wakener,
        *,
        pause_first_seconds: float = PAUSE_FIRST_SECONDS,
    ) -> None:
        """`sources` by platform."""
        self._queue = queue
        self._commands = commands
        self._sources = sources
        self._wakener = wakener
        self._pause_first_seconds = pause_first_seconds
        self._lanes = Lanes(at_once_max=FETCHING_MAX)  # A lane is a message.
        self._accounts: dict[str, tuple[int, str, str]] = {}  # Of the messages in lanes.
        self._pauses: dict[str, tuple[float, float]] = {}  # By message: not before, next pause.
        self._settled: dict[str, float] = {}  # Messages, and until when that is remembered.

    async def run(self) -> None:
        """Fetch until cancelled; what does not end soon then is begun again by the next process."""
        rounds = Rounds(self._wakener, "Fetching files")
        try:
            while True:
                with rounds.survived():
                    await self._begin()
                await rounds.next()
        finally:
            await self._lanes.stop()

    async def _begin(self) -> None:
        now = asyncio.get_running_loop().time()
        resting = {name for name, (not_before, _) in self._pauses.items() if now < not_before}
        self._settled = {name: until for name, until in self._settled.items() if now < until}
        waiting = await self._queue.waiting(
            platforms=self._sources.keys(),
            skipped=resting | self._settled.keys() | self._accounts.keys(),
            limit=LOOKED_AT_MAX,
        )
        for message in waiting:
            account = (message.org, message.platform, message.account_id)
            is_busy = list(self._accounts.values()).count(account) >= FETCHING_PER_ACCOUNT_MAX
            if self._lanes.has_room(message.message_id) and not is_busy:
                self._accounts[message.message_id] = account
                self._lanes.start(message.message_id, partial(self._fetch, message))

    async def _fetch(self, message: WaitingMessage) -> None:
        try:
            if await self._fetch_all(message):
                self._settle(message)
            else:
                self._rest(message)
        except Exception as error:
            report(error, "A file was not fetched", message_id=message.message_id)
            self._rest(message)
        finally:
            del self._accounts[message.message_id]

    def _settle(self, message: WaitingMessage) -> None:
        now = asyncio.get_running_loop().time()
        self._settled[message.message_id] = now + SETTLED_REMEMBERED_SECONDS
        self._pauses.pop(message.message_id, None)

    def _rest(self, message: WaitingMessage) -> None:
        _, pause = self._pauses.get(message.message_id, (0.0, self._pause_first_seconds))
        not_before = asyncio.get_running_loop().time() + pause
        self._pauses[message.message_id] = (not_before, min(pause * 2, PAUSE_MAX_SECONDS))

    async def _fetch_all(self, message: WaitingMessage) -> bool:
        """Whether nothing of the message is waited for any more."""
        left = [part for part in range(message.files) if part not in message.settled]
        if message.content is None:
            for part in left:
                await self._commands.unavailable(message, part, "erased")
            return True
        named = files_of(message.content)
        credentials = await self._queue.credentials(message)
        source, whole = self._sources[message.platform], True
        for part in left:
            try:
                async with source.open(message.account_id, named[part], credentials) as download:
                    file = await self._keep(message, named[part], download)
                if not await self._commands.stored(message, part, file):
                    await self._commands.forget(message, file)
            except Gone as gone:
                await self._commands.unavailable(message, part, str(gone))
            except NotYet as not_yet:
                if message.age_seconds < GIVEN_UP_AFTER_SECONDS:
                    whole = False
                else:
                    await self._commands.unavailable(message, part, str(not_yet))
        return whole

    async def _keep(
        self, message: WaitingMessage, named: Mapping[str, Any], download: Download
    ) -> StoredFile:
        """Put it into the store, if it is what the platform says it is. Raises NotYet, Gone."""
        head, chunks = await with_head(download.chunks)
        kind = str(named.get("type", message.kind))
        called = text(named.get("mime_type")) or download.mime_type
        name = named.get("filename")
        file = await self._commands.keep_for(
            message,
            chunks,
            mime_type=agreed(called, head) or detect(head) or UNKNOWN,
            kind="document" if kind == "file" else kind,
            name=name[:NAME_LENGTH_MAX] if isinstance(name, str) and name else None,
        )
        if download.sha256 not in (None, bytes.fromhex(file.sha256)):
            await self._commands.forget(message, file)
            raise NotYet("hash")
        return file
