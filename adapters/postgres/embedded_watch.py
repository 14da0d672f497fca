"""What the processes that share an embedded server agree on: its files, its locks, its end.

Three locks of the kernel say all there is to know. It drops them when a process dies, however it
dies, so nothing here believes a process id in a file.

- `users.lock` is shared by all who use the server.
- `start.lock` is held by the one who starts or stops it, and by the commands that this needs.
- `server.lock` is inherited by the server's processes: free means that the last of them has ended.

Run as a program, this file stops a server whose users were all killed. As a program it has no
search path, so it imports nothing of the project.
"""

import fcntl
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

USERS_LOCK = "users.lock"
START_LOCK = "start.lock"
SERVER_LOCK = "server.lock"

POLL_SECONDS = 1.0
STOP_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The user who owns the server's files and as whom it runs."""

    uid: int
    gid: int
    locks: tuple[int, ...] = ()

    def run(
        self, *command: str | Path, stdin: str = "", pass_fds: tuple[int, ...] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as the owner, with nothing of our surroundings but our locks.

        Root writes in the server's folder only in this way, since its owner may put links there.
        """
        is_root = os.geteuid() == 0
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # A folder's name may be any bytes, and errors quote it.
            check=False,
            pass_fds=self.locks if pass_fds is None else pass_fds,
            user=self.uid if is_root else None,
            group=self.gid if is_root else None,
            extra_groups=[] if is_root else None,
            umask=0o077,
            cwd="/",  # The owner may not be able to enter the present folder.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            start_new_session=True,  # Ctrl-C is for us, who then stop the server in order.
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a server's files lie, and whose they are."""

    folder: Path
    socket: Path
    owner: Owner

    @property
    def data(self) -> Path:
        """What `initdb` made; settings, logs and locks lie beside it."""
        return self.folder / "data"

    def holding(self, lock: int) -> "Place":
        """The same place, whose commands hold this lock too: if we are killed, until they end."""
        return replace(self, owner=replace(self.owner, locks=(lock,)))


def make_locks(*paths: Path) -> None:
    """Makes the files to lock; only for who comes, so that nothing grows in a deleted home."""
    for path in paths:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))


def open_lock(path: Path) -> int:
    """A descriptor to lock; not through a link that the folder's owner may have put there."""
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW)


@contextmanager
def held(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[int]:
    """Holds a lock, once it can be had."""
    lock = open_lock(path)
    try:
        fcntl.flock(lock, how)
        yield lock
    finally:
        # A forked child has the same lock: closing our end alone would leave it locked.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def is_free(path: Path) -> bool:
    """Whether nobody holds this lock, shared or not."""
    try:
        with held(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return True
    except BlockingIOError:
        return False


def stop_unless_used(place: Place) -> bool:
    """Stops the server if nobody uses it. False: it was told to stop and did not."""
    # Who comes now waits for the start lock, finds no server, and starts it again.
    with held(place.folder / START_LOCK) as lock:
        place = place.holding(lock)
        if not is_free(place.folder / USERS_LOCK):
            return True
        give_up_at = time.monotonic() + STOP_TIMEOUT_SECONDS
        while not is_free(place.folder / SERVER_LOCK):
            if time.monotonic() > give_up_at:
                return False
            _ask_to_stop(place)
        place.owner.run("rm", "-rf", place.socket)
        return True


def _ask_to_stop(place: Place) -> None:
    # SIGINT is PostgreSQL's fast shutdown. It is sent as the owner and not as root, so that a
    # wrong process id in that file can hit no stranger.
    script = 'read -r pid < "$0" && kill -INT "$pid"'
    place.owner.run("sh", "-c", script, place.data / "postmaster.pid")
    ask_again_at = time.monotonic() + 1.0
    while time.monotonic() < ask_again_at and not is_free(place.folder / SERVER_LOCK):
        time.sleep(0.01)


def watch(place: Place, *, server_ended: int) -> None:
    """Returns with the server, whose processes hold the other end of the pipe `server_ended`."""
    has_ended = False
    while not has_ended:
        has_ended = bool(select.select([server_ended], [], [], POLL_SECONDS)[0])
        with suppress(OSError):  # A server whose folder was deleted ends by itself in a minute.
            stop_unless_used(place)  # Also when it has ended: its socket may be left.


def _main(server_ended: str, folder: str, socket: str, uid: str, gid: str) -> None:
    if os.fork():
        return  # Who started this program waits for it, and for nothing that lasts.
    owner = Owner(uid=int(uid), gid=int(gid))
    place = Place(folder=Path(folder), socket=Path(socket), owner=owner)
    watch(place, server_ended=int(server_ended))


if __name__ == "__main__":
    _main(*sys.argv[1:])
