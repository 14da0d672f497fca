"""`trunkline demo`, as somebody runs it who has just cloned the repository; also `--platform`."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from adapters.pretended import PRETENDED
from api.cli.demo.screen import PLAIN_WIDTH

DEMO = [sys.executable, "-c", "from api.cli import main; main()", "demo"]
SECONDS_MAX = 120
GONE_SECONDS_MAX = 10
SECTIONS = (
    "1  One number, three services",
    "2  The morning's messages",
    "3  Answers, side by side",
    "4  Two people, one chat",
    "5  New for whom?",
    "6  The window",
    "7  The platform misbehaves",
    "8  The bill",
    "9  The parent leaves",
    "10  The log",
)
# What one has come to see, as patterns of whole lines.
LINES = (
    r"Desk +joins the channel +child",
    r"07:55 +\(a group\) +Grace Okafor: And .* 2 +Grace Okafor: And .* 2",
    r"09:30 +Both answer +(· queued|✓ sent) +(· queued|✓ sent)",
    r"09:48 +Another says +read → ✓✓ read +delivered, sent, delivered → ✓✓ read",
    r"09:30 +Desk +░{12} Desk  ✓✓ read +Ben Carter: Sorry, Emma! .*",
    r"09:52 +CRM +Aiko Mori: Emma, the vase is on us\. +░{12} CRM  ✓ sent",
    r"en  This chat is assigned to Aiko Mori in another service\. .*",
    r"en  This chat is assigned to another agent in another service\. .*",
    r"ja  このチャットは、別のサービスでAiko Moriに対して割り当てられています。.*",
    r"ja  このチャットは、別のサービスで別の担当者に対して割り当てられています。.*",
    r"takes it and confirms +200 +Aiko Mori +Ben Carter",
    r"Carmen visits Desk +11 +16 +14 +16 → 0 +16",
    r"11:30 +Lucía Morales +✓ ░{6} Desk +3 +✓ Ben Carter: .* 0",
    r".* 409 window_closed since Sat 12:10;.*",
    r"14:20 +Ben answers; WhatsApp takes it, and hangs up +\? uncertain",
    r"13:10 +bouquet_offer, without credits +402 insufficient_credits: it costs USD",
    r"09:30 +Emma Clarke +GB +service +USD 0.008 +free",
    r"13:10 +Diego Fernández +ES +utility +USD 0.008 +USD 0.008",
    r"Now +USD 1.992",
    r"conversation/1 +6 +USD 0.008 +0",
    r"conversation/1, card flowers/1 +6 +USD 0.0215 +1",
    r"39 webhooks in 12 deliveries, shuffled +0 +the same as before, to the letter",
    r"All three connect +CRM \(parent\), Desk, SalesIQ +first creation +CRM +CRM",
    r"Desk disables +CRM \(parent\), SalesIQ +none needed",
    r"CRM deletes +SalesIQ \(parent\) +succession +SalesIQ +SalesIQ",
    r"Desk enables again +SalesIQ \(parent\), Desk +none needed",
    r"CRM connects anew +SalesIQ \(parent\), Desk, CRM +none needed",
    r"\d+ +CRM \(\d+, \d+\), Desk \(\d+, \d+\) +Desk +CRM",
    r"Hash chain +\d+ links, computed again from every stored column, agree",
)


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment that is set up for something else, which the demo must leave alone.

    Whoever has it is alone: what another test's demo leaves for a while would be taken for its own.
    """
    shared = os.open("/tmp", os.O_RDONLY)
    try:
        fcntl.flock(shared, fcntl.LOCK_EX)
        yield {
            **os.environ,
            "TRUNKLINE_HOME": str(tmp_path / "home"),
            "TRUNKLINE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
            "TRUNKLINE_MASTER_KEY": "not a key",
            "HTTP_PROXY": "http://127.0.0.1:1",
            "COLUMNS": "60",
        }
    finally:
        os.close(shared)


