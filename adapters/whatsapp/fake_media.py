"""The files of a fake Cloud API: uploaded by us, sent by customers, given out for a while."""

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec
from multipart import MultipartError, MultipartParser  # type: ignore[import-untyped]

from adapters.fakes.meta import JsonObject
from adapters.fakes.server import Answer
from adapters.whatsapp.fake_rules import GraphRefusal

# After so long an address is of no use any more, and its file must be asked for again.
ADDRESS_LIFETIME = timedelta(minutes=5)
FILE_BYTES_MAX = 100 << 20


class FakeFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as WhatsApp holds it."""

    id: str
    account_id: str
    mime_type: str
    data: bytes

    @property
    def digest(self) -> bytes:
        """What a webhook shows in base64, and the media endpoint in hexadecimal digits."""
        return hashlib.sha256(self.data).digest()


class FakeMedia:
    """What is uploaded, asked for and downloaded."""

    def __init__(self, random: Random) -> None:
        self.files: dict[str, FakeFile] = {}
        self._random = random
        self._addresses: dict[str, tuple[str, datetime]] = {}  # By token: a file, since when.

    def add(self, account_id: str, data: bytes, mime_type: str) -> FakeFile:
        """Take a file in."""
        media_id = str(self._random.randrange(10**15, 10**16))
        file = FakeFile(id=media_id, account_id=account_id, mime_type=mime_type, data=data)
        self.files[media_id] = file
        return file

    def take_upload(self, account_id: str, headers: Mapping[str, str], body: bytes) -> JsonObject:
        """`POST /{account}/media`. Raises GraphRefusal."""
        fields, data = _form(headers.get("content-type", ""), body)
        if fields.get("messaging_product") != "whatsapp":
            raise GraphRefusal(100, "The parameter messaging_product is required.")
        mime_type = fields.get("type")
        if not data or mime_type is None:
            raise GraphRefusal(131008, "Parameters file and type are required.")
        if len(data) > FILE_BYTES_MAX:
            raise GraphRefusal(131053, "The file is too large.")
        return {"id": self.add(account_id, data, mime_type).id}

    def about(self, media_id: str, base_url: str, now: datetime) -> JsonObject:
        """`GET /{media}`: where it is for the next five minutes."""
        file = self.files[media_id]
        token = f"{self._random.getrandbits(128):032x}"
        self._addresses[token] = (media_id, now)
        return {
            "messaging_product": "whatsapp",
            "url": f"{base_url}/whatsapp_business/attachments/{token}",
            "mime_type": file.mime_type,
            "sha256": file.digest.hex(),
            "file_size": len(file.data),
            "id": media_id,
        }

    def download(self, token: str, now: datetime) -> Answer:
        """The bytes, or 404 for an address that is too old."""
        media_id, since = self._addresses.get(token, ("", now))
        file = self.files.get(media_id)
        if file is None or now >= since + ADDRESS_LIFETIME:
            return Answer(status=404)
        return Answer(body=file.data, headers=(("Content-Type", file.mime_type),))


def sent_file(file: FakeFile, **more: Any) -> JsonObject:
    """What a webhook says of a file."""
    digest = base64.b64encode(file.digest).decode()
    return {"id": file.id, "mime_type": file.mime_type, "sha256": digest, **more}


def _form(content_type: str, body: bytes) -> tuple[dict[str, str], bytes]:
    _, _, boundary = content_type.partition("boundary=")
    fields: dict[str, str] = {}
    data = b""
    try:
        parser = MultipartParser(
            _Reader(body), boundary, memory_limit=2 * FILE_BYTES_MAX, buffer_size=1 << 20
        )
        for part in parser:
            if part.filename is None:
                fields[part.name] = part.value
            else:
                data = part.raw
    except MultipartError as error:
        raise GraphRefusal(100, "The body is not a form.") from error
    return fields, data


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read(self, length: int) -> bytes:
        piece, self._data = self._data[:length], self._data[length:]
        return bytes(piece)
