"""Peers that come from the npm registry: message-db (its SQL) and Emmett (with Node)."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.append import SECONDS, in_threads, stored_size
from benchmarks.servers import Server

MESSAGE_DB = "@eventide/message-db@1.3.1"
EMMETT = ("@event-driven-io/emmett@0.42.0", "@event-driven-io/emmett-postgresql@0.42.0")
SCRIPT = Path(__file__).parent / "emmett.mjs"

# Its folders of SQL, in the order of its own installation.
_PARTS = ("schema", "tables", "types", "functions", "indexes")

_SCHEMA = "SET search_path = message_store, public"
_WRITE = "SELECT message_store.write_message(%s, %s, 'MessageReceived', %s, NULL, -1)"


@contextmanager
def installed() -> Iterator[Path | None]:
    """A folder with both, for as long as the benchmark runs; None where npm cannot give them."""
    folder = Path(tempfile.mkdtemp(prefix="trunkline-peers-"))
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
    try:
        subprocess.run([*install, MESSAGE_DB, *EMMETT], check=True, capture_output=True)
        yield folder
    except (OSError, subprocess.CalledProcessError):
        yield None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def message_db(server: Server, folder: Path, *, threads: int) -> float:
    """Events a second of message-db's write_message, with the version it expects."""
    with server.database(f"message_db_{uuid4().hex[:8]}") as address:
        with psycopg.connect(address) as connection:
            connection.execute(_SCHEMA)
            for script in _scripts(folder):
                connection.execute(script.read_bytes())
        data = '{"content":"' + "x" * stored_size() + '"}'

        def write(is_time: Callable[[], bool]) -> int:
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute(_SCHEMA)
                count = 0
                while is_time():
                    arguments = [str(uuid4()), f"chat-{uuid4().hex}", data]
                    connection.execute(_WRITE, arguments, prepare=True)
                    count += 1
                return count

        return in_threads(write, threads=threads)


def _scripts(folder: Path) -> list[Path]:
    database = folder / "node_modules" / "@eventide" / "message-db" / "database"
    return [script for part in _PARTS for script in sorted((database / part).glob("*.sql"))]


def emmett(server: Server, folder: Path, *, clients: int) -> float:
    """Events a second of Emmett's event store."""
    with server.database(f"emmett_{uuid4().hex[:8]}") as address:
        parts = conninfo_to_dict(address)
        url = f"postgresql://{parts['user']}@localhost/{parts['dbname']}?host={parts['host']}"
        shutil.copy(SCRIPT, folder)
        arguments = [url, str(clients), str(SECONDS), str(stored_size())]
        done = subprocess.run(
            ["node", SCRIPT.name, *arguments],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
    return float(done.stdout)
