"""Transactions in as few round trips as can be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg

from projections.engine.projection import Connection


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """A pipelined transaction that waits for nothing but what is fetched in it, and for its end.

    psycopg's own, within a pipeline, waits for the answers to BEGIN, to the last statement and to
    COMMIT, one after the other. It cannot be nested; `connection` commits by itself.
    """
    try:
        async with connection.pipeline():
            await connection.execute("BEGIN")
            yield
            await connection.execute("COMMIT")
    except BaseException:
        with suppress(psycopg.Error):  # Whatever led here is the news.
            await connection.rollback()
        raise
