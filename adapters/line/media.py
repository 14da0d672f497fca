"""Files that people send by LINE: under their message's own id, from another host than the API."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from adapters.download import Downloader
from adapters.readers import identifier
from domain.credentials import Credentials
from domain.media_ports import Download, Gone, NotYet

HOSTS = ("api-data.line.me",)


class LineMedia:
    """LINE answers 202 until it has a video ready, and deletes files after a while."""

    def __init__(self, client: httpx.AsyncClient, *, base_address: str) -> None:
        self._root = base_address.rstrip("/")
        self._downloader = Downloader(client, hosts=HOSTS, base_address=base_address)

    @asynccontextmanager
    async def open(
        self, _account_id: str, file: Mapping[str, Any], credentials: Credentials
    ) -> AsyncIterator[Download]:
        """Begin to read a file. Raises NotYet, Gone."""
        if "url" in file:
            raise Gone("held_elsewhere")  # By the sender's program; anybody's address is not asked.
        message_id = identifier(file.get("platform_id")) or ""
        if not (message_id.isascii() and message_id.isalnum()):
            raise Gone("not_found")
        token = credentials.get("access_token", "")
        if not (token and token.isascii() and token.isprintable()):
            raise NotYet("credentials")
        address = f"{self._root}/v2/bot/message/{message_id}/content"
        headers = {"Authorization": f"Bearer {token}"}
        async with self._downloader.open(address, headers) as download:
            yield download
