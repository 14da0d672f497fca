"""One run: everything that happens follows from one number."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast
from unittest.mock import patch

from adapters import lanes
from adapters.dispatcher import Dispatcher
from adapters.manual import MANUAL
from adapters.verifier import Verifier
from api.commands import execute, people, states
from api.commands.billing import Billing
from api.commands.channels import Channels, ConnectService
from api.commands.chats import Chats
from api.commands.context import Actor, Context
from api.commands.credentials import AccountCredentials
from api.commands.dispatching import Dispatching
from api.commands.execute import Executor, Outcome, Repeatable
from api.commands.inbound import Inbound
from api.commands.organisations import Organisations, UserProfile
from api.commands.people import People
from api.commands.replies import Replies, TextReply, Write
from api.commands.states import States
from api.commands.verifying import Verifying
from domain.account import ChannelOpened
from domain.identifiers import identifier
from domain.inbound import AnyOccurrence
from domain.organisation import ConfigureService, Permission
from domain.ownership import Assign
from domain.ports import Directory, Org, Unavailable
from domain.refusal import Refusal
from tests.simulation.database import MemoryDatabase, Rules
from tests.simulation.machine import Gone, Machine, Weather
from tests.simulation.memory_log import MemoryLog
from tests.simulation.platform import PLATFORMS, TOKEN, Platform
from tests.simulation.ports import (
    Bell,
    MemoryAddresses,
    MemoryDirectory,
    MemoryOutbox,
    MemoryRequests,
    Projected,
    Tables,
)
from tests.simulation.virtual_time import VirtualTime, run

HELD, WAITING = "100", "200"  # Accounts: one from the beginning, one that nobody holds at first.
SERVICES = ("crm", "desk")
PHONES = tuple(str(12025550100 + n) for n in range(4))
STORM_SECONDS = 40.0
QUIET_SECONDS_MAX = 600.0


class Restless(AssertionError):
    """Long after everything is well, something is still not done."""


class Process:
    """One process of Trunkline: the real commands and the real dispatcher on a machine."""

    def __init__(self, story: "Story", system: Org) -> None:
        self.machine = machine = Machine(story.weather)
        database, clock, chance = story.database, story.loop, story.chance
        flush_seconds = chance.choice([0.0, 1.0])  # Batches overlap, or they do not.
        self.log = MemoryLog(machine, database, clock, flush_seconds=flush_seconds)
        self.log.on_appended = story.bell.ring
        self.directory = MemoryDirectory(machine, database, story.tables)
        directory = cast("Directory", self.directory)  # As far as it is asked here.
        self.states = States(self.log)
        executor = Executor(self.log, self.states, MemoryRequests(machine, database))
        known_people = People(MemoryAddresses(machine, database), story.new_id)
        self.context = context = Context(
            log=self.log,
            executor=executor,
            people=known_people,
            directory=directory,
            credentials=AccountCredentials(directory, clock),
            clock=clock,
            new_id=story.new_id,
            billing=Billing(story.new_id, enabled=True, provider=MANUAL),
        )
        self.inbound = Inbound(
            executor, known_people, directory, clock, story.new_id, system=system
        )
        self.organisations = Organisations(context)
        self.channels = Channels(context)
        self.chats = Chats(context)
        self.replies = Replies(context)
        system_keys = self.directory.keys_of(system.number)
        self.dispatching = Dispatching(context)
        self.verifying = Verifying(context, self.inbound, system=system_keys)
        self._outbox = MemoryOutbox(machine, self.directory, story.projected, clock)
        self._platforms = {story.platform.name: story.platform.seen_from(machine)}
        self._story = story

    async def start(self) -> None:
        """Raises Unavailable."""
        await self.log.start()
        story = self._story
        dispatcher = Dispatcher(
            self._outbox,
            self.dispatching,
            self._platforms,
            story.bell,
            story.loop,
            name=story.new_id(),
        )
        verifier = Verifier(self._outbox, self.verifying, self._platforms, story.bell)
        self._tasks = [
            asyncio.create_task(dispatcher.run()),
            asyncio.create_task(dispatcher.look_over()),
            asyncio.create_task(verifier.run()),
        ]


Ask = Callable[[Process, Actor], Awaitable[Outcome[Any]]]


def _writing(command: Write) -> Ask:
    return lambda process, actor: process.replies.write(actor, command)


def _connecting(command: ConnectService) -> Ask:
    return lambda process, actor: process.channels.connect(actor, command)


@dataclass
class Asked:
    """One request of an agent, with its Idempotency-Key, and what it was finally answered."""

    name: str
    key: bytes
    outcome: Outcome[Any] | None = None
    refusal: Refusal | None = None


@dataclass
class Story:
    """The world of one seed, and what happened in it."""

    seed: int
    rules: Rules = field(default_factory=Rules)
    asked: list[Asked] = field(default_factory=list)
    races: list[list[Asked]] = field(default_factory=list)
    dead: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.loop = VirtualTime()
        self.database = MemoryDatabase(self.rules)
        self.tables = Tables(self.chance)
        self.projected = Projected(self.database)
        self.weather = Weather.drawn(self.chance)
        self.bell = Bell()
        self.processes: list[Process] = []
        name = PLATFORMS[self.seed % len(PLATFORMS)]
        self.platform = Platform(name, self.weather, self.loop, send_to=self.deliver)

    def new_id(self) -> str:
        return identifier(self.chance.randbytes(16))

    def run(self) -> "Story":
        with self._small_caches(), patch.object(secrets, "token_bytes", self.chance.randbytes):
            run(self._run(), self.loop)
        return self

    @contextlib.contextmanager
    def _small_caches(self) -> Iterator[None]:
        """So small that they are full at times; and nobody polls where nothing happens."""
        with contextlib.ExitStack() as stack:
            for module, name, smallest in (
                (states, "STATES_KEPT_MAX", 16),  # What a few commands need at once.
                (execute, "DONE_KEPT_MAX", 2),
                (people, "ADDRESSES_KEPT_MAX", 2),
            ):
                value = self.chance.choice([smallest, 1_000])
                stack.enter_context(patch.object(module, name, value))
            stack.enter_context(patch.object(lanes, "POLL_SECONDS", 20.0))
            stack.enter_context(patch.object(lanes, "LOOK_AGAIN_SECONDS", 1.0))
            yield

    async def _run(self) -> None:
        await self._prepare()
        storm = asyncio.create_task(self._storm())
        await storm
        await self._calm_down()

    # Before.

    async def _prepare(self) -> None:
        """Two organisations; the first has two services on an account, and two agents."""
        is_calm, self.weather.is_calm = self.weather.is_calm, True
        first = Machine(self.weather)
        directory = MemoryDirectory(first, self.database, self.tables)
        self.system = await directory.create_organisation("system")
        self.org = await directory.create_organisation("acme")
        self.rival = await directory.create_organisation("rival")
        self.keys = {org.number: directory.keys_of(org.number) for org in (self.org, self.rival)}
        process = await self.start()
        self.admin, self.rival_admin = [
            await self._found(process, org) for org in (self.org, self.rival)
        ]
        self.agents = [self.admin]
        for name in ("ann", "ben"):
            profile = UserProfile(name, "")
            rights: dict[str, Permission] = dict.fromkeys(SERVICES, "reply")
            added = await process.organisations.add_user(
                await self.actor(process, self.org, self.admin), profile, "agent", rights
            )
            self.agents.append(added.ids["user"])
        for service in SERVICES:
            await process.channels.connect(
                await self.actor(process, self.org, self.admin), self._connect(service, HELD)
            )
        for _ in range(self.chance.randint(0, 2)):
            await self.start()
        self.weather.is_calm = is_calm

    async def _found(self, process: Process, org: Org) -> str:
        keys = await process.directory.keys(org.number)
        user_id, _ = await process.organisations.found(keys, name=org.id)
        for service in SERVICES:
            command = ConfigureService(service=service, subscription="bundled", owner_replies=False)
            await process.organisations.configure_service(
                await self.actor(process, org, user_id), command
            )
        return user_id

    def _connect(self, service: str, account_id: str) -> ConnectService:
        return ConnectService(
            service=service,
            platform=self.platform.name,
            account_id=account_id,
            name="Main number",
            credentials={"access_token": TOKEN},
        )

    async def actor(
        self, process: Process, org: Org, user_id: str, request: Repeatable | None = None
    ) -> Actor:
        keys = await process.directory.keys(org.number)
        return Actor(keys=keys, user_id=user_id, request=request)

    # Machines.

    async def start(self) -> Process:
        while True:
            process = Process(self, self.system)
            try:
                await process.start()
            except Unavailable:
                await asyncio.sleep(1.0)
            else:
                self.processes.append(process)
                return process

    async def _crash(self) -> None:
        """At any moment; another machine takes its place some time later."""
        if self.processes:
            process = self.processes.pop(self.chance.randrange(len(self.processes)))
            process.machine.died.set()
            self.dead.append(process)
            await asyncio.sleep(self.chance.random() * 5)
            await self.start()

    async def serve(self, ask: Callable[[Process], Coroutine[Any, Any, Any]]) -> Any:
        """Whatever machine answers. Raises what it answers, and Gone."""
        if not self.processes:
            await asyncio.sleep(0.5)
            raise Gone
        process = self.chance.choice(self.processes)
        return await process.machine.serve(ask(process))

    async def deliver(self, occurrences: Sequence[AnyOccurrence]) -> None:
        await self.serve(lambda process: process.inbound.receive(self.platform.name, occurrences))

    async def ask(
        self,
        name: str,
        user_id: str,
        do: Ask,
        org: Org | None = None,
    ) -> Asked:
        """Ask with an Idempotency-Key until there is an answer."""
        asked = Asked(name, self.chance.randbytes(32))
        self.asked.append(asked)
        request = Repeatable(asked.key, asked.key, 200)

        async def handle(process: Process) -> Outcome[Any]:
            return await do(process, await self.actor(process, org or self.org, user_id, request))

        while asked.outcome is None and asked.refusal is None:
            self._require_an_end()
            try:
                asked.outcome = await self.serve(handle)
            except Refusal as refusal:
                asked.refusal = refusal
            except (Gone, Unavailable):
                await asyncio.sleep(self.chance.random() * 3)
        return asked

    # What happens.

    async def _storm(self) -> None:
        self._work: set[asyncio.Task[Any]] = set()
        happenings = self.chance.choices(
            [
                self._customer_writes,
                self._agent_replies,
                self._agents_race,
                self._agent_visits,
                self._service_moves,
                self._somebody_connects,
                self._crash,
                self._outage,
            ],
            weights=[8, 5, 2, 2, 2, 1, self.chance.choice([0, 1]), self.chance.choice([0, 1])],
            k=self.chance.randint(6, 24),
        )
        moments = sorted(self.chance.random() * STORM_SECONDS for _ in happenings)
        for happening, moment in zip(happenings, moments, strict=True):
            await asyncio.sleep(max(moment - self.loop.time(), 0))
            task = asyncio.create_task(happening())
            self._work.add(task)
        await asyncio.gather(*self._work)

    async def _customer_writes(self) -> None:
        """One to four messages of one or two customers, in one delivery or in several."""
        account_id = self.chance.choice([HELD, HELD, HELD, WAITING])
        phones = self.chance.sample(PHONES, self.chance.randint(1, 2))
        messages = [
            self.platform.message(account_id, self.chance.choice(phones))
            for _ in range(self.chance.randint(1, 4))
        ]
        doubles = self.chance.random() < 0.2
        if self.chance.random() < 0.5:
            self.platform.post(messages, doubles=doubles)
        else:
            for message in messages:
                self.platform.post([message], doubles=doubles)

    def _a_chat(self) -> str | None:
        known = sorted(
            stream.partition(":")[2]
            for org, stream in self.database.streams
            if org == self.org.number
            and stream.startswith("chat:")
            and self.database.version((org, stream))
        )
        return self.chance.choice(known) if known else None

    async def _agent_replies(self) -> None:
        chat_id, service = self._a_chat(), self.chance.choice(SERVICES)
        if chat_id is None:
            return
        seen = self.chance.choice([None, self.database.heads[self.org.number].position])
        for _ in range(self.chance.randint(1, 3)):
            text = f"reply {len(self.asked)}"
            command = Write(
                service=service,
                chat_id=chat_id,
                message=TextReply(text=text),
                seen_position=seen,
            )
            await self.ask(
                "reply",
                self.chance.choice(self.agents),
                _writing(command),
            )

    async def _agents_race(self) -> None:
        """All at once want a chat that perhaps nobody owns (C18)."""
        chat_id, service = self._a_chat(), self.chance.choice(SERVICES)
        if chat_id is None:
            return
        race = await asyncio.gather(
            *(
                self.ask(
                    f"assign {chat_id} {service} {user_id}",
                    user_id,
                    lambda process, actor: process.chats.assign(
                        actor, chat_id, Assign(service=service, owner=actor.user_id)
                    ),
                )
                for user_id in self.agents
            )
        )
        self.races.append(list(race))
        if self.chance.random() < 0.5:
            await self.ask(
                f"unassign {chat_id} {service}",
                self.admin,
                lambda process, actor: process.chats.unassign(actor, service, chat_id),
            )

    async def _agent_visits(self) -> None:
        chat_id, service = self._a_chat(), self.chance.choice(SERVICES)
        user_id = self.chance.choice(self.agents)
        if chat_id is None or self.chance.random() < 0.3:
            await self.ask(
                "visit",
                user_id,
                lambda process, actor: process.chats.visit_service(actor, service),
            )
        else:
            await self.ask(
                "visit",
                user_id,
                lambda process, actor: process.chats.visit_chat(actor, service, chat_id),
            )

    async def _service_moves(self) -> None:
        """Leaves the sharing, or comes back."""
        service = self.chance.choice(SERVICES)
        (channel_id,) = self._channel_ids(HELD)
        verb = self.chance.choice(["disable", "enable", "enable", "delete", "connect"])
        if verb == "connect":
            command = self._connect(service, HELD)
            await self.ask(
                verb, self.admin, lambda process, actor: process.channels.connect(actor, command)
            )
        else:
            await self.ask(
                verb,
                self.admin,
                lambda process, actor: getattr(process.channels, verb)(actor, channel_id, service),
            )

    def _channel_ids(self, account_id: str) -> list[str]:
        account = self.database.streams[
            self.org.number, f"account:{self.platform.name}:{account_id}"
        ]
        return [row.event.channel_id for row in account if isinstance(row.event, ChannelOpened)]

    async def _somebody_connects(self) -> None:
        """Two services of one organisation, and another organisation, want the same account."""
        command = self._connect
        await asyncio.gather(
            *(
                self.ask(
                    "connect",
                    self.admin,
                    _connecting(command(service, WAITING)),
                )
                for service in SERVICES
            ),
            self.ask(
                "connect",
                self.rival_admin,
                lambda process, actor: process.channels.connect(actor, command("crm", WAITING)),
                self.rival,
            ),
        )

    async def _outage(self) -> None:
        name = self.chance.choice(["is_database_away", "is_platform_away"])
        setattr(self.weather, name, True)
        await asyncio.sleep(self.chance.random() * 12)
        setattr(self.weather, name, False)

    # After.

    async def _calm_down(self) -> None:
        """All that was asked is answered, delivered and sent; nothing more goes wrong."""
        weather = self.weather
        weather.is_calm = True
        weather.is_database_away = weather.is_platform_away = False
        while self.platform.deliveries or self._is_something_to_send():
            self._require_an_end()
            await asyncio.sleep(5)
        await asyncio.sleep(20)  # Until whoever wrote the last of it knows.
        while any(
            entry.writing
            for process in self.processes
            for entry in process.states._entries.values()
        ):
            self._require_an_end()  # A slow one may still find out that others have done it.
            await asyncio.sleep(5)

    def _require_an_end(self) -> None:
        if self.loop.time() > QUIET_SECONDS_MAX:
            raise Restless

    def _is_something_to_send(self) -> bool:
        self.projected.follow(None)
        return any(chat.queue for chat in self.projected.chats.values()) or any(
            account.claimed and account.verification == "pending"
            for account in self.projected.accounts.values()
        )
