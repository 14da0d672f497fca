"""One request and its answer, or how far it got. The other side is not trusted.

OWASP API10:2023.
"""

import asyncio
import email.utils
import logging
import time
from typing import Any, NamedTuple

import httpx

BODY_BYTES_MAX = 1 << 20
RETRY_AFTER_SECONDS_MAX = 24 * 60 * 60.0

# What every request says; compressed answers are not read.
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "trunkline",
}

# Between the first byte that httpcore writes and the last, a message may have been taken.
_WRITING = "send_request_headers.started"


class Reply(NamedTuple):
    """An answer. `body` is None where it was cut off, compressed, too long or too slow."""

    status: int
    body: bytes | None
    retry_after_seconds: float | None


class NoReply(NamedTuple):
    """No answer. Unless the request was begun to be written, nobody can have acted on it."""

    written: bool
    reason: str


class TimeLimits(NamedTuple):
    """How long each part of an exchange may take, and the whole."""

    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    deadline_seconds: float = 20.0

    @property
    def timeouts(self) -> dict[str, float]:
        """The same for httpx."""
        return {
            "connect": self.connect_seconds,
            "pool": self.connect_seconds,
            "write": self.read_seconds,
            "read": self.read_seconds,
        }


def new_http_client() -> httpx.AsyncClient:
    """A client that all platforms may share: no proxies or passwords from the environment.

    It logs no addresses: Telegram's hold the bot's token (P4).
    """
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # How much goes on at once is bounded for each platform, so that none waits for another here.
    # A pool with a bound may close a connection under the request that it has just given it
    # (httpcore issue 1110): the message would be uncertain for nothing. So only age closes them.
    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=None, keepalive_expiry=15.0
    )
    return httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=limits)


class _Progress:
    """How far a request got."""

    def __init__(self) -> None:
        self.written = False
        self.response: httpx.Response | None = None

    async def note(self, name: str, _: Any) -> None:
        """Called by httpcore at each step."""
        self.written = self.written or name.endswith(_WRITING)


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, *, limits: TimeLimits
) -> Reply | NoReply:
    """Send a request and read its answer. Never raises for what the other side does.

    The request is one made by hand: a request of the client would carry cookies that other
    accounts were given.
    """
    progress = _Progress()
    own = {"timeout": limits.timeouts, "trace": progress.note}
    request.extensions = {**request.extensions, **own}
    body: bytes | None = None
    reason = ""
    try:
        async with asyncio.timeout(limits.deadline_seconds):
            progress.response = await client.send(request, stream=True, follow_redirects=False)
            try:
                body = await _read(progress.response)
            finally:
                await progress.response.aclose()
    # The text of these errors may hold headers, so only their names are used.
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        reason = type(error).__name__
    if progress.response is None:
        return NoReply(written=progress.written, reason=reason)
    headers = progress.response.headers
    return Reply(progress.response.status_code, body, _retry_after_seconds(headers))


async def _read(response: httpx.Response) -> bytes | None:
    if response.headers.get("content-encoding", "identity") != "identity":
        return None  # We asked for none: a few bytes could become gigabytes.
    chunks: list[bytes] = []
    byte_count = 0
    async for chunk in response.aiter_raw():
        byte_count += len(chunk)
        if byte_count > BODY_BYTES_MAX:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _retry_after_seconds(headers: httpx.Headers) -> float | None:
    """Seconds or a date, as RFC 9110 allows; None if it is neither."""
    written = headers.get("retry-after", "")
    if written.isascii() and written.isdigit():
        return min(float(written), RETRY_AFTER_SECONDS_MAX)
    try:
        then = email.utils.parsedate_to_datetime(written).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(then - time.time(), 0.0), RETRY_AFTER_SECONDS_MAX)
