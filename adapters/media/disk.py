"""Sealed bytes in a folder: `<org>/<two letters>/<hash>`; what is not whole has another name."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.whole_file import flush
from domain.media_ports import FileGone

# What is written now is far younger; what is older was left by a process that died.
LEFT_BEHIND_SECONDS = 24 * 60 * 60.0


class DiskBlobs:
    """A folder that this machine's processes share, on a disk that keeps what is flushed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def new(self, org_id: str) -> AsyncIterator["NewFile"]:
        """Begin to write; what is not finished in the end is gone."""
        file = await asyncio.to_thread(NewFile, self._folder / org_id)
        try:
            yield file
        finally:
            await asyncio.shield(asyncio.to_thread(file.close))

    async def read(
        self, org_id: str, address: str, *, start: int, end: int, piece_bytes: int
    ) -> AsyncIterator[bytes]:
        """These bytes, or as many of them as there are, in pieces of this size, the last one aside.
        Raises FileGone."""
        try:
            descriptor = await asyncio.to_thread(os.open, self._path(org_id, address), os.O_RDONLY)
        except FileNotFoundError as error:
            raise FileGone("It is not in the store.") from error
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            file.seek(start)
            for at in range(start, end, piece_bytes):
                length = min(piece_bytes, end - at)
                piece = await asyncio.to_thread(_read_whole, file.fileno(), length)
                if not piece:
                    return
                yield piece

    async def remove(self, org_id: str, address: str) -> None:
        """Delete them, if they are there."""
        await asyncio.to_thread(self._path(org_id, address).unlink, missing_ok=True)

    async def sweep(self) -> None:
        """Delete what processes left behind that died while they wrote."""
        await asyncio.to_thread(self._sweep)

    def _sweep(self) -> None:
        oldest = time.time() - LEFT_BEHIND_SECONDS
        for path in self._folder.glob("*/new/*"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

    def _path(self, org_id: str, address: str) -> Path:
        return _path(self._folder / org_id, address)


class NewFile:
    """A file that has no name of its own yet."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the organisation's."""
        self._folder = folder
        new = folder / "new"
        new.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = new / secrets.token_hex(16)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb", buffering=0)

    async def write(self, sealed: bytes) -> None:
        """Add some."""
        await asyncio.to_thread(_write_whole, self._file.fileno(), sealed)

    async def finish(self, address: str) -> None:
        """Give it its name, once it is on the disk; and have the name there too."""
        await asyncio.to_thread(self._finish, address)

    def close(self) -> None:
        """Nothing is left of it, unless it was finished."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _finish(self, address: str) -> None:
        os.fsync(self._file.fileno())
        path = _path(self._folder, address)
        made = not path.parent.exists()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        os.replace(self._path, path)
        flush(path.parent)
        if made:
            flush(self._folder)


def _path(folder: Path, address: str) -> Path:
    assert len(address) == 64
    assert address.isalnum()
    return folder / address[:2] / address


def _write_whole(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _read_whole(descriptor: int, length: int) -> bytes:
    """So many bytes, or as many as are left."""
    data = os.read(descriptor, length)
    while len(data) < length and (more := os.read(descriptor, length - len(data))):
        data += more
    return data
