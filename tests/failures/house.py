"""One installation whose processes die and are started again, and what must hold of it after."""

import asyncio
import base64
import contextlib
import itertools
import os
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from adapters.whatsapp.fake import FakeCloudApi
from api.commands.channels import Channels, ConnectService
from api.commands.context import Actor
from api.commands.marks import mark_of, message_key
from api.commands.organisations import Organisations
from api.main import PROJECTIONS, Core, found
from domain import chat as chats
from domain.chat import Chat
from domain.event import Recorded, decode
from domain.organisation import ConfigureService
from domain.ports import Keys, Org
from tests.adapters.log_scenario import World
from tests.api.conftest import APP_SECRET, TOKEN, VERIFY_TOKEN, Client
from tests.api.deliveries import eventually
from tests.api.test_reliability import MASTER_KEY, Load, redeliver
from tests.failures.child import Plan

# Long enough for a busy machine; nothing waits for as long unless it is broken.
START_SECONDS_MAX = 60.0
DEATH_SECONDS_MAX = 60.0
CUSTOMERS_BEFORE_REPLIES = 4
# What a dead dispatcher had taken is given up after a minute, by a clock that is ahead by more.
AHEAD_SECONDS = 90.0


@dataclass
class House:
    """A database, a platform, and a core in this process that founds organisations and looks."""

    world: World
    parts: Core
    fake: FakeCloudApi
    environment: dict[str, str]
    accounts: Any

    @contextlib.asynccontextmanager
    async def process(self, plan: Plan) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
        """A process and the first line it says; killed at the end if it is still there."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.failures.child", msgspec.json.encode(plan).decode()),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS_MAX)
            # It may have died before it had anything to say.
            yield process, line.decode().strip() or "http://127.0.0.1:9"
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @contextlib.asynccontextmanager
    async def server(self, **plan: Any) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
        async with (
            self.process(Plan(**plan)) as (process, url),
            httpx.AsyncClient(base_url=url, timeout=DEATH_SECONDS_MAX) as http,
        ):
            yield process, http

    async def tenant(self, *, connected: bool = True) -> "Tenant":
        org, user_id, key = await found(self.parts, "Acme")
        keys = await self.parts.directory.keys(org.number)
        actor = Actor(keys=keys, user_id=user_id)
        service = ConfigureService(service="crm", subscription="bundled", owner_replies=False)
        await Organisations(self.parts.context).configure_service(actor, service)
        tenant = Tenant(self, org, keys, user_id, key, next(self.accounts))
        if connected:
            await Channels(self.parts.context).connect(actor, tenant.connect)
        return tenant


def environment(repository: Path, home: Path, url: str, fake: FakeCloudApi) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(repository),
        "TRUNKLINE_HOME": str(home),
        "TRUNKLINE_DATABASE_URL": url,
        "TRUNKLINE_MASTER_KEY": base64.b64encode(MASTER_KEY).decode(),
        "TRUNKLINE_META_APP_SECRET": APP_SECRET,
        "TRUNKLINE_META_VERIFY_TOKEN": VERIFY_TOKEN,
        "TRUNKLINE_WHATSAPP_API_BASE": fake.base_url,
    }


@dataclass
class Tenant:
    """An organisation with one account: what was asked of servers for it, and what they said."""

    house: House
    org: Org
    keys: Keys
    user_id: str
    api_key: str
    account_id: str
    replies: dict[str, str | None] = field(default_factory=dict)  # Ids by Idempotency-Key.

    @property
    def connect(self) -> ConnectService:
        return ConnectService(
            service="crm",
            platform="whatsapp",
            account_id=self.account_id,
            name="Main number",
            credentials={"access_token": TOKEN},
        )

    def client(self, http: httpx.AsyncClient) -> Client:
        return Client(http, self.api_key, self.org.id, self.user_id)

    # Until a server dies.

    async def lives_through(self, load: Load, **plan: Any) -> None:
        """Customers and an agent write until the server is dead, as planned."""
        async with self.house.server(**plan) as (process, http):
            load.http = http
            writing = asyncio.create_task(load.run())
            replying = asyncio.create_task(self._reply(http))
            await asyncio.wait_for(process.wait(), DEATH_SECONDS_MAX)
            await writing
            replying.cancel()
            await asyncio.gather(replying, return_exceptions=True)
        assert process.returncode == -9, process.returncode

    async def _reply(self, http: httpx.AsyncClient) -> None:
        with contextlib.suppress(httpx.TransportError):
            for number in itertools.count():
                chat_ids = await self._chat_ids()
                if len(chat_ids) < CUSTOMERS_BEFORE_REPLIES:
                    await asyncio.sleep(0.05)
                    continue
                key = secrets.token_hex(8)
                self.replies[key] = None
                await self._ask(http, key, chat_ids[number % len(chat_ids)])

    async def _ask(self, http: httpx.AsyncClient, key: str, chat_id: str) -> None:
        response = await http.post(
            f"/v1/services/crm/chats/{chat_id}/messages",
            json={"kind": "text", "text": "hello"},
            headers={"Authorization": f"Bearer {self.api_key}", "Idempotency-Key": key},
        )
        assert response.status_code in (202, 503), response.text
        if response.status_code == 202:
            self.replies[key] = response.json()["id"]

    async def _chat_ids(self) -> list[str]:
        rows = await self.house.world.events(self.org)
        return [row["stream"].partition(":")[2] for row in rows if row["type"] == "chat.started"]

    async def recovers(self, http: httpx.AsyncClient, load: Load) -> None:
        """The platform delivers all again, until nothing is left to do."""
        await redeliver(http, list(load.written.values()))
        await eventually(self._left_to_do, (0, 0, 0))

    async def _left_to_do(self) -> tuple[int, int, int]:
        """How many projections are behind, and how many messages and accounts wait."""
        async with await self.house.world.superuser() as connection:
            schemas = await live_schemas(connection)
            waiting = [f"{schemas[name]}.{name}" for name in ("outbox", "verifications")]
            messages, accounts = (
                f"(SELECT count(*) FROM {each} WHERE org = %(org)s)" for each in waiting
            )
            cursor = await connection.execute(
                "SELECT (SELECT count(*) FROM builds b JOIN heads h ON h.org = %(org)s"
                "  LEFT JOIN checkpoints c USING (projection, version, build, org)"
                "  WHERE b.state = 'live' AND c.position IS DISTINCT FROM h.position) AS behind,"
                f" {messages} AS messages, {accounts} AS accounts",
                {"org": self.org.number},
            )
            row = await cursor.fetchone()
        assert row is not None
        return row["behind"], row["messages"], row["accounts"]

    # What must hold.

    async def assert_lawful(self, load: Load) -> None:
        rows = await self.house.world.assert_whole(self.org)  # I2
        recorded = [
            Recorded(
                row["position"],
                row["stream"],
                row["version"],
                row["recorded_at"],
                decode(row["type"], row["schema_version"], row["data"]),
            )
            for row in rows
        ]
        self._assert_received_once(load, recorded)
        self._assert_sent_once(recorded)
        await assert_views_are_folds(self.house.world, self.org, recorded)

    def received(self, load: Load, recorded: list[Recorded]) -> dict[str, int]:
        """How often each text stands in the log."""
        there = Counter(getattr(each.event, "key", None) for each in recorded)
        texts = {
            text: message_key(self.keys, "whatsapp", self.account_id, _wamid(webhook))
            for text, webhook in load.written.items()
        }
        return {text: there[key] for text, key in texts.items()}

    def _assert_received_once(self, load: Load, recorded: list[Recorded]) -> None:
        """I1, P2."""
        wrong = {text: n for text, n in self.received(load, recorded).items() if n != 1}
        assert not wrong, f"I1: {wrong}"
        assert set(load.acknowledged) <= load.written.keys()

    def _assert_sent_once(self, recorded: list[Recorded]) -> None:
        """N3, I5: by key at most once; and who was told of a reply finds it in the log."""
        sent = Counter(each.mark for each in self.house.fake.accepted)
        states: dict[str, Chat] = {}
        for each in recorded:
            if each.stream.startswith(chats.stream_of("")):
                before = states.get(each.stream, Chat())
                states[each.stream] = chats.evolve(before, each.event)
        fates = {
            message_id: (message.status, sent[mark_of(chat.chat_id or "", message_id)])
            for chat in states.values()
            for message_id, message in chat.outbound.items()
        }
        lawful = {("sent", 1), ("uncertain", 0), ("uncertain", 1)}
        assert set(fates.values()) <= lawful, f"I5: {Counter(fates.values())}"
        told = {message_id for message_id in self.replies.values() if message_id}
        assert told <= fates.keys()
        assert len(fates) <= len(self.replies)


def _wamid(webhook: bytes) -> str:
    value = msgspec.json.decode(webhook)["entry"][0]["changes"][0]["value"]
    return str(value["messages"][0]["id"])


async def live_schemas(connection: AsyncConnection[Any]) -> dict[str, str]:
    """Where the tables are that serve, by projection."""
    cursor = await connection.execute("SELECT projection, schema FROM builds WHERE state = 'live'")
    return {row["projection"]: row["schema"] for row in await cursor.fetchall()}


async def assert_views_are_folds(world: World, org: Org, recorded: list[Recorded]) -> None:
    """I3: each projection's tables are those that a replay from the first event fills."""
    connection: AsyncConnection[Any] = await world.superuser()
    async with connection, connection.transaction(force_rollback=True):
        schemas = await live_schemas(connection)
        connection.row_factory = tuple_row
        for projection in PROJECTIONS:
            name = f"replayed_{projection.name}"
            await connection.execute(f"CREATE SCHEMA {name}; SET LOCAL search_path = {name}")
            await connection.execute(projection.tables)
            await projection.apply(connection, org.number, recorded)
            cursor = await connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", [name]
            )
            for (table,) in await cursor.fetchall():
                there = f"{schemas[projection.name]}.{table} WHERE org = {org.number}"
                live, replayed = f"SELECT * FROM {there}", f"SELECT * FROM {name}.{table}"
                difference = await connection.execute(
                    f"({replayed} EXCEPT {live}) UNION ALL ({live} EXCEPT {replayed})"
                )
                rows = await difference.fetchall()
                assert not rows, f"I3: {len(rows)} rows of {table}"
