"""The store of files: sealed, whole or not there, and never in memory as a whole (C9, S7)."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.media.sealing import PIECE_BYTES, SEALED_PIECE_BYTES
from domain.media_ports import FileGone, KeptFile
from tests.adapters.media_places import ORG, OTHER, Place, as_stored, chunks, on_disk, on_s3, read

MB = 1 << 20


@pytest.fixture(params=[on_disk, on_s3], ids=["disk", "s3"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with request.param(tmp_path) as place:
        yield place


@pytest.mark.parametrize(
    "length", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 7]
)
async def test_a_file_comes_out_as_it_went_in(place: Place, length: int) -> None:
    data = os.urandom(length)
    kept = await place.store.keep(ORG, chunks(data[:1000], data[1000:]))
    assert (kept.byte_count, kept.sha256) == (length, hashlib.sha256(data).hexdigest())
    assert await read(place.store, kept) == data


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 0),
        (0, 1),
        (PIECE_BYTES - 1, PIECE_BYTES + 1),
        (PIECE_BYTES, 2 * PIECE_BYTES),
        (2 * PIECE_BYTES + 5, 2 * PIECE_BYTES + 6),
        (0, 3 * PIECE_BYTES),
    ],
)
async def test_a_part_of_it_is_read_from_the_pieces_that_it_stands_in(
    place: Place, start: int, end: int
) -> None:
    """With a bit changed in another piece it is the same, with one in its own it is gone."""
    data = os.urandom(3 * PIECE_BYTES)
    kept = await place.store.keep(ORG, chunks(data))

    async def part() -> bytes:
        read = place.store.read(ORG, as_stored(kept), start=start, end=end)
        return b"".join([chunk async for chunk in read])

    assert await part() == data[start:end]
    (path,) = place.files()
    sealed = path.read_bytes()
    for number in range(3):
        at = number * SEALED_PIECE_BYTES
        path.write_bytes(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
        if start // PIECE_BYTES <= number <= max(end - 1, 0) // PIECE_BYTES:
            with pytest.raises(FileGone):
                await part()
        else:
            assert await part() == data[start:end]


async def test_a_part_that_was_cut_off_is_gone(place: Place) -> None:
    kept = await place.store.keep(ORG, chunks(os.urandom(3 * PIECE_BYTES)))
    (path,) = place.files()
    for length in (2 * SEALED_PIECE_BYTES, SEALED_PIECE_BYTES, 0):
        path.write_bytes(path.read_bytes()[:length])
        read = place.store.read(ORG, as_stored(kept), start=2 * PIECE_BYTES, end=3 * PIECE_BYTES)
        with pytest.raises(FileGone):
            await anext(read)


async def test_it_lies_sealed_under_the_hash_of_its_sealed_bytes(place: Place) -> None:
    data = b"The customer's passport. " * 50_000
    kept = await place.store.keep(ORG, chunks(data))
    again = await place.store.keep(ORG, chunks(data))
    assert again.address != kept.address  # Nobody learns that two are the same.
    (path,) = [each for each in place.files() if each.name == kept.address]
    sealed = path.read_bytes()
    assert hashlib.sha256(sealed).hexdigest() == kept.address
    assert b"passport" not in sealed


async def test_with_another_key_or_in_another_org_it_cannot_be_read(place: Place) -> None:
    first, second = [await place.store.keep(ORG, chunks(b"text")) for _ in range(2)]
    mixed = KeptFile(address=first.address, key=second.key, byte_count=4, sha256="")
    with pytest.raises(FileGone):
        await read(place.store, mixed)
    (place.folder / ORG.id).rename(place.folder / OTHER.id)
    with pytest.raises(FileGone):
        await read(place.store, first, OTHER)


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
async def test_whatever_is_done_to_it_is_noticed(place: Place, change: object) -> None:
    """Cut at a piece's end, too, where every piece that is left is whole."""
    kept = await place.store.keep(ORG, chunks(os.urandom(3 * PIECE_BYTES)))
    (path,) = place.files()
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(FileGone):
        await read(place.store, kept)


async def test_what_breaks_off_leaves_nothing(place: Place) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield os.urandom(2 * PIECE_BYTES)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await place.store.keep(ORG, broken())
    assert place.files() == []


async def test_what_was_removed_is_gone_and_may_be_removed_again(place: Place) -> None:
    kept = await place.store.keep(ORG, chunks(b"text"))
    await place.store.remove(ORG, kept.address)
    await place.store.remove(ORG, kept.address)
    assert place.files() == []
    with pytest.raises(FileGone):
        await read(place.store, kept)


CHILD = """
import asyncio, resource, sys
from adapters.media.disk import DiskBlobs
from adapters.media.s3 import s3_blobs
from api.settings import load
from tests.adapters.media_places import ORG, as_stored, store_in

settings = load()
store = store_in(s3_blobs(settings) or DiskBlobs(settings.media_folder))

async def pieces(count):
    for number in range(count):
        yield bytes([number % 251]) * (64 << 10)
        if number == 50:
            print("writes", flush=True)
            sys.stdin.readline()  # Until it is told to go on, or killed.

def largest():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def main():
    async for _ in store.read(ORG, as_stored(await store.keep(ORG, pieces(100)))):
        pass
    before, byte_count = largest(), 0
    async for chunk in store.read(ORG, as_stored(await store.keep(ORG, pieces(60 * 16)))):
        byte_count += len(chunk)
    print(byte_count, largest() - before)

asyncio.run(main())
"""


async def child(place: Place, repository: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD),
        cwd=repository,
        env=place.environment | {"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_a_file_of_60_mb_passes_through_little_memory(place: Place, repository: Path) -> None:
    """Spec C9: neither in nor out is it ever held whole."""
    process = await child(place, repository)
    said, _ = await process.communicate(b"\n\n")
    byte_count, grown_kib = map(int, said.split()[-2:])
    assert byte_count == 60 * MB
    assert grown_kib < 32 * 1024


async def test_a_process_that_dies_leaves_nothing_under_a_name(
    place: Place, repository: Path
) -> None:
    process = await child(place, repository)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"writes\n"
    process.kill()
    await process.wait()
    assert [path for path in place.files() if path.parent.name != "new"] == []
