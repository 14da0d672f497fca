"""Who asks: API keys, their scopes, and how often they may ask."""

import asyncio
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from litestar import Request

from api.answers import min_position
from api.commands.context import Actor, the_organisation
from api.commands.execute import Executor, Repeatable
from api.commands.organisations import KEY_PREFIX, digest_of
from api.commands.unit import Unit
from api.handlers import is_write
from api.problems import Behind, TooManyRequests, Unauthenticated
from domain import chosen_rules
from domain.chosen_rules import ChosenRules
from domain.organisation import Organisation, User
from domain.ports import Clock, Directory, KeyHolder, Keys, Log
from domain.refusal import Forbidden, Invalid

FAILURES_PER_MINUTE = 20
BUCKETS_KEPT_MAX = 10_000
IDEMPOTENCY_KEY_HEADER = "Idempotency-Key"
IDEMPOTENCY_KEY_LENGTH_MAX = 255

# How long a read waits for a position, and between two looks.
WAIT_SECONDS = 5.0
PAUSE_SECONDS = 0.05


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The user behind a request, as the org's log knows them at this moment."""

    keys: Keys
    key_id: str
    expires_at: datetime | None
    user_id: str
    user: User
    organisation: Organisation
    rules: ChosenRules
    scopes: frozenset[str]

    def require_scope(self, scope: str) -> None:
        """Raises Forbidden unless the key has the scope."""
        if scope not in self.scopes:
            raise Forbidden(f"This API key lacks the scope {scope!r}.")


class Bucket:
    """So many a second, and a burst of twice as many; counted in this process."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, now: float, *, count: int = 1) -> bool:
        """Whether `name` may go on; with count 0 it only looks."""
        level, since = self._levels.get(name, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._per_second)
        allowed = level >= max(count, 1)
        self._levels[name] = (level - count if allowed else level, now)
        self._levels.move_to_end(name)
        if len(self._levels) > BUCKETS_KEPT_MAX:
            self._levels.popitem(last=False)
        return allowed

    def seconds_until_next(self, name: str, now: float) -> int:
        """How long `name`, who may not go on, has to wait; in whole seconds, as headers say it."""
        level, since = self._levels.get(name, (self._burst, now))
        missing = 1 - level - (now - since) * self._per_second
        return max(1, math.ceil(missing / self._per_second)) if self._per_second else 60


class Authentication:
    """Finds the principal of a request, and reads what belongs to no single route."""

    def __init__(
        self,
        directory: Directory,
        executor: Executor,
        log: Log,
        clock: Clock,
        *,
        rate_per_second: int,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._executor = executor
        self._log = log
        self._clock = clock
        self._timer = timer
        self._requests = Bucket(rate_per_second, 2 * rate_per_second)
        self._failures = Bucket(FAILURES_PER_MINUTE / 60, FAILURES_PER_MINUTE)
        self._opened: OrderedDict[str, None] = OrderedDict()  # Keys, the latest last.

    async def principal(self, request: Request[Any, Any, Any]) -> Principal:
        """Raises Unauthenticated, TooManyRequests."""
        address = request.client.host if request.client else ""
        now = self._timer()
        key_id, secret = _key_of(request)
        # Behind one address there may be many: keys that have opened before do not wait for it.
        if key_id not in self._opened and not self._failures.take(address, now, count=0):
            raise TooManyRequests(
                "Too many failed authentications from this address.",
                retry_after=self._failures.seconds_until_next(address, now),
            )
        holder = await self._directory.key_holder(key_id) if key_id else None
        if holder is None or not self._opens(holder, secret):
            self._failures.take(address, now)
            self._opened.pop(key_id, None)
            raise Unauthenticated
        self._note_opened(key_id)
        if not self._requests.take(key_id, now):
            raise TooManyRequests(retry_after=self._requests.seconds_until_next(key_id, now))
        if not is_write(request.route_handler):
            holder = await self._at_least(min_position(request), key_id, holder)
        return await self._look_up(key_id, holder)

    def _note_opened(self, key_id: str) -> None:
        self._opened[key_id] = None
        self._opened.move_to_end(key_id)
        if len(self._opened) > BUCKETS_KEPT_MAX:
            self._opened.popitem(last=False)

    async def renewed(self, principal: Principal) -> Principal:
        """Whom the same key belongs to now, and what they may do. Raises Unauthenticated."""
        holder = await self._directory.key_holder(principal.key_id)
        if holder is None or not self._is_valid(holder):
            raise Unauthenticated
        return await self._look_up(principal.key_id, holder)

    async def at(self, principal: Principal, position: int) -> Principal:
        """The same user in an organisation that has come to this position at least.

        Of the key nothing is asked: that costs a query, which `renewed` is for.
        """
        org = principal.keys.org
        await self._log.is_current(org, at_least=position)
        organisation, rules = await self._executor.look(org, _seen)
        user = organisation.users[principal.user_id]
        return msgspec.structs.replace(principal, organisation=organisation, rules=rules, user=user)

    async def _at_least(self, position: int, key_id: str, holder: KeyHolder) -> KeyHolder:
        """The key's holder when the org's log has come to the position. Raises Behind.

        What is answered from the log's own state is never behind it; what is asked for may be.
        """
        deadline = self._timer() + WAIT_SECONDS
        while holder.position < position:
            if self._timer() > deadline:
                raise Behind
            await asyncio.sleep(PAUSE_SECONDS)
            holder = await self._directory.key_holder(key_id) or holder
        return holder

    def _opens(self, holder: KeyHolder, secret: str) -> bool:
        return hmac.compare_digest(digest_of(secret), holder.hash) and self._is_valid(holder)

    def _is_valid(self, holder: KeyHolder) -> bool:
        expired = holder.expires_at is not None and self._clock.now() >= holder.expires_at
        return holder.revoked_at is None and not expired

    async def _look_up(self, key_id: str, holder: KeyHolder) -> Principal:
        keys = await self._directory.keys(holder.org)
        # The key's row came with the head of the org's log: what another process has changed
        # since, roles and services included, counts from this request on.
        await self._log.is_current(keys.org, at_least=holder.position)
        organisation, rules = await self._executor.look(keys.org, _seen)
        user = organisation.users.get(holder.user_id)
        if user is None:
            raise Unauthenticated
        return Principal(
            keys=keys,
            key_id=key_id,
            expires_at=holder.expires_at,
            user_id=holder.user_id,
            user=user,
            organisation=organisation,
            rules=rules,
            scopes=holder.scopes,
        )


def _seen(unit: Unit) -> tuple[Organisation, ChosenRules]:
    """What of the organisation's own state requests are answered by."""
    return the_organisation(unit), unit.state(chosen_rules.STREAM, ChosenRules)


