"""Files to send, and clients that take them."""

from collections.abc import AsyncIterator

from domain.outbound import OutboundFile


def file(content: bytes, *, mime_type: str = "image/png", name: str | None = None) -> OutboundFile:
    """A file that is read in pieces."""

    async def read() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    return OutboundFile(mime_type=mime_type, byte_count=len(content), name=name, read=read)
