"""Files that are there whole or not at all, whatever fails while they are written."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int) -> None:
    """Makes a file that nobody sees before all of it is on the disk. Raises FileExistsError."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with os.fdopen(os.open(unfinished, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)  # A rename would replace what somebody else has made meanwhile.
    except OSError as error:
        error.filename = error.filename or str(path)  # Whoever only writes is told no name.
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    flush(path.parent)
    with suppress(PermissionError):  # Where we may not look, that folder was there before.
        flush(path.parent.parent)


def flush(folder: Path) -> None:
    """Makes the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
