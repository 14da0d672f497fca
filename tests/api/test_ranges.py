"""Parts of files: which are asked for, and how they are answered (RFC 9110, 14)."""

import hashlib

import pytest

from adapters.media.sealing import PIECE_BYTES
from api.ranges import asked_for
from tests.api.conftest import Client, Trunkline
from tests.api.files import JPEG, upload
from tests.api.problems import assert_problem


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, None),
        ("", None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=0-1000", (0, 100)),
        ("bytes=40-", (40, 100)),
        ("bytes=99-", (99, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes= 1-2", (1, 3)),
        # It has none of these.
        ("bytes=100-", (100, 100)),
        ("bytes=100-200", (100, 100)),
        ("bytes=-0", (100, 100)),
        # These are not understood, or not taken.
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0x1-2", None),
        ("bytes=\u0661-", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("0-1", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_what_a_header_asks_for(text: str | None, part: tuple[int, int] | None) -> None:
    asked = asked_for(text, byte_count=100)
    assert (None if asked is None else (asked.start, asked.stop)) == part


@pytest.fixture(scope="module")
async def admin(trunkline: Trunkline) -> Client:
    admin = await trunkline.organisation()
    await admin.services("crm")
    return admin


async def test_a_part_is_answered_as_one(admin: Client) -> None:
    data = JPEG + bytes(range(256)) * (3 * PIECE_BYTES // 256)
    path = f"/v1/media/{await upload(admin, data)}"
    position = {"Trunkline-Min-Position": str(admin.position)}
    start, last = PIECE_BYTES - 10, 2 * PIECE_BYTES + 10
    headers = position | {"Range": f"bytes={start}-{last}"}
    given = await admin.call("GET", path, expect=206, headers=headers)
    assert given.content == data[start : last + 1]
    assert {
        name: given.headers[name]
        for name in ("content-range", "content-length", "accept-ranges", "content-type", "etag")
    } == {
        "content-range": f"bytes {start}-{last}/{len(data)}",
        "content-length": str(last + 1 - start),
        "accept-ranges": "bytes",
        "content-type": "image/jpeg",
        "etag": f'"{hashlib.sha256(data).hexdigest()}"',
    }
    # Whoever goes on with another file is given the whole.
    same = await admin.call("GET", path, headers=headers | {"If-Range": given.headers["etag"]})
    assert (same.status_code, same.content) == (206, given.content)
    other = await admin.call("GET", path, headers=headers | {"If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, data)
    beyond = position | {"Range": f"bytes={len(data)}-"}
    refused = await admin.call("GET", path, headers=beyond)
    assert_problem(refused, 416, "range_not_satisfiable")
    assert refused.headers["content-range"] == f"bytes */{len(data)}"


async def test_head_answers_as_get_does_without_the_file(
    trunkline: Trunkline, admin: Client
) -> None:
    path = f"/v1/media/{await upload(admin)}"
    headers = {"Trunkline-Min-Position": str(admin.position)}
    whole = await admin.call("GET", path, expect=200, headers=headers)
    told = await admin.call("HEAD", path, expect=200, headers=headers | {"Range": "bytes=0-1"})
    assert told.content == b""
    kept = ("content-length", "content-type", "accept-ranges", "etag", "content-disposition")
    assert [told.headers[name] for name in kept] == [whole.headers[name] for name in kept]
    other = await trunkline.organisation("Other")
    await other.call("HEAD", path, expect=404)
