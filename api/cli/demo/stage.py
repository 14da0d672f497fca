"""What the day is played on: all of Trunkline in this process, and a WhatsApp that is none.

Whatever happens here goes through HTTP, as a client or a platform would do it.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from api.cli.demo import recorded
from api.main import Core, Database, core, found, pretended_whatsapp, verify_log
from api.processes import dispatching, projecting
from api.server import serve_http
from api.settings import Settings

WAIT_SECONDS = 10.0
APP_SECRET = "hanamizuki-app-secret"  # noqa: S105 - It lives as long as the demo.
VERIFY_TOKEN = "hanamizuki-verify-token"  # noqa: S105
ACCESS_TOKEN = "hanamizuki-access-token"  # noqa: S105
EVENTS_PAGE = 10_000

Json = Any


class NotAsExpected(Exception):
    """Trunkline did not do what the demo says it does."""


def expect(is_so: bool, claim: str) -> None:
    """Stop the demo where something is not as it should be."""
    if not is_so:
        raise NotAsExpected(f"this did not hold: {claim}")


class DayClock:
    """The clock of the recorded day; it moves when the story does."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """The time in the story."""
        return self._now

    def move_to(self, moment: datetime) -> None:
        """Go on; a clock never goes back."""
        self._now = max(self._now, moment.astimezone(UTC))


class PresentClock(DayClock):
    """The machine's own clock, for a day that is played as it goes."""

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC))

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC)


class Person:
    """Somebody with an API key."""

    def __init__(self, stage: "Stage", name: str, api_key: str, user_id: str) -> None:
        self.name = name
        self.user_id = user_id
        self._stage = stage
        self._api_key = api_key

    async def get(self, path: str, **more: Any) -> Json:
        """A read that sees everything that has happened in the story."""
        return await self.call("GET", path, **more)

    async def post(self, path: str, body: Json = None, *, status: int = 200, **more: Any) -> Json:
        """A write, which must be answered with this status."""
        return await self.call("POST", path, body, status=status, **more)

    async def put(self, path: str, body: Json) -> Json:
        """The same for a PUT."""
        return await self.call("PUT", path, body)

    async def delete(self, path: str) -> Json:
        """The same for a DELETE."""
        return await self.call("DELETE", path)

    async def call(
        self, method: str, path: str, body: Json = None, *, status: int = 200, language: str = "en"
    ) -> Json:
        """One request. Raises NotAsExpected for any other status."""
        response = await self.request(method, path, body, language=language)
        if response.status_code != status:
            raise NotAsExpected(
                f"{method} {path} was answered with {response.status_code} and not with {status}: "
                f"{response.text[:300]}"
            )
        return response.json()

    async def request(
        self, method: str, path: str, body: Json = None, *, language: str = "en"
    ) -> httpx.Response:
        """One request, whatever is answered."""
        headers = {
            "Authorization": f"Bearer {self._api_key}",
            "Accept-Language": language,
            "Trunkline-Min-Position": str(self._stage.position),
        }
        content = {} if body is None else {"json": body}
        response = await self._stage.http.request(method, path, headers=headers, **content)
        self._stage.note(response)
        return response


