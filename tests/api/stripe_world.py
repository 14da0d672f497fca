"""An organisation that buys through a fake Stripe; time can be moved on."""

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from adapters.stripe.fake import CUSTOMER, SECRET_KEY, WEBHOOK_SECRET, FakeStripe
from adapters.stripe.fake_webhooks import signed
from adapters.whatsapp.fake import FakeCloudApi
from adapters.whatsapp.fake_rules import FakeAccount
from api.main import Core, Database, application, core
from api.processes import dispatching, projecting
from api.settings import Settings
from tests.api.conftest import ACCOUNTS, TOKEN, Trunkline
from tests.api.deliveries import eventually
from tests.api.openapi_check import OpenApiCheck
from tests.api.test_credits import Shop, shop

MASTER_KEY = b"k" * 32
CARD = "pm_card_visa"


class Ahead:
    """A clock that can be moved on."""

    def __init__(self) -> None:
        self.by = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by


@dataclass
class Bank:
    """A server that buys through a fake Stripe."""

    trunkline: Trunkline
    stripe: FakeStripe
    clock: Ahead

    async def shop(self) -> Shop:
        """An org with an account, and webhooks as usual."""
        self.stripe.deliver_to(f"{self.trunkline.url}/webhooks/stripe")
        self.stripe.cards[CARD] = "good"
        return await shop(self.trunkline)

    async def notify(
        self, body: bytes, *, secret: str = WEBHOOK_SECRET, at: int | None = None, **more: str
    ) -> httpx.Response:
        """Post a webhook as somebody does who has this secret."""
        at = int(self.clock.now().timestamp()) if at is None else at
        headers = {**signed(body, secret.encode(), at=at), **more}
        return await self.trunkline.http.post("/webhooks/stripe", content=body, headers=headers)

    async def metrics(self, name: str) -> int:
        """The value of a metric; 0 for a counter that has counted nothing."""
        answered = await self.trunkline.http.get("/metrics")
        assert answered.status_code == 200, answered.text
        lines = [line for line in answered.text.splitlines() if line.startswith(name)]
        return int(float(lines[0].split()[-1])) if lines else 0

    def charged(self, purchase_id: str) -> list[int]:
        """What was taken for a purchase, in cents."""
        return [each.cents for each in self.stripe.charges if each.purchase_id == purchase_id]


async def purchases(here: Shop) -> list[Any]:
    """Newest first."""
    await here.admin.settled()
    listed = await here.admin.get("/v1/credits/purchases", params={"account_id": here.account})
    return list(listed["items"])


async def becomes(here: Shop, purchase_id: str, state: str, reason: str | None = None) -> None:
    """Wait until a purchase is so."""

    async def now() -> Any:
        (found,) = [each for each in await purchases(here) if each["id"] == purchase_id]
        return found["state"], found["reason"]

    await eventually(now, (state, reason))


@asynccontextmanager
async def serving(parts: Core) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    """The HTTP side on a free port."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(application(parts), loop="none", log_config=None))
    task = asyncio.create_task(server.serve([listening]))
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        yield url, http
    server.should_exit = True
    await task


@asynccontextmanager
async def a_bank(where: Database, home: Path, **more: Any) -> AsyncIterator[Bank]:
    """Server, projections, dispatcher and payer in this process."""
    clock = Ahead()
    accounts = [FakeAccount(phone_number_id=each, access_token=TOKEN) for each in ACCOUNTS]
    async with (
        FakeCloudApi(accounts=accounts) as whatsapp,
        FakeStripe(now=clock.now, **more) as stripe,
    ):
        settings = Settings(
            home=home,
            master_key=MASTER_KEY,
            whatsapp_api_base=whatsapp.base_url,
            payment_provider="stripe",
            stripe_secret_key=SECRET_KEY,
            stripe_customer=CUSTOMER,
            stripe_payment_method=CARD,
            stripe_webhook_secrets=("whsec_old", WEBHOOK_SECRET),
            stripe_api_base=stripe.base_url,
        )
        async with (
            core(settings, where, clock=clock) as parts,
            projecting(parts),
            dispatching(parts),
            serving(parts) as (url, http),
        ):
            openapi = await OpenApiCheck.told_to(http)
            yield Bank(
                Trunkline(url, http, whatsapp, parts, settings, where, openapi), stripe, clock
            )


def environment(
    where: Database, home: Path, repository: Path, stripe: FakeStripe
) -> dict[str, str]:
    """What a server of its own needs to buy through the fake."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(repository),
        "TRUNKLINE_HOME": str(home),
        "TRUNKLINE_DATABASE_URL": where.url,
        "TRUNKLINE_MIGRATION_DATABASE_URL": where.migration_url,
        "TRUNKLINE_MASTER_KEY": base64.b64encode(MASTER_KEY).decode(),
        "TRUNKLINE_PAYMENT_PROVIDER": "stripe",
        "TRUNKLINE_STRIPE_SECRET_KEY": SECRET_KEY,
        "TRUNKLINE_STRIPE_CUSTOMER": CUSTOMER,
        "TRUNKLINE_STRIPE_PAYMENT_METHOD": CARD,
        "TRUNKLINE_STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "TRUNKLINE_STRIPE_API_BASE": stripe.base_url,
    }
