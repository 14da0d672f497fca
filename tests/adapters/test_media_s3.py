"""A bucket for files: signed, in parts where they are large, and what if S3 fails (C9)."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.fakes.behaviour import (
    Behaviour,
    accepts_late,
    accepts_then_drops,
    answers,
    behaves,
    cuts_off,
    drops,
)
from adapters.fakes.server import Request
from adapters.media import s3
from adapters.media.s3 import PART_BYTES, s3_blobs
from adapters.media.store import SealedFiles
from api.settings import Bucket, Settings
from domain.media_ports import FileGone, StoreAway
from tests.adapters.media_places import ORG, chunks, files_in, read, store_in
from tests.adapters.s3 import BUCKET, SECRET_ACCESS_KEY, FakeS3, signature_of
from tests.api.deliveries import eventually

LARGE = 2 * PART_BYTES + 1
# As often as a request is made in all, and once more.
ALWAYS = s3.RETRIES_MAX + 2


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeS3]:
    async with FakeS3(tmp_path / "s3") as fake:
        yield fake


def store_of(settings: Settings) -> SealedFiles:
    blobs = s3_blobs(settings)
    assert blobs is not None
    return store_in(blobs)


@pytest.fixture
def store(fake: FakeS3) -> SealedFiles:
    return store_of(fake.settings())


def left(fake: FakeS3) -> list[Path]:
    return files_in(fake.objects) + files_in(fake.parts)


async def test_a_large_file_goes_up_in_parts(fake: FakeS3, store: SealedFiles) -> None:
    data = os.urandom(LARGE)
    kept = await store.keep(ORG, chunks(data))
    assert [each.method for each in fake.requests] == ["POST", "PUT", "PUT", "PUT", "POST"]
    assert await read(store, kept) == data
    (path,) = left(fake)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == kept.address == path.name


async def test_the_same_bytes_again_change_nothing(fake: FakeS3, store: SealedFiles) -> None:
    """An answer that is lost has the library ask again."""
    fake.next_requests(accepts_then_drops(), to="PUT")
    kept = await store.keep(ORG, chunks(b"text"))
    assert [each.method for each in fake.requests] == ["PUT", "PUT"]
    assert len(left(fake)) == 1
    assert await read(store, kept) == b"text"


@pytest.mark.parametrize("trouble", [answers(503), drops()])
async def test_a_bad_moment_is_passed_over(
    fake: FakeS3, store: SealedFiles, trouble: Behaviour
) -> None:
    data = os.urandom(LARGE)
    fake.next_requests(trouble, to="PUT")
    kept = await store.keep(ORG, chunks(data))
    fake.next_requests(trouble, to="GET")
    assert await read(store, kept) == data


@pytest.mark.parametrize("times", [1, 3])
async def test_an_answer_that_is_cut_off_is_asked_for_from_there_on(
    fake: FakeS3, store: SealedFiles, times: int
) -> None:
    data = os.urandom(3 << 20)
    kept = await store.keep(ORG, chunks(data))
    fake.next_requests(*[cuts_off(700_000)] * times, to="GET")
    assert await read(store, kept) == data
    starts = [each.headers["range"].partition("-")[0] for each in fake.requests[1:]]
    assert len(set(starts)) == times + 1


@pytest.mark.parametrize(
    ("trouble", "length"),
    [(answers(500), 4), (drops(), LARGE), (answers(403), LARGE)],
)
async def test_where_it_goes_on_failing_nothing_is_left(
    fake: FakeS3, store: SealedFiles, trouble: Behaviour, length: int
) -> None:
    """Where the file is large, its first part is there by then."""
    well = [behaves()] if length == LARGE else []
    fake.next_requests(*well, *[trouble] * 3 * ALWAYS, to="PUT")
    with pytest.raises(StoreAway):
        await store.keep(ORG, chunks(os.urandom(length)))
    assert left(fake) == []


async def test_whoever_is_stopped_in_the_middle_leaves_nothing(
    fake: FakeS3, store: SealedFiles
) -> None:
    """The control is the library: dropped in the middle, it leaves its parts in the bucket."""
    fake.next_requests(accepts_late(0.5), to="PUT")
    keeping = asyncio.create_task(store.keep(ORG, chunks(os.urandom(4 * PART_BYTES))))

    async def has_begun() -> bool:
        return files_in(fake.parts) != []

    await eventually(has_begun, True)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert left(fake) == []


async def test_a_bucket_that_is_silent_is_not_waited_for(
    fake: FakeS3, store: SealedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "SILENCE_MAX", s3.SILENCE_MAX / 150)
    monkeypatch.setattr(s3, "RETRIES_MAX", 1)
    hurried = store_of(fake.settings())
    kept = await store.keep(ORG, chunks(b"text"))
    fake.next_requests(*[accepts_late(1)] * 2, to="GET")
    with pytest.raises(StoreAway):
        await read(hurried, kept)
    assert await read(store, kept) == b"text"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"s3_secret_access_key": "not-the-secret"}, "SignatureDoesNotMatch"),
        ({"s3_access_key_id": "AKIDOTHER"}, "InvalidAccessKeyId"),
        ({"s3_region": "us-east-1"}, "AuthorizationHeaderMalformed"),
        ({"media_url": Bucket("other-bucket", "")}, "NoSuchBucket"),
    ],
)
async def test_what_is_wrong_is_said_without_a_secret(
    fake: FakeS3, settings: dict[str, Any], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(fake.settings(**settings))
    with pytest.raises(StoreAway, match=f"{code}$") as away:
        await store.keep(ORG, chunks(b"text"))
    said = f"{away.value}{away.value.__cause__}{caplog.text}"
    assert SECRET_ACCESS_KEY not in said
    assert "not-the-secret" not in said


async def test_where_there_is_no_bucket_no_file_is_gone(fake: FakeS3) -> None:
    """A misspelt bucket must not have messages fail for good."""
    kept = await store_of(fake.settings()).keep(ORG, chunks(b"text"))
    other = store_of(fake.settings(media_url=Bucket("other", "")))
    with pytest.raises(StoreAway):
        await read(other, kept)
    elsewhere = store_of(fake.settings(media_url=Bucket(BUCKET, "x")))
    with pytest.raises(FileGone):
        await read(elsewhere, kept)


async def test_its_own_keys_are_used_whatever_others_find_in_the_environment(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_SESSION_TOKEN": "of-another-program",
        "AWS_ACCESS_KEY_ID": "AKIDOTHER",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_SKIP_SIGNATURE": "true",
    }.items():
        monkeypatch.setenv(name, value)
    store = store_of(fake.settings())
    assert await read(store, await store.keep(ORG, chunks(b"text"))) == b"text"


# The fake: it is no help unless it is as strict as S3.


async def test_the_fake_gives_nothing_to_whoever_does_not_sign(
    fake: FakeS3, store: SealedFiles
) -> None:
    kept = await store.keep(ORG, chunks(b"text"))
    await read(store, kept)
    put, get = fake.requests
    address = f"{fake.reached()['s3_endpoint']}{put.path}"
    async with httpx.AsyncClient() as client:
        assert (await client.get(address)).status_code == 403
        assert (await client.get(address, headers=get.headers)).status_code == 206
        assert (await client.delete(address, headers=get.headers)).status_code == 403
        changed = await client.put(address, headers=put.headers, content=b"mine" * 5)
        assert changed.status_code == 400
    assert await read(store, kept) == b"text"


def test_the_fake_signs_as_amazon_does() -> None:
    """The example in Amazon's "Signature Calculations for the Authorization Header"."""
    empty = hashlib.sha256(b"").hexdigest()
    headers = {
        "host": "examplebucket.s3.amazonaws.com",
        "range": "bytes=0-9",
        "x-amz-content-sha256": empty,
        "x-amz-date": "20130524T000000Z",
    }
    signature = signature_of(
        Request("GET", "/test.txt", {}, headers, b""),
        sorted(headers),
        at=datetime(2013, 5, 24, tzinfo=UTC),
        region="us-east-1",
        secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    )
    assert signature == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
