"""One of the processes that work on a rebuild: it takes pieces until none is left.

It reads the log and writes the tables of one build. There is nothing else that it could reach, so
no event is acted upon again.
"""

import asyncio
from collections.abc import Callable

from projections.engine import pieces
from projections.engine.batches import GapInLog, take_batch
from projections.engine.builds import Build
from projections.engine.checkpoints import reached
from projections.engine.gaps import first_gap
from projections.engine.jobs import name_of
from projections.engine.pieces import Piece
from projections.engine.projection import Connection, Filling, Projection, filling_of
from projections.engine.runner import is_server_trouble
from projections.engine.whole_streams import Pages, UnknownEvent, next_stream, require_whole_log

# More than a live projection takes: nobody waits for a single event.
BATCH_EVENTS_MAX = 10_000
# While the pieces that are left are others'.
PAUSE_SECONDS = 0.05

_CLAIM_TABLES = "SELECT set_config('search_path', %s || ', trunkline', true)"
_BEGIN_AT = """
INSERT INTO trunkline.checkpoints (projection, version, build, org, position)
VALUES (%(projection)s, %(version)s, %(build)s, %(org)s, %(position)s)
"""


class PieceFailed(Exception):
    """A piece cannot be done; why stands beside it in the table."""


class Worker:
    """Works on the pieces of one build with connections of role trunkline_project."""

    def __init__(
        self, connection: Connection, reader: Connection, projection: Projection, build: Build
    ) -> None:
        """`reader` reads whole streams while `connection` writes those before them."""
        self._connection = connection
        self._projection = projection
        self._build = build
        self._filling = filling_of(projection)
        self._pages = Pages(reader, self._filling.event_types if self._filling else ())
        self._limit = BATCH_EVENTS_MAX

    async def work(self, *, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Take pieces until all are done, or nobody wants it any more. Raises PieceFailed."""
        try:
            while is_wanted():
                if await self._work_on_a_piece():
                    continue
                if await pieces.next_work(self._connection, self._build) is None:
                    return
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await self._pages.close()

    async def _work_on_a_piece(self) -> bool:
        """One batch of one piece; False if no piece is free."""
        piece = None
        try:
            async with self._connection.transaction():
                piece = await pieces.take(self._connection, self._build)
                if piece is None:
                    return False
                await self._do(piece)
        except Exception as error:
            if piece is None or is_server_trouble(error):
                raise
            await self._narrow_down(piece, error)
            return True
        self._limit = min(self._limit * 2, BATCH_EVENTS_MAX)
        return True

    async def _do(self, piece: Piece) -> None:
        if piece.work == "follow":
            await self._follow(piece)
            return
        await self._connection.execute(_CLAIM_TABLES, [self._build.schema])
        if self._filling is None:
            raise LookupError("This build was begun by code that could fill it from streams.")
        if piece.work == "fill":
            await self._fill(self._filling, piece)
        else:
            await self._finish(self._filling, piece)

    async def _follow(self, piece: Piece) -> None:
        place = await take_batch(
            self._connection, self._projection, self._build, piece.org, limit=self._limit
        )
        if place is not None:
            await pieces.note(
                self._connection,
                self._build,
                piece,
                events_done=place.position,
                is_done=place.behind == 0,
            )

    async def _fill(self, filling: Filling, piece: Piece) -> None:
        page = await self._pages.next(piece, limit=self._limit)
        if page.streams:
            await filling.fill(self._connection, piece.org, page.streams)
        await pieces.note(
            self._connection,
            self._build,
            piece,
            events_done=piece.events_done + page.events,
            reached=page.reached,
            is_done=page.is_last,
        )

    async def _finish(self, filling: Filling, piece: Piece) -> None:
        await require_whole_log(self._connection, piece)
        await filling.finish(self._connection, piece.org)
        place = {"org": piece.org, "position": piece.position}
        await self._connection.execute(_BEGIN_AT, {**self._build.key, **place})
        await pieces.note(self._connection, self._build, piece, is_done=True)

    async def _narrow_down(self, piece: Piece, error: Exception) -> None:
        """Take less, down to the event or stream that cannot be taken; there a rebuild stops."""
        is_one = piece.work == "finish" or isinstance(error, GapInLog)
        if not is_one and self._limit > 1:
            self._limit //= 2
            return
        trouble = await self._trouble(piece, error)
        async with self._connection.transaction():
            await pieces.note_trouble(self._connection, self._build, piece, trouble)
            if isinstance(error, GapInLog):
                await pieces.doubt(self._connection, self._build)
        raise PieceFailed

    async def _trouble(self, piece: Piece, error: Exception) -> str:
        # No message of the error: it may hold what a customer wrote.
        organisation = f"organisation {await name_of(self._connection, piece.org)}"
        if isinstance(error, GapInLog):
            return f"{organisation}: the log has a gap ({await self._gap(piece, error)})"
        if piece.work == "follow":
            position = await reached(self._connection, self._build, org=piece.org) + 1
            place = f"the event at position {position}"
        elif isinstance(error, UnknownEvent):
            place = f"the event at position {error.position}"
        elif piece.work == "fill":
            place = f"the stream {await next_stream(self._connection, piece)}"
        else:
            place = "the end of its log"
        return f"{organisation}: {place} cannot be taken ({type(error).__name__})"

    async def _gap(self, piece: Piece, error: GapInLog) -> str:
        position = await first_gap(self._connection, piece.org)
        # Versions of a stream may miss one although no position does.
        return str(error) if position is None else f"the event at position {position} is missing"
