"""A form with one file, as a stream: the file is never held whole in memory (RFC 7578)."""

import secrets
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from domain.outbound import OutboundFile

# What would end the quoted name, or the line it stands in.
UNSAFE_IN_NAMES = {ord(each): "_" for each in '"\r\n\\'}


class Form(NamedTuple):
    """Headers and body of a request."""

    headers: dict[str, str]
    content: AsyncIterator[bytes]


def form(fields: Mapping[str, str], *, name: str, file: OutboundFile) -> Form:
    """Some fields and, under `name`, a file."""
    boundary = secrets.token_hex(16)
    file_name = (file.name or name).translate(UNSAFE_IN_NAMES)
    before = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    )
    before += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"'
        f"\r\nContent-Type: {file.mime_type}\r\n\r\n"
    )
    head, tail = before.encode(), f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(head) + file.byte_count + len(tail)),
    }
    return Form(headers, _content(head, file, tail))


async def _content(head: bytes, file: OutboundFile, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    async for chunk in file.read():
        yield chunk
    yield tail
