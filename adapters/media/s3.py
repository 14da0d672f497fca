"""Sealed bytes in a bucket of S3, or of what speaks like it: `<folder>/<org>/<two letters>/<hash>`.

An object has its name from the first byte on, so bytes lie in a file without one, on this machine,
until their hash is known. The bucket never sees a part of what was not sent to us as a whole.
"""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Protocol

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from domain.media_ports import FileGone, StoreAway

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential

# What is larger goes up in parts of this size, so many at once: that much lies in memory.
PART_BYTES = 8 << 20
PARTS_AT_ONCE_MAX = 2

# A whole exchange may take this long, since whoever is given a file may be slow; a silence may not.
EXCHANGE_MAX = timedelta(minutes=10)
SILENCE_MAX = timedelta(seconds=30)
RETRIED_FOR = timedelta(seconds=20)
RETRIES_MAX = 4


class S3Settings(Protocol):
    """Which bucket, and how it is reached."""

    @property
    def media_bucket(self) -> tuple[str, str] | None: ...  # noqa: D102 - And a folder in it.

    @property
    def s3_endpoint(self) -> str | None: ...  # noqa: D102

    @property
    def s3_region(self) -> str: ...  # noqa: D102

    @property
    def s3_access_key_id(self) -> str | None: ...  # noqa: D102

    @property
    def s3_secret_access_key(self) -> str | None: ...  # noqa: D102


def s3_blobs(settings: S3Settings) -> "S3Blobs | None":
    """The bucket; None where none is configured. Without keys, the machine's own are used."""
    if settings.media_bucket is None:
        return None
    bucket, folder = settings.media_bucket
    # One DELETE an object, because not every store knows how to delete several.
    config: S3Config = {
        "region": settings.s3_region,
        "skip_signature": False,
        "disable_bulk_delete": True,
    }
    if settings.s3_endpoint:
        config["endpoint"] = config["aws_endpoint_url_s3"] = settings.s3_endpoint
    store = S3Store(
        bucket,
        prefix=folder or None,
        config=config,
        client_options={
            "allow_http": (settings.s3_endpoint or "").startswith("http://"),
            "timeout": EXCHANGE_MAX,
            "read_timeout": SILENCE_MAX,
        },
        retry_config={"max_retries": RETRIES_MAX, "retry_timeout": RETRIED_FOR},
        credential_provider=_keys(settings),
    )
    return S3Blobs(store)


def _keys(settings: S3Settings) -> "Callable[[], S3Credential] | None":
    """Those that are configured, whatever AWS_… the environment holds for others."""
    key_id, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    if not (key_id and secret):
        return None
    return lambda: {"access_key_id": key_id, "secret_access_key": secret, "expires_at": None}


class S3Blobs:
    """A bucket that any number of machines share."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    @asynccontextmanager
    async def new(self, org_id: str) -> AsyncIterator["NewObject"]:
        """Begin to write; what is not finished in the end is gone."""
        file = await asyncio.to_thread(_nameless_file)
        try:
            yield NewObject(self._store, org_id, file)
        finally:
            await asyncio.shield(asyncio.to_thread(file.close))

    async def read(
        self, org_id: str, address: str, *, start: int, end: int, piece_bytes: int
    ) -> AsyncIterator[bytes]:
        """These bytes, or as many of them as there are, in pieces of this size, the last one aside.
        Raises FileGone, StoreAway."""
        gathered = bytearray()
        with _told():
            found = await obstore.get_async(
                self._store, _path(org_id, address), options={"range": (start, end)}
            )
            async for chunk in found.stream(min_chunk_size=piece_bytes):
                gathered += memoryview(chunk)
                while len(gathered) >= piece_bytes:
                    yield bytes(gathered[:piece_bytes])
                    del gathered[:piece_bytes]
        if gathered:
            yield bytes(gathered)

    async def remove(self, org_id: str, address: str) -> None:
        """Delete them, if they are there. Raises StoreAway."""
        try:
            with _told():
                await obstore.delete_async(self._store, _path(org_id, address))
        except FileGone:
            pass  # S3 does not mind; others may.

    async def sweep(self) -> None:
        """Nothing: a file without a name goes with its process."""


class NewObject:
    """Bytes that are in no bucket yet."""

    def __init__(self, store: S3Store, org_id: str, file: IO[bytes]) -> None:
        self._store = store
        self._org_id = org_id
        self._file = file

    async def write(self, sealed: bytes) -> None:
        """Add some."""
        await asyncio.to_thread(_write_whole, self._file, sealed)

    async def finish(self, address: str) -> None:
        """Send them up under their hash: they are there as a whole, or not at all."""
        await asyncio.to_thread(self._file.seek, 0)
        sending = asyncio.create_task(self._send(_path(self._org_id, address)))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await self._take_back(sending, address)
            raise

    async def _send(self, path: str) -> None:
        with _told():
            await obstore.put_async(
                self._store,
                path,
                self._file,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE_MAX,
            )

    async def _take_back(self, sending: asyncio.Task[None], address: str) -> None:
        """Parts that are only dropped would stay in the bucket, where nobody sees them."""
        self._file.close()  # So what is not sent yet fails, and what was is taken back.
        await asyncio.wait([sending])
        if sending.exception() is None:
            await obstore.delete_async(self._store, _path(self._org_id, address))


def _path(org_id: str, address: str) -> str:
    assert len(address) == 64
    assert address.isalnum()
    return f"{org_id}/{address[:2]}/{address}"


def _nameless_file() -> IO[bytes]:
    return tempfile.TemporaryFile(buffering=0)


def _write_whole(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong in the library's words, in ours: FileGone or StoreAway."""
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise StoreAway(_short(error)) from None
        raise FileGone("It is not in the store.") from None
    except (BaseError, OSError) as error:
        if "InvalidRange" in str(error):
            raise FileGone("It is not as it was stored.") from None
        raise StoreAway(_short(error)) from None


def _short(error: Exception) -> str:
    """What was tried and what came back, without the answer's text: it tells of signatures."""
    text = str(error)
    code = re.search(r"<Code>(\w{1,64})</Code>", text)
    line = text.partition("\n")[0].partition("<")[0].rstrip(" :")
    return f"{line}: {code[1]}" if code else line
