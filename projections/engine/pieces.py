"""The pieces of a rebuild: what is left to do stands in a table, and is shared by workers.

A piece's progress moves in the transaction of the rows that it is about. Whoever dies in the
middle of one has done a whole number of batches, and somebody else goes on behind them.
"""

from typing import Any, Literal

import msgspec
from psycopg.rows import class_row

from projections.engine.builds import Build
from projections.engine.named_sql import load
from projections.engine.projection import Connection, Filling

# A slice of streams holds about so many events.
SLICE_EVENTS = 20_000

Work = Literal["fill", "finish", "follow"]

SQL = load(__file__)


class Piece(msgspec.Struct, frozen=True):
    """Streams to fill, or what is left to do of an org."""

    stage: int
    org: int
    number: int
    work: Work
    first_stream: str | None
    last_stream: str | None
    position: int
    reached: str | None
    events_done: int


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild is."""

    events_done: int = 0
    events: int = 0
    pieces: int = 0
    trouble: str | None = None
    is_spoiled: bool = False  # The log was found damaged.


async def plan(connection: Connection, build: Build, filling: Filling | None) -> None:
    """Write down all there is to do, up to where each org stands in this transaction."""
    # All statements see the same positions.
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    kinds = filling.stream_order if filling else ()
    for stage, kind in enumerate(kinds):
        parameters = {"stage": stage, "kind": kind, "slice_events": SLICE_EVENTS}
        await connection.execute(SQL["plan_slices"], {**build.key, **parameters})
    works: list[Work] = ["finish", "follow"] if filling else ["follow"]
    for stage, work in enumerate(works, start=len(kinds)):
        parameters = {"stage": stage, "work": work, "counts": filling is None}
        await connection.execute(SQL["plan_orgs"], {**build.key, **parameters})
    await connection.execute(SQL["remember_log"], build.key)


async def next_work(connection: Connection, build: Build) -> Work | None:
    """What is to be done next; None if nothing is left, whoever may have it in hand."""
    row = await (await connection.execute(SQL["next_work"], build.key)).fetchone()
    return row[0] if row else None


async def progress(connection: Connection, build: Build) -> Progress:
    """How far the rebuild is."""
    row = await (await connection.execute(SQL["progress"], build.key)).fetchone()
    return Progress(*row) if row else Progress()


async def take(connection: Connection, build: Build) -> Piece | None:
    """A piece that nobody works on, for the rest of this transaction."""
    async with connection.cursor(row_factory=class_row(Piece)) as cursor:
        await cursor.execute(SQL["take"], build.key)
        return await cursor.fetchone()


async def note(
    connection: Connection,
    build: Build,
    piece: Piece,
    *,
    events_done: int = 0,
    reached: str | None = None,
    is_done: bool,
) -> None:
    """Write down what this transaction did of a piece."""
    parameters = {"events_done": events_done, "reached": reached, "is_done": is_done}
    await connection.execute(SQL["note"], {**build.key, **_name(piece), **parameters})


async def note_trouble(connection: Connection, build: Build, piece: Piece, trouble: str) -> None:
    """Write down why a piece cannot go on; it is told to whoever asked for the rebuild."""
    await connection.execute(SQL["note_trouble"], {**build.key, **_name(piece), "trouble": trouble})


async def doubt(connection: Connection, build: Build) -> None:
    """Write down that the log was found damaged: what was filled is not gone on with."""
    await connection.execute(SQL["doubt"], build.key)


async def is_doubtful(connection: Connection, build: Build) -> bool:
    """Whether what was filled may be of a damaged log: it was found, or has been mended since.

    So it needs nobody who lived to write down what he found. Reads what was planned of the log.
    """
    row = await (await connection.execute(SQL["is_doubtful"], build.key)).fetchone()
    return row == (True,)


async def forget_trouble(connection: Connection, build: Build) -> None:
    """Try again what could not go on."""
    await connection.execute(SQL["forget_trouble"], build.key)


async def follow_again(connection: Connection, build: Build) -> None:
    """Let workers look once more at what the log has got meanwhile."""
    await connection.execute(SQL["follow_again"], build.key)


def _name(piece: Piece) -> dict[str, Any]:
    return {"stage": piece.stage, "org": piece.org, "number": piece.number}
