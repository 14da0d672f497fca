"""Where sealed bytes lie: any place that keeps them under their hash, whole or not at all."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class NewBlob(Protocol):
    """Bytes on their way into a place; until `finish` nobody sees them."""

    async def write(self, sealed: bytes) -> None:
        """Add some."""

    async def finish(self, address: str) -> None:
        """Keep them under their hash, durably."""


class Blobs(Protocol):
    """A place for sealed bytes, each organisation's apart. Any of these may raise StoreAway."""

    def new(self, org_id: str) -> AbstractAsyncContextManager[NewBlob]:
        """Begin to write; what is not finished in the end is gone."""

    def read(
        self, org_id: str, address: str, *, start: int, end: int, piece_bytes: int
    ) -> AsyncIterator[bytes]:
        """These bytes, or as many of them as there are, in pieces of this size, the last one aside.
        Raises FileGone."""

    async def remove(self, org_id: str, address: str) -> None:
        """Delete them, if they are there."""

    async def sweep(self) -> None:
        """Delete what processes left behind that died while they wrote."""
