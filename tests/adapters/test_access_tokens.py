"""Access tokens in PostgreSQL: one process asks for one, and all have it (P4)."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.exchange import new_http_client
from adapters.fakes.behaviour import accepts_late, answers
from adapters.postgres.access_tokens import PostgresAccessTokens
from adapters.postgres.connections import pool
from adapters.postgres.keys import MasterKey
from adapters.wechat.client import WeChatApi
from adapters.wechat.fake import FakeWeChat
from adapters.wechat.fake_behaviour import fails
from adapters.wechat.fake_rules import FakeOfficialAccount
from adapters.wechat.tokens import holder
from domain.inbound import Address, Content
from domain.outbound import Accepted, AccountUnusable, Deferred, OutboundMessage, SendAnswer
from tests.adapters.log_scenario import World

MASTER = MasterKey(bytes(32))
# Where they are asked for.
TOKENS = "stable_token"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Moment:
    """A clock that stands still until it is moved; WeChat's and ours."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time


@dataclass
class Scene:
    """An account of a fake WeChat, and processes that send from it."""

    world: World
    account: FakeOfficialAccount
    fake: FakeWeChat
    clock: Moment
    processes: list["Process"]

    @property
    def demands(self) -> list[bool]:
        """For each request for a token, whether another one was demanded."""
        return [each["force_refresh"] for each in self.fake.token_requests]


@dataclass
class Process:
    """Pools and clients of its own."""

    scene: Scene
    tokens: PostgresAccessTokens
    api: WeChatApi

    async def send(self, text: str = "你好") -> SendAnswer:
        account = self.scene.account
        message = OutboundMessage(
            mark=f"chat.{secrets.token_hex(4)}",
            account_id=account.account_id,
            recipient=(Address(f"wechat:{account.account_id}", "oQk8"),),
            kind="text",
            content=Content(text=text),
        )
        credentials = {"app_id": account.app_id, "app_secret": account.app_secret}
        return await self.api.send(message, credentials)


@asynccontextmanager
async def started(scene: Scene) -> AsyncIterator[Process]:
    async with (
        pool(scene.world.database.url, "trunkline_directory", size_max=4) as connections,
        new_http_client() as http,
    ):
        tokens = PostgresAccessTokens(connections, MASTER, scene.clock)
        yield Process(scene, tokens, WeChatApi(http, tokens, base_address=scene.fake.base_url))


@pytest.fixture
async def scene(world: World) -> AsyncIterator[Scene]:
    account = FakeOfficialAccount(app_id=f"wx{secrets.token_hex(8)}")
    clock = Moment()
    async with FakeWeChat(accounts=[account], now=clock.now) as fake:
        scene = Scene(world, account, fake, clock, [])
        async with started(scene) as one, started(scene) as other:
            scene.processes = [one, other]
            yield scene


async def send_at_once(scene: Scene, count: int = 6) -> list[SendAnswer]:
    """Each process sends as many messages, all at the same time."""
    sending = [process.send() for process in scene.processes for _ in range(count)]
    return await asyncio.gather(*sending)


def all_accepted(sent: list[SendAnswer]) -> bool:
    return all(isinstance(each, Accepted) for each in sent)


# One refresher.


async def test_two_processes_that_need_a_token_at_once_ask_for_one(scene: Scene) -> None:
    scene.fake.next_requests(accepts_late(0.3), to=TOKENS)
    assert all_accepted(await send_at_once(scene))
    assert scene.demands == [False]
    assert len(scene.fake.accepted) == 12


