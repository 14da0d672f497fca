"""The fake WeChat behaves as the real one, and what it says is what WeChat's adapter reads."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.fakes.server import Answer, FakeServer, Request
from adapters.wechat.fake import FakeWeChat
from adapters.wechat.fake_rules import FakeOfficialAccount
from adapters.wechat.platform import WeChat
from domain.inbound import Address, AnyOccurrence, FollowOccurred, MessageOccurred, ReceiptOccurred
from domain.webhook import Delivery

KEY = "9kSjhtwYeRJGFQ4j1VDnBhJ6ZQfmh0W8m2OCXB96EBu"
CUSTOMER = "oQk8w5P0aTz4Xc"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ADAPTER = WeChat(clock_tolerance_seconds=600)

MODES = {
    "plain": FakeOfficialAccount(),
    "compatible": FakeOfficialAccount(encoding_aes_key=KEY, mode="compatible"),
    "secure": FakeOfficialAccount(encoding_aes_key=KEY, mode="secure"),
}


def credentials(account: FakeOfficialAccount) -> Mapping[str, str]:
    given = {
        "app_id": account.app_id,
        "app_secret": account.app_secret,
        "token": account.token,
        "encoding_aes_key": account.encoding_aes_key,
        "mode": account.mode,
    }
    return {name: value for name, value in given.items() if value is not None}


@dataclass
class Hook:
    """A webhook that checks and keeps what it is told; it fails as often as it is asked to."""

    account: FakeOfficialAccount
    url: str = ""
    now: datetime = NOON
    failures: int = 0
    tries: int = 0
    bodies: list[bytes] = field(default_factory=list)
    said: list[AnyOccurrence] = field(default_factory=list)

    def handle(self, request: Request) -> Answer:
        self.tries += 1
        assert request.path == f"/{self.account.account_id}"
        delivery = Delivery(
            account_id=self.account.account_id,
            body=request.body,
            headers=[],
            query=list(request.query.items()),
            credentials=[credentials(self.account)],
            now=self.now,
        )
        if request.method == "GET":
            echo = ADAPTER.handshake(delivery)
            return Answer(status=200 if echo else 401, body=(echo or "").encode())
        self.bodies.append(request.body)
        if self.failures:
            self.failures -= 1
            return Answer(status=500)
        found = ADAPTER.read(delivery)
        assert found is not None
        self.said += found
        return Answer(body=b"success")


@pytest.fixture(params=MODES)
async def hook(request: pytest.FixtureRequest) -> AsyncIterator[Hook]:
    hook = Hook(MODES[request.param])
    server = FakeServer(hook.handle)
    await server.start()
    hook.url = server.base_url
    yield hook
    await server.stop()


def a_fake(hook: Hook, **more: Any) -> FakeWeChat:
    return FakeWeChat(
        **{
            "accounts": [hook.account],
            "webhook_url": hook.url,
            "now": lambda: hook.now,
            **more,
        }
    )


async def test_it_registers_in_every_mode(hook: Hook) -> None:
    async with a_fake(hook, webhook_url=None) as fake:
        assert await fake.register_webhook(hook.url)
        fake.customer_says(CUSTOMER, "你好")
        await fake.settled()
    assert [each.kind for each in hook.said] == ["message.text"]


async def test_what_a_customer_does_is_read_as_it_was_meant(hook: Hook) -> None:
    async with a_fake(hook) as fake:
        fake.customer_does(CUSTOMER, "subscribe")
        await fake.settled()
        message_id = fake.customer_says(CUSTOMER, "你好 ]]> <b>&amp;")
        await fake.settled()
        fake.customer_does(CUSTOMER, "CLICK", EventKey="menu_1")
        await fake.settled()
    follow, message, click = hook.said
    assert isinstance(follow, FollowOccurred)
    assert (follow.follows, follow.at) == (True, NOON)
    assert isinstance(message, MessageOccurred)
    assert (message.content.text, message.platform_id) == ("你好 ]]> <b>&amp;", message_id)
    assert message.person.addresses == (Address(f"wechat:{hook.account.account_id}", CUSTOMER),)
    assert isinstance(click, MessageOccurred)
    assert (click.kind, click.content.payload) == ("message.postback", "menu_1")


async def test_what_is_secret_is_encrypted(hook: Hook) -> None:
    async with a_fake(hook) as fake:
        fake.customer_says(CUSTOMER, "unsaid")
        await fake.settled()
    (body,) = hook.bodies
    assert (b"unsaid" in body) == (hook.account.mode != "secure")
    assert (b"<Encrypt>" in body) == (hook.account.mode != "plain")


@pytest.mark.parametrize(("failures", "heard"), [(0, 1), (2, 1), (3, 0)])
async def test_a_message_is_tried_three_times_in_all(hook: Hook, failures: int, heard: int) -> None:
    hook.failures = failures
    async with a_fake(hook) as fake:
        fake.customer_says(CUSTOMER, "你好")
        await fake.settled()
    assert (hook.tries, len(hook.said)) == (min(failures + 1, 3), heard)
    assert len(set(hook.bodies)) == 1


async def test_a_template_is_reported_under_its_id(hook: Hook) -> None:
    async with a_fake(hook) as fake, httpx.AsyncClient(base_url=fake.base_url) as client:
        token = await a_token(client, hook.account)
        address = f"/cgi-bin/message/template/send?access_token={token}"
        sent = await client.post(address, json={"touser": CUSTOMER, "template_id": "t", "data": {}})
        await fake.settled()
    (receipt,) = hook.said
    assert isinstance(receipt, ReceiptOccurred)
    assert (receipt.platform_id, receipt.status) == (str(sent.json()["msgid"]), "delivered")


# --- Tokens ---


async def ask(client: httpx.AsyncClient, account: FakeOfficialAccount, **more: Any) -> Any:
    body = {
        "grant_type": "client_credential",
        "appid": account.app_id,
        "secret": account.app_secret,
        **more,
    }
    return (await client.post("/cgi-bin/stable_token", json=body)).json()


async def a_token(client: httpx.AsyncClient, account: FakeOfficialAccount, **more: Any) -> str:
    return str((await ask(client, account, **more))["access_token"])


@dataclass
class Desk:
    """A fake's token endpoint, with a clock that stands still until it is moved."""

    client: httpx.AsyncClient
    now: datetime = NOON

    async def token(self, **more: Any) -> str:
        return await a_token(self.client, MODES["plain"], **more)

    async def code(self, token: str) -> int:
        """What a request with a token is answered."""
        body = {"touser": CUSTOMER, "msgtype": "text", "text": {"content": "x"}}
        address = f"/cgi-bin/message/custom/send?access_token={token}"
        return int((await self.client.post(address, json=body)).json()["errcode"])


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk: Desk
    async with (
        FakeWeChat(now=lambda: desk.now) as fake,
        httpx.AsyncClient(base_url=fake.base_url) as client,
    ):
        desk = Desk(client)
        yield desk


