"""A form as a stream is the form that others read."""

from collections.abc import AsyncIterator
from email.parser import BytesParser
from email.policy import HTTP

from adapters.multipart import form
from domain.outbound import OutboundFile


async def chunks() -> AsyncIterator[bytes]:
    yield b"\x00\xff"
    yield b"--\r\n"


async def test_fields_and_file_arrive_as_they_are_and_a_name_cannot_break_out() -> None:
    name = 'a"\r\nX-Evil: 1.png'
    file = OutboundFile(mime_type="image/png", byte_count=6, name=name, read=chunks)
    written = form({"type": "image/png", "note": "猫"}, name="file", file=file)
    body = b"".join([chunk async for chunk in written.content])
    assert len(body) == int(written.headers["Content-Length"])
    head = f"Content-Type: {written.headers['Content-Type']}\r\n\r\n".encode()
    parts = list(BytesParser(policy=HTTP).parsebytes(head + body).iter_parts())
    assert [each.get_payload(decode=True) for each in parts] == [
        b"image/png",
        "猫".encode(),
        b"\x00\xff--\r\n",
    ]
    assert parts[2].get_filename() == "a___X-Evil: 1.png"
    assert parts[2]["X-Evil"] is None
    assert parts[2].get_content_type() == "image/png"
