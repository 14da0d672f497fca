"""What media need from outside: a place for sealed bytes, and platforms that give files out."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

import msgspec

from domain.credentials import Credentials
from domain.inbound import Content
from domain.media import StoredFile
from domain.ports import Org


class KeptFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a store says of a file that it has taken."""

    address: str  # The hash of the sealed bytes.
    key: bytes  # Nobody else has it.
    byte_count: int
    sha256: str


class FileGone(Exception):
    """The store does not have the file, or not as it was put there."""


class StoreAway(Exception):
    """The store does not answer, or does not let us in; its text is for our own log."""


class MediaStore(Protocol):
    """Keeps files sealed, each with a key of its own; never holds one whole in memory.

    Whatever it is asked, it may raise StoreAway.
    """

    async def keep(self, org: Org, chunks: AsyncIterator[bytes]) -> KeptFile:
        """Seal and store; when it returns, the file is durable. What raises leaves nothing."""

    def read(
        self, org: Org, file: StoredFile, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The file in clear, chunk by chunk; or these bytes of it, which it must have.

        Raises FileGone before the first or a later one.
        """

    async def is_named(self, org: Org, address: str) -> None:
        """An event names a file that was kept: it is to stay."""

    async def remove(self, org: Org, address: str) -> None:
        """Delete the sealed bytes; nothing happens if they are not there."""

    async def sweep(self) -> None:
        """Delete what processes left behind that died before an event named it."""


class BegunFiles(Protocol):
    """Files that are going into the store, until an event names them."""

    async def note(self, org: Org, address: str, *, now: datetime) -> None:
        """A file is about to lie there."""

    async def forget(self, org: Org, address: str) -> None:
        """An event names it, or it is not there any more."""

    async def before(self, moment: datetime, *, limit: int) -> Sequence[tuple[Org, str]]:
        """Those that were begun before, the oldest first."""

    async def stands_in_log(self, org: Org, address: str) -> bool:
        """Whether an event names it after all."""


class NotYet(Exception):
    """The platform does not give the file out now; its text says why, in a word."""


class Gone(Exception):
    """The platform will never give the file out; its text says why, in a word."""


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A file on its way from a platform, and what that says of it."""

    chunks: AsyncIterator[bytes]
    mime_type: str | None = None
    byte_count: int | None = None
    sha256: bytes | None = None


class MediaSource(Protocol):
    """Where a platform's files are. What names one is `domain.inbound.files_of`'s."""

    def open(
        self, account_id: str, file: Mapping[str, Any], credentials: Credentials, /
    ) -> AbstractAsyncContextManager[Download]:
        """Begin to read one. Raises NotYet, Gone; so does reading its chunks."""


class WaitingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message with files that are still to be fetched."""

    org: int
    platform: str
    account_id: str
    chat_id: str
    message_id: str
    kind: str
    files: int  # How many it brings.
    sealed_for: str  # The contact whose key seals it, and will seal its files.
    content: Content | None  # None: erased.
    settled: frozenset[int]  # Which of its files are not waited for any more.
    age_seconds: float


class MediaQueue(Protocol):
    """The messages whose files are still to be fetched, over all organisations."""

    async def waiting(
        self, *, platforms: Collection[str], skipped: Collection[str], limit: int
    ) -> list[WaitingMessage]:
        """The oldest first, without those that are to be left alone for now."""

    async def credentials(self, message: WaitingMessage) -> Credentials:
        """What the account's files are fetched with, as it is now."""


class MediaCommands(Protocol):
    """What a fetcher writes down."""

    async def keep_for(
        self,
        message: WaitingMessage,
        chunks: AsyncIterator[bytes],
        *,
        mime_type: str,
        kind: str,
        name: str | None,
    ) -> StoredFile:
        """Put a file into the store; nobody knows of it yet."""

    async def forget(self, message: WaitingMessage, file: StoredFile) -> None:
        """Take a file that is of no use out of the store again."""

    async def stored(self, message: WaitingMessage, part: int, file: StoredFile) -> bool:
        """A file is in the store; False if another had brought it before."""

    async def unavailable(self, message: WaitingMessage, part: int, reason: str) -> None:
        """A file is given up."""
