"""Connections, each with the one role that its work needs."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, cast

from psycopg import AsyncConnection, Error, OperationalError, sql
from psycopg_pool import AsyncConnectionPool

from domain.ports import Unavailable

Role = Literal[
    "trunkline_append",
    "trunkline_read",
    "trunkline_project",
    "trunkline_audit",
    "trunkline_directory",
]
Connection = AsyncConnection[Any]
Pool = AsyncConnectionPool[Connection]

# How long somebody waits for a free connection before the answer is 503.
POOL_TIMEOUT_SECONDS = 5.0
# The pool tries again after longer and longer pauses; who asks behind these begins a new attempt.
POOL_RECONNECT_SECONDS = 5.0
CONNECT_TIMEOUT_SECONDS = 5
UNLOCK_SECONDS_MAX = 1.0
# A server that says nothing for so long is away, though its connections stand: its machine has
# stopped, or its disk. The longest query that somebody waits for takes a tenth.
ANSWER_SECONDS_MAX = 15.0


def cut(connection: Connection) -> None:
    """Have everything that waits on a connection fail now; a cancelled driver would wait on."""
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as handle, suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


class ImpatientConnection(AsyncConnection[Any]):
    """A connection that breaks where the server does not answer."""

    async def wait(self, *arguments: Any, **options: Any) -> Any:
        """Whatever the driver waits for, but no longer than ANSWER_SECONDS_MAX."""
        too_late = asyncio.get_running_loop().call_later(ANSWER_SECONDS_MAX, cut, self)
        try:
            return await super().wait(*arguments, **options)
        finally:
            too_late.cancel()


class TooPowerful(Exception):
    """The effective role is a superuser or bypasses row security, so tenants have no walls."""


async def assume(connection: Connection, role: Role) -> None:
    """Take on a role for the life of the connection. Raises TooPowerful."""
    await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    await connection.execute("SET search_path = trunkline")
    cursor = await connection.execute(
        "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    )
    row = await cursor.fetchone()
    if row is None or row[0]:
        raise TooPowerful(
            f"{role} may be no superuser and may not bypass row security, which keeps"
            " organisations apart. Have an administrator run this, then try again:\n"
            f"  ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS;"
        )


@asynccontextmanager
async def connected(url: str, role: Role) -> AsyncIterator[Connection]:
    """A connection of its own with the role, which commits each statement."""
    async with await AsyncConnection.connect(
        url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
    ) as connection:
        await assume(connection, role)
        try:
            yield connection
        finally:
            # The server notices later that we have hung up, and somebody may come next at once.
            with suppress(Error, TimeoutError):
                async with asyncio.timeout(UNLOCK_SECONDS_MAX):
                    await connection.execute("SELECT pg_advisory_unlock_all()")


def pool(url: str, role: Role, *, size_max: int) -> Pool:
    """A pool, not opened yet, whose connections have the role and commit each statement."""

    async def configure(connection: Connection) -> None:
        await assume(connection, role)

    return AsyncConnectionPool(
        url,
        connection_class=ImpatientConnection,
        min_size=1,
        max_size=size_max,
        open=False,
        configure=configure,
        kwargs={"autocommit": True, "connect_timeout": CONNECT_TIMEOUT_SECONDS},
        timeout=POOL_TIMEOUT_SECONDS,
        reconnect_timeout=POOL_RECONNECT_SECONDS,
        name=role,
    )


async def open_clearly(opened: Pool) -> None:
    """Open a pool of `pool`. Raises TooPowerful, OperationalError."""
    # Alone it would try for half a minute, and then not say why it could not.
    assert isinstance(opened.conninfo, str)
    async with connected(opened.conninfo, cast("Role", opened.name)):
        pass
    await opened.open(wait=True)


@asynccontextmanager
async def lent(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for a moment. Raises Unavailable, as the log's writer does."""
    try:
        async with pool.connection() as connection:
            yield connection
    except OperationalError as error:
        raise Unavailable(f"The database cannot be asked: {error}") from error


@asynccontextmanager
async def within(pool: Pool, org: int) -> AsyncIterator[Connection]:
    """A transaction that sees one organisation; its setting travels with the first query."""
    async with (
        pool.connection() as connection,
        connection.pipeline(),
        connection.transaction(),
    ):
        await connection.execute("SELECT set_config('app.org', %s, true)", [str(org)])
        yield connection
