"""Where files may be kept: a folder, and a bucket whose objects lie in one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from adapters.media.blobs import Blobs
from adapters.media.disk import DiskBlobs
from adapters.media.s3 import s3_blobs
from adapters.media.store import SealedFiles
from api.system import SystemClock
from domain.media import StoredFile
from domain.media_ports import KeptFile
from domain.ports import Org
from tests.adapters.s3 import FOLDER, FakeS3

ORG, OTHER = Org(1, "acme"), Org(2, "other")


class Begun:
    """What a database would remember of files on their way."""

    def __init__(self) -> None:
        self.addresses: dict[str, Org] = {}

    async def note(self, org: Org, address: str, *, now: datetime) -> None:
        self.addresses[address] = org

    async def forget(self, org: Org, address: str) -> None:
        self.addresses.pop(address, None)

    async def before(self, moment: datetime, *, limit: int) -> list[tuple[Org, str]]:
        return []

    async def stands_in_log(self, org: Org, address: str) -> bool:
        return False


def store_in(blobs: Blobs) -> SealedFiles:
    return SealedFiles(blobs, Begun(), SystemClock())


@dataclass(frozen=True)
class Place:
    """A store, and what may be looked at behind its back."""

    store: SealedFiles
    folder: Path  # It holds one for each organisation.
    everything: Path  # It holds parts as well that belong to no object yet.
    environment: dict[str, str]  # For other processes.

    def files(self) -> list[Path]:
        return files_in(self.everything)


@asynccontextmanager
async def on_disk(folder: Path) -> AsyncIterator[Place]:
    environment = {"TRUNKLINE_MEDIA_URL": str(folder)}
    yield Place(store_in(DiskBlobs(folder)), folder, folder, environment)


@asynccontextmanager
async def on_s3(folder: Path) -> AsyncIterator[Place]:
    async with FakeS3(folder / "s3") as fake:
        blobs = s3_blobs(fake.settings())
        assert blobs is not None
        objects = fake.objects / FOLDER
        yield Place(store_in(blobs), objects, folder / "s3", fake.environment())


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


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
