"""A whole Trunkline on real sockets: server, projections, dispatcher, and a fake platform."""

import asyncio
import hashlib
import hmac
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn

from adapters.whatsapp.fake import FakeCloudApi
from adapters.whatsapp.fake_rules import FakeAccount
from api.main import Core, Database, application, core, found
from api.processes import dispatching, projecting
from api.settings import Settings
from tests.api.openapi_check import OpenApiCheck
from tests.api.terminal import Operator
from tests.conftest import Database as EmptyDatabase

APP_SECRET = "acme_meta_app_secret"
VERIFY_TOKEN = "acme_verify_token"
ACCOUNT = "527719004413008"
TOKEN = "acme-access-token"
# An account belongs to one organisation, so each test takes one of these.
ACCOUNTS = tuple(str(int(ACCOUNT) + number) for number in range(1, 200))
WABA = "418820007715532"
# Where platforms are called that a test does not care for: nobody listens there.
NOWHERE = "http://127.0.0.1:9"
# A pool with bounds may close a connection under a request that just got it (httpcore issue 1110).
UNBOUNDED = httpx.Limits(max_connections=None, max_keepalive_connections=None)


def in_process(parts: Core) -> httpx.ASGITransport:
    """Requests without a socket. Litestar says more exactly than httpx what an ASGI app takes."""
    return httpx.ASGITransport(cast("Any", application(parts)))


def signed(body: bytes, secret: str = APP_SECRET) -> dict[str, str]:
    """The headers of a delivery as Meta signs it."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}


async def _beginning(response: httpx.Response) -> httpx.Response:
    """The same answer, ended after its first bytes: a live stream has no end of its own."""
    first = await anext(response.aiter_bytes())
    await response.aclose()
    return httpx.Response(response.status_code, headers=response.headers, content=first)


@dataclass
class Client:
    """One API key's client; every call must be answered as expected."""

    http: httpx.AsyncClient
    api_key: str
    organization_id: str = ""
    user_id: str = ""
    position: int = 0

    async def call(
        self, method: str, path: str, *, expect: int | None = None, **arguments: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.api_key}", **arguments.pop("headers", {})}
        request = self.http.build_request(method, path, headers=headers, **arguments)
        response = await self.http.send(request, stream=True)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            response = await _beginning(response)
        await response.aread()
        if expect is not None:
            assert response.status_code == expect, f"{method} {path}: {response.text}"
        else:
            assert response.status_code < 500, f"{method} {path}: {response.text}"
        self.position = max(
            self.position, int(response.headers.get("trunkline-position", self.position))
        )
        return response

    async def get(self, path: str, *, expect: int = 200, **arguments: Any) -> Any:
        """A read that sees everything this client has written."""
        headers = {"Trunkline-Min-Position": str(self.position), **arguments.pop("headers", {})}
        response = await self.call("GET", path, expect=expect, headers=headers, **arguments)
        return response.json()

    async def post(
        self, path: str, body: Any = None, *, expect: int = 200, **arguments: Any
    ) -> Any:
        if body is not None:
            arguments["json"] = body
        return (await self.call("POST", path, expect=expect, **arguments)).json()

    async def put(self, path: str, body: Any, *, expect: int = 200) -> Any:
        return (await self.call("PUT", path, expect=expect, json=body)).json()

    async def patch(self, path: str, body: Any, *, expect: int = 200) -> Any:
        return (await self.call("PATCH", path, expect=expect, json=body)).json()

    async def delete(self, path: str, *, expect: int = 200) -> Any:
        return (await self.call("DELETE", path, expect=expect)).json()

    async def services(self, *names: str, **settings: Any) -> None:
        """Add bundled services in which everybody may reply."""
        body = {"subscription": "bundled", "reply_requires_ownership": False, **settings}
        for name in names:
            await self.put(f"/v1/services/{name}", body)

    async def connect(
        self, service: str, account_id: str = ACCOUNT, *, expect: int = 201, **more: Any
    ) -> Any:
        """Connect a service to a WhatsApp account; returns the channel."""
        body = {
            "service": service,
            "platform": "whatsapp",
            "account_id": account_id,
            "name": "Main number",
            "business_account_id": WABA,
            "credentials": {"access_token": TOKEN},
            **more,
        }
        return await self.post("/v1/channels", body, expect=expect)

    async def user(self, role: str, services: dict[str, str], name: str = "Yui") -> "Client":
        """A new user's own client."""
        made = await self.post(
            "/v1/users", {"name": name, "role": role, "services": services}, expect=201
        )
        key = await self.post("/v1/api-keys", {"user_id": made["id"], "name": "test"}, expect=201)
        return Client(self.http, key["key"], self.organization_id, made["id"], self.position)

    async def events(self, **query: Any) -> list[Any]:
        """The org's log, as far as the query asks for it."""
        query = {"limit": 10_000, **query}
        lines = (await self.call("GET", "/v1/events", expect=200, params=query)).text.splitlines()
        return [json.loads(line) for line in lines]

    async def settled(self) -> None:
        """Let this client see everything that is in its org's log now."""
        events = await self.events()
        self.position = events[-1]["position"] if events else 0

    async def chats(self, service: str, **query: Any) -> list[Any]:
        """The service's list of chats."""
        items: list[Any] = (await self.get(f"/v1/services/{service}/chats", params=query))["items"]
        return items

    async def messages(self, service: str, chat_id: str) -> list[Any]:
        """A chat's timeline, oldest first."""
        page = await self.get(f"/v1/services/{service}/chats/{chat_id}/messages?limit=200")
        return list(reversed(page["items"]))

    async def reply(
        self, service: str, chat_id: str, text: str, *, expect: int = 202, **more: Any
    ) -> Any:
        """Write a text to the customer."""
        return await self.post(
            f"/v1/services/{service}/chats/{chat_id}/messages",
            {"kind": "text", "text": text, **more},
            expect=expect,
        )


