"""The store of files: sealed here, kept wherever sealed bytes may lie (C9)."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

from adapters.media.blobs import Blobs
from adapters.media.sealing import KEY_BYTES, PIECE_BYTES, SEALED_PIECE_BYTES, Opener, Sealer
from domain.media import StoredFile
from domain.media_ports import BegunFiles, FileGone, KeptFile
from domain.ports import Clock, Org

# A file that no event names by then was left by a process that died.
LEFT_BEHIND_AFTER = timedelta(hours=24)
SWEPT_AT_ONCE_MAX = 200


class SealedFiles:
    """Seals files on their way in, and opens them on their way out, a piece at a time."""

    def __init__(self, blobs: Blobs, begun: BegunFiles, clock: Clock) -> None:
        self._blobs = blobs
        self._begun = begun
        self._clock = clock

    async def keep(self, org: Org, chunks: AsyncIterator[bytes]) -> KeptFile:
        """Seal and store; when it returns, the file is durable. What raises leaves nothing."""
        key = secrets.token_bytes(KEY_BYTES)
        work = _Work(Sealer(key, org_id=org.id))
        async with self._blobs.new(org.id) as blob:
            async for piece, last in _pieces(chunks):
                await blob.write(await asyncio.to_thread(work.take, piece, last=last))
            address = work.sealed.hexdigest()
            await self._begun.note(org, address, now=self._clock.now())
            await blob.finish(address)
        return KeptFile(
            address=address,
            key=key,
            byte_count=work.byte_count,
            sha256=work.clear.hexdigest(),
        )

    async def read(
        self, org: Org, file: StoredFile, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The file in clear, chunk by chunk; or these bytes of it, which it must have.

        Only the pieces that these stand in are read. Raises FileGone before the first or a later
        one.
        """
        end = file.byte_count if end is None else end
        first, last = start // PIECE_BYTES, max(end - 1, 0) // PIECE_BYTES
        last_of_all = max(file.byte_count - 1, 0) // PIECE_BYTES
        opener = Opener(file.key, org_id=org.id, first=first)
        sealed = self._blobs.read(
            org.id,
            file.address,
            start=first * SEALED_PIECE_BYTES,
            end=(last + 1) * SEALED_PIECE_BYTES,
            piece_bytes=SEALED_PIECE_BYTES,
        )
        number = first
        async for piece in sealed:
            clear = await asyncio.to_thread(opener.open, piece, last=number == last_of_all)
            begins_at = number * PIECE_BYTES
            yield clear[max(start - begins_at, 0) : end - begins_at]
            number += 1
        if number <= last:
            raise FileGone("It is not as it was stored.")

    async def is_named(self, org: Org, address: str) -> None:
        """An event names a file that was kept: it is to stay."""
        await self._begun.forget(org, address)

    async def remove(self, org: Org, address: str) -> None:
        """Delete the sealed bytes; nothing happens if they are not there."""
        await self._blobs.remove(org.id, address)
        await self._begun.forget(org, address)

    async def sweep(self) -> None:
        """Delete what processes left behind that died before an event named it."""
        await self._blobs.sweep()
        moment = self._clock.now() - LEFT_BEHIND_AFTER
        while left := await self._begun.before(moment, limit=SWEPT_AT_ONCE_MAX):
            for org, address in left:
                if await self._begun.stands_in_log(org, address):
                    await self._begun.forget(org, address)
                else:
                    await self.remove(org, address)


class _Work:
    """Seals and counts, away from the loop."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self.clear = hashlib.sha256()
        self.sealed = hashlib.sha256()
        self.byte_count = 0

    def take(self, piece: bytes, *, last: bool) -> bytes:
        self.clear.update(piece)
        self.byte_count += len(piece)
        sealed = self._sealer.seal(piece, last=last)
        self.sealed.update(sealed)
        return sealed


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes, bool]]:
    """The same bytes in whole pieces, and whether each is the last."""
    gathered = bytearray()
    async for chunk in chunks:
        gathered += chunk
        while len(gathered) > PIECE_BYTES:
            yield bytes(gathered[:PIECE_BYTES]), False
            del gathered[:PIECE_BYTES]
    yield bytes(gathered), True
