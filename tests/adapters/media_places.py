"""Where files may be kept: a folder, and a bucket whose objects lie in one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.media.disk import DiskBlobs
from adapters.media.s3 import s3_blobs
from adapters.media.store import SealedFiles
from domain.media import StoredFile
from domain.media_ports import KeptFile
from domain.ports import Org
from tests.adapters.s3 import FOLDER, FakeS3

ORG, OTHER = Org(1, "acme"), Org(2, "other")


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
    yield Place(SealedFiles(DiskBlobs(folder)), folder, folder, environment)


@asynccontextmanager
async def on_s3(folder: Path) -> AsyncIterator[Place]:
    async with FakeS3(folder / "s3") as fake:
        blobs = s3_blobs(fake.settings())
        assert blobs is not None
        objects = fake.objects / FOLDER
        yield Place(SealedFiles(blobs), objects, folder / "s3", fake.environment())


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
