"""Delivers a fake's webhooks: signed anew at every try, and again until they are acknowledged."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

import httpx
import msgspec

# Platforms wait longer before each try and give up after hours; nobody waits that long for a test.
RETRY_DELAYS_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
ANSWER_SECONDS_MAX = 20.0


class Delivery(msgspec.Struct, kw_only=True):
    """One webhook and what became of it: an HTTP status for each try, None for no answer."""

    body: bytes
    answers: list[int | None] = []

    @property
    def is_done(self) -> bool:
        """Whether it was acknowledged."""
        return bool(self.answers) and self.answers[-1] == 200


class Courier:
    """Posts webhooks until they are acknowledged.

    `sign` gives the headers of a try, so that a signature may hold its time. `query` does the
    same for platforms that sign in the address. `again` gives the body of a second try.
    """

    def __init__(
        self,
        *,
        webhook_url: str | None,
        sign: Callable[[bytes], Mapping[str, str]],
        query: Callable[[bytes], Mapping[str, str]] = lambda _: {},
        again: Callable[[bytes], bytes] = lambda body: body,
        retry_delays_seconds: Sequence[float] = RETRY_DELAYS_SECONDS,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
        retry_after_seconds_max: float = 0.0,
    ) -> None:
        """`retry_after_seconds_max`: as long as that it waits where a server asks it to."""
        self.webhook_url = webhook_url
        self.deliveries: list[Delivery] = []
        self._sign = sign
        self._query = query
        self._again = again
        self._retry_delays_seconds = tuple(retry_delays_seconds)
        self._client = httpx.AsyncClient(trust_env=False, timeout=answer_seconds_max)
        self._retry_after_seconds_max = retry_after_seconds_max
        self._tasks: set[asyncio.Task[None]] = set()
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._posted: list[Callable[[], Delivery]] = []

    def post(
        self,
        body: bytes,
        *,
        path: str = "",
        after_seconds: float = 0.0,
        lane: str | None = None,
        sign: Callable[[bytes], Mapping[str, str]] | None = None,
    ) -> Delivery | None:
        """Deliver a body in the background; nothing where no address is registered.

        `path` comes behind the address. In a `lane` each delivery waits until the one before it
        is acknowledged or given up.
        """
        if self.webhook_url is None:
            return None
        url = self.webhook_url + path
        self._posted.append(partial(self._start, self._again(body), url, 0.0, None, sign))
        return self._start(body, url, after_seconds, lane, sign)

    def post_again(self, chance: Random) -> None:
        """Everything that was ever posted comes once more, in another order."""
        for start in chance.sample(self._posted, len(self._posted)):
            start()

    def _start(
        self,
        body: bytes,
        url: str,
        after_seconds: float,
        lane: str | None,
        sign: Callable[[bytes], Mapping[str, str]] | None,
    ) -> Delivery:
        delivery = Delivery(body=body)
        self.deliveries.append(delivery)
        trying = partial(self._deliver, delivery, url, after_seconds, sign or self._sign)
        before = self._lanes.get(lane) if lane is not None else None
        task = asyncio.create_task(_after(before, trying))
        if lane is not None:
            self._lanes[lane] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return delivery

    async def register(self, webhook_url: str, query: Mapping[str, str], *, expected: str) -> bool:
        """The handshake by GET; the address is used only if it answers as expected."""
        response = await self._client.get(webhook_url, params=dict(query))
        if response.status_code != 200 or response.text != expected:
            return False
        self.webhook_url = webhook_url
        return True

    async def settled(self) -> None:
        """Wait until every webhook is acknowledged or given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def aclose(self) -> None:
        """Give up what is not delivered yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def _deliver(
        self,
        delivery: Delivery,
        url: str,
        after_seconds: float,
        sign: Callable[[bytes], Mapping[str, str]],
    ) -> None:
        body, asked_seconds = delivery.body, 0.0
        for delay_seconds in (after_seconds, *self._retry_delays_seconds):
            await asyncio.sleep(max(delay_seconds, asked_seconds))
            try:
                response = await self._client.post(
                    url,
                    content=body,
                    headers=dict(sign(body)),
                    params=dict(self._query(body)),
                )
                delivery.answers.append(response.status_code)
                asked_seconds = self._asked_seconds(response)
            except httpx.HTTPError:
                delivery.answers.append(None)
            if delivery.is_done:
                return
            body = self._again(body)

    def _asked_seconds(self, response: httpx.Response) -> float:
        written = response.headers.get("retry-after", "")
        seconds = float(written) if written.isascii() and written.isdigit() else 0.0
        return min(seconds, self._retry_after_seconds_max)


async def _after(
    before: asyncio.Task[None] | None, trying: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    if before is not None:
        await asyncio.wait([before])
    await trying()
