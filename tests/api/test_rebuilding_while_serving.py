"""Rebuilding while customers write and people read: no answer shows it, whatever ends it (E3, I8).

The server and the commands are processes of their own, as operators run them.
"""

import asyncio
import os
import random
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from api.main import PROJECTIONS
from projections.inbox.projection import Inbox
from tests.api.conftest import Client
from tests.api.deliveries import eventually
from tests.api.test_reliability import Installation, Load, Server, installation, received
from tests.conftest import BUILDS, Database

__all__ = ["installation"]  # A fixture.

MESSAGES_BEFORE = 150
KILLS = 3 if os.environ.get("TRUNKLINE_TEST_PROFILE") == "long" else 1
WITHIN_SECONDS = 60
# A rebuild begins half a second after its command and takes less than two here.
KILLED_AFTER_SECONDS = (0.4, 2.5)

# Part of every Python process that finds it: libpq has the only sockets that go unnoticed.
GUARD = """
import os, sys

def look(event, _arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        note(event)
        raise PermissionError(event)

def note(line):
    with open(os.environ["GUARDED_BY"], "a") as file:
        file.write(line + "\\n")

sys.addaudithook(look)
note("on guard")
"""


@dataclass
class Commands:
    """`trunkline projections …`, on guard against whoever goes out."""

    program: Path
    environment: dict[str, str]
    tried: Path

    async def run(self, *words: str) -> int:
        """Run a command to its end; its exit code."""
        return await asyncio.to_thread(self._begin(*words).wait, WITHIN_SECONDS)

    async def killed(self, *words: str, after: float, with_workers: bool) -> None:
        """Kill a command in the middle, if it has not ended by then."""
        process = self._begin(*words)
        await asyncio.sleep(after)
        with suppress(ProcessLookupError):
            if with_workers:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        await asyncio.to_thread(process.wait, WITHIN_SECONDS)

    async def succeeds(self, *words: str) -> None:
        """Run a command, again as long as the one that was killed is not known to be gone."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while await self.run(*words):
                pass  # Beginning takes it long enough.

    def _begin(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self.program, "projections", *words],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


@pytest.fixture
def commands(installation: Installation, tmp_path: Path) -> Commands:
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    tried = tmp_path / "tried"
    search = f"{tmp_path}:{installation.environment['PYTHONPATH']}"
    environment = {**installation.environment, "PYTHONPATH": search, "GUARDED_BY": str(tried)}
    return Commands(installation.program, environment, tried)


@dataclass
class Reader:
    """Somebody who looks all the time and notices whatever goes back."""

    client: Client
    newest: dict[str, str] = field(default_factory=dict)  # Messages, by chat.
    unread: int = 0
    looks: int = 0

    async def run(self) -> None:
        """Look until cancelled. Every answer is one, and none knows less than one before it."""
        while True:
            await self._look()
            self.looks += 1

    async def has_looked(self) -> bool:
        return self.looks > 0

    async def _look(self) -> None:
        listed = (await self.client.get("/v1/services/crm/chats?limit=200"))["items"]
        chat_ids = [each["id"] for each in listed]
        assert len(set(chat_ids)) == len(chat_ids)
        assert self.newest.keys() <= set(chat_ids)
        for chat_id in chat_ids:
            page = await self._messages(chat_id)
            assert len(set(page)) == len(page)
            assert self.newest.get(chat_id, page[0]) in page
            self.newest[chat_id] = page[0]
        unread = (await self.client.get("/v1/services/crm/unread"))["unread"]
        assert unread >= self.unread
        self.unread = unread

    async def _messages(self, chat_id: str) -> list[str]:
        """The newest, of which there are never as many within one look."""
        path = f"/v1/services/crm/chats/{chat_id}/messages?limit=200"
        return [each["id"] for each in (await self.client.get(path))["items"]]


async def assert_rebuilt(commands: Commands, name: str, chance: random.Random) -> None:
    """Killed, gone on with, compared, switched to, and back."""
    rebuild = ("rebuild", name, "--workers", "2")
    for _ in range(KILLS):
        await commands.killed(
            *rebuild,
            after=chance.uniform(*KILLED_AFTER_SECONDS),
            with_workers=chance.random() < 0.5,
        )
    await commands.succeeds(*rebuild)
    assert await commands.run("diff", name) == 0
    assert await commands.run("switch", name) == 0
    assert await commands.run("rollback", name) == 0


async def opened(installation: Installation, server: Server, account: str) -> tuple[Load, Reader]:
    """An organisation to whose account customers write, and somebody in it."""
    org = await installation.organisation(server.http)
    await org.services("crm")
    await org.connect("crm", account)
    return Load(server.http, account), Reader(org)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each.name, marks=[] if each.name == Inbox.name else pytest.mark.long)
        for each in PROJECTIONS
    ],
)
async def test_a_rebuild_is_seen_by_nobody(
    installation: Installation, commands: Commands, name: str
) -> None:
    """The same rows, no failed and no wrong answer, and nobody is written to."""
    account = f"70000000000{[each.name for each in PROJECTIONS].index(name):04}"
    async with installation.server() as server:
        load, reader = await opened(installation, server, account)
        loading = asyncio.create_task(load.run())
        await load.until(MESSAGES_BEFORE)
        reading = asyncio.create_task(reader.run())
        sent = len(installation.fake.accepted)
        await assert_rebuilt(commands, name, random.Random(name))
        looks = reader.looks
        await load.until(len(load.acknowledged) + 1)
        assert looks > 0
        assert not reading.done(), reading.exception()
        reading.cancel()
        server.kill()
        await loading
    assert len(installation.fake.accepted) == sent
    assert set(commands.tried.read_text().split()) == {"on", "guard"}
    async with installation.server() as server:
        reader.client.http = server.http
        found = await received(reader.client, account)
        assert {text: found[text] for text in load.acknowledged} == dict.fromkeys(
            load.acknowledged, 1
        )


async def test_control_who_reads_notices_a_build_that_is_not_whole(
    installation: Installation, database: Database
) -> None:
    account = "700000000000500"
    async with installation.server() as server:
        load, reader = await opened(installation, server, account)
        loading = asyncio.create_task(load.run())
        await load.until(50)
        reading = asyncio.create_task(reader.run())
        await eventually(reader.has_looked, True)
        with psycopg.connect(database.superuser) as connection:
            connection.execute(f"SET search_path = {BUILDS}")
            connection.execute("DELETE FROM inbox_messages")
        with pytest.raises((AssertionError, LookupError)):
            await asyncio.wait_for(reading, WITHIN_SECONDS)
        server.kill()
        await loading
