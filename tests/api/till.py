"""An organisation that sends and pays while its clock stands where a test puts it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.whatsapp.fake import FakeCloudApi
from adapters.whatsapp.fake_rules import FakeAccount
from api.main import Database as Where
from api.main import core
from api.processes import dispatching, projecting
from api.settings import Settings
from tests.adapters.log_scenario import TestClock
from tests.api.conftest import ACCOUNTS, APP_SECRET, TOKEN, Trunkline
from tests.api.deliveries import delivery, eventually, new_wamid, text_item
from tests.api.stripe_world import serving
from tests.api.test_credits import Shop
from tests.conftest import Database

KIM, LEE = "819012345678", "12025550143"  # In Japan, and in the United States.
BEGINNING = datetime(2026, 11, 21, 12, tzinfo=UTC)
CATEGORIES = ("marketing", "utility", "authentication", "service")


class Till(Shop):
    """A shop whose clock stands still, with a template of each category."""

    def __init__(self, bank: "Bank", admin: Any, account: str, channel: str) -> None:
        super().__init__(bank.trunkline, admin, account, channel)
        self.clock = bank.clock

    async def price(self, rule: str, **more: Any) -> Any:
        return await self.admin.put("/v1/rules/pricing", {"rule": rule, **more})

    async def begin(self, phone: str, category: str = "marketing", *, expect: int = 202) -> Any:
        """Write first, with a template."""
        body = {"channel_id": self.channel, "address": f"+{phone}", "message": template(category)}
        return await self.admin.post("/v1/services/crm/chats", body, expect=expect)

    async def write(self, chat: str, category: str | None = None, *, expect: int = 202) -> Any:
        """A text, or a template of a category."""
        body = template(category) if category else {"kind": "text", "text": "Hello"}
        path = f"/v1/services/crm/chats/{chat}/messages"
        return await self.admin.post(path, body, expect=expect)

    async def hears(self, phone: str = KIM, *, seconds_ago: int = 0) -> str:
        """A customer writes; their chat."""
        at = int(self.clock.now().timestamp()) - seconds_ago
        item = text_item("Hi", wamid=new_wamid(), phone=phone, timestamp=at)
        contact = {"profile": {"name": "Kim"}, "wa_id": phone}
        whole = {"contacts": [contact], "messages": [item]}
        await self.trunkline.deliver(delivery(account_id=self.account, **whole))
        await self.admin.settled()
        (chat,) = [
            each["id"]
            for each in await self.admin.chats("crm")
            if each["customer"]["address"] == f"+{phone}"
        ]
        return str(chat)

    async def sent(self, chat: str) -> None:
        """Wait until the platform has taken everything."""

        async def statuses() -> set[str]:
            messages = await self.admin.messages("crm", chat)
            return {each["status"] for each in messages if each["direction"] == "outbound"}

        await eventually(statuses, {"sent"})

    async def charges(self) -> list[tuple[str, str, int, bool]]:
        """Month, category, amount, and whether it was free, of every charge in its order."""
        return [
            (
                each["month"],
                each["inputs"]["category"],
                each["price"]["micro_usd"],
                each["price"].get("allowance") is not None,
            )
            for each in await self.ledger("charged")
        ]

    async def month(self, month: str) -> Any:
        """Its statement."""
        await self.admin.settled()
        return await self.admin.get(f"/v1/statements/{self.account}/{month}")

    async def quote(self, **question: Any) -> Any:
        return await self.admin.post("/v1/quotes", {"account_id": self.account, **question})


def template(category: str) -> dict[str, Any]:
    """A message that is the template of a category."""
    return {"kind": "template", "name": category, "language": "en"}


@dataclass
class Bank:
    """A server whose clock a test moves."""

    trunkline: Trunkline
    clock: TestClock

    async def till(self) -> Till:
        """An organisation of its own, with one number, in the middle of a month."""
        self.clock.time = BEGINNING
        admin, account = await self.trunkline.organisation(), self.trunkline.account()
        await admin.services("crm")
        made = await admin.connect("crm", account, business_account_id=f"waba-{account}")
        for category in CATEGORIES:
            body = {"category": category, "body": "Hello", "parameters": [], "state": "approved"}
            await admin.put(f"/v1/accounts/{account}/templates/{category}/en", body)
        return Till(self, admin, account, made["id"])


@asynccontextmanager
async def a_bank(database: Database, home: Path, *, sends: bool = True) -> AsyncIterator[Bank]:
    """Server and projections in this process; what is written is sent, or waits for ever."""
    clock = TestClock()
    where = Where(database.url, database.superuser, "trunkline", True)
    accounts = [FakeAccount(phone_number_id=each, access_token=TOKEN) for each in ACCOUNTS]
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(FakeCloudApi(accounts=accounts, now=clock.now))
        settings = Settings(
            home=home, meta_app_secrets=(APP_SECRET,), whatsapp_api_base=fake.base_url
        )
        parts = await stack.enter_async_context(core(settings, where, clock=clock))
        await stack.enter_async_context(projecting(parts))
        if sends:
            await stack.enter_async_context(dispatching(parts))
        url, http = await stack.enter_async_context(serving(parts))
        yield Bank(Trunkline(url, http, fake, parts, settings, where), clock)
