"""The fake Cloud API is worth something only if it behaves like the real one."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest

from adapters.fakes.behaviour import accepts_then_drops, behaves
from adapters.fakes.server import Answer, FakeServer, Request
from adapters.meta import handshake, verify
from adapters.whatsapp.fake import FakeCloudApi
from adapters.whatsapp.fake_behaviour import fails
from adapters.whatsapp.fake_rules import PAIR_BURST, FakeAccount, new_wamid
from adapters.whatsapp.fake_webhooks import StatusPlan
from adapters.whatsapp.webhook import parse
from domain.inbound import (
    Address,
    AnyOccurrence,
    Content,
    MessageOccurred,
    Person,
    ReceiptOccurred,
)

ACCOUNT = FakeAccount()
SECRET = "fake-app-secret"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
TEXT = {
    "messaging_product": "whatsapp",
    "to": "+12025550143",
    "type": "text",
    "text": {"body": "Hello"},
    "biz_opaque_callback_data": "chat.message",
}
TEMPLATE = {
    "messaging_product": "whatsapp",
    "to": "+12025550143",
    "type": "template",
    "template": {"name": "hello", "language": {"code": "en_US"}},
}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


class Hook:
    """Our side of the webhook: keeps what is authentic, and answers what it is told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.answers: list[int] = []  # For the next requests; 200 after these.
        self.server = FakeServer(self._handle)

    def _handle(self, request: Request) -> Answer:
        if request.method == "GET":
            challenge = handshake(request.query, verify_token="our token")
            return Answer(status=403) if challenge is None else Answer(body=challenge.encode())
        signature = request.headers["x-hub-signature-256"].encode()
        assert verify(request.body, [signature], app_secrets=[SECRET.encode()])
        self.bodies.append(request.body)
        return Answer(status=self.answers.pop(0) if self.answers else 200)

    @property
    def occurrences(self) -> list[AnyOccurrence]:
        return [occurrence for body in self.bodies for occurrence in parse(body)]

    @property
    def statuses(self) -> list[str]:
        return [each.status for each in self.occurrences if isinstance(each, ReceiptOccurred)]


@pytest.fixture(scope="module")
async def shared_hook() -> AsyncIterator[Hook]:
    hook = Hook()
    await hook.server.start()
    yield hook
    await hook.server.stop()


@pytest.fixture
def hook(shared_hook: Hook) -> Hook:
    shared_hook.bodies.clear()
    shared_hook.answers.clear()
    return shared_hook


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
async def plain_fake() -> AsyncIterator[FakeCloudApi]:
    async with FakeCloudApi() as fake:
        yield fake


class Caller:
    """Calls the fake as a program of ours would."""

    def __init__(self, client: httpx.AsyncClient, fake: FakeCloudApi) -> None:
        self.client = client
        self.root = f"{fake.base_url}/v26.0/{ACCOUNT.phone_number_id}"
        self.headers = {"Authorization": f"Bearer {ACCOUNT.access_token}"}

    async def send(self, body: Any) -> tuple[int, Any]:
        """The HTTP status, and the code of the error or the id of the message."""
        response = await self.client.post(f"{self.root}/messages", json=body, headers=self.headers)
        document = response.json()
        if "error" in document:
            return response.status_code, document["error"]["code"]
        return response.status_code, document["messages"][0]["id"]


@pytest.fixture
def caller(client: httpx.AsyncClient, plain_fake: FakeCloudApi) -> Caller:
    plain_fake.accepted.clear()
    return Caller(client, plain_fake)


# --- Requests ---


async def test_an_accepted_message_is_answered_as_meta_answers(
    caller: Caller, plain_fake: FakeCloudApi
) -> None:
    response = await caller.client.post(
        f"{caller.root}/messages", json=TEXT, headers=caller.headers
    )
    (accepted,) = plain_fake.accepted
    assert response.status_code == 200
    assert response.json() == {
        "messaging_product": "whatsapp",
        "contacts": [{"input": "+12025550143", "wa_id": "12025550143"}],
        "messages": [{"id": accepted.platform_id, "message_status": "accepted"}],
    }
    assert (accepted.account_id, accepted.to, accepted.kind) == (
        ACCOUNT.phone_number_id,
        "12025550143",
        "text",
    )
    assert (accepted.text, accepted.mark, accepted.body) == ("Hello", "chat.message", TEXT)


