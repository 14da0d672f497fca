"""A PostgreSQL that is killed: what projections did not flush is taken back, and folded again."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from adapters.postgres.connections import assume, pool
from adapters.postgres.embedded import EmbeddedServer, embedded_postgres
from migrations.apply import migrate
from projections.engine import batches
from projections.engine.projection import Connection
from tests.projections.diaries import ORGS, WITHIN_SECONDS, Diary, Log, running, until

# Else commits that nobody waits for are on the disk a fifth of a second later.
SETTINGS = {"wal_writer_delay": "10s"}
# Its moment comes every ten seconds nonetheless, and then nothing is left to be taken back.
TRIES_MAX = 3


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with tempfile.TemporaryDirectory(prefix="trunkline-killed-") as folder:
        Path(folder).chmod(0o755)
        with embedded_postgres(Path(folder) / "home", settings=SETTINGS) as embedded:
            with psycopg.connect(embedded.superuser_url) as connection:
                connection.execute("CREATE ROLE trunkline LOGIN NOINHERIT")
            migrate(embedded.superuser_url, login="trunkline", projections=[Diary()])
            yield embedded


async def followed(server: EmbeddedServer, log: Log, org: int, position: int) -> None:
    url = make_conninfo(server.superuser_url, user="trunkline")
    async with (
        pool(url, "trunkline_project", size_max=2) as projectors,
        running(projectors, log, Diary()),
    ):
        await until(lambda: max(log.diary(org), default=0) == position)


def kill(server: EmbeddedServer) -> None:
    """At once, with all that was not flushed, as when the power fails; it comes back by itself."""
    pid_file = server.data_directory / "postmaster.pid"
    began_at = started_at(server)
    os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGQUIT)
    give_up_at = monotonic() + WITHIN_SECONDS
    while started_at(server) in (None, began_at):
        assert monotonic() < give_up_at
        sleep(0.05)


def started_at(server: EmbeddedServer) -> datetime | None:
    with (
        suppress(psycopg.OperationalError),
        psycopg.connect(server.superuser_url) as connection,
    ):
        row = connection.execute("SELECT pg_postmaster_start_time()").fetchone()
        return row[0] if row else None
    return None


def checkpoint(log: Log, org: int) -> int:
    with psycopg.connect(log.url) as connection:
        query = "SELECT coalesce(max(position), 0) FROM trunkline.checkpoints WHERE org = %s"
        row = connection.execute(query, [org]).fetchone()
    assert row is not None
    return int(row[0])


async def test_what_is_taken_back_is_folded_again(server: EmbeddedServer) -> None:
    log = Log(server.superuser_url)
    taken_back = 0
    for _ in range(TRIES_MAX):
        org = next(ORGS)
        log.append(org, 20)
        await followed(server, log, org, 20)
        kill(server)
        left = log.diary(org)
        assert left == list(range(1, checkpoint(log, org) + 1))
        await followed(server, log, org, 20)
        assert log.diary(org) == list(range(1, 21))
        taken_back += 20 - len(left)
        if taken_back:
            return
    raise AssertionError("Nothing was ever taken back, so nothing was proved.")


@pytest.mark.long
async def test_control_a_checkpoint_that_goes_alone_loses_what_was_taken_back(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = batches._take

    async def elsewhere(connection: Connection, parameters: dict[str, Any]) -> Any:
        await connection.execute(
            "SELECT set_config('search_path', %(schema)s, true),"
            " set_config('synchronous_commit', 'off', true)",
            parameters,
        )
        url = make_conninfo(server.superuser_url, user="trunkline")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as another:
            await assume(another, "trunkline_project")
            taken = await take(another, parameters)
            # A commit that is flushed, and with it the one before it.
            await another.execute("UPDATE trunkline.checkpoints SET position = position")
            return taken

    log = Log(server.superuser_url)
    for _ in range(TRIES_MAX):
        org = next(ORGS)
        log.append(org, 20)
        with monkeypatch.context() as context:
            context.setattr(batches, "_take", elsewhere)
            await followed(server, log, org, 20)
        kill(server)
        assert checkpoint(log, org) == 20
        if log.diary(org) != list(range(1, 21)):
            return
    raise AssertionError("Nothing was ever lost, so the test above proves nothing.")
