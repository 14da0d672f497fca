"""What a file is, by its first bytes (C9)."""

from collections.abc import AsyncIterator

import pytest

from domain.file_types import HEAD_BYTES, agreed, detect, is_still, kind_of, with_head
from tests.api.files import JPEG, MP4, OGG, PDF, PNG, TEXT, WEBP

M4A = b"\x00\x00\x00\x20ftypM4A " + bytes(20)
THREE_GP = b"\x00\x00\x00\x18ftyp3gp4" + bytes(20)


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        (JPEG, "image/jpeg"),
        (PNG, "image/png"),
        (b"GIF89a", "image/gif"),
        (WEBP, "image/webp"),
        (MP4, "video/mp4"),
        (M4A, "audio/mp4"),
        (THREE_GP, "video/3gpp"),
        (OGG, "audio/ogg"),
        (b"#!AMR\n", "audio/amr"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"RIFF\x00\x00\x00\x00WAVE", "audio/wav"),
        (PDF, "application/pdf"),
        (TEXT, None),
        (b"", None),
        (b"\xff", None),
        ("text".encode("utf-16"), None),
        (b"\xff\xff\xff\xff", None),
        (b"RIFF\x00\x00\x00\x00AVI ", None),
    ],
)
def test_its_beginning_tells_what_it_is(head: bytes, mime_type: str | None) -> None:
    assert detect(head) == mime_type


@pytest.mark.parametrize(
    ("called", "head", "mime_type"),
    [
        (None, JPEG, "image/jpeg"),
        ("image/jpg", JPEG, "image/jpeg"),
        ("IMAGE/JPEG; q=1", JPEG, "image/jpeg"),
        ("application/octet-stream", PDF, "application/pdf"),
        ("audio/mp4", MP4, "audio/mp4"),
        ("video/mp4", M4A, "video/mp4"),
        ("text/plain", TEXT, "text/plain"),
        ("text/plain\r\nX: y", TEXT, "application/octet-stream"),
        ("image/png", JPEG, None),
        ("image/svg+xml", b"<svg/>", None),
        ("video/mp4", b"MZ", None),
        ("application/zip", PNG, None),
    ],
)
def test_what_it_is_called_counts_only_where_it_fits(
    called: str | None, head: bytes, mime_type: str | None
) -> None:
    assert agreed(called, head) == mime_type


EXTENDED = b"RIFF\x00\x10\x00\x00WEBPVP8X\x0a\x00\x00\x00"


@pytest.mark.parametrize(
    ("head", "still"),
    [
        (WEBP, True),
        (b"RIFF\x00\x10\x00\x00WEBPVP8L", True),
        (EXTENDED + b"\x10", True),  # With transparency.
        (EXTENDED + b"\x12", False),  # And animation.
        (EXTENDED, False),  # Cut off: not known.
        (b"RIFF\x00\x10\x00\x00WEBPANMF", False),
        (PNG, False),
        (b"", False),
    ],
)
def test_a_webp_says_whether_it_moves(head: bytes, still: bool) -> None:
    assert is_still(head) is still


def test_how_it_is_shown_follows_from_its_type() -> None:
    types = ("image/png", "audio/ogg", "video/mp4", "application/pdf", "text/plain")
    assert [kind_of(each) for each in types] == ["image", "audio", "video", "document", "document"]


@pytest.mark.parametrize("pieces", [[], [b"a"], [b"a"] * 100, [b"a" * 1000, b"b"]])
async def test_the_head_is_looked_at_and_nothing_is_lost(pieces: list[bytes]) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    head, all_chunks = await with_head(chunks())
    whole = b"".join(pieces)
    assert whole.startswith(head)
    assert len(head) >= min(HEAD_BYTES, len(whole))
    assert b"".join([chunk async for chunk in all_chunks]) == whole
