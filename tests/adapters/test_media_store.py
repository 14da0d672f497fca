"""The store of files: sealed, whole or not there, and never in memory as a whole (C9, S7)."""

import asyncio
import hashlib
import os
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from adapters.media.disk import LEFT_BEHIND_SECONDS, DiskBlobs
from adapters.media.sealing import PIECE_BYTES, SEALED_PIECE_BYTES
from adapters.media.store import SealedFiles
from domain.media import StoredFile
from domain.media_ports import FileGone, KeptFile
from domain.ports import Org

ORG, OTHER = Org(1, "acme"), Org(2, "other")
MB = 1 << 20


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def as_stored(kept: KeptFile) -> StoredFile:
    return StoredFile(
        media_id="m",
        kind="document",
        mime_type="application/pdf",
        byte_count=kept.byte_count,
        sha256=kept.sha256,
        name=None,
        address=kept.address,
        key=kept.key,
    )


async def read(store: SealedFiles, kept: KeptFile, org: Org = ORG) -> bytes:
    return b"".join([chunk async for chunk in store.read(org, as_stored(kept))])


@pytest.fixture
def store(tmp_path: Path) -> SealedFiles:
    return SealedFiles(DiskBlobs(tmp_path))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "length", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 7]
)
async def test_a_file_comes_out_as_it_went_in(store: SealedFiles, length: int) -> None:
    data = os.urandom(length)
    kept = await store.keep(ORG, chunks(data[:1000], data[1000:]))
    assert (kept.byte_count, kept.sha256) == (length, hashlib.sha256(data).hexdigest())
    assert await read(store, kept) == data


async def test_it_lies_sealed_under_the_hash_of_its_sealed_bytes(
    store: SealedFiles, tmp_path: Path
) -> None:
    data = b"The customer's passport. " * 50_000
    kept = await store.keep(ORG, chunks(data))
    again = await store.keep(ORG, chunks(data))
    assert again.address != kept.address  # Nobody learns that two are the same.
    (path,) = [each for each in files(tmp_path) if each.name == kept.address]
    sealed = path.read_bytes()
    assert hashlib.sha256(sealed).hexdigest() == kept.address
    assert b"passport" not in sealed
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_with_another_key_or_in_another_org_it_cannot_be_read(
    store: SealedFiles, tmp_path: Path
) -> None:
    first, second = [await store.keep(ORG, chunks(b"text")) for _ in range(2)]
    mixed = KeptFile(address=first.address, key=second.key, byte_count=4, sha256="")
    with pytest.raises(FileGone):
        await read(store, mixed)
    (tmp_path / ORG.id).rename(tmp_path / OTHER.id)
    with pytest.raises(FileGone):
        await read(store, first, OTHER)


def _cut(sealed: bytes) -> bytes:
    return sealed[: 2 * SEALED_PIECE_BYTES]


def _swapped(sealed: bytes) -> bytes:
    first, second = sealed[:SEALED_PIECE_BYTES], sealed[SEALED_PIECE_BYTES:][:SEALED_PIECE_BYTES]
    return second + first + sealed[2 * SEALED_PIECE_BYTES :]


def _doubled(sealed: bytes) -> bytes:
    return sealed[:SEALED_PIECE_BYTES] + sealed


def _one_bit(sealed: bytes) -> bytes:
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


@pytest.mark.parametrize("change", [_cut, _swapped, _doubled, _one_bit, lambda _: b""])
async def test_whatever_is_done_to_it_is_noticed(
    store: SealedFiles, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    """Cut at a piece's end, too, where every piece that is left is whole."""
    kept = await store.keep(ORG, chunks(os.urandom(3 * PIECE_BYTES)))
    (path,) = files(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FileGone):
        await read(store, kept)


async def test_what_breaks_off_leaves_nothing(store: SealedFiles, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield os.urandom(2 * PIECE_BYTES)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await store.keep(ORG, broken())
    assert files(tmp_path) == []


async def test_what_was_removed_is_gone_and_may_be_removed_again(
    store: SealedFiles, tmp_path: Path
) -> None:
    kept = await store.keep(ORG, chunks(b"text"))
    await store.remove(ORG, kept.address)
    await store.remove(ORG, kept.address)
    assert files(tmp_path) == []
    with pytest.raises(FileGone):
        await read(store, kept)


async def test_a_file_of_60_mb_passes_through_little_memory(store: SealedFiles) -> None:
    """API10, S7: neither in nor out is it ever held whole."""
    piece = os.urandom(64 << 10)

    async def sixty() -> AsyncIterator[bytes]:
        for _ in range(60 * 16):
            yield piece

    tracemalloc.start()
    try:
        kept = await store.keep(ORG, sixty())
        byte_count = 0
        async for chunk in store.read(ORG, as_stored(kept)):
            byte_count += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert byte_count == kept.byte_count == 60 * MB
    assert peak < 8 * MB


CHILD = """
import asyncio, sys
from pathlib import Path
from adapters.media.disk import DiskBlobs
from adapters.media.store import SealedFiles
from domain.ports import Org

async def endless():
    while True:
        yield bytes(1 << 20)
        print("wrote", flush=True)

asyncio.run(SealedFiles(DiskBlobs(Path(sys.argv[1]))).keep(Org(1, "acme"), endless()))
"""


async def test_a_process_that_dies_leaves_no_half_file_under_a_name(
    store: SealedFiles, tmp_path: Path, repository: Path
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(tmp_path), cwd=repository, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    for _ in range(3):
        assert await child.stdout.readline() == b"wrote\n"
    child.kill()
    await child.wait()
    (left,) = files(tmp_path)
    assert left.parent.name == "new"
    blobs = DiskBlobs(tmp_path)
    await blobs.sweep()
    assert files(tmp_path) == [left]  # It could still be written by somebody.
    old = left.stat().st_mtime - LEFT_BEHIND_SECONDS - 1
    os.utime(left, (old, old))
    await blobs.sweep()
    assert files(tmp_path) == []


async def test_a_full_disk_leaves_no_half_file(
    store: SealedFiles, tmp_path: Path, repository: Path
) -> None:
    """A limit on the size of files stands in for it: the write fails in the middle."""
    code = (
        "import resource, signal, runpy, sys;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({MB}, {MB}));"
        f"sys.argv = ['', {str(tmp_path)!r}];"
        f"exec({CHILD!r})"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        cwd=repository,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"File too large" in said
    assert files(tmp_path) == []