async def test_the_same_token_until_its_last_five_minutes_and_then_two(desk: Desk) -> None:
    first = await desk.token()
    desk.now += timedelta(seconds=6899)
    assert await desk.token() == first
    desk.now += timedelta(seconds=1)
    second = await desk.token()
    assert second != first
    assert [await desk.code(each) for each in (first, second, "none")] == [0, 0, 40001]
    desk.now += timedelta(minutes=5)
    assert [await desk.code(each) for each in (first, second)] == [42001, 0]


async def test_a_demanded_token_ends_the_one_before_it(desk: Desk) -> None:
    first = await desk.token()
    second = await desk.token(force_refresh=True)
    assert [await desk.code(each) for each in (first, second)] == [40001, 0]
    desk.now += timedelta(seconds=29)
    assert await desk.token(force_refresh=True) == second  # Too soon: no more than a question.
    for _ in range(19):
        desk.now += timedelta(seconds=30)
        await desk.token(force_refresh=True)
    desk.now += timedelta(seconds=30)
    assert (await ask(desk.client, MODES["plain"], force_refresh=True))["errcode"] == 45009


@pytest.mark.parametrize(
    ("wrong", "code"), [({"appid": "wx0"}, 40013), ({"secret": "another"}, 40125)]
)
async def test_wrong_credentials(desk: Desk, wrong: dict[str, str], code: int) -> None:
    assert (await ask(desk.client, MODES["plain"], **wrong))["errcode"] == code


# --- What may be sent ---


async def test_escapes_are_refused(desk: Desk) -> None:
    address = f"/cgi-bin/message/custom/send?access_token={await desk.token()}"
    body = b'{"touser":"o","msgtype":"text","text":{"content":"\\u4f60"}}'
    assert (await desk.client.post(address, content=body)).json()["errcode"] == 40033


async def test_a_click_opens_a_minute_for_three_messages() -> None:
    now = NOON
    async with (
        FakeWeChat(window=True, now=lambda: now) as fake,
        httpx.AsyncClient(base_url=fake.base_url) as client,
    ):
        desk = Desk(client)
        token = await desk.token()
        assert await desk.code(token) == 45015
        fake.customer_does(CUSTOMER, "CLICK")
        assert [await desk.code(token) for _ in range(4)] == [0, 0, 0, 45047]
        fake.customer_says(CUSTOMER, "?")
        assert [await desk.code(token) for _ in range(6)] == [0, 0, 0, 0, 0, 45047]
        fake.customer_does(CUSTOMER, "unsubscribe")
        assert await desk.code(token) == 45015
        fake.customer_does(CUSTOMER, "subscribe")
        now += timedelta(minutes=1)
        assert await desk.code(token) == 45015
