"""A day on any platform, with all that goes wrong on one: what happens, and what must hold."""

import asyncio
import base64
import importlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
from msgspec.structs import replace

from adapters.dispatcher import CLAIM_LIFETIME
from adapters.fakes.behaviour import (
    Behaviour,
    accepts_late,
    accepts_then_drops,
    answers,
    behaves,
    drops,
)
from adapters.pretended import Pretended
from api.main import Core, Database, beside, core, found, pretended, verify_log
from api.processes import dispatching, projecting
from api.server import serve_http
from api.settings import Settings
from domain.ports import Org
from tests.api.conftest import Client
from tests.conftest import Database as FreshDatabase

CUSTOMERS = 4
SERVICE = "crm"
MASTER_KEY = b"k" * 32
# Longer than any outage here: a platform that gave up would be right to lose a message.
RETRY_DELAYS_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
IN_FLIGHT_SECONDS = 1.0
WAIT_SECONDS = 60.0

DELIVERED = ("sent", "delivered", "read")


class MovingClock:
    """The machine's clock, which can be moved on."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Day:
    """A whole Trunkline beside a platform, and what was said so far."""

    platform: str
    one: Pretended
    chance: Random
    clock: MovingClock
    parts: Core
    org: Org
    client: Client
    environment: dict[str, str]
    written: dict[str, list[str]] = field(default_factory=dict)  # By a customer's address.
    asked: dict[str, list[str]] = field(default_factory=dict)
    chats: dict[str, str] = field(default_factory=dict)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: asyncio.Task[None] | None = None
    _port: int = 0

    @property
    def customers(self) -> list[str]:
        """Their addresses."""
        return [f"{self.one.customer[:-1]}{number}" for number in range(CUSTOMERS)]

    # In.

    async def hears(self, rounds: int) -> None:
        """Every customer writes, as often; each waits until the platform has delivered."""
        for _ in range(rounds):
            for address in self.customers:
                self.says(address)
            await self.one.fake.settled()

    def says(self, address: str) -> None:
        """A customer writes."""
        mine = self.written.setdefault(address, [])
        mine.append(f"{address} says {len(mine)}")
        self.one.says(address, mine[-1])

    async def learn_chats(self) -> None:
        """Whose chat is whose, by what the customers wrote."""
        await self.client.settled()
        for chat in await self.client.chats(SERVICE):
            first, *_ = await self.client.messages(SERVICE, chat["id"])
            self.chats[first["content"]["text"].split()[0]] = chat["id"]

    async def go_down(self) -> None:
        """Trunkline answers no webhook any more."""
        assert self._serving is not None
        await self.client.http.aclose()
        self._stop.set()
        await self._serving

    async def come_back(self) -> None:
        """Serve, at the same address as before."""
        self._stop = asyncio.Event()
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = serve_http(self.parts, "127.0.0.1", self._port, self._stop, ready.set_result)
        self._serving = asyncio.create_task(serving)
        url = await asyncio.wait_for(ready, WAIT_SECONDS)
        self._port = int(url.rpartition(":")[2])
        self.one.fake.deliver_to(f"{url}/webhooks/{self.platform}")
        self.client.http = httpx.AsyncClient(base_url=url, timeout=WAIT_SECONDS, trust_env=False)

    # Out.

    async def answers(self, rounds: int) -> None:
        """Everybody is answered, as often."""
        for _ in range(rounds):
            for address in self.customers:
                mine = self.asked.setdefault(address, [])
                mine.append(f"answer {len(mine)} to {address}")
                await self.client.reply(SERVICE, self.chats[address], mine[-1])

    def trouble(self) -> list[Behaviour]:
        """What every other request meets: some are refused, some lost, some answers lost.

        All of them would be an outage, after which each try waits longer than the one before.
        """
        limits = importlib.import_module(f"adapters.{self.platform}.fake_behaviour").limits
        kinds = [limits(1), answers(503), drops(), accepts_then_drops(), accepts_late(0.2)]
        return [each for _ in range(CUSTOMERS) for each in (self.chance.choice(kinds), behaves())]

    async def crash_while_sending(self) -> None:
        """A dispatcher of its own process sends, and is killed in the middle of it."""
        fake, before = self.one.fake, len(self.one.fake.accepted)
        fake.next_requests(*[accepts_late(IN_FLIGHT_SECONDS)] * CUSTOMERS)
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "trunkline"),
            "serve",
            "--role",
            "dispatcher",
            env=self.environment,
        )
        try:
            await self.until(lambda: _now(len(fake.accepted) > before), "something is taken")
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        # Whoever comes after it knows it for dead when its claims are old.
        self.clock.ahead += CLAIM_LIFETIME + timedelta(seconds=1)

    async def until(self, look: Callable[[], Awaitable[bool]], claim: str) -> None:
        """Look until it is so."""
        give_up_at = asyncio.get_running_loop().time() + WAIT_SECONDS
        while not await look():
            assert asyncio.get_running_loop().time() < give_up_at, claim
            await asyncio.sleep(0.05)

    async def nothing_is_queued(self) -> bool:
        """Whether it is known, or known not to be, what became of each answer.

        The platform has told then what it has to tell of them.
        """
        if any(status == "queued" for _, status in await self.outbound()):
            return False
        await self.one.fake.settled()
        return True

    async def outbound(self) -> list[tuple[str, str]]:
        """Every answer that the agent sees, with its status."""
        await self.client.settled()
        return [
            (each["content"]["text"], each["status"])
            for chat in self.chats.values()
            for each in await self.client.messages(SERVICE, chat)
            if each["direction"] == "outbound"
        ]


async def _now(is_so: bool) -> bool:
    return is_so


# What must hold.


async def assert_nothing_is_lost(day: Day) -> None:
    """Each message once and in order, whatever was repeated; each answer is settled or shown."""
    await day.client.settled()
    statuses = dict(await day.outbound())
    for address in day.customers:
        shown = await day.client.messages(SERVICE, day.chats[address])
        texts = {
            direction: [each["content"]["text"] for each in shown if each["direction"] == direction]
            for direction in ("inbound", "outbound")
        }
        assert texts["inbound"] == day.written[address]
        asked = day.asked.get(address, [])
        assert texts["outbound"] == asked
        taken = [each.text for each in day.one.fake.accepted if each.to == address]
        assert len(taken) == len(set(taken)), "The platform has one of them twice."
        assert taken == [text for text in asked if text in taken], "One has overtaken another."
        for text in asked:
            assert statuses[text] in (*DELIVERED, "uncertain")
            assert text in taken or statuses[text] == "uncertain", "It was said to be sent."
    chats = await day.client.chats(SERVICE)
    assert len(chats) == CUSTOMERS
    # What a receipt has settled already may still be answered, which is one event more.
    before = len(await day.client.events())
    verification = await verify_log(day.parts, day.org)
    assert before <= verification.events <= len(await day.client.events())


@asynccontextmanager
async def whole_day(
    platform: str, seed: int, database: FreshDatabase, home: Path
) -> AsyncIterator[Day]:
    """Everything but a dispatcher, until the end."""
    clock = MovingClock()
    where = Database(database.url, database.superuser, "trunkline", True)
    async with AsyncExitStack() as stack:
        options = {"seed": seed, "retry_delays_seconds": RETRY_DELAYS_SECONDS}
        one = await stack.enter_async_context(pretended(platform, **options))
        if hasattr(one.fake, "plan"):
            one.fake.plan = replace(one.fake.plan, twice=0.3, out_of_order=0.5)
        settings = beside(Settings(home=home, master_key=MASTER_KEY), platform, one)
        parts = await stack.enter_async_context(core(settings, where, clock=clock))
        await stack.enter_async_context(projecting(parts))
        org, user_id, api_key = await found(parts, "Acme")
        client = Client(httpx.AsyncClient(), api_key, org.id, user_id)
        environment = _environment(platform, one, database, home)
        day = Day(platform, one, Random(seed), clock, parts, org, client, environment)
        await day.come_back()
        stack.push_async_callback(day.go_down)
        await client.services(SERVICE)
        account: dict[str, Any] = {
            "business_account_id": None,
            "platform": platform,
            "credentials": dict(one.credentials),
        }
        await client.connect(SERVICE, one.account_id, **account)
        yield day


@asynccontextmanager
async def sending(day: Day) -> AsyncIterator[None]:
    """A dispatcher in this process."""
    async with dispatching(day.parts):
        yield


def _environment(
    platform: str, one: Pretended, database: FreshDatabase, home: Path
) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TRUNKLINE_HOME": str(home),
        "TRUNKLINE_DATABASE_URL": database.url,
        "TRUNKLINE_MIGRATION_DATABASE_URL": database.superuser,
        "TRUNKLINE_MASTER_KEY": base64.b64encode(MASTER_KEY).decode(),
        f"TRUNKLINE_{platform.upper()}_API_BASE": one.fake.base_url,
    }
