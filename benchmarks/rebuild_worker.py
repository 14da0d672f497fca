"""One worker that fills the inbox, in a process of its own.

Run as `python -m benchmarks.rebuild_worker DATABASE_URL SCHEMA`. For each line of standard input,
`<org> <position> <first stream> <last stream>`, it fills those streams and prints `done`; before
the first it prints `ready`, and at the end of the input the most memory it ever had, in KiB.
"""

import gc
import re
import sys
from pathlib import Path

import psycopg
import uvloop
from msgspec.structs import replace
from psycopg import sql

import domain.every_event  # noqa: F401 - A log holds any.
from projections.engine.pieces import Piece
from projections.engine.projection import Connection
from projections.engine.rebuild_worker import BATCH_EVENTS_MAX
from projections.engine.whole_streams import Pages
from projections.inbox.projection import Inbox


async def connect(url: str, schema: str) -> Connection:
    """As a projector, with the tables of one build in sight."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    await connection.execute("SET ROLE trunkline_project")
    await connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
    return connection


async def fill(connection: Connection, pages: Pages, piece: Piece) -> None:
    """Fill one slice of streams; each batch is one transaction."""
    is_last = False
    while not is_last:
        page = await pages.next(piece, limit=BATCH_EVENTS_MAX)
        if page.streams:
            async with connection.transaction():
                await Inbox.filling.fill(connection, piece.org, page.streams)
        piece, is_last = replace(piece, reached=page.reached), page.is_last


def slice_of(org: int, position: int, first_stream: str, last_stream: str) -> Piece:
    """The streams between two names, up to a position, as a piece of a rebuild."""
    return Piece(
        stage=0,
        org=org,
        number=0,
        work="fill",
        first_stream=first_stream,
        last_stream=last_stream,
        position=position,
        reached=None,
        events_done=0,
    )


def memory_peak_kib() -> int:
    """The most memory that this process ever had, for which getrusage counts its parent's too."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line)


async def main(url: str, schema: str) -> None:
    """Work until there is no more to do."""
    # Rows live for one batch and refer to each other in no circles.
    gc.freeze()
    gc.set_threshold(100_000)
    connection = await connect(url, schema)
    pages = Pages(await connect(url, schema), Inbox.filling.event_types)
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        org, position, first, last = line.split()
        await fill(connection, pages, slice_of(int(org), int(position), first, last))
        print("done", flush=True)
    print(memory_peak_kib())


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
