"""Files on a disk: what its permissions are, and what is left when a process dies or it is full."""

import asyncio
import os
import sys
from pathlib import Path

from adapters.media.disk import LEFT_BEHIND_SECONDS, DiskBlobs
from tests.adapters.media_places import ORG, chunks, files_in, store_in

MB = 1 << 20


async def test_only_we_may_look_into_it(tmp_path: Path) -> None:
    kept = await store_in(DiskBlobs(tmp_path)).keep(ORG, chunks(b"text"))
    (path,) = files_in(tmp_path)
    assert path.name == kept.address
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


CHILD = """
import asyncio, sys
from pathlib import Path
from adapters.media.disk import DiskBlobs
from domain.ports import Org
from tests.adapters.media_places import store_in

async def endless():
    while True:
        yield bytes(1 << 20)
        print("wrote", flush=True)

asyncio.run(store_in(DiskBlobs(Path(sys.argv[1]))).keep(Org(1, "acme"), endless()))
"""


async def test_a_process_that_dies_leaves_no_half_file_under_a_name(
    tmp_path: Path, repository: Path
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(tmp_path), cwd=repository, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    for _ in range(3):
        assert await child.stdout.readline() == b"wrote\n"
    child.kill()
    await child.wait()
    (left,) = files_in(tmp_path)
    assert left.parent.name == "new"
    blobs = DiskBlobs(tmp_path)
    await blobs.sweep()
    assert files_in(tmp_path) == [left]  # It could still be written by somebody.
    old = left.stat().st_mtime - LEFT_BEHIND_SECONDS - 1
    os.utime(left, (old, old))
    await blobs.sweep()
    assert files_in(tmp_path) == []


async def test_a_full_disk_leaves_no_half_file(tmp_path: Path, repository: Path) -> None:
    """A limit on the size of files stands in for it: the write fails in the middle."""
    code = (
        "import resource, signal, runpy, sys;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({MB}, {MB}));"
        f"sys.argv = ['', {str(tmp_path)!r}];"
        f"exec({CHILD!r})"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        cwd=repository,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"File too large" in said
    assert files_in(tmp_path) == []
