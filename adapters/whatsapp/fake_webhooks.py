"""What the fake Cloud API says by webhook: signed, late, twice, out of order, and again."""

import asyncio
import hmac
import json
from collections.abc import Sequence
from datetime import datetime
from random import Random
from typing import Any

import httpx
import msgspec

from adapters.whatsapp.fake_rules import FakeAccount, GraphRefusal, JsonObject

# Meta waits longer before each try and gives up after days; nobody waits that long for a test.
RETRY_DELAYS_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
ANSWER_SECONDS_MAX = 20.0


class StatusPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Which statuses follow an accepted message, and how badly they travel."""

    statuses: tuple[str, ...] = ("sent", "delivered", "read")
    failure_code: int = 131026  # What a status `failed` says.
    delay_seconds: float = 0.0  # Before the first and between any two.
    twice: float = 0.0  # Probability that a status comes twice.
    out_of_order: float = 0.0  # Probability that a message's statuses are shuffled.

    def schedule(self, random: Random) -> list[tuple[float, str]]:
        """The statuses of one message in the order of their delivery, with seconds from now."""
        statuses = [
            status
            for status in self.statuses
            for _ in range(2 if random.random() < self.twice else 1)
        ]
        if random.random() < self.out_of_order:
            random.shuffle(statuses)
        return [((place + 1) * self.delay_seconds, each) for place, each in enumerate(statuses)]


class Delivery(msgspec.Struct, kw_only=True):
    """One webhook and what became of it: an HTTP status for each try, None for no answer."""

    body: bytes
    answers: list[int | None] = []

    @property
    def is_done(self) -> bool:
        """Whether it was acknowledged."""
        return bool(self.answers) and self.answers[-1] == 200


class Courier:
    """Posts webhooks to one address until they are acknowledged, as Meta does."""

    def __init__(
        self, *, app_secret: str, webhook_url: str | None, retry_delays_seconds: Sequence[float]
    ) -> None:
        self.webhook_url = webhook_url
        self.deliveries: list[Delivery] = []
        self._app_secret = app_secret.encode()
        self._retry_delays_seconds = tuple(retry_delays_seconds)
        self._client = httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    def post(self, document: JsonObject, *, after_seconds: float = 0.0) -> Delivery | None:
        """Deliver a document in the background; nothing where no address is registered."""
        if self.webhook_url is None:
            return None
        delivery = Delivery(body=as_meta_writes(document))
        self.deliveries.append(delivery)
        task = asyncio.create_task(self._deliver(delivery, self.webhook_url, after_seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return delivery

    async def register(self, webhook_url: str, verify_token: str) -> bool:
        """Meta's handshake; the address is used only if it answers with the challenge."""
        challenge = "1158201444"
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": challenge,
            "hub.verify_token": verify_token,
        }
        response = await self._client.get(webhook_url, params=query)
        if response.status_code != 200 or response.text != challenge:
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
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
            "X-Hub-Signature-256": sign(delivery.body, self._app_secret),
        }
        for delay_seconds in (after_seconds, *self._retry_delays_seconds):
            await asyncio.sleep(delay_seconds)
            try:
                response = await self._client.post(url, content=delivery.body, headers=headers)
                delivery.answers.append(response.status_code)
            except httpx.HTTPError:
                delivery.answers.append(None)
            if delivery.is_done:
                return


def sign(body: bytes, app_secret: bytes) -> str:
    """The value of X-Hub-Signature-256."""
    return f"sha256={hmac.digest(app_secret, body, 'sha256').hex()}"


def as_meta_writes(document: JsonObject) -> bytes:
    """Meta escapes everything beyond ASCII, and slashes too."""
    written = json.dumps(document, separators=(",", ":"))
    return written.replace("/", "\\/").encode()


def envelope(account: FakeAccount, field: str, **value: Any) -> JsonObject:
    """One change of one account."""
    metadata = {
        "display_phone_number": account.display_phone_number,
        "phone_number_id": account.phone_number_id,
    }
    content = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    change = {"value": content, "field": field}
    entry = {"id": account.business_account_id, "changes": [change]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def status_item(
    status: str, *, platform_id: str, sent: JsonObject, at: datetime, failure_code: int
) -> JsonObject:
    """One status of a message, as far as it follows from what was sent."""
    item: JsonObject = {
        "id": platform_id,
        "status": status,
        "timestamp": str(int(at.timestamp())),
        **_recipient(sent),
    }
    if "biz_opaque_callback_data" in sent:
        item["biz_opaque_callback_data"] = sent["biz_opaque_callback_data"]
    if status == "failed":
        item["errors"] = [GraphRefusal(failure_code).as_status_error()]
    elif status in ("sent", "delivered"):
        item["pricing"] = _pricing(sent)
    return item


def _recipient(sent: JsonObject) -> JsonObject:
    if sent.get("recipient_type") == "group":
        return {"recipient_id": sent["to"], "recipient_type": "group"}
    if "to" in sent:
        return {"recipient_id": sent["to"].removeprefix("+")}
    return {"recipient_user_id": sent["recipient"]}


def _pricing(sent: JsonObject) -> JsonObject:
    is_template = sent.get("type") == "template"
    return {
        "billable": is_template,
        "pricing_model": "PMP",
        "type": "regular" if is_template else "free_customer_service",
        "category": "utility" if is_template else "service",
    }
