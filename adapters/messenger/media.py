"""Files that people send by Messenger: at signed addresses of Meta's own hosts, for a while."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from adapters.download import Downloader
from domain.credentials import Credentials
from domain.media_ports import Download, Gone

HOSTS = ("*.fbcdn.net", "*.fbsbx.com")


class MessengerMedia:
    """Whoever has the address may read the file, so no token goes along."""

    def __init__(self, client: httpx.AsyncClient, *, base_address: str) -> None:
        self._downloader = Downloader(client, hosts=HOSTS, base_address=base_address)

    @asynccontextmanager
    async def open(
        self, _account_id: str, file: Mapping[str, Any], _credentials: Credentials
    ) -> AsyncIterator[Download]:
        """Begin to read a file. Raises NotYet, Gone."""
        address = file.get("url")
        if not isinstance(address, str):
            raise Gone("not_found")
        async with self._downloader.open(address) as download:
            yield download