async def test_control_without_the_claim_each_asks(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def everybody_may(self: Any, holder: str, *, after: int) -> bool:
        await begin(self, holder, after=after)
        return True

    begin = PostgresAccessTokens.begin_renewal
    monkeypatch.setattr(PostgresAccessTokens, "begin_renewal", everybody_may)
    scene.fake.next_requests(*[accepts_late(0.3)] * 12, to=TOKENS)
    await send_at_once(scene)
    assert len(scene.demands) > 1


async def test_an_ended_token_is_replaced_once_for_all(scene: Scene) -> None:
    assert all_accepted(await send_at_once(scene))
    scene.fake.end_token()
    assert all_accepted(await send_at_once(scene))
    assert scene.demands == [False, False]
    assert len(scene.fake.accepted) == 24


async def test_a_token_that_is_handed_out_and_refused_is_demanded_once_for_all(
    scene: Scene,
) -> None:
    assert all_accepted(await send_at_once(scene))
    scene.fake.end_token(is_handed_out=True)
    assert all_accepted(await send_at_once(scene))
    assert scene.demands == [False, False, True]


async def test_another_token_is_demanded_20_times_a_day_and_30_seconds_apart(scene: Scene) -> None:
    one, _ = scene.processes
    waits = Deferred(reason="token_refused", retry_after_seconds=30.0)
    await one.send()
    for _ in range(20):
        scene.fake.end_token(is_handed_out=True)
        assert isinstance(await one.send(), Accepted)
        scene.fake.end_token(is_handed_out=True)
        assert await one.send() == waits
        scene.clock.time += timedelta(seconds=30)
    assert await one.send() == waits
    assert sum(scene.demands) == 20
    scene.clock.time = NOON + timedelta(days=1)
    assert isinstance(await one.send(), Accepted)


# Before it expires.


async def test_a_token_is_renewed_before_it_expires_and_the_old_one_used_meanwhile(
    scene: Scene,
) -> None:
    one, other = scene.processes
    await one.send()
    scene.clock.time += timedelta(seconds=7200 - 241)
    await other.send()
    assert scene.demands == [False]
    scene.clock.time += timedelta(seconds=1)
    # Somebody is at it: whoever else sends does not wait.
    assert await one.tokens.begin_renewal(holder_of(scene), after=1)
    assert isinstance(await other.send(), Accepted)
    assert scene.demands == [False]
    await one.tokens.give_up_renewal(holder_of(scene), after=1)
    assert isinstance(await other.send(), Accepted)
    assert scene.demands == [False, False]
    used = [each.query["access_token"] for each in scene.fake.requests if each.query]
    assert [used.index(each) for each in used] == [0, 0, 0, 3]


async def test_a_token_that_cannot_be_renewed_yet_is_used_to_its_end(scene: Scene) -> None:
    one, _ = scene.processes
    await one.send()
    scene.clock.time += timedelta(seconds=7200 - 1)
    scene.fake.next_requests(answers(500), fails(45009), to=TOKENS)
    assert [isinstance(await one.send(), Accepted) for _ in range(2)] == [True, True]
    scene.clock.time += timedelta(seconds=1)
    scene.fake.next_requests(fails(45009), to=TOKENS)
    limited = Deferred(reason="rate_limited", retry_after_seconds=600.0)
    assert await one.send() == limited
    assert isinstance(await one.send(), Accepted)


async def test_whoever_died_while_asking_is_followed_by_another(scene: Scene) -> None:
    one, other = scene.processes
    holder = holder_of(scene)
    assert await one.tokens.begin_renewal(holder, after=0)
    assert not await other.tokens.begin_renewal(holder, after=0)
    scene.clock.time += timedelta(seconds=15)
    assert isinstance(await other.send(), Accepted)
    # The dead one was only slow: what it brings comes too late to count.
    await one.tokens.keep(holder, after=0, value="too late", lifetime_seconds=7200)
    found = await one.tokens.find(holder)
    assert found is not None
    assert (found.number, found.value != "too late") == (1, True)


def holder_of(scene: Scene) -> str:
    """What the account's tokens are asked for with."""
    return holder({"app_id": scene.account.app_id, "app_secret": scene.account.app_secret})


async def test_after_a_failure_the_next_one_may_ask_at_once(scene: Scene) -> None:
    one, other = scene.processes
    scene.fake.next_requests(answers(500), fails(40164), to=TOKENS)
    assert await one.send() == Deferred(reason="platform_failed")
    assert await other.send() == AccountUnusable(reason="ip_not_allowed", code=40164)
    assert isinstance(await one.send(), Accepted)


# Sealed.


async def test_neither_token_nor_secret_can_be_found_in_the_database(scene: Scene) -> None:
    """P4."""
    one, _ = scene.processes
    await one.send()
    (token,) = {each.query["access_token"] for each in scene.fake.requests if each.query}
    async with await scene.world.superuser() as connection:
        cursor = await connection.execute("SELECT * FROM access_tokens", binary=True)
        kept = repr(await cursor.fetchall())
    assert "forced_at" in kept
    assert not [each for each in (token, scene.account.app_secret) if each in kept]
    found = await one.tokens.find(holder_of(scene))
    assert found is not None
    assert (found.value, token in repr(found)) == (token, False)


async def test_another_master_key_finds_nothing_and_asks_anew(scene: Scene) -> None:
    one, _ = scene.processes
    await one.send()
    async with pool(scene.world.database.url, "trunkline_directory", size_max=1) as connections:
        changed = PostgresAccessTokens(connections, MasterKey(b"x" * 32), scene.clock)
        assert await changed.find(holder_of(scene)) is None


async def test_what_expired_yesterday_is_removed(scene: Scene) -> None:
    one, _ = scene.processes
    old, new = secrets.token_hex(4), secrets.token_hex(4)
    for whose, days in ((old, 0), (new, 2)):
        scene.clock.time = NOON + timedelta(days=days)
        assert await one.tokens.begin_renewal(whose, after=0)
        await one.tokens.keep(whose, after=0, value="t", lifetime_seconds=7200)
    assert await one.tokens.find(old) is None
    assert await one.tokens.find(new) is not None
