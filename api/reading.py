"""Reads: one organisation, from projections that have seen as much as the client asks for."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from litestar import Request

from api.answers import min_position
from api.authentication import WAIT_SECONDS, Principal
from api.problems import Behind
from domain.refusal import NotConnected, NotFound
from projections.engine import checkpoints
from projections.engine.builds import LiveBuilds
from projections.engine.projection import Connection, Projection

ANSWER_BEHIND = (
    "It is written, but cannot be shown yet. If the request has an Idempotency-Key, repeat it in a"
    " moment; if not, look in a moment what is there, for a repetition might do it again."
)


class Reading:
    """Opens connections that see one org (role trunkline_read, row security)."""

    def __init__(self, live: LiveBuilds) -> None:
        self._live = live

    @asynccontextmanager
    async def of(
        self,
        request: Request[Any, Any, Any],
        principal: Principal,
        *projections: Projection,
        scope: str = "read",
    ) -> AsyncIterator[Connection]:
        """A connection for a read of these projections. Raises Behind, Invalid, Forbidden."""
        principal.require_scope(scope)
        position = min_position(request)
        if position and not await self.reached(principal.keys.org.number, position, *projections):
            raise Behind
        async with self._live.within(principal.keys.org.number) as connection:
            yield connection

    @asynccontextmanager
    async def after(
        self, org: int, position: int, *projections: Projection
    ) -> AsyncIterator[Connection]:
        """A connection that shows the log up to a position; it waits for as long as a read may.

        What is not there because the projections stand still is no NotFound: raises Behind.
        """
        is_reached = await self.reached(org, position, *projections)
        async with self._live.within(org) as connection:
            try:
                yield connection
            except (NotFound, NotConnected) as missing:
                if is_reached:
                    raise
                raise Behind(ANSWER_BEHIND) from missing

    def now(self, org: int) -> AbstractAsyncContextManager[Connection]:
        """A connection that shows what is there, where no position was asked for."""
        return self._live.within(org)

    async def ping(self) -> None:
        """Raises what the pool raises when the database does not answer."""
        async with self._live.pool.connection() as connection:
            await connection.execute("SELECT 1")

    async def reached(self, org: int, position: int, *projections: Projection) -> bool:
        """Wait until all of them have reached the position; False when it takes too long."""
        for projection in projections:
            if not await checkpoints.caught_up(
                self._live,
                projection,
                org=org,
                position=position,
                timeout_seconds=WAIT_SECONDS,
            ):
                return False
        return True
