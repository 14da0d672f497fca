"""What a decision was based on, when it is answered."""

import asyncio
from collections.abc import Callable, Collection
from typing import cast

import pytest

from api.commands.execute import Executor, Outcome, Repeatable
from api.commands.states import States
from api.commands.unit import Unit
from domain.chat import Chat
from domain.chat_events import ChatClosed, ChatOpened
from domain.event import Event as Fact
from domain.event import Recorded
from domain.ports import (
    AlreadyDone,
    Append,
    Appended,
    Conflict,
    Log,
    Org,
    Requests,
    StoredAnswer,
    Unavailable,
)
from domain.refusal import NotConnected
from tests.adapters.log_scenario import NOON

ORG = Org(1, "org_acme")
CHAT = "chat:a"


class SlowLog:
    """Holds what it is given, until somebody says what became of it."""

    def __init__(self) -> None:
        self.on_changed: Callable[[int, Collection[str] | None], None] = lambda _org, _streams: None
        self.stored: list[Recorded] = []
        self.held: list[asyncio.Future[Appended]] = []
        self.is_waited_for = asyncio.Event()

    def submit(self, append: Append) -> "asyncio.Future[Appended]":
        self.held.append(asyncio.get_running_loop().create_future())
        self.held[-1].add_done_callback(lambda future: future.exception())
        return self.held[-1]

    async def settled(self) -> None:
        self.is_waited_for.set()
        if self.held:
            await asyncio.wait(self.held)

    async def is_current(self, org: Org, *, at_least: int | None = None) -> bool:
        for _ in range(10):  # Long enough for others to read what is there now.
            await asyncio.sleep(0)
        return True

    async def read_stream(self, org: Org, stream: str, **_: object) -> list[Recorded]:
        return self.stored if stream == CHAT else []

    async def position(self, org: Org) -> int:
        return len(self.stored)


def close(unit: Unit) -> str:
    """Refused where the chat is closed in this service."""
    if "crm" in unit.state(CHAT, Chat).closed:
        raise NotConnected
    unit.record(CHAT, [ChatClosed(service="crm")])
    return "closed"


def open_again(unit: Unit) -> str:
    """Nothing to do where it is not closed."""
    if "crm" in unit.state(CHAT, Chat).closed:
        unit.record(CHAT, [ChatOpened(service="crm")])
        return "opened"
    return "was open"


@pytest.fixture
def log() -> SlowLog:
    return SlowLog()


def executor_on(log: SlowLog, requests: "LateRequests | None" = None) -> Executor:
    """They are a log and requests as far as they are asked here."""
    as_log = cast("Log", log)
    return Executor(as_log, States(as_log), cast("Requests", requests))


@pytest.fixture
def executor(log: SlowLog) -> Executor:
    return executor_on(log)


async def lost_to_another(log: SlowLog, executor: Executor, *events: Fact) -> None:
    """What is being written is lost: another process wrote as many events to the stream."""
    await log.is_waited_for.wait()
    log.stored = [Recorded(n, CHAT, n, NOON, event) for n, event in enumerate(events, 1)]
    log.on_changed(ORG.number, {CHAT})
    log.held[0].set_exception(Conflict())
    await executor.look(ORG, lambda unit: unit.state(CHAT, Chat))


async def somebody_gone(executor: Executor, decide: Callable[[Unit], str]) -> None:
    """A command on its way whose caller waits no more."""
    task = asyncio.create_task(executor.execute(ORG, decide))
    log = cast("SlowLog", executor._log)
    while not log.held:  # noqa: ASYNC110 - It is a matter of a few turns.
        await asyncio.sleep(0)
    task.cancel()


async def is_decided_again(log: SlowLog, task: "asyncio.Task[object]") -> bool:
    while len(log.held) < 2 and not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0)
    is_again = not task.done()
    task.cancel()
    await asyncio.wait([task])
    return is_again


async def test_a_refusal_based_on_what_is_lost_is_decided_again(
    log: SlowLog, executor: Executor
) -> None:
    await somebody_gone(executor, close)
    refused = asyncio.create_task(executor.execute(ORG, close))
    await lost_to_another(log, executor, ChatClosed(service="desk"))
    assert await is_decided_again(log, refused)


async def test_nothing_to_do_because_of_what_is_lost_is_decided_again(
    log: SlowLog, executor: Executor
) -> None:
    log.stored = [Recorded(1, CHAT, 1, NOON, ChatClosed(service="crm"))]
    await somebody_gone(executor, open_again)
    idle = asyncio.create_task(executor.execute(ORG, open_again))
    await lost_to_another(log, executor, ChatClosed(service="crm"), ChatClosed(service="desk"))
    assert await is_decided_again(log, idle)


class LateRequests:
    """Has the answer to a request only when it is asked again."""

    def __init__(self) -> None:
        self.answers = [None, StoredAnswer(b"body", 202, 7, b'{"message":"m"}')]

    async def find(self, org: Org, key: bytes) -> StoredAnswer | None:
        return self.answers.pop(0)


async def test_a_request_is_not_refused_for_what_its_own_first_try_has_done(log: SlowLog) -> None:
    """Sent again to another process while the first one was still writing it."""
    log.stored = [Recorded(1, CHAT, 1, NOON, ChatClosed(service="crm"))]
    executor = executor_on(log, LateRequests())
    outcome = await executor.execute(ORG, close, request=Repeatable(b"key", b"body", 202))
    assert outcome == Outcome(7, {"message": "m"}, status=202)


# Tried again after a conflict, and found to have been written the first time.


async def lost_and_found(log: SlowLog, task: "asyncio.Task[Outcome[str]]") -> Outcome[str]:
    """The first try's answer was lost; it is decided again, and is in the log already."""
    for outcome in (Conflict(), AlreadyDone(7)):
        while not task.done() and (not log.held or log.held[-1].done()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        log.on_changed(ORG.number, {CHAT})
        log.held[-1].set_exception(outcome)
    return await task


async def test_a_request_that_was_written_after_all_is_answered(log: SlowLog) -> None:
    executor = executor_on(log, LateRequests())
    request = Repeatable(b"key", b"body", 202)
    task = asyncio.create_task(executor.execute(ORG, close, request=request))
    assert await lost_and_found(log, task) == Outcome(7, {"message": "m"}, status=202)


async def test_what_was_written_after_all_and_is_no_request_is_to_be_asked_again(
    log: SlowLog, executor: Executor
) -> None:
    """Whoever asks again decides on what it has done."""
    with pytest.raises(Unavailable):
        await lost_and_found(log, asyncio.create_task(executor.execute(ORG, close)))


async def test_a_delivery_that_was_written_after_all_is_known(
    log: SlowLog, executor: Executor
) -> None:
    task = asyncio.create_task(executor.execute(ORG, close, command=b"delivery"))
    with pytest.raises(AlreadyDone, match="7"):
        await lost_and_found(log, task)
