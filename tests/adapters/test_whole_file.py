"""What is there under its name is whole, and stays."""

import os
from pathlib import Path

import pytest

from adapters.whole_file import write_whole
from tests.disks import full_disk


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed = tmp_path / "note", []
    really_flush = os.fsync

    def flush(descriptor: int) -> None:
        flushed.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.exists()))
        really_flush(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    write_whole(path, b"all of it", mode=0o600)
    (unfinished, seen), *folders = flushed
    assert (Path(unfinished).parent, seen) == (tmp_path, False)
    assert folders == [(str(tmp_path), True), (str(tmp_path.parent), True)]
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"all of it", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    path, link = tmp_path / "note", tmp_path / "link"
    write_whole(path, b"first", mode=0o600)
    link.symlink_to(tmp_path / "elsewhere")
    for taken in (path, link):
        with pytest.raises(FileExistsError):
            write_whole(taken, b"second", mode=0o600)
    assert path.read_bytes() == b"first"
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_a_full_disk_leaves_nothing_and_is_told_with_the_name(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(OSError, match=f"File too large: '{tmp_path}/note'"):
        write_whole(tmp_path / "note", b"all of it", mode=0o600)
    assert list(tmp_path.iterdir()) == []
