"""Looks for bodies that reach new lines of a decoder, and for one that breaks a law.

    python -m tests.fuzz.campaign PLATFORM SECONDS [--keep]

Starts from the corpus and the recorded payloads. With --keep the corpus is replaced by the smallest
set that reaches as much as it and what was found. A body that breaks a law stays in the corpus
(`crash-…`), and fails every run of the tests until that is mended.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
PAYLOADS = Path(__file__).parent.parent / "payloads"
BODY_BYTES_MAX = 6_000
SECONDS_A_BODY = 20


def main(platform: str, seconds: int, *, keep: bool) -> None:
    """One campaign; what broke a law is printed, and the process ends with a failure."""
    with tempfile.TemporaryDirectory() as temporary:
        found, seeds = Path(temporary) / "found", Path(temporary) / "seeds"
        found.mkdir()
        shutil.copytree(PAYLOADS / platform, seeds, ignore=shutil.ignore_patterns("manifest.json"))
        _fuzz(platform, f"-max_total_time={seconds}", found, CORPUS / platform, seeds)
        if keep:
            smallest = Path(temporary) / "smallest"
            smallest.mkdir()
            _fuzz(platform, "-set_cover_merge=1", smallest, seeds, CORPUS / platform, found)
            _replace(CORPUS / platform, smallest)


def _fuzz(platform: str, how: str, *folders: Path) -> None:
    """In a process of its own: libFuzzer ends the one that it runs in."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    options = [
        how,
        f"-max_len={BODY_BYTES_MAX}",
        f"-timeout={SECONDS_A_BODY}",
        "-print_final_stats=1",
    ]
    options.append(f"-artifact_prefix={CORPUS / platform}/")
    command = [sys.executable, "-m", "tests.fuzz.instrumented", platform, *options]
    subprocess.run([*command, *map(str, folders)], check=True)


def _replace(corpus: Path, smallest: Path) -> None:
    shutil.rmtree(corpus)
    corpus.mkdir()
    for path in smallest.iterdir():
        shutil.copy(path, corpus / path.name[:12])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), keep="--keep" in sys.argv)
