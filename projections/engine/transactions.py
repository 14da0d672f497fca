"""Transactions in as few round trips as can be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg.pq import TransactionStatus

from projections.engine.projection import Connection


@asynccontextmanager
async def transaction(connection: Connection, begin: str = "BEGIN") -> AsyncIterator[None]:
    """A pipelined transaction that waits for nothing but what is fetched in it, and for its end.

    psycopg's own, within a pipeline, waits for the answers to BEGIN, to the last statement and to
    COMMIT, one after the other. `connection` is one in autocommit mode, and in no transaction yet.
    """
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise psycopg.ProgrammingError("This transaction cannot stand in another one.")
    try:
        async with connection.pipeline():
            await connection.execute(begin)
            yield
            ended = await connection.execute("COMMIT")
        # Whoever has swallowed an error of the server has nothing to commit.
        if ended.statusmessage != "COMMIT":
            raise psycopg.errors.InFailedSqlTransaction("What was done has been rolled back.")
    except BaseException:
        with suppress(psycopg.Error):  # Whatever led here is the news.
            await connection.rollback()
        raise