async def test_an_error_has_graphs_form(caller: Caller) -> None:
    response = await caller.client.post(f"{caller.root}/messages", json=[], headers=caller.headers)
    assert response.status_code == 400
    assert response.json() == {
        "error": {
            "message": "(#100) Invalid parameter",
            "type": "OAuthException",
            "code": 100,
            "error_data": {
                "messaging_product": "whatsapp",
                "details": "The body must be a JSON object.",
            },
            "fbtrace_id": "AbCdEfGhIjKlMnOpQrStUv1",
        }
    }


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"messaging_product": None}, 100),
        ({"to": None}, 131008),
        ({"to": "somebody"}, 131009),
        ({"to": "+1"}, 131009),
        ({"to": None, "recipient": "no dot"}, 131008),
        ({"to": "", "recipient_type": "group"}, 131008),
        ({"type": "poem"}, 100),
        ({"type": ["text"]}, 100),
        ({"text": "Hello"}, 131008),
        ({"text": {"body": ""}}, 131008),
        ({"text": {"body": "x" * 4097}}, 100),
        ({"type": "image", "image": {}}, 131008),
        ({"type": "image", "image": {"id": "7", "caption": "x" * 1025}}, 100),
        ({"type": "reaction", "reaction": {"emoji": "x"}}, 131008),
        ({"type": "template", "template": {"name": "hello", "language": {}}}, 131008),
        ({"type": "template", "template": {"name": "hello"}}, 131008),
        ({"biz_opaque_callback_data": "x" * 513}, 100),
    ],
)
async def test_bodies_are_checked(
    change: dict[str, Any], code: int, caller: Caller, plain_fake: FakeCloudApi
) -> None:
    body = {key: value for key, value in (TEXT | change).items() if value is not None}
    assert await caller.send(body) == (400, code)
    assert plain_fake.accepted == []


async def test_recipients(caller: Caller, plain_fake: FakeCloudApi) -> None:
    without_to = {key: value for key, value in TEXT.items() if key != "to"}
    bodies: list[dict[str, Any]] = [
        TEXT | {"text": {"body": "x" * 4096}},
        without_to | {"recipient": "US.58201177349920416635"},
        TEXT | {"recipient_type": "group", "to": "Y2FwaV9ncm91cDox"},
    ]
    for body in bodies:
        assert (await caller.send(body))[0] == 200
    assert [each.to for each in plain_fake.accepted] == [
        "12025550143",
        "US.58201177349920416635",
        "Y2FwaV9ncm91cDox",
    ]


async def test_other_kinds_and_marking_as_read(caller: Caller, plain_fake: FakeCloudApi) -> None:
    without_text = {key: value for key, value in TEXT.items() if key not in ("type", "text")}
    image = {"type": "image", "image": {"link": "https://example.org/a.jpg", "caption": "c"}}
    reaction = {"type": "reaction", "reaction": {"message_id": "wamid.1", "emoji": ""}}
    for part in (image, reaction, {"type": "location", "location": {}}):
        assert (await caller.send(without_text | part))[0] == 200
    assert [each.kind for each in plain_fake.accepted] == ["image", "reaction", "location"]
    read = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.1"}
    response = await caller.client.post(
        f"{caller.root}/messages", json=read, headers=caller.headers
    )
    assert response.json() == {"success": True}
    assert len(plain_fake.accepted) == 3


async def test_what_is_no_request_of_the_cloud_api(caller: Caller) -> None:
    for body, status in ((b"{", 400), (b" " * (1 << 20) + b"  ", 413)):
        response = await caller.client.post(
            f"{caller.root}/messages", content=body, headers=caller.headers
        )
        assert response.status_code == status
    response = await caller.client.delete(caller.root, headers=caller.headers)
    assert response.json()["error"]["code"] == 2500


async def test_tokens_belong_to_numbers(client: httpx.AsyncClient) -> None:
    accounts = [FakeAccount(phone_number_id=name, access_token=f"token {name}") for name in "ab"]
    async with FakeCloudApi(accounts=accounts) as fake:

        async def look(name: str, token: str) -> tuple[int, Any]:
            headers = {"Authorization": f"Bearer token {token}"}
            response = await client.get(f"{fake.base_url}/v26.0/{name}", headers=headers)
            return response.status_code, response.json()

        assert await look("a", "a") == (
            200,
            {"id": "a", "display_phone_number": "12025550100", "verified_name": "Fake Business"},
        )
        status, document = await look("a", "b")
        assert (status, document["error"]["code"], document["error"]["error_subcode"]) == (
            400,
            100,
            33,
        )
        status, document = await look("a", "c")
        assert (status, document["error"]["code"]) == (401, 190)


