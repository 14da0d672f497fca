"""Loads, decides, appends: what every command goes through, once for all of them.

A decision is a function of a Unit. It asks for states; where one is not at hand, the state is
fetched and the decision starts anew, so it needs no waiting inside and its reads are known. What
it records is queued at once, on top of everything decided before it.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

import msgspec

from api.commands.states import States
from api.commands.unit import Missing, Unit
from domain.ports import (
    AlreadyDone,
    Append,
    Appended,
    Conflict,
    IdempotentRequest,
    Log,
    Org,
    RequestKnown,
    Requests,
    StoredAnswer,
    Unavailable,
)
from domain.refusal import Refusal

# A command that is overtaken this often stands in a queue that does not move.
ATTEMPTS_MAX = 100

# Redeliveries mostly come soon: those of this many newest commands need no look at the log.
DONE_KEPT_MAX = 100_000

Value = TypeVar("Value")
Decide = Callable[[Unit], Value]


class IdempotencyKeyReused(Refusal):
    """This Idempotency-Key was used for another request; use a new one."""

    code = "idempotency_key_reused"


class Repeatable(msgspec.Struct, frozen=True):
    """A request that may come again, and is then answered as before."""

    key: bytes  # A hash of its Idempotency-Key with user, method and path.
    request: bytes  # A hash of its body.
    status: int  # What it is usually answered with.


class Outcome(msgspec.Struct, Generic[Value]):
    """What became of a command. `value` is None for one that had been answered before."""

    position: int  # Of its last event, or at which it was decided that there is nothing to do.
    ids: dict[str, str]
    value: Value | None = None
    status: int | None = None  # Where it differs from the usual one, or is repeated.


class Executor:
    """Executes commands, each wholly or not at all."""

    def __init__(self, log: Log, states: States, requests: Requests) -> None:
        self._log = log
        self._states = states
        self._requests = requests
        # A repetition that waits leaves an event behind to be woken by.
        self._in_flight: dict[tuple[int, bytes], asyncio.Event | None] = {}
        self._done: OrderedDict[tuple[int, bytes], int] = OrderedDict()

    async def execute(
        self,
        org: Org,
        decide: Decide[Value],
        *,
        command: bytes | None = None,
        request: Repeatable | None = None,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> Outcome[Value]:
        """Decide and append. Raises the decision's Refusal, AlreadyDone, Unavailable.

        `command` is the id of a command that may come again, as a webhook does; a `request` that
        comes again gets what it got before. `first` is what must be so outside the log before;
        it may refuse, and for a request that was answered before it is not done again.
        """
        unique = request.key if request else command
        if unique is None:
            if first is not None:
                await first()
            return await self._decide(org, decide, None, None)
        turn = (org.number, unique)
        while turn in self._in_flight:
            # A repetition waits for the first: one Idempotency-Key, one outcome.
            over = self._in_flight[turn] = self._in_flight[turn] or asyncio.Event()
            await over.wait()
        self._in_flight[turn] = None
        try:
            if request is None:
                return await self._once(org, decide, unique)
            answered = await self._answered(org, request)
            if answered is not None:
                return answered
            if first is not None:
                await first()
            return await self._decide(org, decide, None, request)
        finally:
            waited_for = self._in_flight.pop(turn)
            if waited_for is not None:
                waited_for.set()

    async def look(self, org: Org, decide: Decide[Value]) -> Value:
        """What a decision would see now, without recording anything."""
        facts: dict[Hashable, Any] = {}
        while True:
            try:
                return decide(Unit(org, self._states, facts))
            except Missing as missing:
                await missing.fetch()

    async def _once(self, org: Org, decide: Decide[Value], command: bytes) -> Outcome[Value]:
        known = self._done.get((org.number, command))
        if known is not None:
            raise AlreadyDone(known)
        outcome = await self._decide(org, decide, command, None)
        self._done[org.number, command] = outcome.position
        if len(self._done) > DONE_KEPT_MAX:
            self._done.popitem(last=False)
        return outcome

    async def _decide(
        self, org: Org, decide: Decide[Value], command: bytes | None, request: Repeatable | None
    ) -> Outcome[Value]:
        facts: dict[Hashable, Any] = {}
        command_id = command or secrets.token_bytes(16)
        for _ in range(ATTEMPTS_MAX):
            unit = Unit(org, self._states, facts)
            try:
                value = decide(unit)
            except Missing as missing:
                await missing.fetch()
                continue
            except Refusal:
                if await self._still_so(unit):
                    # What it is refused for may be what its own first try has done elsewhere.
                    answered = await self._answered(org, request)
                    if answered is None:
                        raise
                    return answered
            else:
                is_own = command is None
                outcome = await self._conclude(unit, value, command_id, request, is_own=is_own)
                if outcome is not None:
                    return outcome
            facts.clear()
        raise Unavailable("Too many others are changing the same thing.")

    async def _conclude(
        self, unit: Unit, value: Value, command: bytes, request: Repeatable | None, *, is_own: bool
    ) -> Outcome[Value] | None:
        """Write down what was decided; None where it is to be decided again.

        `is_own`: the command's id was made here, so only a try of its own can be in the log.
        """
        if not unit.events and request is None:
            if not await self._still_so(unit):
                return None
            position = await self._log.position(unit.org)
            return Outcome(position, unit.ids, value, unit.status)
        try:
            appended = await self._append(unit, command, request)
        except Conflict:
            return None
        except RequestKnown:
            return await self._answered(unit.org, request)
        except AlreadyDone:
            if not is_own:
                raise
            # A try before this one was written after all, though its answer was lost.
            answered = await self._answered(unit.org, request)
            if answered is None:
                raise Unavailable("It is not known what became of this.") from None
            return answered
        return Outcome(appended.last, unit.ids, value, unit.status)

    async def _answered(self, org: Org, request: Repeatable | None) -> Outcome[Any] | None:
        """What the request was answered before."""
        if request is None:
            return None
        answered = await self._requests.find(org, request.key)
        return _as_before(answered, request) if answered is not None else None

    async def _append(self, unit: Unit, command: bytes, request: Repeatable | None) -> Appended:
        future = self._log.submit(
            Append(
                org=unit.org,
                command=command,
                events=unit.events,
                read=unit.read,
                keys=unit.keys,
                dropped_addresses=unit.dropped_addresses,
                addresses=unit.addresses,
                idempotent=_remembered(request, unit),
            )
        )
        written = unit.written()
        entries = [self._states.advance(unit.org, *left) for left in written]

        def settle(done: asyncio.Future[Appended]) -> None:
            for entry in entries:
                entry.writing -= 1
            if not done.cancelled() and done.exception() is None:
                self._states.note_written(unit.org, unit.events, written, done.result())

        future.add_done_callback(settle)
        # Whoever waits may go away; the command is written all the same.
        return await asyncio.shield(future)

    async def _still_so(self, unit: Unit) -> bool:
        """Whether what the decision read is still the newest, here and in the log."""
        await self._log.settled()
        current = await self._log.is_current(unit.org)
        for stream, state in unit.found.items():
            entry = self._states.get(unit.org, stream)
            # Its version proves nothing: what was written here may be lost, and others' be there.
            if entry is None or entry.state is not state:
                return False
        return current


def _remembered(request: Repeatable | None, unit: Unit) -> IdempotentRequest | None:
    if request is None:
        return None
    ids = msgspec.json.encode(unit.ids)
    return IdempotentRequest(request.key, request.request, unit.status or request.status, ids)


def _as_before(answered: StoredAnswer, request: Repeatable) -> Outcome[Value]:
    if answered.request != request.request:
        raise IdempotencyKeyReused
    ids = msgspec.json.decode(answered.ids, type=dict[str, str])
    return Outcome(answered.position, ids, status=answered.status)
