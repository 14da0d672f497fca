"""Machines, and the network between them, the database and the platform: all that can go wrong."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from domain.ports import Unavailable

# When a connection is lost, seen from a statement on it.
Fate = Literal["arrives", "lost before", "late", "lost after"]


class Gone(Exception):
    """The machine died before it had answered, or its answer was lost."""


@dataclass
class Weather:
    """How bad it gets, drawn from the seed; with `is_calm` nothing goes wrong any more."""

    chance: Random
    delay_seconds_max: float = 0.0
    losses: float = 0.0  # Of all statements, answers and questions, each for itself.
    is_calm: bool = False
    is_database_away: bool = False
    is_platform_away: bool = False

    @classmethod
    def drawn(cls, chance: Random) -> "Weather":
        return cls(
            chance,
            delay_seconds_max=chance.choice([0.0, 0.003, 0.05, 0.5]),
            losses=chance.choice([0.0, 0.02, 0.1]),
        )

    async def travel(self) -> None:
        """One way over the network; whoever leaves later may arrive earlier."""
        await asyncio.sleep(self.chance.random() * self.delay_seconds_max)

    def loses(self) -> bool:
        return not self.is_calm and self.chance.random() < self.losses

    def fate(self) -> Fate:
        return (
            self.chance.choice(["lost before", "late", "lost after"]) if self.loses() else "arrives"
        )


@dataclass
class Machine:
    """What one process runs on. When it dies, nothing that it waits for comes any more."""

    weather: Weather
    died: asyncio.Event = field(default_factory=asyncio.Event)
    grave: asyncio.Event = field(default_factory=asyncio.Event)  # Nobody ever sets it.

    async def travel(self) -> None:
        """One way over the network, for those who live to see it."""
        await self.weather.travel()
        if self.died.is_set():
            await self.grave.wait()

    async def ask_database(self) -> None:
        """The way there and back of a question. Raises Unavailable."""
        await self.travel()
        await self.travel()
        if self.weather.is_database_away or self.weather.loses():
            raise Unavailable("The database does not answer.")

    async def serve(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have it do something for somebody outside. Raises what the work raises, and Gone."""
        await self.weather.travel()
        if self.died.is_set():
            work.close()
            raise Gone
        task = asyncio.create_task(work)
        death = asyncio.create_task(self.died.wait())
        await asyncio.wait([task, death], return_when=asyncio.FIRST_COMPLETED)
        is_answered = task.done() and not self.died.is_set()
        death.cancel()
        await self.weather.travel()
        if not is_answered or self.weather.loses():
            task.add_done_callback(_look_away)
            raise Gone
        return task.result()


def _look_away(task: "asyncio.Task[Any]") -> None:
    """Nobody is there to be told."""
    if not task.cancelled():
        task.exception()