def _key_of(request: Request[Any, Any, Any]) -> tuple[str, str]:
    """The key's id and secret; empty where there is none of the right form."""
    values = request.headers.getall("authorization", [])
    # Two are as good as none: a proxy and we might look at different ones.
    scheme, _, value = (values[0] if len(values) == 1 else "").partition(" ")
    prefix, _, rest = value.strip().partition("_")
    key_id, _, secret = rest.partition("_")
    if scheme.lower() != "bearer" or prefix != KEY_PREFIX or not key_id.isascii():
        return "", ""
    return key_id, secret


async def actor_of(
    request: Request[Any, Any, Any],
    principal: Principal,
    *,
    scope: str,
    status: int,
    body: str | None = None,
) -> Actor:
    """The principal as the author of a command that answers `status` when it is done.

    `body` is what stands for a body that is not kept.
    """
    principal.require_scope(scope)
    return Actor(
        keys=principal.keys,
        user_id=principal.user_id,
        request=await _repeatable(request, principal, status, body),
    )


async def _repeatable(
    request: Request[Any, Any, Any], principal: Principal, status: int, body: str | None
) -> Repeatable | None:
    values = request.headers.getall(IDEMPOTENCY_KEY_HEADER, [])
    if not values:
        return None
    value = values[0]
    visible = all("!" <= character <= "~" for character in value)
    if len(values) > 1 or not visible or not 1 <= len(value) <= IDEMPOTENCY_KEY_LENGTH_MAX:
        raise Invalid(IDEMPOTENCY_KEY_HEADER, "must be 1 to 255 visible ASCII characters, once")
    path = request.scope["path"]
    key = principal.keys.hash("request", principal.user_id, request.method, path, value)
    if body is None:
        body = (await request.body()).decode(errors="replace")
    return Repeatable(key, principal.keys.hash("body", body), status)
