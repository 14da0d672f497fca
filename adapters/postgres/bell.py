"""Wakes followers when the log has grown: at once in this process, by NOTIFY in the others.

NOTIFY inside a write transaction would make the whole server commit one by one, so it is sent
afterwards, on a connection of its own, at most once at a time. A lost ring costs a second:
followers also poll.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import psycopg

from adapters.postgres.connections import Connection

CHANNEL = "trunkline_log"
RECONNECT_SECONDS = 1.0
TELL_PAUSE_SECONDS = 0.02  # A NOTIFY is a commit; other processes need no more of them.

logger = logging.getLogger(__name__)


class Listener:
    """One follower's ear: a ring between two waits is not lost."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake it, now or when it next waits."""
        self._rung.set()

    async def wait(self, timeout: float) -> bool:
        """Return at the next ring, or after `timeout` seconds; whether it rang."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), timeout)
        rang = self._rung.is_set()
        self._rung.clear()
        return rang


class Bell:
    """Rings in this process and, with an address, in every process on the same database."""

    def __init__(self, url: str) -> None:
        """`url` may be that of any user who can connect."""
        self._url = url
        self._listeners: list[Listener] = []
        self._to_tell = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def listener(self) -> Listener:
        """A new ear."""
        listener = Listener()
        self._listeners.append(listener)
        return listener

    def ring(self) -> None:
        """The log has grown."""
        self._ring_here()
        self._to_tell.set()

    def _ring_here(self) -> None:
        for listener in self._listeners:
            listener.ring()

    async def start(self) -> None:
        """Begin to tell other processes, and to hear them."""
        self._tasks = [
            asyncio.create_task(self._for_ever(self._tell), name="bell: tell"),
            asyncio.create_task(self._for_ever(self._hear), name="bell: hear"),
        ]

    async def stop(self) -> None:
        """Fall silent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _for_ever(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
                async with connection:
                    await work(connection)
            except psycopg.OperationalError:
                logger.warning("The bell lost its connection; followers poll meanwhile")
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _tell(self, connection: Connection) -> None:
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            await connection.execute(f"NOTIFY {CHANNEL}")
            await asyncio.sleep(TELL_PAUSE_SECONDS)

    async def _hear(self, connection: Connection) -> None:
        await connection.execute(f"LISTEN {CHANNEL}")
        async for _ in connection.notifies():
            self._ring_here()
