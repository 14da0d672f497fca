"""The fake Send API behaves as Meta's, and what it says is what Messenger's adapter reads."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest

from adapters.exchange import new_http_client
from adapters.fakes.server import Answer, FakeServer, Request
from adapters.messenger.client import SendApi
from adapters.messenger.fake import FakeSendApi
from adapters.messenger.fake_rules import FakePage
from adapters.messenger.fake_webhooks import EventPlan
from adapters.messenger.platform import Messenger
from domain.inbound import Address, AnyOccurrence, Content, MessageOccurred, WatermarkOccurred
from domain.outbound import Accepted, OutboundMessage, Rejected

PAGE = FakePage()
SECRET = "acme_meta_app_secret"
CUSTOMER = "6473829104756123"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CREDENTIALS = {"access_token": PAGE.access_token}
ADAPTER = Messenger(app_secrets=[SECRET], verify_token="verify-me")


class Hook:
    """A webhook that verifies and keeps what it is told; it acknowledges as it is asked to."""

    def __init__(self) -> None:
        self.status = 200
        self.said: list[AnyOccurrence] = []
        self.server = FakeServer(self._handle)

    def _handle(self, request: Request) -> Answer:
        if request.method == "GET":
            challenge = ADAPTER.handshake(request.query)
            return Answer(status=200 if challenge else 403, body=(challenge or "").encode())
        assert ADAPTER.verify(request.body, [request.headers["x-hub-signature-256"].encode()])
        if self.status == 200:
            self.said += ADAPTER.parse(request.body)
        return Answer(status=self.status)

    @property
    def kinds(self) -> list[str]:
        return [each.kind for each in self.said]


class Moment:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = Hook()
    await hook.server.start()
    yield hook
    await hook.server.stop()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with new_http_client() as client:
        yield client


def a_fake(hook: Hook, **more: Any) -> FakeSendApi:
    arguments = {"webhook_url": hook.server.base_url, "app_secret": SECRET, **more}
    return FakeSendApi(retry_delays_seconds=(), **arguments)


def text(body: str = "Hello") -> OutboundMessage:
    recipient = (Address(f"messenger:{PAGE.page_id}", CUSTOMER),)
    return OutboundMessage(
        mark="chat.message",
        account_id=PAGE.page_id,
        recipient=recipient,
        kind="text",
        content=Content(text=body),
    )


async def test_it_registers_as_meta_does(hook: Hook) -> None:
    async with a_fake(hook, webhook_url=None) as fake:
        assert not await fake.register_webhook(hook.server.base_url, verify_token="wrong")
        assert await fake.register_webhook(hook.server.base_url, verify_token="verify-me")
        fake.customer_says(CUSTOMER, "Hello")
        await fake.settled()
    assert hook.kinds == ["message.text"]


async def test_what_a_customer_does_is_read_as_it_was_meant(hook: Hook) -> None:
    async with a_fake(hook) as fake:
        mid = fake.customer_says(CUSTOMER, "Grüße 🚚", quotes="m_quoted")
        await fake.settled()
        fake.customer_does(CUSTOMER, reaction={"action": "react", "emoji": "👍", "mid": mid})
        await fake.settled()
        fake.page_says(CUSTOMER, "From the inbox")
        await fake.settled()
    message, _, echo = hook.said
    assert hook.kinds == ["message.text", "message.reaction", "echo.text"]
    assert isinstance(message, MessageOccurred)
    assert (message.content.text, message.platform_id, message.quotes) == (
        "Grüße 🚚",
        mid,
        "m_quoted",
    )
    assert isinstance(echo, MessageOccurred)
    assert (echo.person, echo.sent_by_us) == (message.person, None)


async def test_a_sent_message_comes_back_with_our_mark_and_is_delivered_and_read(
    hook: Hook, client: httpx.AsyncClient
) -> None:
    async with a_fake(hook, now=Moment()) as fake:
        answer = await SendApi(client, base_address=fake.base_url).send(text(), CREDENTIALS)
        await fake.settled()
    assert isinstance(answer, Accepted)
    # They come at once, in any order.
    echo, delivered, read = sorted(hook.said, key=lambda each: each.kind)
    assert sorted(hook.kinds) == ["echo.text", "status.delivered", "status.read"]
    assert isinstance(echo, MessageOccurred)
    assert (echo.platform_id, echo.sent_by_us) == (answer.platform_id, "chat.message")
    assert isinstance(delivered, WatermarkOccurred)
    assert isinstance(read, WatermarkOccurred)
    assert (delivered.at, delivered.platform_ids) == (NOON, (answer.platform_id,))
    assert (read.at, read.platform_ids) == (NOON, ())


async def test_events_come_twice_and_out_of_order(hook: Hook, client: httpx.AsyncClient) -> None:
    plan = EventPlan(twice=1.0, out_of_order=1.0)
    async with a_fake(hook, plan=plan, seed=4) as fake:
        await SendApi(client, base_address=fake.base_url).send(text(), CREDENTIALS)
        await fake.settled()
    assert sorted(hook.kinds) == sorted(["echo.text", "status.delivered", "status.read"] * 2)
    planned = plan.schedule(Random(4))
    assert [each for _, each in planned] != ["echo"] * 2 + ["delivery"] * 2 + ["read"] * 2


async def test_the_window_closes_after_24_hours(hook: Hook, client: httpx.AsyncClient) -> None:
    now = Moment()
    async with a_fake(hook, now=now, window=True) as fake:
        api = SendApi(client, base_address=fake.base_url)
        refused = await api.send(text(), CREDENTIALS)
        fake.customer_says(CUSTOMER, "Hello")
        now.now += timedelta(hours=24) - timedelta(milliseconds=1)
        assert isinstance(await api.send(text(), CREDENTIALS), Accepted)
        now.now += timedelta(milliseconds=1)
        assert await api.send(text(), CREDENTIALS) == refused
    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.code) == ("window_closed", 10)


async def test_whoever_blocked_the_page_takes_nothing(
    hook: Hook, client: httpx.AsyncClient
) -> None:
    async with a_fake(hook) as fake:
        fake.unavailable.add(CUSTOMER)
        answer = await SendApi(client, base_address=fake.base_url).send(text(), CREDENTIALS)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code) == ("undeliverable", 551)
    assert fake.accepted == []


async def test_a_page_whose_webhook_fails_for_an_hour_is_unsubscribed(
    hook: Hook, client: httpx.AsyncClient
) -> None:
    now = Moment()
    subscription = f"/v26.0/{PAGE.page_id}/subscribed_apps"
    token = {"Authorization": f"Bearer {PAGE.access_token}"}
    async with a_fake(hook, now=now) as fake:

        async def say(words: str) -> None:
            fake.customer_says(CUSTOMER, words)
            await fake.settled()

        async def subscribed(method: str = "GET") -> Any:
            wanted = {"subscribed_fields": "messages"} if method == "POST" else {}
            address = fake.base_url + subscription
            answer = await client.request(method, address, headers=token, params=wanted)
            return answer.json()

        hook.status = 500
        await say("lost")
        now.now += timedelta(minutes=59)
        hook.status = 200
        await say("heard")  # An acknowledgement in time: the hour begins anew.
        hook.status = 500
        await say("lost, too")
        now.now += timedelta(minutes=60)
        hook.status = 200
        await say("told to nobody")
        assert hook.kinds == ["message.text"]
        assert await subscribed() == {"data": []}
        assert await subscribed("POST") == {"success": True}
        await say("heard again")
        assert len(hook.said) == 2
        assert await subscribed() == {"data": [{"id": str(PAGE.app_id)}]}