def left_behind() -> set[str]:
    """What belongs to demos that run now: their folders, their sockets, their processes."""
    found = {str(path) for path in Path("/tmp").glob("trunkline-demo-*")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if any("trunkline-demo-" in each for each in arguments):
            found.add(process.name)
            found.update(each for each in arguments if each.startswith("/tmp/trunkline-"))
    return found


def are_gone(left: set[str]) -> bool:
    """Waits a little: a server's watcher ends a moment after its server."""
    give_up_at = time.monotonic() + GONE_SECONDS_MAX
    while time.monotonic() < give_up_at:
        if not any((Path("/tmp") / each).exists() or Path("/proc", each).exists() for each in left):
            return True
        time.sleep(0.1)
    return False


def played(
    surroundings: dict[str, str], repository: Path, *arguments: str, but: str = ""
) -> subprocess.CompletedProcess[str]:
    """The demo's end; `but` is done to the program before it begins."""
    python, flag, program, command = DEMO
    return subprocess.run(
        [python, flag, but + program, command, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env=surroundings,
        cwd=repository,
        check=False,
    )


def headings(lines: list[str]) -> list[str]:
    return [line.rstrip(" ─") for line in lines if line.endswith("──") and line[0].isdigit()]


def test_the_day_is_shown_and_nothing_is_left(
    surroundings: dict[str, str], tmp_path: Path, repository: Path
) -> None:
    before = left_behind()
    done = played(surroundings, repository)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert headings(lines) == list(SECTIONS)
    missing = [each for each in LINES if not any(re.fullmatch(each, line) for line in lines)]
    assert not missing, done.stdout
    assert "\x1b" not in done.stdout, "plain text has no colours"
    assert max(map(cell_len, done.stdout.splitlines())) == PLAIN_WIDTH
    assert not re.search(r"\b[a-z2-7]{26}\b", done.stdout), "an id says nothing to anybody"
    assert not (tmp_path / "home").exists()
    assert are_gone(left_behind() - before)


def test_it_ends_in_order_when_it_is_told_to(
    surroundings: dict[str, str], repository: Path
) -> None:
    before = left_behind()
    running = subprocess.Popen(
        DEMO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=surroundings,
        cwd=repository,
    )
    assert running.stdout is not None
    while not running.stdout.readline().startswith("3  "):
        assert running.poll() is None
    meanwhile = left_behind() - before
    assert len(meanwhile) > 3, "a folder, a socket, a server, its watcher"
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=SECONDS_MAX)
    assert (running.returncode, said) == (128 + signal.SIGTERM, "")
    assert are_gone(meanwhile)


def test_it_says_what_does_not_hold(surroundings: dict[str, str], repository: Path) -> None:
    before = left_behind()
    unmasked = (
        "import api.views, projections.masking as masking\n"
        "api.views.shown_to = lambda service, message, policy: masking.Visible(message)\n"
    )
    done = played(surroundings, repository, but=unmasked)
    assert (done.returncode, done.stderr) == (
        1,
        "trunkline demo: In section 3, “Answers, side by side”, this did not hold: "
        "Desk is shown CRM's answers masked.\n",
    )
    assert are_gone(left_behind() - before)


# A short day on each platform, and what it says when one breaks.

PLATFORM_SECTIONS = (
    "1  The morning's messages",
    "2  Everything again",
    "3  Answers",
    "4  The platform is down",
    "5  A lost answer",
    "6  The evening",
)
LOST = {
    "whatsapp": r"Ayumi +✓✓ read +what it did is known",
    "line": r"Ayumi +✓ sent +what it did is known",
    "telegram": r"Ayumi +\? uncertain +Aiko may retry or discard it",
    "messenger": r"Ayumi +✓✓ read +what it did is known",
    "wechat": r"Ayumi +\? uncertain +Aiko may retry or discard it",
}
EVERY_OTHER = [each for each in PRETENDED if each != "line"]


@pytest.mark.parametrize(
    "platform", ["line", *(pytest.param(each, marks=pytest.mark.long) for each in EVERY_OTHER)]
)
def test_the_day_on_a_platform(
    platform: str, surroundings: dict[str, str], repository: Path
) -> None:
    before = left_behind()
    done = played(surroundings, repository, "--platform", platform)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert headings(lines) == list(PLATFORM_SECTIONS)
    assert any(re.fullmatch(LOST[platform], line) for line in lines), done.stdout
    assert any(re.fullmatch(r"Ayumi +3 +3 +5 +5 +kept", line) for line in lines), done.stdout
    assert are_gone(left_behind() - before)


def test_it_says_what_does_not_hold_on_a_platform(
    surroundings: dict[str, str], repository: Path
) -> None:
    """A dispatcher that says what is not so: the platform was never asked."""
    lying = (
        "import adapters.dispatcher as dispatcher\n"
        "from domain.outbound import Accepted\n"
        "async def answer(self, due): return Accepted(platform_id=due.message_id)\n"
        "dispatcher.Dispatcher._answer = answer\n"
    )
    done = played(surroundings, repository, "--platform", "line", but=lying)
    assert (done.returncode, done.stderr) == (
        1,
        "trunkline demo: In section 3, “Answers”, this did not hold: "
        "LINE has the answers to Ayumi, once, in order.\n",
    )
