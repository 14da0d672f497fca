"""`trunkline demo --platform`: a short day on each platform, and what it says when one breaks."""

import re
import subprocess
from pathlib import Path

import pytest

from adapters.pretended import PRETENDED
from tests.api.test_demo import DEMO, SECONDS_MAX, are_gone, left_behind, surroundings

__all__ = ["surroundings"]  # A fixture: it is used by its name.

SECTIONS = (
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


def demo(
    platform: str, surroundings: dict[str, str], repository: Path, *, but: str = ""
) -> subprocess.CompletedProcess[str]:
    """The demo's end; `but` is done to the program before it begins."""
    python, flag, program, command = DEMO
    return subprocess.run(
        [python, flag, but + program, command, "--platform", platform],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env=surroundings,
        cwd=repository,
        check=False,
    )


@pytest.mark.parametrize(
    "platform", ["line", *(pytest.param(each, marks=pytest.mark.long) for each in EVERY_OTHER)]
)
def test_the_day_on_a_platform(
    platform: str, surroundings: dict[str, str], repository: Path
) -> None:
    before = left_behind()
    done = demo(platform, surroundings, repository)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    headings = [line.rstrip(" ─") for line in lines if line.endswith("──") and line[0].isdigit()]
    assert headings == list(SECTIONS)
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
    done = demo("line", surroundings, repository, but=lying)
    assert (done.returncode, done.stderr) == (
        1,
        "trunkline demo: In section 3, “Answers”, this did not hold: "
        "LINE has the answers to Ayumi, once, in order.\n",
    )
