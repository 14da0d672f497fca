"""Files for tests, and how they are uploaded."""

from typing import Any

import httpx

from tests.api.conftest import Client

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256)) * 8
PNG = b"\x89PNG\r\n\x1a\n" + bytes(500)
WEBP = b"RIFF\x00\x10\x00\x00WEBPVP8 " + bytes(200)
MP4 = b"\x00\x00\x00\x20ftypisom" + bytes(300)
OGG = b"OggS\x00\x02" + bytes(300)
PDF = b"%PDF-1.7\n" + b"A page. " * 100
TEXT = "見積書です。\n".encode()


async def try_to_upload(
    client: Client,
    data: bytes = JPEG,
    name: str = "photo.jpg",
    mime_type: str | None = "image/jpeg",
    **arguments: Any,
) -> httpx.Response:
    """Whatever is answered."""
    part: Any = (name, data, mime_type) if mime_type else (name, data)
    return await client.call("POST", "/v1/media", files={"file": part}, **arguments)


async def upload(
    client: Client,
    data: bytes = JPEG,
    name: str = "photo.jpg",
    mime_type: str | None = "image/jpeg",
) -> str:
    """Upload a file; its id."""
    response = await try_to_upload(client, data, name, mime_type, expect=201)
    media_id: str = response.json()["media_id"]
    return media_id


async def download(client: Client, media_id: str, *, expect: int = 200) -> httpx.Response:
    """What is given out under this id, with everything this client has written."""
    headers = {"Trunkline-Min-Position": str(client.position)}
    return await client.call("GET", f"/v1/media/{media_id}", expect=expect, headers=headers)
