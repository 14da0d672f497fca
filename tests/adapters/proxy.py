"""Stands between clients and their PostgreSQL, and loses things on purpose."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

SOCKET = ".s.PGSQL.5432"
When = Literal["before", "during", "after", "never"]


class Link:
    """One connection, from both sides."""

    def __init__(self, proxy: "Proxy") -> None:
        self.proxy = proxy
        self.held = b""  # What the client has sent, and the server has not got.
        self.is_trapped = False

    async def run(self, client: asyncio.StreamWriter, requests: asyncio.StreamReader) -> None:
        self.client = client
        answers, self.server = await self.proxy.reach_server()
        await asyncio.gather(self._forward_requests(requests), self._forward_answers(answers))

    async def _forward_requests(self, requests: asyncio.StreamReader) -> None:
        while data := await requests.read(65_536):
            await self.proxy.flowing.wait()
            when = self.proxy.springs(data)
            if when == "never":
                continue
            if when == "before":
                self.held = data
            else:
                self.server.write(data)
            self.is_trapped = when == "after"
            if when in ("before", "during"):
                self.client.close()
                return  # The server does not learn of it yet.
        self.server.close()

    async def _forward_answers(self, answers: asyncio.StreamReader) -> None:
        while data := await answers.read(65_536):
            await self.proxy.flowing.wait()
            if self.is_trapped:
                self.cut()
            elif not self.client.is_closing():
                self.client.write(data)
        self.client.close()

    def cut(self) -> None:
        self.client.close()
        self.server.close()


class Proxy:
    """`url` leads through it."""

    def __init__(self, url: str, folder: Path) -> None:
        parameters = conninfo_to_dict(url)
        self.url = make_conninfo(url, host=str(folder), port=5432)
        self.flowing = asyncio.Event()  # While it is not set, nothing gets through.
        self.flowing.set()
        self.links: list[Link] = []
        self._socket = folder / SOCKET
        self._upstream = f"{parameters['host']}/.s.PGSQL.{parameters.get('port') or 5432}"
        self._trap: tuple[bytes, When] | None = None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Let clients connect."""
        self._server = await asyncio.start_unix_server(self._accept, self._socket)

    async def shut(self) -> None:
        """Be away: cut every connection, and take no more."""
        if self._server is not None:
            self._server.close()
            self._socket.unlink(missing_ok=True)
        for link in self.links:
            link.cut()
        self.links.clear()

    def trap(self, statement: bytes, when: When) -> None:
        """Lose the connection at the next execution of a statement: before it reaches the server,
        while the server works on it, or when the server has answered. Never: lose the statement."""
        self._trap = statement + b"\0", when

    def springs(self, data: bytes) -> When | None:
        if self._trap is None or self._trap[0] not in data:
            return None
        when, self._trap = self._trap[1], None
        return when

    @property
    def has_sprung(self) -> bool:
        return self._trap is None

    async def deliver_held(self) -> None:
        """What was lost before it reached the server reaches it after all."""
        for link in self.links:
            if link.held:
                link.server.write(link.held)
                await asyncio.sleep(0.1)

    async def reach_server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self._upstream)

    async def _accept(self, requests: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        link = Link(self)
        self.links.append(link)
        with suppress(ConnectionError):
            await link.run(client, requests)


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    """A proxy to the server of a connection string, which has a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="proxy-"))
    proxy = Proxy(url, folder)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.shut()
        shutil.rmtree(folder, ignore_errors=True)
