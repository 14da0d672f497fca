"""Wakes followers when the log has grown: at once in this process, by NOTIFY in the others.

NOTIFY inside a write transaction would make the whole server commit one by one, so it is sent
afterwards, on a connection of its own, at most once at a time. A ring names the organisations whose
log has grown, so that nobody looks at all of them. A lost ring costs a second: followers also poll.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from itertools import count
from weakref import WeakValueDictionary

import psycopg

from adapters.postgres.connections import Connection

CHANNEL = "trunkline_log"
RECONNECT_SECONDS = 1.0
TELL_PAUSE_SECONDS = 0.02  # A NOTIFY is a commit; other processes need no more of them.
PAYLOAD_BYTES_MAX = 7_900  # The server takes less than 8,000.

logger = logging.getLogger(__name__)


class Grown:
    """Whose log has grown: some orgs, or any (None)."""

    def __init__(self) -> None:
        self._orgs: set[int] | None = set()

    def note(self, orgs: Collection[int] | None) -> None:
        """Remember these, too."""
        if orgs is None or self._orgs is None:
            self._orgs = None
        else:
            self._orgs.update(orgs)

    def take(self) -> frozenset[int] | None:
        """What was remembered; it is forgotten."""
        orgs, self._orgs = self._orgs, set()
        return None if orgs is None else frozenset(orgs)


class Listener:
    """One follower's ear: a ring between two waits is not lost."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._grown = Grown()

    def ring(self, orgs: Collection[int] | None = None) -> None:
        """Wake it, now or when it next waits."""
        self._grown.note(orgs)
        self._rung.set()

    def grown(self) -> frozenset[int] | None:
        """The orgs whose log has grown since the last call; None: perhaps all."""
        return self._grown.take()

    async def wait(self, timeout: float) -> bool:
        """Return at the next ring, or after `timeout` seconds; whether it rang.

        Raises CancelledError also for a cancellation that was lost on the way here: until Python
        3.12 asyncio.wait_for, with which the pool waits, drops one that comes with its result.
        """
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._rung.wait()
        rang = self._rung.is_set()
        self._rung.clear()
        return rang


class Bell:
    """Rings in this process and, with an address, in every process on the same database."""

    def __init__(self, url: str) -> None:
        """`url` may be that of any user who can connect."""
        self._url = url
        self._listeners = WeakValueDictionary[int, Listener]()  # By number.
        self._numbers = count()
        self._to_tell = asyncio.Event()
        self._grown = Grown()  # What is to be told.
        self._teller = 0  # The server's process that tells: it is heard, too.
        self._tasks: list[asyncio.Task[None]] = []

    def listener(self) -> Listener:
        """A new ear, for as long as somebody has it; it hears a ring before those made later."""
        listener = Listener()
        self._listeners[next(self._numbers)] = listener
        return listener

    def ring(self, orgs: Collection[int] | None = None) -> None:
        """The log of these orgs has grown; None: perhaps that of all."""
        self._ring_here(orgs)
        self._grown.note(orgs)
        self._to_tell.set()

    def _ring_here(self, orgs: Collection[int] | None) -> None:
        for listener in self._listeners.values():
            listener.ring(orgs)

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
        is_away = False
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
                if is_away:
                    logger.warning("The bell has its connection again")
                is_away = False
                async with connection:
                    await work(connection)
            except psycopg.OperationalError:
                if not is_away:
                    logger.warning("The bell lost its connection; followers poll meanwhile")
                is_away = True
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _tell(self, connection: Connection) -> None:
        self._teller = connection.info.backend_pid
        # A flush for it would be one more than appends need; a ring that a crash takes is polled.
        await connection.execute("SET synchronous_commit = off")
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            payload = _payload(self._grown.take())
            await connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])
            await asyncio.sleep(TELL_PAUSE_SECONDS)

    async def _hear(self, connection: Connection) -> None:
        await connection.execute(f"LISTEN {CHANNEL}")
        async for notification in connection.notifies():
            if notification.pid != self._teller:
                self._ring_here(_orgs(notification.payload))


def _payload(orgs: Collection[int] | None) -> str:
    """The orgs as a text; none where anybody may have grown, or too many have."""
    text = " ".join(map(str, orgs or ()))
    return text if len(text) <= PAYLOAD_BYTES_MAX else ""


def _orgs(payload: str) -> list[int] | None:
    words = payload.split()
    return [int(word) for word in words] if words and all(map(str.isdecimal, words)) else None
