"""Whose credentials are checked, and how often (S15)."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters import verifier
from adapters.verifier import Verifier
from domain.dispatch_ports import WaitingAccount
from domain.outbound import NotReached, VerificationAnswer, Verified

CREDENTIALS = {"access_token": "token"}
LISTED_MAX = 4  # Of each platform.


def account(number: int, platform: str = "whatsapp", *, position: int = 1) -> WaitingAccount:
    return WaitingAccount(org=number, platform=platform, account_id=str(number), position=position)


@dataclass
class World:
    """Accounts that wait, and what platforms say; what is answered goes on being listed."""

    waiting: list[WaitingAccount]
    answers: dict[str, VerificationAnswer] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    hanging: set[str] = field(default_factory=set)

    # As the outbox.

    async def unverified(
        self, platforms: Collection[str], left_alone: Collection[WaitingAccount]
    ) -> list[WaitingAccount]:
        listed = [
            [each for each in self.waiting if each.platform == platform and each not in left_alone]
            for platform in platforms
        ]
        return [each for accounts in listed for each in accounts[:LISTED_MAX]]

    async def credentials(self, *_: Any) -> dict[str, str]:
        return CREDENTIALS

    # As the commands.

    async def record_verification(self, *_: Any) -> None:
        pass

    # As the bell.

    async def wait(self, _: float) -> bool:
        await asyncio.sleep(0.001)
        return True


@dataclass
class Platform:
    """One that answers all accounts alike."""

    name: str
    world: World

    async def verify(self, account_id: str, _: Any) -> VerificationAnswer:
        self.world.asked.append((self.name, account_id))
        if self.name in self.world.hanging:
            await asyncio.Event().wait()
        return self.world.answers.get(self.name, Verified())


@asynccontextmanager
async def verifying(world: World) -> AsyncIterator[None]:
    platforms: Any = {name: Platform(name, world) for name in ("whatsapp", "messenger")}
    anything: Any = world
    task = asyncio.create_task(Verifier(anything, anything, platforms, anything).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def asked(world: World, platform: str, count: int) -> list[str]:
    async with asyncio.timeout(10):
        while True:
            found = [number for name, number in world.asked if name == platform]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.001)


async def test_an_account_is_not_checked_again_until_its_answer_shows() -> None:
    world = World([account(1)])
    async with verifying(world):
        await asked(world, "whatsapp", 1)
        await asyncio.sleep(0.2)
    assert len(world.asked) == 1


async def test_control_without_a_memory_an_account_is_checked_in_each_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verifier, "ANSWER_REMEMBERED_SECONDS", 0.0)
    world = World([account(1)])
    async with verifying(world):
        await asked(world, "whatsapp", 3)


async def test_new_credentials_are_checked_though_the_old_ones_just_were() -> None:
    world = World([account(1)])
    async with verifying(world):
        await asked(world, "whatsapp", 1)
        world.waiting = [account(1, position=2)]
        await asked(world, "whatsapp", 2)


async def test_accounts_whose_platform_cannot_be_reached_hide_nobody() -> None:
    """However many they are, and however long they have waited."""
    world = World([account(number) for number in range(3 * LISTED_MAX)])
    world.answers["whatsapp"] = NotReached(reason="not_reached")
    async with verifying(world):
        found = await asked(world, "whatsapp", 3 * LISTED_MAX)
    assert set(found) == {each.account_id for each in world.waiting}


async def test_a_platform_that_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "VERIFYING_MAX", 2)
    monkeypatch.setattr("adapters.lanes.STOP_SECONDS", 0.05)
    world = World([account(1), account(2), account(3), account(4, "messenger")])
    world.hanging = {"whatsapp"}
    async with verifying(world):
        await asked(world, "whatsapp", 2)
        assert await asked(world, "messenger", 1) == ["4"]
