"""Serving: the HTTP side, projections and dispatcher of one process, until it is told to stop."""

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Literal

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.main import Core, Database, application, core
from api.processes import dispatching, projecting, purging
from api.settings import Settings, SettingsError

Role = Literal["all", "api", "projector", "dispatcher"]

DEFAULT_PORT = 8000

# A stop is over within ten seconds: half of it for requests that are being answered.
GRACE_SECONDS = 5
# Where the database does not answer at all, the driver alone would take longer for each query; and
# one of our own, which is stopped too, may hang with its disk.
STOP_SECONDS_MAX = 9.0
# A client that reads nothing for so long is gone, or means harm.
SLOW_READER_SECONDS = 30.0

logger = logging.getLogger(__name__)


async def serve(
    settings: Settings,
    where: Database,
    *,
    host: str,
    port: int | None,
    role: Role,
    ready: Callable[[str | None], None],
) -> None:
    """Run one role, or all, until SIGTERM or SIGINT; `ready` is told the address, if there is one.

    Without a port, roles that serve no clients listen nowhere; with one, operators may ask them.
    Ten seconds after such a signal the process is no more, whatever its caller still does.
    """
    collect_seldom()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin_to_stop() -> None:
        if not stop.is_set():
            stop.set()
            _end_in_time()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_to_stop)
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(core(settings, where))
        if role in ("all", "projector"):
            await stack.enter_async_context(projecting(parts))
            await stack.enter_async_context(purging(parts))
        if role in ("all", "dispatcher"):
            await stack.enter_async_context(dispatching(parts))
        if role in ("all", "api"):
            port = DEFAULT_PORT if port is None else port
            await serve_http(parts, host, port, stop, ready)
        elif port is not None:
            await serve_http(parts, host, port, stop, ready, for_operators=True)
        else:
            ready(None)
            await stop.wait()


def _end_in_time() -> None:
    # No timer of the loop's: a database of our own is stopped when the loop has ended.
    timer = threading.Timer(STOP_SECONDS_MAX, _end_anyway)
    timer.daemon = True  # An end that comes by itself does not wait for it.
    timer.start()


def _end_anyway() -> None:
    """What was acknowledged is safe, and whoever stops us would not wait for the rest.

    The watcher of a database of our own stops it as soon as it can be stopped.
    """
    logger.warning("The server ends now, without what waits for the database")
    os._exit(0)


async def serve_http(
    parts: Core,
    host: str,
    port: int,
    stop: asyncio.Event,
    ready: Callable[[str], None],
    *,
    for_operators: bool = False,
) -> None:
    """The HTTP side alone, or only what operators ask, until `stop` is set."""
    listening = _listen(host, port)
    server = _Server(
        uvicorn.Config(
            application(parts, for_operators=for_operators),
            http=_Protocol,
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=65,
        )
    )
    serving = asyncio.create_task(server.serve([listening]))
    started = asyncio.create_task(server.is_listening.wait())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, started], return_when=asyncio.FIRST_COMPLETED)
    if started.done():
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{listening.getsockname()[1]}")
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    for task in (started, stopping):
        task.cancel()
    parts.feeds.close()  # Streams would go on for ever.
    server.should_exit = True
    await serving


def collect_seldom() -> None:
    """Thousands of cached states are no garbage: walking them took a fifth of a delivery's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


class _Protocol(HttpToolsProtocol):
    """Drops a client that has stopped to read: what waits for it is bounded in time, too."""

    _drop: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """There is more than the transport wants to keep."""
        super().pause_writing()
        self._drop = self.loop.call_later(SLOW_READER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read on."""
        super().resume_writing()
        self._forget_drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone anyway."""
        self._forget_drop()
        super().connection_lost(exc)

    def _forget_drop(self) -> None:
        if self._drop is not None:
            self._drop.cancel()
            self._drop = None


class _Server(uvicorn.Server):
    """Leaves signals to us: the database must outlive the last request."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Nothing to capture."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.is_listening.set()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"Cannot listen at {host}, port {port}: {error.strerror}."
            " Choose another with --host and --port; port 0 takes a free one."
        ) from error
    listening.listen(2048)
    listening.setblocking(False)
    return listening
