"""The server as a process of its own, killed between Stripe's payment and its result (L5)."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from adapters.fakes.behaviour import accepts_late, accepts_then_drops
from adapters.stripe.fake import FakeStripe
from api.main import Database
from tests.api.conftest import Client
from tests.api.deliveries import eventually
from tests.api.stripe_world import environment
from tests.conftest import Database as EmptyDatabase

WABA = "waba-of-the-killed"


@dataclass
class Installation:
    """A database and a Stripe, and servers on them, one after the other."""

    stripe: FakeStripe
    environment: dict[str, str]

    @asynccontextmanager
    async def server(
        self, *arguments: str
    ) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.api.stripe_child", *arguments, "serve", "--port", "0"),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
            async with httpx.AsyncClient(base_url=line.split()[-1], timeout=20) as http:
                yield process, http
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def organisation(self, http: httpx.AsyncClient, account: str) -> Client:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.api.stripe_child", "org", "create", "Acme", "--json"),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        made = json.loads(output)
        admin = Client(http, made["api_key"], made["organization_id"], made["user_id"])
        await admin.services("crm")
        await admin.connect("crm", account, business_account_id=f"{WABA}-{account}")
        return admin


@pytest.fixture(scope="module")
async def installation(
    database: EmptyDatabase, tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> AsyncIterator[Installation]:
    where = Database(database.url, database.superuser, "trunkline", True)
    async with FakeStripe() as stripe:
        home = tmp_path_factory.mktemp("home")
        yield Installation(stripe, environment(where, home, repository, stripe))


async def killed_while_paying(
    installation: Installation, account: str, *arguments: str
) -> tuple[int, int]:
    """Buy two credits, kill the server when Stripe has the money, start another: what Stripe took
    for the purchase in cents, and the balance in the end."""
    stripe = installation.stripe
    async with installation.server(*arguments) as (process, http):
        admin = await installation.organisation(http, account)
        stripe.next_requests(accepts_late(20))
        body = {"account_id": account, "credits": 2}
        bought = await admin.post("/v1/credits/purchases", body, expect=201)

        async def taken() -> int:
            return sum(each.cents for each in stripe.charges if each.purchase_id == bought["id"])

        await eventually(taken, 400)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    stripe.next_requests(accepts_then_drops())  # And once more without an answer.
    async with installation.server(*arguments) as (_, http):
        admin.http = http

        async def states() -> list[str]:
            await admin.settled()
            listed = await admin.get("/v1/credits/purchases")
            return [each["state"] for each in listed["items"]]

        await eventually(states, ["paid"])
        held = await admin.get("/v1/credits", params={"account_id": account})
    return await taken(), held["balance_micro_usd"]


async def test_a_server_killed_after_stripe_took_the_money_takes_it_once(
    installation: Installation,
) -> None:
    """Spec L5: the call is repeated with the purchase's own key."""
    assert await killed_while_paying(installation, "710000000000001") == (400, 4_000_000)


async def test_with_a_fresh_key_for_every_try_the_same_kill_charges_again(
    installation: Installation,
) -> None:
    """The control: without the cure this must go wrong, or the test above proves nothing."""
    taken, balance = await killed_while_paying(installation, "710000000000002", "fresh-keys")
    assert (taken, balance) == (3 * 400, 4_000_000)
