"""Runs a PostgreSQL server of our own where no database is given.

The programs come from a wheel, or from a folder that is named. All processes that use the same
home share one server: the first starts it, the last to leave stops it.
"""

import logging
import os
import secrets
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.pq import PGconn, Ping

from adapters.postgres import embedded_watch
from adapters.postgres.embedded_place import EmbeddedPostgresError, place_under, usable_binaries
from adapters.postgres.embedded_watch import (
    POLL_SECONDS,
    SERVER_LOCK,
    START_LOCK,
    USERS_LOCK,
    Place,
    held,
    is_free,
    make_locks,
    open_lock,
    stop_unless_used,
)
from adapters.whole_file import flush

__all__ = ["EmbeddedPostgresError", "EmbeddedServer", "embedded_postgres"]

START_TIMEOUT_SECONDS = 60
START_ATTEMPTS = 3  # It may be killed, or meet what was left of one that was.
START_AGAIN_PAUSE_SECONDS = 10.0  # After it could not be started: the disk may be full.
LOG_TAIL_BYTES = 2000
UNFINISHED = "data.unfinished."
SOCKET = ".s.PGSQL.5432"  # Named by PostgreSQL; the port is a part of this name and nothing else.

SETTINGS = {
    "listen_addresses": "",  # No TCP: who may enter the socket's folder is trusted, nobody else.
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    "min_wal_size": "256MB",  # Recycling fewer files makes the append's speed swing fivefold.
    "max_wal_size": "1GB",
    "jit": "off",  # Our queries are short: compiling one takes longer than running it.
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "../log",
    "log_filename": "postgres-%a.log",  # A file a weekday, written over a week later.
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_error_verbosity": "terse",  # The detail of a violated constraint quotes the row.
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EmbeddedServer:
    """A server that runs. It has one database, `postgres`."""

    data_directory: Path
    socket_directory: Path

    @property
    def superuser_url(self) -> str:
        """For `migrate` alone, which makes the roles that everything else uses."""
        return self.url("postgres")

    def url(self, user: str) -> str:
        """The address for this role of the database; over the socket it needs no password."""
        socket = quote(str(self.socket_directory), safe="")
        return f"postgresql://{quote(user, safe='')}@/postgres?host={socket}&port=5432"


@contextmanager
def embedded_postgres(
    home: Path, *, binaries: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[EmbeddedServer]:
    """Starts, or joins, the server whose data lies under home; the last one to leave stops it.

    A server that ends meanwhile, killed for want of memory perhaps, is started again. `settings`
    are added to ours; they count only where this call starts the server.
    """
    with _said_clearly(home):
        place = place_under(home)
        make_locks(*(place.folder / name for name in (USERS_LOCK, START_LOCK, SERVER_LOCK)))
    server = EmbeddedServer(data_directory=place.data, socket_directory=place.socket)
    wanted = {**SETTINGS, **(settings or {})}

    def start_or_join(lock: int) -> None:
        _start_or_join(server, place.holding(lock), binaries, wanted)

    try:
        with held(place.folder / USERS_LOCK, LOCK_SH):
            with _said_clearly(home), held(place.folder / START_LOCK) as lock:
                start_or_join(lock)
            with _kept_running(place, start_or_join):
                yield server
    finally:
        with _said_clearly(home):
            is_well = stop_unless_used(place)
        if not is_well:
            raise EmbeddedPostgresError(
                f"The server on {place.data} was told to stop and still runs; the first line of "
                f"postmaster.pid there is its process id.{_end_of_log(place)}"
            )


@contextmanager
def _said_clearly(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedPostgresError(
            f"The embedded server for {home} cannot use its folder: {error}. "
            "Make it writable, or choose another TRUNKLINE_HOME."
        ) from error


@contextmanager
def _kept_running(place: Place, start: Callable[[int], None]) -> Iterator[None]:
    is_over = threading.Event()
    keeper = threading.Thread(
        target=_keep_running, args=(place, start, is_over), name="embedded postgres", daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        is_over.set()
        keeper.join()


def _keep_running(place: Place, start: Callable[[int], None], is_over: threading.Event) -> None:
    pause_seconds = POLL_SECONDS
    while not is_over.wait(pause_seconds):
        pause_seconds = POLL_SECONDS
        try:
            with held(place.folder / START_LOCK) as lock:
                if is_free(place.folder / SERVER_LOCK) and place.data.exists():
                    logger.warning("The embedded server has ended and is started again")
                    start(lock)
        except (OSError, EmbeddedPostgresError) as error:
            pause_seconds = START_AGAIN_PAUSE_SECONDS
            if place.folder.exists():  # Who deletes it wants no server.
                logger.error("The embedded server could not be started again: %s", error)


def _start_or_join(
    server: EmbeddedServer, place: Place, binaries: Path | None, settings: Mapping[str, str]
) -> None:
    _make_socket_directory(place)
    give_up_at = time.monotonic() + START_TIMEOUT_SECONDS
    pause_seconds, starts = 0.005, 0
    while True:
        if is_free(place.folder / SERVER_LOCK):
            if starts == START_ATTEMPTS:
                raise EmbeddedPostgresError(f"The server ended at once.{_end_of_log(place)}")
            _start(place, binaries, settings)
            starts += 1
        elif (state := _ping(server)) == Ping.OK and _is_ours(server):
            return
        elif state == Ping.REJECT:  # It recovers from a crash, which takes as long as it takes.
            give_up_at = time.monotonic() + START_TIMEOUT_SECONDS
        elif time.monotonic() > give_up_at:
            raise EmbeddedPostgresError(
                f"A server runs on {place.data} and does not answer in {place.socket}. "
                f"End the processes that use it and try again.{_end_of_log(place)}"
            )
        time.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, 0.5)  # The server logs each attempt it rejects.


def _make_socket_directory(place: Place) -> None:
    # Made whenever it is not there: cleaners of temporary files take it away.
    made = place.owner.run("mkdir", "-p", "-m", "700", place.socket)
    _demand(made, "The socket's folder could not be made")
    status = place.socket.lstat()
    # In somebody else's folder, somebody else's server could answer in place of ours.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != place.owner.uid:
        raise EmbeddedPostgresError(f"{place.socket} was made by somebody else. Remove it.")


def _ping(server: EmbeddedServer) -> Ping:
    return Ping(PGconn.ping(f"{server.superuser_url}&connect_timeout=5".encode()))


def _is_ours(server: EmbeddedServer) -> bool:
    """Whether the server that answers has our data: a process id in a file proves nothing."""
    try:
        # In SQL_ASCII, which is bytes: a folder's name need be no text.
        with psycopg.connect(
            server.superuser_url, connect_timeout=5, client_encoding="SQL_ASCII"
        ) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
    except psycopg.Error:
        return False
    return row == (os.fsencode(server.data_directory),)


def _start(place: Place, binaries: Path | None, settings: Mapping[str, str]) -> None:
    """Returns at once: the server will answer, or end."""
    programs, version = usable_binaries(place, binaries)
    if not place.data.exists():
        _create_data(place, programs)
    _check_version(place, version)
    _write_settings(place, settings)
    # No process of a server is left, so these files are stale, whoever has its process id now.
    stale = [place.data / "postmaster.pid", place.socket / f"{SOCKET}.lock"]
    place.owner.run("rm", "-rf", *stale, *place.folder.glob(f"{UNFINISHED}*"))
    server_ended, server_lives = os.pipe()
    server_lock = open_lock(place.folder / SERVER_LOCK)
    try:
        flock(server_lock, LOCK_EX | LOCK_NB)
        _start_watcher(place, server_ended)
        # The shell ends and leaves the server behind, so that it is nobody's child; `pg_ctl` does
        # the same, but lets the shell read the folder's name as code.
        started = place.owner.run(
            *("sh", "-c", '"$@" < /dev/null >> "$0" 2>&1 &', place.folder / "log" / "start.log"),
            *(programs / "postgres", "-D", place.data),
            *("-c", f"config_file={place.folder / 'trunkline.conf'}"),
            pass_fds=(server_lock, server_lives),
        )
        _demand(started, "The server could not be started")
    finally:
        # Closing does not unlock: the server's processes have the same lock.
        for descriptor in (server_ended, server_lives, server_lock):
            os.close(descriptor)


def _create_data(place: Place, programs: Path) -> None:
    # Named `data` only when it is whole. Each try has a name of its own: Ctrl-C ends initdb, but
    # not at once what initdb has started.
    unfinished = place.folder / f"{UNFINISHED}{secrets.token_hex(4)}"
    made = place.owner.run(
        *(programs / "initdb", "-D", unfinished, "--username=postgres", "--data-checksums"),
        *("--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=reject"),
    )
    _demand(made, f"No database could be created in {place.folder}")
    unfinished.rename(place.data)
    for folder in (place.folder, place.folder.parent):
        flush(folder)


def _check_version(place: Place, version: str) -> None:
    made_by = (place.data / "PG_VERSION").read_text(encoding="utf-8").strip()
    if made_by != version:
        raise EmbeddedPostgresError(
            f"{place.data} was made by PostgreSQL {made_by}, and these programs are {version}. "
            f"Let TRUNKLINE_POSTGRES_BIN name the programs of PostgreSQL {made_by}, or move the "
            "data with pg_upgrade."
        )


def _write_settings(place: Place, settings: Mapping[str, str]) -> None:
    lines = ["include = 'data/postgresql.conf'  # What initdb found out about this machine."]
    for name, value in {**settings, "unix_socket_directories": str(place.socket)}.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'")
    log = place.folder / "log"
    written = place.owner.run(
        *("sh", "-c", 'mkdir -p "$0" && cat > "$1"', log, place.folder / "trunkline.conf"),
        stdin="\n".join([*lines, ""]),
    )
    # The server empties last week's file only at midnight, so one that sleeps at night never does.
    place.owner.run("find", log, "-name", "*.log", "-mtime", "+5", "-delete")
    _demand(written, "The server's settings could not be written")


def _start_watcher(place: Place, server_ended: int) -> None:
    """Started before the server, so that it is there however early we are killed."""
    with suppress(OSError):  # A Python without an interpreter of its own has no watcher.
        subprocess.run(
            [
                *(sys.executable, "-IS", embedded_watch.__file__, str(server_ended)),
                *(place.folder, place.socket, str(place.owner.uid), str(place.owner.gid)),
            ],
            pass_fds=(server_ended,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            check=False,
        )


def _demand(done: subprocess.CompletedProcess[str], otherwise: str) -> None:
    if done.returncode:
        raise EmbeddedPostgresError(f"{otherwise}: {done.stderr.strip()}")


def _end_of_log(place: Place) -> str:
    logs = sorted((place.folder / "log").glob("*.log"), key=lambda log: log.stat().st_mtime)
    if not logs:
        return ""
    tail = logs[-1].read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
    return f" {logs[-1]} ends with:\n{tail}"
