"""Thousands of lives of a few processes, each from one seed: the commands, the log's writer and the
dispatcher are the real ones; clock, network, database and platform are not.

A seed that fails can be run alone: TRUNKLINE_SIMULATION_SEED=… pytest tests/simulation
"""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from adapters.postgres.pending import Pending
from api.commands.dispatching import Dispatching
from api.commands.inbound import Inbound
from api.commands.states import States
from tests.simulation.database import Rules
from tests.simulation.laws import Broken, check
from tests.simulation.platform import Platform
from tests.simulation.ports import Bell
from tests.simulation.story import Restless, Story

CHUNK = 50
CHUNKS = 400 if os.environ.get("TRUNKLINE_TEST_PROFILE") == "long" else 6
ALONE = os.environ.get("TRUNKLINE_SIMULATION_SEED")
# Within so many lives, a mistake in what they depend on must show.
CONTROL_SEEDS = 300


def digest(seed: int) -> str:
    """What the log of a run came to."""
    heads = Story(seed).run().database.heads
    return " ".join(head.hash.hex() for head in heads.values())


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What goes wrong here is meant to."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("chunk", range(CHUNKS) if ALONE is None else [])
def test_laws_hold_whatever_goes_wrong(chunk: int) -> None:
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        try:
            check(Story(seed).run())
        except Exception as error:
            again = f"TRUNKLINE_SIMULATION_SEED={seed} pytest tests/simulation"
            pytest.fail(f"{type(error).__name__}: {error}\nTo run it alone: {again}")


@pytest.mark.skipif(ALONE is None, reason="TRUNKLINE_SIMULATION_SEED names none")
def test_laws_hold_for_one_seed() -> None:
    check(Story(int(ALONE or 0)).run())


def test_one_seed_is_one_course_of_events(repository: Path) -> None:
    """Also in another process, where sets and dictionaries of texts have another order."""
    program = f"from {__name__} import digest; print(digest(7))"
    other = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repository,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert digest(7) == other.stdout.strip()
    assert digest(7) != digest(8)


# Controls: a mistake is found, whatever it is in.


def is_found(rules: Rules | None = None) -> bool:
    """Whether a law is broken, or the world does not come to rest."""
    for seed in range(CONTROL_SEEDS):
        try:
            check(Story(seed, rules or Rules()).run())
        except (Broken, Restless):
            return True
    return False


def test_control_a_database_that_does_not_compare_versions_is_found() -> None:
    assert is_found(Rules(versions=False))


def test_control_a_database_that_forgets_command_ids_is_found() -> None:
    assert is_found(Rules(commands=False))


async def acknowledge_at_once(self: Inbound, platform: str, occurrences: Sequence[Any]) -> None:
    asyncio.create_task(receive(self, platform, occurrences))  # noqa: RUF006


receive = Inbound.receive


async def take_without_a_claim(self: Dispatching, due: Any, *, dispatcher: str) -> bool:
    return True


def forget_what_was_taken(self: Platform, message: object) -> None:
    pass


def keep_what_is_wrong(self: States, org: int, streams: object) -> None:
    pass


def send_nobody_back(self: Pending, losers: object, news: object, *, spared: object = ()) -> None:
    pass


@pytest.mark.parametrize(
    ("part", "name", "mistake"),
    [
        (Inbound, "receive", acknowledge_at_once),
        (Dispatching, "start_sending", take_without_a_claim),
        (Platform, "taken_before", forget_what_was_taken),
        (States, "forget", keep_what_is_wrong),
        (Pending, "send_back", send_nobody_back),
    ],
)
def test_control_a_mistake_in_the_program_is_found(
    monkeypatch: pytest.MonkeyPatch, part: type, name: str, mistake: Callable[..., Any]
) -> None:
    monkeypatch.setattr(part, name, mistake)
    assert is_found()


async def test_the_bell_rings_when_the_log_says_whose_it_has_grown() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(10.0))
    await asyncio.sleep(0)
    bell.ring([1])
    assert await waiting