class Stage:
    """A running Trunkline, its people, and the platform beside it."""

    def __init__(
        self, parts: Core, clock: DayClock, platform: Any, http: httpx.AsyncClient
    ) -> None:
        self.clock = clock
        self.platform = platform
        self.http = http
        self.position = 0  # Of the newest event that anybody was told of.
        self.delivered: list[bytes] = []  # Every body that WhatsApp has posted.
        self.admin: Person
        self._parts = parts
        self._org: Any = None
        self._answers = recorded.recorded_answers()

    async def found(self, name: str) -> None:
        """Found the organisation."""
        self._org, user_id, api_key = await found(self._parts, name)
        self.admin = Person(self, "Admin", api_key, user_id)

    async def open(self, name: str) -> None:
        """Found the organisation and let WhatsApp shake hands with its server."""
        await self.found(name)
        url = str(self.http.base_url.join("/webhooks/whatsapp"))
        shaken = await self.platform.register_webhook(url, verify_token=VERIFY_TOKEN)
        expect(shaken, "WhatsApp registers the webhook's address")

    async def hire(self, name: str, role: str, services: dict[str, str]) -> Person:
        """A new user with a key of their own."""
        body = {"name": name, "role": role, "services": services}
        user = await self.admin.post("/v1/users", body, status=201)
        key_body = {"user_id": user["id"], "name": "demo"}
        key = await self.admin.post("/v1/api-keys", key_body, status=201)
        return Person(self, name, key["key"], user["id"])

    def note(self, response: httpx.Response) -> None:
        """Learn how far the log is, so that the next read sees at least that."""
        self.position = max(self.position, int(response.headers.get("trunkline-position", 0)))

    async def deliver(self, name: str) -> int:
        """Let one recorded delivery come at its time; returns how many webhooks it held."""
        self.clock.move_to(recorded.at(name))
        body = recorded.delivery(name)
        for then, today in zip(self._answers, self.platform.accepted, strict=False):
            body = body.replace(then.platform_id, today.platform_id)
            body = body.replace(then.mark, today.mark or "")
        self.delivered.append(body.encode())
        await self.post_signed(body.encode())
        return recorded.webhook_count(body.encode())

    async def post_signed(self, body: bytes) -> None:
        """Post a body as Meta does: signed over exactly these bytes."""
        signature = hmac.digest(APP_SECRET.encode(), body, "sha256").hex()
        response = await self.http.post(
            "/webhooks/whatsapp",
            content=body,
            headers={
                "Content-Type": "application/json",
                "X-Hub-Signature-256": f"sha256={signature}",
            },
        )
        expect(response.status_code == 200, "an authentic webhook is acknowledged with 200")
        await self.catch_up()

    async def catch_up(self) -> None:
        """Let the next reads see all that is in the log by now."""
        events = await self.events(after=self.position)
        if events:
            self.position = events[-1]["position"]

    async def events(self, *, after: int = 0) -> list[Json]:
        """The log behind a position, as an auditor reads it."""
        found_events: list[Json] = []
        while True:
            path = f"/v1/events?after={after}&limit={EVENTS_PAGE}"
            lines = (await self.admin.request("GET", path)).text.splitlines()
            found_events += [json.loads(line) for line in lines]
            if len(lines) < EVENTS_PAGE:
                return found_events
            after = found_events[-1]["position"]

    async def verified(self) -> tuple[int, str]:
        """How many events the log's proof covers, and the hash that stands for them all."""
        verification = await verify_log(self._parts, self._org)
        return verification.events, verification.head_hash.hex()

    async def until(
        self,
        look: Callable[[], Awaitable[Json]],
        is_so: Callable[[Json], bool],
        claim: str,
        *,
        within_seconds: float = WAIT_SECONDS,
    ) -> Json:
        """Look again and again until it is so; what was seen then."""
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + within_seconds
        while True:
            await self.catch_up()
            seen = await look()
            if is_so(seen):
                return seen
            expect(clock() < give_up_at, f"{claim} within {within_seconds:.0f} seconds")
            await asyncio.sleep(0.02)


def settings_for(home: Path, *, postgres_bin: Path | None) -> Settings:
    """Settings of the demo's own: nothing that is configured for the real server counts."""
    return Settings(
        home=home,
        postgres_bin=postgres_bin,
        meta_app_secrets=(APP_SECRET,),
        meta_verify_token=VERIFY_TOKEN,
    )


@asynccontextmanager
async def set_up(settings: Settings, where: Database, *, start: datetime) -> AsyncIterator[Stage]:
    """Everything running beside a WhatsApp, until the end."""
    clock = DayClock(start)
    async with pretended_whatsapp(
        account_id=recorded.ACCOUNT, access_token=ACCESS_TOKEN, app_secret=APP_SECRET, clock=clock
    ) as platform:
        settings = replace(settings, whatsapp_api_base=platform.base_url)
        async with everything(settings, where, clock, platform) as stage:
            yield stage


@asynccontextmanager
async def everything(
    settings: Settings, where: Database, clock: DayClock, platform: Any
) -> AsyncIterator[Stage]:
    """All of Trunkline in this process, until the end."""
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(core(settings, where, clock=clock))
        await stack.enter_async_context(projecting(parts))
        await stack.enter_async_context(dispatching(parts))
        address = await stack.enter_async_context(_serving(parts))
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS, trust_env=False)
        )
        yield Stage(parts, clock, platform, http)


@asynccontextmanager
async def _serving(parts: Core) -> AsyncIterator[str]:
    """The HTTP side on a free port of this machine."""
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_http(parts, "127.0.0.1", 0, stop, address.set_result))
    # A server that cannot serve ends at once, and then says why.
    serving.add_done_callback(lambda _: address.done() or address.cancel())
    try:
        with suppress(asyncio.CancelledError):
            await address
        if address.cancelled():
            await serving
        yield address.result()
    finally:
        stop.set()
        with suppress(asyncio.CancelledError):
            await serving
