"""Files that people send by Telegram: their place is asked for first, and holds the bot's token.

So no address may stand in a log line or an error: `adapters/exchange.py` keeps the client silent.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx

from adapters.download import Downloader
from adapters.exchange import NoReply, TimeLimits, exchange
from adapters.readers import identifier, part, text
from adapters.tolerant import NotJson, decode
from domain.credentials import Credentials
from domain.media_ports import Download, Gone, NotYet

HOSTS = ("api.telegram.org",)

_TOKEN = re.compile(r"[A-Za-z0-9:_-]{1,256}")


class TelegramMedia:
    """Bots are given files of up to 20 MB."""

    def __init__(self, client: httpx.AsyncClient, *, base_address: str) -> None:
        self._client = client
        self._root = base_address.rstrip("/")
        self._downloader = Downloader(client, hosts=HOSTS, base_address=base_address)

    @asynccontextmanager
    async def open(
        self, _account_id: str, file: Mapping[str, Any], credentials: Credentials
    ) -> AsyncIterator[Download]:
        """Begin to read a file. Raises NotYet, Gone."""
        token = credentials.get("bot_token", "")
        if not _TOKEN.fullmatch(token):
            raise NotYet("credentials")
        path = await self._path(identifier(file.get("platform_id")) or "", token)
        address = f"{self._root}/file/bot{token}/{quote(path)}"
        async with self._downloader.open(address) as download:
            yield download

    async def _path(self, file_id: str, token: str) -> str:
        request = httpx.Request(
            "GET",
            f"{self._root}/bot{token}/getFile",
            params={"file_id": file_id},
            headers={"Accept-Encoding": "identity", "User-Agent": "trunkline"},
        )
        reply = await exchange(self._client, request, limits=TimeLimits())
        if isinstance(reply, NoReply) or reply.body is None:
            raise NotYet("connection")
        if reply.status in (401, 404):
            raise NotYet("credentials")
        try:
            document = decode(reply.body).value
        except NotJson as error:
            raise NotYet("answer_not_understood") from error
        document = document if isinstance(document, dict) else {}
        if reply.status == 400:
            too_big = "too big" in (text(document.get("description")) or "")
            raise Gone("too_large" if too_big else "not_found")
        path = text(part(document, "result").get("file_path")) or ""
        if reply.status != 200 or not path:
            raise NotYet("unavailable")
        if ".." in path.split("/") or path.startswith("/"):
            raise Gone("not_found")
        return path
