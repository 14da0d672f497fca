"""`trunkline demo`: a recorded day on one shared number, played and checked in one process."""

import asyncio
import io
import logging
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import IO, NoReturn, cast

import click
import uvloop
from rich.console import Console

from api import settings as configuration
from api.cli.demo import recorded
from api.cli.demo.day import START, play
from api.cli.demo.platform_day import play_on
from api.cli.demo.screen import PLAIN_WIDTH, WIDTH_MAX, Screen
from api.cli.demo.stage import NotAsExpected, PresentClock, everything, set_up, settings_for
from api.main import OPERATOR_ERRORS, PRETENDED, Database, beside, database, pretended
from api.settings import Settings, SettingsError

TERMINATED = 128 + signal.SIGTERM  # The exit code of a program that this signal ended.
PROGRAMS = "TRUNKLINE_POSTGRES_BIN"


@click.command("demo", short_help="Play a recorded day on one shared number, and check it.")
@click.option(
    "--platform",
    type=click.Choice(list(PRETENDED)),
    help="A short day on this platform instead, with an outage and a lost answer.",
)
def demo_command(platform: str | None) -> None:
    """Play a recorded day on one shared number, and check everything it shows.

    It runs on a PostgreSQL and a server of its own, needs no network, and leaves nothing behind.
    """
    signal.signal(signal.SIGTERM, _terminate)
    logging.basicConfig(level=logging.ERROR)  # The day holds a failure that is warned about.
    screen = Screen(_console())
    started = monotonic()
    try:
        with _temporary_home() as home:
            settings = settings_for(home, postgres_bin=_programs())
            with database(settings) as where:
                where.migrate()
                uvloop.run(_play(settings, where, screen, platform))
    except asyncio.CancelledError:
        sys.exit(TERMINATED)
    except NotAsExpected as error:
        _fail(f"In {screen.title}, {error}.")
    except (*OPERATOR_ERRORS, OSError) as error:
        _fail(str(error))
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        name = f"{type(error).__name__}: {error}".rstrip(": ")
        _fail(f"In {screen.title}, the demo broke off at {at.filename}:{at.lineno}: {name}")
    screen.closing(
        f"All of it held, in {monotonic() - started:.0f} seconds. Nothing is left behind."
    )


async def _play(settings: Settings, where: Database, screen: Screen, platform: str | None) -> None:
    task = asyncio.current_task()
    assert task is not None
    # As Ctrl-C does it: the story breaks off, and then everything else stops in its order.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if platform is not None:
        await _play_on(platform, settings, where, screen)
        return
    async with set_up(settings, where, start=recorded.at(START)) as stage:
        await play(stage, screen)


async def _play_on(platform: str, settings: Settings, where: Database, screen: Screen) -> None:
    async with pretended(platform) as one:
        settings = beside(settings, platform, one)
        async with everything(settings, where, PresentClock(), one.fake) as stage:
            await play_on(stage, screen, platform, one)


def _console() -> Console:
    # What cannot be written on this terminal becomes a question mark, not an error.
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="replace")
    console = Console(highlight=False)
    if console.is_terminal:
        console.width = min(console.width, WIDTH_MAX)
        return console
    return Console(highlight=False, width=PLAIN_WIDTH, file=cast("IO[str]", _Trimmed(sys.stdout)))


class _Trimmed(io.TextIOBase):
    """A file whose lines do not end in spaces."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Each call brings whole lines."""
        return self._file.write(re.sub(r" +$", "", text, flags=re.MULTILINE))

    def flush(self) -> None:
        """Nothing is held back here."""
        self._file.flush()


@contextmanager
def _temporary_home() -> Iterator[Path]:
    """A folder that is gone afterwards, with the database in it."""
    # Root's server runs as another user: only where that user may enter does all of it lie here.
    is_root = os.geteuid() == 0
    folder = "/tmp" if is_root else None  # noqa: S108 - The folder inside it is ours alone.
    with tempfile.TemporaryDirectory(prefix="trunkline-demo-", dir=folder) as name:
        home = Path(name)
        if is_root:
            home.chmod(0o711)
        yield home


def _programs() -> Path | None:
    """The one setting of the environment that counts: where else PostgreSQL may be found."""
    try:
        return configuration.load({PROGRAMS: os.environ.get(PROGRAMS, "")}).postgres_bin
    except SettingsError:
        return None


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)


def _fail(sentence: str) -> NoReturn:
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    errors.print("[red]trunkline demo:[/red]", end=" ")
    errors.print(sentence, markup=False)
    sys.exit(1)