async def test_a_script_is_followed_request_by_request(
    caller: Caller, plain_fake: FakeCloudApi
) -> None:
    plain_fake.next_requests(fails(131026), behaves(), accepts_then_drops())
    assert await caller.send(TEXT) == (400, 131026)
    assert (await caller.send(TEXT))[0] == 200
    with pytest.raises(httpx.RemoteProtocolError):
        await caller.send(TEXT)
    assert (await caller.send(TEXT))[0] == 200
    assert len(plain_fake.accepted) == 3


async def test_it_goes_down_and_comes_back(client: httpx.AsyncClient) -> None:
    async with FakeCloudApi() as fake:
        caller = Caller(client, fake)
        assert (await caller.send(TEXT))[0] == 200
        await fake.go_down()
        with pytest.raises(httpx.ConnectError):
            await caller.send(TEXT)
        await fake.come_back()
        assert (await caller.send(TEXT))[0] == 200


# --- Limits, by a clock ---


async def test_the_window(client: httpx.AsyncClient) -> None:
    clock = Clock()
    async with FakeCloudApi(window=True, now=clock) as fake:
        caller = Caller(client, fake)
        assert await caller.send(TEXT) == (400, 131047)
        assert (await caller.send(TEMPLATE))[0] == 200
        fake.customer_says("12025550143", "Hello")
        clock.time += timedelta(hours=24) - timedelta(microseconds=1)
        assert (await caller.send(TEXT))[0] == 200
        clock.time += timedelta(microseconds=1)
        assert await caller.send(TEXT) == (400, 131047)


async def test_a_closed_window_may_be_told_later(client: httpx.AsyncClient, hook: Hook) -> None:
    async with FakeCloudApi(
        window=True, window_errors="status", webhook_url=hook.server.base_url
    ) as fake:
        assert (await Caller(client, fake).send(TEXT))[0] == 200
        await fake.settled()
        (receipt,) = hook.occurrences
        assert isinstance(receipt, ReceiptOccurred)
        assert (receipt.status, receipt.error_code) == ("failed", 131047)


async def test_the_pair_limit(client: httpx.AsyncClient) -> None:
    clock = Clock()
    async with FakeCloudApi(pair_limit=True, now=clock) as fake:
        caller = Caller(client, fake)
        for _ in range(PAIR_BURST):
            assert (await caller.send(TEXT))[0] == 200
        assert await caller.send(TEXT) == (429, 131056)
        assert (await caller.send(TEXT | {"to": "+819087654321"}))[0] == 200
        clock.time += timedelta(seconds=6)
        assert (await caller.send(TEXT))[0] == 200
        assert await caller.send(TEXT) == (429, 131056)


# --- Webhooks ---


async def test_a_customer_writes(hook: Hook) -> None:
    async with FakeCloudApi(webhook_url=hook.server.base_url, now=Clock()) as fake:
        platform_id = fake.customer_says(
            "819087654321", "注文は? 🙏🏽 a/b", name="山田 花子", user_id="JP.1", quotes="wamid.Q"
        )
        await fake.settled()
    (occurrence,) = hook.occurrences
    assert isinstance(occurrence, MessageOccurred)
    raw = occurrence.content.raw
    assert occurrence == MessageOccurred(
        kind="message.text",
        account_id=ACCOUNT.phone_number_id,
        business_account_id=ACCOUNT.business_account_id,
        at=NOON,
        dedupe=("message", platform_id),
        platform_id=platform_id,
        person=Person(
            addresses=(
                Address("phone", "819087654321"),
                Address(f"bsuid:{ACCOUNT.business_account_id}", "JP.1"),
            ),
            name="山田 花子",
        ),
        content=Content(text="注文は? 🙏🏽 a/b", platform_id=platform_id, raw=raw),
        quotes="wamid.Q",
    )
    # As Meta writes it: nothing beyond ASCII, and every slash escaped.
    assert hook.bodies[0].isascii()
    assert b"a\\/b" in hook.bodies[0]


async def test_anything_else_a_customer_may_send(hook: Hook) -> None:
    async with FakeCloudApi(webhook_url=hook.server.base_url) as fake:
        image = {"type": "image", "image": {"id": "7", "mime_type": "image/jpeg"}}
        fake.customer_sends(None, image, user_id="US.1", name="Ana")
        fake.customer_says("12025550143", "in a group", group_id="g1")
        await fake.settled()
    assert sorted(each.kind for each in hook.occurrences) == ["message.image", "message.text"]


