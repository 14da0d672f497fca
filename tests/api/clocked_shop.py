"""An organisation that sends and pays while its clock stands where a test puts it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
from tests.api.deliveries import delivery, eventually, new_wamid, status_delivery, text_item
from tests.api.openapi_check import OpenApiCheck
from tests.api.stripe_world import serving
from tests.api.test_credits import Shop
from tests.conftest import Database

KIM, LEE = "819012345678", "12025550143"  # In Japan, and in the United States.
BEGINNING = datetime(2026, 11, 21, 12, tzinfo=UTC)
REFERRAL = {
    "source_url": "https://fb.me/4hTq2m",
    "source_id": "120214388290170033",
    "source_type": "ad",
    "headline": "Chat with us",
    "body": "Spring sale",
    "media_type": "image",
    "image_url": "https://scontent.whatsapp.net/v/t45/ad.jpg",
    "ctwa_clid": "ARAkLkA8rmlFeiCktEJQ",
}
CATEGORIES = ("marketing", "utility", "authentication", "service")


class ClockedShop(Shop):
    """A shop whose clock stands still, with a template of each category."""

    def __init__(self, bank: "Bank", admin: Any, account: str, channel: str) -> None:
        super().__init__(bank.trunkline, admin, account, channel)
        self.clock = bank.clock
        self._sends = bank.sends

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

    async def hears(
        self, phone: str = KIM, *, seconds_ago: int = 0, by_ad: bool = False, **contact: str
    ) -> str:
        """A customer writes, perhaps by a click on an ad; their chat."""
        at = int(self.clock.now().timestamp()) - seconds_ago
        more = {"referral": REFERRAL} if by_ad else {}
        item = text_item("Hi", wamid=new_wamid(), phone=phone, timestamp=at, **more)
        whole: dict[str, Any] = {
            "contacts": [{"profile": {"name": "Kim"}, "wa_id": phone, **contact}],
            "messages": [item],
        }
        await self.trunkline.deliver(delivery(account_id=self.account, **whole))
        await self.admin.settled()
        (chat,) = [
            each["id"]
            for each in await self.admin.chats("crm")
            if each["customer"]["address"] == f"+{phone}"
        ]
        return str(chat)

    async def hears_of(self, user_id: str) -> str:
        """A customer writes who shows no telephone number; their chat, the only one."""
        timestamp = str(int(self.clock.now().timestamp()))
        item = {
            "from_user_id": user_id,
            "id": new_wamid(),
            "timestamp": timestamp,
            "type": "text",
            "text": {"body": "Hi"},
        }
        whole: dict[str, Any] = {"contacts": [{"user_id": user_id}], "messages": [item]}
        await self.trunkline.deliver(delivery(account_id=self.account, **whole))
        await self.admin.settled()
        (chat,) = await self.admin.chats("crm")
        return str(chat["id"])

    async def waits(self, by: timedelta) -> None:
        """So much time passes."""
        await self.comes(self.clock.time + by)

    async def comes(self, moment: datetime) -> None:
        """It is this moment, once the platform has answered everything: what still waits to be
        sent would be too old then."""
        if self._sends:
            await eventually(self._queued, 0)
        self.clock.time = moment

    async def rests(self) -> None:
        """All is sent: what is left could meet what is meant for messages of the next test."""
        await self.waits(timedelta())

    async def _queued(self) -> int:
        await self.admin.settled()
        chats = await self.admin.chats("crm")
        messages = [await self.admin.messages("crm", each["id"]) for each in chats]
        return sum(each["status"] == "queued" for several in messages for each in several)

    async def told(self, status: str, message: int = -1) -> None:
        """The platform says what became of one of the messages that it took."""
        await eventually(self._queued, 0)
        fake = self.trunkline.fake
        taken = [each for each in fake.accepted if each.account_id == self.account][message]
        said = status_delivery(
            status,
            wamid=taken.platform_id,
            phone=taken.to,
            timestamp=int(self.clock.now().timestamp()),
            account_id=self.account,
        )
        await self.trunkline.deliver(said)

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
    sends: bool

    async def shop(self) -> ClockedShop:
        """An organisation of its own, with one number, in the middle of a month."""
        self.clock.time = BEGINNING
        admin, account = await self.trunkline.organisation(), self.trunkline.account()
        await admin.services("crm")
        made = await admin.connect("crm", account, business_account_id=f"waba-{account}")
        for category in CATEGORIES:
            body = {"category": category, "body": "Hello", "parameters": [], "state": "approved"}
            await admin.put(f"/v1/accounts/{account}/templates/{category}/en", body)
        return ClockedShop(self, admin, account, made["id"])


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
        openapi = await OpenApiCheck.told_to(http)
        yield Bank(Trunkline(url, http, fake, parts, settings, where, openapi), clock, sends)
