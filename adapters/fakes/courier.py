"""Delivers a fake's webhooks: signed anew at every try, and again until they are acknowledged."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

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
    """Posts webhooks to one address until they are acknowledged.

    `sign` gives the headers of a try, so that a signature may hold its time. `query` does the
    same for platforms that sign in the address.
    """

    def __init__(
        self,
        *,
        webhook_url: str | None,
        sign: Callable[[bytes], Mapping[str, str]],
        query: Callable[[bytes], Mapping[str, str]] = lambda _: {},
        retry_delays_seconds: Sequence[float] = RETRY_DELAYS_SECONDS,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> None:
        self.webhook_url = webhook_url
        self.deliveries: list[Delivery] = []
        self._sign = sign
        self._query = query
        self._retry_delays_seconds = tuple(retry_delays_seconds)
        self._client = httpx.AsyncClient(trust_env=False, timeout=answer_seconds_max)
        self._tasks: set[asyncio.Task[None]] = set()

    def post(self, body: bytes, *, after_seconds: float = 0.0) -> Delivery | None:
        """Deliver a body in the background; nothing where no address is registered."""
        if self.webhook_url is None:
            return None
        delivery = Delivery(body=body)
        self.deliveries.append(delivery)
        task = asyncio.create_task(self._deliver(delivery, self.webhook_url, after_seconds))
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

    async def _deliver(self, delivery: Delivery, url: str, after_seconds: float) -> None:
        for delay_seconds in (after_seconds, *self._retry_delays_seconds):
            await asyncio.sleep(delay_seconds)
            try:
                response = await self._client.post(
                    url,
                    content=delivery.body,
                    headers=dict(self._sign(delivery.body)),
                    params=dict(self._query(delivery.body)),
                )
                delivery.answers.append(response.status_code)
            except httpx.HTTPError:
                delivery.answers.append(None)
            if delivery.is_done:
                return