async def test_statuses_come_signed_and_with_our_mark(
    client: httpx.AsyncClient, hook: Hook
) -> None:
    plan = StatusPlan(delay_seconds=0.01)
    async with FakeCloudApi(webhook_url=hook.server.base_url, plan=plan) as fake:
        _, platform_id = await Caller(client, fake).send(TEXT)
        await fake.settled()
        assert [each.answers for each in fake.deliveries] == [[200], [200], [200]]
    # On a busy machine they may overtake each other.
    assert sorted(hook.statuses) == ["delivered", "read", "sent"]
    for receipt in hook.occurrences:
        assert isinstance(receipt, ReceiptOccurred)
        assert (receipt.platform_id, receipt.sent_by_us) == (platform_id, "chat.message")
        assert receipt.person.addresses[0] == Address("phone", "12025550143")


async def test_a_group_answers_for_each_member(client: httpx.AsyncClient, hook: Hook) -> None:
    plan = StatusPlan(statuses=("read",))
    async with FakeCloudApi(webhook_url=hook.server.base_url, plan=plan) as fake:
        fake.groups["g1"] = ("12025550143", "819087654321")
        await Caller(client, fake).send(TEXT | {"recipient_type": "group", "to": "g1"})
        await fake.settled()
    receipts = [each for each in hook.occurrences if isinstance(each, ReceiptOccurred)]
    assert {each.dedupe[3] for each in receipts} == {"12025550143", "819087654321"}
    assert {each.group for each in receipts} == {Address(f"group:{ACCOUNT.phone_number_id}", "g1")}


async def test_what_is_not_acknowledged_comes_again(hook: Hook) -> None:
    hook.answers += [500, 404, 201]
    async with FakeCloudApi(
        webhook_url=hook.server.base_url, retry_delays_seconds=(0.0, 0.0, 0.0, 0.0)
    ) as fake:
        fake.customer_says("12025550143", "Hello")
        await fake.settled()
        (delivery,) = fake.deliveries
        assert delivery.answers == [500, 404, 201, 200]
    assert len(set(hook.bodies)) == 1


async def test_at_last_it_gives_up(hook: Hook) -> None:
    async with FakeCloudApi(
        webhook_url="http://127.0.0.1:1/nobody", retry_delays_seconds=(0.0, 0.0)
    ) as fake:
        fake.customer_says("12025550143", "Hello")
        await fake.settled()
        (delivery,) = fake.deliveries
        assert delivery.answers == [None, None, None]
        assert not delivery.is_done


async def test_the_handshake(hook: Hook) -> None:
    async with FakeCloudApi() as fake:
        url = f"{hook.server.base_url}/webhooks/whatsapp"
        assert not await fake.register_webhook(url, verify_token="another token")
        fake.customer_says("12025550143", "nobody hears this")
        assert await fake.register_webhook(url, verify_token="our token")
        fake.customer_says("12025550143", "Hello")
        await fake.settled()
    assert [json.loads(body)["entry"][0]["id"] for body in hook.bodies] == [
        ACCOUNT.business_account_id
    ]


# --- Plans ---


def test_a_plan_can_be_repeated() -> None:
    plan = StatusPlan(twice=0.5, out_of_order=0.5, delay_seconds=1.0)
    courses = [[plan.schedule(Random(seed)) for seed in range(50)] for _ in range(2)]
    assert courses[0] == courses[1]
    orders = {tuple(status for _, status in course) for course in courses[0]}
    assert ("sent", "delivered", "read") in orders
    assert any(len(order) > 3 for order in orders)
    assert any(order[0] != "sent" for order in orders)


def test_a_plan_without_accidents() -> None:
    assert StatusPlan(delay_seconds=0.5).schedule(Random(1)) == [
        (0.5, "sent"),
        (1.0, "delivered"),
        (1.5, "read"),
    ]


def test_message_ids_hold_the_number_as_whatsapps_do() -> None:
    real = "wamid.HBgLMTIwMjU1NTAxNDMVAgARGBQ3MDJFMTVDNjQ0NTIxQjNCOTEwQwA="
    made = new_wamid(Random(1), "12025550143", inbound=False)
    unpacked, pattern = (base64.b64decode(each.removeprefix("wamid.")) for each in (made, real))
    assert len(unpacked) == len(pattern)
    assert unpacked[:-21] == pattern[:-21]  # All but the serial number.
    assert made != new_wamid(Random(2), "12025550143", inbound=False)
    assert made != new_wamid(Random(1), "12025550143", inbound=True)
