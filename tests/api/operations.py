"""Every operation of the OpenAPI document, and an office in which each of them can be tried."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from tests.api.businesses import connected
from tests.api.conftest import WABA, Client, Trunkline
from tests.api.deliveries import eventually, now, status_delivery
from tests.api.files import JPEG, upload

Operation = tuple[str, str]  # Method, and path as in the document.

# Of the right form, and nobody's.
NOBODYS_ID = "2" * 26
NOBODYS_ACCOUNT = "999999999999999"

# Bodies that are taken; `{name}` stands for what the office calls so.
BODIES: dict[str, Any] = {
    "PUT /v1/services/{service}": {
        "subscription": "bundled",
        "masking": "full",
        "reply_requires_ownership": False,
        "ticket_timer_hours": None,
        "mark_read": False,
    },
    "POST /v1/users": {
        "name": "Noa",
        "email": "noa@acme.example",
        "role": "agent",
        "services": {"{service}": "view"},
    },
    "PATCH /v1/users/{user_id}": {"away": False, "services": {"{service}": "reply"}},
    "POST /v1/api-keys": {"user_id": "{user_id}", "name": "Spare", "scopes": ["read"]},
    "POST /v1/channels": {
        "service": "{service}",
        "platform": "whatsapp",
        "account_id": "{account_id}",
        "name": "Main number",
        "business_account_id": WABA,
    },
    "PATCH /v1/services/{service}/channels/{channel_id}": {"name": "Main number"},
    "PUT /v1/services/{service}/channels/{channel_id}/connection": {
        "department": "North",
        "ticket_timer_hours": 24,
    },
    "PUT /v1/channels/{channel_id}/services/{service}/agents": {"user_ids": ["{user_id}"]},
    "POST /v1/channels/{channel_id}/decisions/replay": {"rule": "earliest-joined/1"},
    "POST /v1/services/{service}/chats": {
        "channel_id": "{channel_id}",
        "address": "+12025550199",
        "message": {
            "kind": "template",
            "name": "{name}",
            "language": "{language}",
            "parameters": {"customer": "Sam"},
        },
    },
    "POST /v1/services/{service}/chats/{chat_id}/assign": {"user_id": "{user_id}", "confirm": True},
    "POST /v1/services/{service}/chats/{chat_id}/messages": {
        "kind": "text",
        "text": "Good morning",
        "seen_position": 1,
        "confirm": True,
    },
    "POST /v1/credits/purchases": {"account_id": "{account_id}", "credits": 1},
    "PUT /v1/credits/auto-recharge": {
        "service": "{service}",
        "account_id": "{account_id}",
        "enabled": False,
        "threshold_credits": 1,
        "credits": 5,
    },
    "PUT /v1/rules/{kind}": {
        "rule": "conversation/1",
        "account_id": "{account_id}",
        "effective_from": "2026-01-01T00:00:00Z",
    },
    "POST /v1/quotes": {"account_id": "{account_id}"},
    "POST /v1/statements/{account_id}/{month}/replay": {"pricing": "per-message/2025-07"},
    "PUT /v1/services/{service}/canned/{shortcut}": {"text": "Hello {{customer.name}}"},
    "PUT /v1/accounts/{account_id}/templates/{name}/{language}": {
        "category": "utility",
        "body": "Hello {{customer}}",
        "parameters": ["customer"],
        "state": "approved",
    },
}


# What takes a form with a file instead.
FORMS = {"POST /v1/media": {"file": ("photo.jpg", JPEG, "image/jpeg")}}

# What must stand in a query.
QUERIES = {"GET /v1/credits": ("account_id",)}

_addresses = (f"127.1.{block}.{host}" for block in range(256) for host in range(1, 255))


@asynccontextmanager
async def from_elsewhere(trunkline: Trunkline) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an address of its own, whose failures nobody else is held for."""
    transport = httpx.AsyncHTTPTransport(verify=False, local_address=next(_addresses))
    async with httpx.AsyncClient(
        base_url=trunkline.url, timeout=20, transport=transport
    ) as elsewhere:
        yield elsewhere


