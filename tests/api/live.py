"""A client of a live stream, written after the standard's own parsing rules."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.api.conftest import Client

TIMEOUT_SECONDS = 20.0


@dataclass
class Event:
    """What a browser would dispatch; `id` is the last one it had seen by then."""

    id: int
    name: str
    data: Any


@dataclass
class Live:
    """An open stream: its bytes, and the events that they amount to."""

    response: httpx.Response
    raw: bytearray = field(default_factory=bytearray)
    last_id: int = -1
    retry: int | None = None
    comments: list[str] = field(default_factory=list)
    _lines: AsyncIterator[str] | None = None

    async def event(self, *, timeout: float = TIMEOUT_SECONDS) -> Event:
        """The next event."""
        async with asyncio.timeout(timeout):
            return await self._dispatched()

    async def events(self, count: int, *, timeout: float = TIMEOUT_SECONDS) -> list[Event]:
        """The next so many events."""
        return [await self.event(timeout=timeout) for _ in range(count)]

    async def until(self, position: int) -> list[Event]:
        """All events up to this position."""
        found: list[Event] = []
        while not found or found[-1].id < position:
            found.append(await self.event())
        return found

    async def rest(self, *, timeout: float = TIMEOUT_SECONDS) -> list[Event]:
        """All events until the server ends the stream."""
        found: list[Event] = []
        try:
            while True:
                found.append(await self.event(timeout=timeout))
        except StopAsyncIteration:
            return found

    async def silence(self, seconds: float) -> None:
        """Nothing comes for so long."""
        task = asyncio.ensure_future(self._dispatched())
        await asyncio.wait([task], timeout=seconds)
        assert not task.done(), task.result()
        self._pending = task

    async def _dispatched(self) -> Event:
        if (pending := getattr(self, "_pending", None)) is not None:
            del self._pending
            known: Event = await pending
            return known
        name = "message"
        data: list[str] = []
        while True:
            line = await self._line()
            if not line:
                if data:
                    return Event(self.last_id, name, json.loads("\n".join(data)))
                name = "message"
                continue
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match key:
                case "":
                    self.comments.append(value)
                case "id":
                    self.last_id = int(value)
                case "retry":
                    self.retry = int(value)
                case "event":
                    name = value
                case "data":
                    data.append(value)

    async def _line(self) -> str:
        if self._lines is None:
            self._lines = self._read()
        return await anext(self._lines)

    async def _read(self) -> AsyncIterator[str]:
        buffered = b""
        async for chunk in self.response.aiter_bytes():
            self.raw += chunk
            *lines, buffered = (buffered + chunk).split(b"\n")
            for line in lines:
                yield line.decode()


@asynccontextmanager
async def live(
    client: Client, service: str, *, after: int | str | None = None
) -> AsyncIterator[Live]:
    """An open stream of a service."""
    headers = {"Authorization": f"Bearer {client.api_key}"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    path = f"/v1/services/{service}/stream"
    async with client.http.stream("GET", path, headers=headers) as response:
        if response.status_code != 200:
            await response.aread()
        yield Live(response)
