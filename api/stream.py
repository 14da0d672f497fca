"""The live stream: GET /v1/services/{service}/stream, server-sent events (E1)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from litestar import Request, get
from litestar.params import FromPath, HeaderParameter
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from api.answers import position_in
from api.authentication import Authentication, Principal
from api.channels import PROJECTION as CHANNELS
from api.chats import INBOX, MEDIA, UNREAD, viewer_of
from api.feeds import AWAY, Batch, Feeds, Place
from api.parts import Part
from api.problems import Unauthenticated
from api.reading import Reading
from api.showing import Showing
from domain.ports import Clock, Unavailable
from domain.refusal import Invalid
from projections.engine.projection import Projection
from projections.news import OfRights

# What a stream shows; nothing is told before all of them have it.
SHOWN: tuple[Projection, ...] = (INBOX, UNREAD, CHANNELS, MEDIA)

LAST_EVENT_ID = "Last-Event-ID"
HEARTBEAT_SECONDS = 15.0
# How long a client is asked to wait before it comes back.
RETRY_MILLISECONDS = 2_000

HEADERS = {"X-Accel-Buffering": "no"}


@get("/v1/services/{service:str}/stream", media_type="text/event-stream")
async def get_stream(
    request: Request[Any, Any, Any],
    service: FromPath[str],
    principal: Part[Principal],
    authentication: Part[Authentication],
    reading: Part[Reading],
    feeds: Part[Feeds],
    showing: Part[Showing],
    clock: Part[Clock],
    last_event_id: Annotated[str | None, HeaderParameter(name=LAST_EVENT_ID)] = None,
) -> Stream:
    """What changes in the service, as it happens: server-sent events, masked as everywhere.

    `message` {message, chat}, `chat` {chat}, `channel` {channel}, `service` {service} and `unread`
    {unread, chats}: each as the other routes show it now. The id is the log's position; a stream
    resumes behind `Last-Event-ID`, which may also be the `Trunkline-Position` of a list.
    """
    viewer_of(principal, service, clock)
    org = principal.keys.org
    async with reading.of(request, principal, *SHOWN) as connection:
        reached = await feeds.reached(connection, org)
    position = await _resumed(last_event_id, feeds, principal, reached)
    place = feeds.take(org, principal.key_id, service, principal.user_id, position=reached)
    stream = LiveStream(authentication, feeds, showing, clock, principal, place)
    return EventStream(stream.chunks(position), on_end=lambda: feeds.leave(place))


async def _resumed(text: str | None, feeds: Feeds, principal: Principal, reached: int) -> int:
    """The position to go on behind. Raises Invalid."""
    if text is None:
        return reached
    position = position_in(text)
    if position is None:
        raise Invalid(LAST_EVENT_ID, "must be a position: 0, 1, 2 …")
    # Projections may be behind what a client has just written, but the log never is.
    if position > reached and position > await feeds.head(principal.keys.org):
        raise Invalid(LAST_EVENT_ID, "lies ahead of the log; read the lists again")
    return position


class EventStream(Stream):
    """A response that goes on until either side ends it; `on_end` is called in every case."""

    def __init__(self, chunks: AsyncIterator[bytes], *, on_end: Callable[[], None]) -> None:
        super().__init__(chunks, media_type="text/event-stream", headers=HEADERS)
        self._on_end = on_end

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> ASGIResponse:
        """The response, with its end."""
        response = super().to_asgi_response(*args, **kwargs)

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await response(scope, receive, send)
            finally:
                self._on_end()

        return respond  # type: ignore[return-value]  # Litestar only calls it.


class LiveStream:
    """One client's stream."""

    def __init__(
        self,
        authentication: Authentication,
        feeds: Feeds,
        showing: Showing,
        clock: Clock,
        principal: Principal,
        place: Place,
    ) -> None:
        self._authentication = authentication
        self._feeds = feeds
        self._showing = showing
        self._clock = clock
        self._principal = principal
        self._place = place

    async def chunks(self, position: int) -> AsyncIterator[bytes]:
        """Everything behind a position, until the server, the database or a right goes away."""
        # An id alone is no event, but from now on the client knows where to go on.
        yield b"retry: %d\nid: %d\n\n" % (RETRY_MILLISECONDS, position)
        try:
            async for chunk in self._events(position):
                yield chunk
        except Unauthenticated:
            yield b": the key or its rights have changed\n\n"
        except (OperationalError, PoolTimeout, Unavailable):
            yield _comment(AWAY)
        else:
            yield _comment(self._place.feed.ended)

    async def _events(self, position: int) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        feed, beat_at = self._place.feed, now() + HEARTBEAT_SECONDS
        while feed.ended is None:
            wait = max(min(beat_at - now(), self._seconds_left()), 0)
            batch = await self._feeds.next(feed, position, timeout=wait)
            is_beat = now() >= beat_at
            principal = await self._principal_now(batch, is_beat=is_beat)
            if batch is not None:
                frames = await self._showing.frames(batch, principal, self._place)
                position = batch.upto
                if frames:
                    yield frames
            if is_beat:
                beat_at = now() + HEARTBEAT_SECONDS
                yield b": still here\nid: %d\n\n" % position

    def _seconds_left(self) -> float:
        expires_at = self._principal.expires_at
        if expires_at is None:
            return HEARTBEAT_SECONDS
        return (expires_at - self._clock.now()).total_seconds()

    async def _principal_now(self, batch: Batch | None, *, is_beat: bool) -> Principal:
        """Who looks on, as of what is about to be shown. Raises Unauthenticated."""
        if self._seconds_left() <= 0:
            raise Unauthenticated
        news = batch.news if batch is not None else ()
        if is_beat or any(isinstance(each, OfRights) for each in news):
            principal = await self._authentication.renewed(self._principal)
        elif batch is not None:
            principal = await self._authentication.at(self._principal, batch.upto)
        else:
            return self._principal
        if _rights(principal) != _rights(self._principal):
            raise Unauthenticated
        return principal


def _rights(principal: Principal) -> tuple[Any, ...]:
    return (principal.user.role, principal.user.services, principal.scopes)


def _comment(text: str | None) -> bytes:
    return b": %s\n\n" % (text or "").encode()


HANDLERS = (get_stream,)
