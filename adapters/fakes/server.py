"""The HTTP side of a fake: real sockets, and answers as bad as one likes."""

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HOST = "127.0.0.1"
BODY_BYTES_MAX = 1 << 20
TICK_SECONDS = 0.1
# For answers that are on their way when it ends.
GRACE_SECONDS = 1.0

Scope = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]


class Request(NamedTuple):
    """What a client asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What it gets, and how."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json; charset=UTF-8"),)
    wait_seconds: float = 0.0
    held: asyncio.Event | None = None  # Nothing is answered before this has happened.
    drip_seconds: float = 0.0  # Between any two bytes; 0: all at once.
    drops: bool = False  # The connection breaks instead,
    drops_after: int | None = None  # or after so many bytes of the body.


def json_answer(
    document: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> Answer:
    """An answer in JSON."""
    usual = Answer().headers
    more = tuple((headers or {}).items())
    return Answer(status=status, body=json.dumps(document).encode(), headers=usual + more)


def read_json(body: bytes) -> Any:
    """The JSON of a request, or None."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


class _Protocol(HttpToolsProtocol):
    """Lets the application break the connection, which ASGI has no word for."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["break_connection"] = self.transport.abort


class _Server(uvicorn.Server):
    """A server that leaves the signals to the program it runs in, and says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serves = asyncio.Event()
        self.ends = asyncio.Event()

    async def main_loop(self) -> None:
        """As uvicorn's own, but for an end that is noticed at once."""
        ticks = itertools.count()
        while not await self.on_tick(next(ticks)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ends.wait(), TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let who is being answered have the answer if it comes soon; uvicorn waits longer."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                while state.connections or state.tasks:  # noqa: ASYNC110 - nobody says so.
                    await asyncio.sleep(0.002)
        for task in state.tasks:
            task.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serves.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class FakeServer:
    """Serves one function on a port of this machine, in the running loop."""

    def __init__(
        self,
        handle: Callable[[Request], Answer],
        *,
        port: int = 0,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        """`port` 0 takes any that is free."""
        self._handle = handle
        self._body_bytes_max = body_bytes_max
        self._port = port
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def base_url(self) -> str:
        """Where it serves; the same after a stop and a start."""
        return f"http://{HOST}:{self._port}"

    async def start(self) -> None:
        """Begin to serve."""
        # With the protocol named, asyncio switches Nagle's algorithm off, which costs 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self._port))
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._application,
            interface="asgi3",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        await self._server.serves.wait()

    async def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        self._server.ends.set()
        await self._task
        self._server = self._task = None

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b"".join([chunk async for chunk in _chunks(receive)])
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if len(body) > self._body_bytes_max:
            answer = Answer(status=413)
        else:
            text = scope["query_string"].decode("latin-1")
            query = dict(parse_qsl(text, keep_blank_values=True))
            answer = self._handle(Request(scope["method"], scope["path"], query, headers, body))
        await asyncio.sleep(answer.wait_seconds)
        if answer.held is not None:
            await answer.held.wait()
        if not answer.drops:
            await _respond(answer, send)
        if answer.drops or answer.drops_after is not None:
            scope["state"]["break_connection"]()
            while (await receive())["type"] != "http.disconnect":
                pass


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        event = await receive()
        more = event.get("more_body", False)
        yield event.get("body", b"")


async def _respond(answer: Answer, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.drip_seconds:
        for byte in answer.body:
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
            await asyncio.sleep(answer.drip_seconds)
        await send({"type": "http.response.body"})
    else:
        part = answer.body[: answer.drops_after]
        is_cut = answer.drops_after is not None
        await send({"type": "http.response.body", "body": part, "more_body": is_cut})