@dataclass
class Office:
    """An org with one shared account, one chat in it, and whatever else operations name."""

    trunkline: Trunkline
    admin: Client
    names: dict[str, str]  # By the names of path parameters.

    def path(self, template: str, **others: str) -> str:
        """The path of an operation, for this office."""
        return template.format(**{**self.names, **others})

    def query(self, method: str, template: str) -> dict[str, str]:
        """A query without which the operation has no answer here."""
        return {name: self.names[name] for name in QUERIES.get(f"{method} {template}", ())}

    def body(self, method: str, template: str, **others: str) -> Any:
        """A body that the operation takes here; None where it takes none."""
        return _filled(BODIES.get(f"{method} {template}"), {**self.names, **others})

    def arguments(self, method: str, template: str, **others: str) -> dict[str, Any]:
        """A body that the operation takes here, in the form in which it takes it."""
        files = FORMS.get(f"{method} {template}")
        return {"files": files} if files else {"json": self.body(method, template, **others)}

    async def failed_message(self) -> str:
        """A message that the platform took and gave up, so that it can be retried or discarded.

        It has nothing more to say of it then: afterwards the log stands still.
        """
        service, chat_id = self.names["service"], self.names["chat_id"]
        reply = await self.admin.reply(service, chat_id, "lost")

        async def status() -> str:
            await self.admin.settled()
            timeline = await self.admin.messages(service, chat_id)
            return str({each["id"]: each["status"] for each in timeline}[reply["id"]])

        async def is_taken() -> bool:
            return await status() != "queued"

        await eventually(is_taken, True)
        await self.trunkline.fake.settled()
        mark = f"{chat_id}.{reply['id']}"
        (taken,) = [each for each in self.trunkline.fake.accepted if each.mark == mark]
        refusal = status_delivery(
            "failed",
            wamid=taken.platform_id,
            phone="12025550143",
            timestamp=now(),
            account_id=self.names["account_id"],
            errors=[{"code": 131026, "title": "Message undeliverable"}],
        )
        await self.trunkline.deliver(refusal)
        assert await status() == "failed"
        return str(reply["id"])


async def office_of(trunkline: Trunkline, service: str = "crm", *others: str) -> Office:
    """A new office, whose services are `service`, the parent, and these others."""
    admin, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(admin, account, service)
    await admin.services(*others)
    for other in others:
        await admin.connect(other, account)
    agent = await admin.user("agent", {service: "reply"}, name="Ren")
    keys = (await admin.get("/v1/api-keys"))["items"]
    await admin.put(
        f"/v1/accounts/{account}/templates/greeting/en",
        BODIES["PUT /v1/accounts/{account_id}/templates/{name}/{language}"],
    )
    canned = BODIES["PUT /v1/services/{service}/canned/{shortcut}"]
    await admin.put(f"/v1/services/{service}/canned/hello", canned)
    await trunkline.says("Hello there", account_id=account)
    await admin.settled()
    (chat,) = await admin.chats(service)
    office = Office(
        trunkline,
        admin,
        {
            "service": service,
            "channel_id": channel_id,
            "chat_id": chat["id"],
            "message_id": NOBODYS_ID,
            "user_id": agent.user_id,
            "key_id": next(key["id"] for key in keys if key["user_id"] == agent.user_id),
            "account_id": account,
            "name": "greeting",
            "language": "en",
            "shortcut": "hello",
            "kind": "pricing",
            "month": "2026-11",
            "media_id": await upload(admin),
            "token": "nobodys",
        },
    )
    await admin.post("/v1/credits/purchases", {"account_id": account, "credits": 10}, expect=201)
    office.names["message_id"] = await office.failed_message()
    return office


async def operations(http: httpx.AsyncClient) -> list[Operation]:
    """Every operation that the document lists."""
    document = (await http.get("/openapi.json")).json()
    return [
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    ]


async def positions(trunkline: Trunkline) -> list[Any]:
    """Where every organisation's log stands, and how many requests are remembered."""
    async with await psycopg.AsyncConnection.connect(trunkline.database.migration_url) as database:
        heads = await database.execute("SELECT org, position FROM trunkline.heads ORDER BY org")
        requests = await database.execute("SELECT count(*) FROM trunkline.idempotency_keys")
        return [*await heads.fetchall(), await requests.fetchone()]


def is_public(path: str) -> bool:
    """Whether the operation needs no API key."""
    return path in ("/healthz", "/readyz", "/metrics", "/openapi.json") or path.startswith(
        ("/webhooks/", "/media/")
    )


def _filled(value: Any, names: dict[str, str]) -> Any:
    match value:
        case str():
            return names[value[1:-1]] if value[:1] == "{" and value[1:-1] in names else value
        case dict():
            return {_filled(key, names): _filled(each, names) for key, each in value.items()}
        case list():
            return [_filled(each, names) for each in value]
        case _:
            return value
