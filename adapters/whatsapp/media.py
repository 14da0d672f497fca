"""Files that customers send by WhatsApp: asked for by id, then fetched with the same token."""

import base64
import binascii
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from adapters.download import Downloader
from adapters.exchange import NoReply, TimeLimits, exchange
from adapters.meta_errors import read_error
from adapters.meta_graph import graph_root
from adapters.readers import identifier, text
from adapters.tolerant import NotJson, decode
from adapters.whatsapp.errors import MEANINGS
from domain.credentials import Credentials
from domain.media_ports import Download, Gone, NotYet

HOSTS = ("*.fbsbx.com", "*.whatsapp.net", "graph.facebook.com")


class WhatsAppMedia:
    """Ids live for days, the addresses they lead to for five minutes."""

    def __init__(self, client: httpx.AsyncClient, *, base_address: str) -> None:
        self._client = client
        self._root = graph_root(base_address)
        self._downloader = Downloader(client, hosts=HOSTS, base_address=base_address)

    @asynccontextmanager
    async def open(
        self, account_id: str, file: Mapping[str, Any], credentials: Credentials
    ) -> AsyncIterator[Download]:
        """Begin to read a file. Raises NotYet, Gone."""
        headers = {"Authorization": f"Bearer {_token(credentials)}"}
        about = await self._about(account_id, file, headers)
        address = text(about.get("url"))
        if address is None:
            raise NotYet("answer_not_understood")
        digests = [_hexadecimal(about.get("sha256")), _base_64(file.get("sha256"))]
        async with self._downloader.open(address, headers) as download:
            yield msgspec.structs.replace(
                download,
                mime_type=text(about.get("mime_type")) or download.mime_type,
                sha256=next((each for each in digests if each is not None), None),
            )

    async def _about(
        self, account_id: str, file: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Mapping[str, Any]:
        media_id = identifier(file.get("platform_id")) or ""
        if not (media_id.isascii() and media_id.isalnum() and account_id.isalnum()):
            raise Gone("not_found")  # It becomes part of an address, so it must not lead elsewhere.
        address = f"{self._root}/{media_id}?phone_number_id={account_id}"
        asked = {**headers, "Accept-Encoding": "identity", "User-Agent": "trunkline"}
        request = httpx.Request("GET", address, headers=asked)
        reply = await exchange(self._client, request, limits=TimeLimits())
        if isinstance(reply, NoReply) or reply.body is None:
            raise NotYet("connection")
        try:
            document = decode(reply.body).value
        except NotJson as error:
            raise NotYet("answer_not_understood") from error
        if reply.status == 200 and isinstance(document, dict):
            return document
        raise _refused(document, reply.status)


def _refused(document: Any, status: int) -> NotYet | Gone:
    """Code 100 is an id that does not exist, or is too old."""
    error = read_error(document, secret="")
    if status == 404 or (error is not None and error.code == 100):
        return Gone("not_found")
    if error is not None and error.meaning(MEANINGS).verdict == "stop":
        return NotYet("credentials")
    return NotYet("unavailable")


def _token(credentials: Credentials) -> str:
    token = credentials.get("access_token", "")
    if not (token and token.isascii() and token.isprintable()):
        raise NotYet("credentials")
    return token


def _hexadecimal(digest: Any) -> bytes | None:
    try:
        return bytes.fromhex(digest) if isinstance(digest, str) and len(digest) == 64 else None
    except ValueError:
        return None


def _base_64(digest: Any) -> bytes | None:
    try:
        found = base64.b64decode(digest, validate=True) if isinstance(digest, str) else b""
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == 32 else None