@dataclass
class Trunkline:
    """A running server with its fake platform."""

    url: str
    http: httpx.AsyncClient
    fake: FakeCloudApi
    parts: Core
    settings: Settings
    database: Database
    openapi: OpenApiCheck  # Every answer to `http` is held against the OpenAPI document.
    texts: int = 0
    last_delivery: bytes = b""
    accounts: Iterator[str] = field(default_factory=lambda: iter(ACCOUNTS))

    def account(self) -> str:
        """An account that nobody has connected yet; the fake platform knows it."""
        return next(self.accounts)

    async def organisation(self, name: str = "Acme") -> Client:
        """A new organisation's admin."""
        org, user_id, api_key = await found(self.parts, name)
        return Client(self.http, api_key, org.id, user_id)

    async def deliver(
        self, payload: Any, *, secret: str = APP_SECRET, expect: int = 200
    ) -> httpx.Response:
        """Post a webhook as Meta does."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.last_delivery = body
        response = await self.http.post(
            "/webhooks/whatsapp", content=body, headers=signed(body, secret)
        )
        assert response.status_code == expect, response.text
        return response

    async def says(
        self,
        text: str,
        *,
        account_id: str,
        phone: str = "12025550143",
        seconds_ago: float = 0,
        **more: Any,
    ) -> str:
        """A customer writes; returns the platform's id of the message."""
        self.texts += 1
        wamid = f"wamid.says{self.texts}"
        timestamp = int(time.time() - seconds_ago)
        await self.deliver(
            text_webhook(
                text,
                wamid=wamid,
                timestamp=timestamp,
                phone=phone,
                account_id=account_id,
                **more,
            )
        )
        return wamid


def text_webhook(
    text: str,
    *,
    phone: str = "12025550143",
    wamid: str,
    timestamp: int,
    account_id: str = ACCOUNT,
    name: str = "Marisol Ortega",
    **message: Any,
) -> dict[str, Any]:
    """A webhook with one text message."""
    return {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": WABA,
                "changes": [
                    {
                        "field": "messages",
                        "value": {
                            "messaging_product": "whatsapp",
                            "metadata": {
                                "display_phone_number": "15550783881",
                                "phone_number_id": account_id,
                            },
                            "contacts": [{"profile": {"name": name}, "wa_id": phone}],
                            "messages": [
                                {
                                    "from": phone,
                                    "id": wamid,
                                    "timestamp": str(timestamp),
                                    "type": "text",
                                    "text": {"body": text},
                                    **message,
                                }
                            ],
                        },
                    }
                ],
            }
        ],
    }


def listening() -> tuple[socket.socket, str]:
    """A port for a server, and its address."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@asynccontextmanager
async def serving(
    settings: Settings, where: Database, listener: socket.socket, url: str
) -> AsyncIterator[tuple[Core, httpx.AsyncClient]]:
    """A whole server on this port, and a client that calls it."""
    async with core(settings, where) as parts, projecting(parts), dispatching(parts):
        config = uvicorn.Config(
            application(parts),
            loop="none",
            log_config=None,
            timeout_keep_alive=65,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve([listener]))
        async with httpx.AsyncClient(base_url=url, timeout=20, limits=UNBOUNDED) as http:
            yield parts, http
        server.should_exit = True
        await running


@asynccontextmanager
async def installed(
    database: EmptyDatabase, home: Path, **configured: Any
) -> AsyncIterator[Trunkline]:
    """A running server on a fresh database, configured as usual but for this."""
    where = Database(database.url, database.superuser, "trunkline", True)
    listener, url = listening()
    async with FakeCloudApi(
        accounts=[
            FakeAccount(phone_number_id=each, access_token=TOKEN) for each in (ACCOUNT, *ACCOUNTS)
        ],
        app_secret=APP_SECRET,
        webhook_url=f"{url}/webhooks/whatsapp",
    ) as fake:
        usual: dict[str, Any] = {
            "home": home,
            "meta_app_secrets": (APP_SECRET,),
            "meta_verify_token": VERIFY_TOKEN,
            "whatsapp_api_base": fake.base_url,
            "messenger_api_base": NOWHERE,
            "line_api_base": NOWHERE,
            "line_data_api_base": NOWHERE,
            "telegram_api_base": NOWHERE,
            "wechat_api_base": NOWHERE,
            "wechat_clock_tolerance_seconds": 0,  # Recorded deliveries are older.
        }
        settings = Settings(**usual | configured)
        async with serving(settings, where, listener, url) as (parts, http):
            openapi = await OpenApiCheck.told_to(http)
            yield Trunkline(url, http, fake, parts, settings, where, openapi)


@pytest.fixture(scope="module")
async def trunkline(
    database: EmptyDatabase, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Trunkline]:
    """A running server on a fresh database."""
    async with installed(database, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def operator(trunkline: Trunkline, tmp_path: Path) -> Operator:
    """Of the installation that runs in this process."""
    return Operator(
        {
            "PATH": os.environ["PATH"],
            "TRUNKLINE_HOME": str(tmp_path / "home"),
            "TRUNKLINE_DATABASE_URL": trunkline.database.url,
            "TRUNKLINE_MIGRATION_DATABASE_URL": trunkline.database.migration_url,
            "TRUNKLINE_MASTER_KEY": (trunkline.settings.home / "master.key").read_text(),
        }
    )


@pytest.fixture
def stranger(tmp_path: Path) -> Operator:
    """Who has configured nothing yet."""
    return Operator({"PATH": os.environ["PATH"], "TRUNKLINE_HOME": str(tmp_path / "home")})
