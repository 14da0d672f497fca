"""What is Messenger's own in sending; `test_sending_contract.py` has what all platforms share."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from adapters.exchange import new_http_client
from adapters.fakes.behaviour import Behaviour, accepts_then_drops, answers, behaves, drops
from adapters.messenger.client import SendApi
from adapters.messenger.errors import MEANINGS
from adapters.messenger.fake import FakeSendApi
from adapters.messenger.fake_behaviour import fails
from adapters.messenger.fake_rules import FakePage
from adapters.messenger.subscribing import SUBSCRIBED_FIELDS
from adapters.meta_errors import GraphError, send_answer
from domain.inbound import Address, Content
from domain.outbound import (
    Accepted,
    AccountUnusable,
    Deferred,
    NotReached,
    NotVerified,
    OutboundMessage,
    Rejected,
    SendAnswer,
    Unsettled,
    VerificationAnswer,
)
from domain.subscription import DeliveryCheck
from tests.adapters.files import file

PAGE = FakePage()
CREDENTIALS = {"access_token": PAGE.access_token}
CUSTOMER = "6473829104756123"
PNG = b"\x89PNG" + bytes(range(256)) * 20


def message(**fields: Any) -> OutboundMessage:
    usual: dict[str, Any] = {
        "mark": "chat.message",
        "account_id": PAGE.page_id,
        "recipient": (Address(f"messenger:{PAGE.page_id}", CUSTOMER),),
        "kind": "text",
        "content": Content(text="Hello"),
    }
    return OutboundMessage(**{**usual, **fields})


def image(**fields: Any) -> OutboundMessage:
    sent = file(PNG, name="shirt.png")
    return message(**{"kind": "image", "content": Content(), "file": sent, **fields})


@pytest.fixture
async def fake() -> AsyncIterator[FakeSendApi]:
    async with FakeSendApi(accounts=[PAGE], window=False) as fake:
        yield fake


@pytest.fixture
async def api(fake: FakeSendApi) -> AsyncIterator[SendApi]:
    async with new_http_client() as client:
        yield SendApi(client, base_address=fake.base_url)


# --- What goes out ---


async def test_a_text_with_our_mark_and_a_quote(api: SendApi, fake: FakeSendApi) -> None:
    answer = await api.send(message(quotes="m_quoted"), CREDENTIALS)
    (accepted,) = fake.accepted
    assert answer == Accepted(platform_id=accepted.platform_id)
    assert accepted.body == {
        "recipient": {"id": CUSTOMER},
        "messaging_type": "RESPONSE",
        "message": {"text": "Hello", "metadata": "chat.message"},
        "reply_to": {"mid": "m_quoted"},
    }
    (request,) = fake.requests
    assert request.path == f"/v26.0/{PAGE.page_id}/messages"
    assert request.headers["authorization"] == f"Bearer {PAGE.access_token}"
    assert PAGE.access_token not in str(request.query)


@pytest.mark.parametrize(
    ("kind", "named"),
    [("image", "image"), ("audio", "audio"), ("video", "video"), ("document", "file")],
)
async def test_a_file_is_uploaded_and_then_sent(
    kind: str, named: str, api: SendApi, fake: FakeSendApi
) -> None:
    answer = await api.send(image(kind=kind, quotes="m_quoted"), CREDENTIALS)
    (accepted,) = fake.accepted
    assert answer == Accepted(platform_id=accepted.platform_id)
    ((attachment_id, uploaded),) = fake.uploads.items()
    assert (uploaded.name, uploaded.mime_type, uploaded.content) == ("shirt.png", "image/png", PNG)
    assert accepted.body == {
        "recipient": {"id": CUSTOMER},
        "messaging_type": "RESPONSE",
        "message": {
            "attachment": {"type": named, "payload": {"attachment_id": attachment_id}},
            "metadata": "chat.message",
        },
        "reply_to": {"mid": "m_quoted"},
    }


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"content": Content(text="x" * 2001)}, "invalid", "at most 2000 UTF-16 units"),
        ({"kind": "sticker"}, "invalid", "kind 'sticker' cannot be sent"),
        ({"kind": "template"}, "template", "A template needs a name and a language."),
        ({"kind": "image", "content": Content()}, "media", "The file is missing."),
        (
            {"kind": "image", "file": file(PNG), "content": Content(text="words")},
            "invalid",
            "A file is sent without words.",
        ),
        ({"recipient": (Address("messenger:another", "1"),)}, "address", "no user id of this page"),
    ],
)
async def test_what_cannot_be_sent(
    fields: dict[str, Any], reason: str, detail: str, api: SendApi, fake: FakeSendApi
) -> None:
    answer = await api.send(message(**fields), CREDENTIALS)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code, detail in answer.detail) == (reason, None, True)
    assert fake.requests == []


async def test_the_longest_text_that_can_be_sent(api: SendApi, fake: FakeSendApi) -> None:
    longest = message(content=Content(text="字" * 2000))
    assert isinstance(await api.send(longest, CREDENTIALS), Accepted)


# --- A file that does not arrive: nobody was asked to send the message ---


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (drops(), Deferred(reason="answer_lost")),
        (accepts_then_drops(), Deferred(reason="answer_lost")),
        (answers(500), Deferred(reason="platform_failed")),
        (answers(200, b"{}"), Deferred(reason="answer_not_understood")),
        (fails(1200), Deferred(reason="unavailable")),
        (fails(190), AccountUnusable(reason="credentials", code=190)),
        (
            fails(100, 2018047),
            Rejected(
                reason="media",
                code=100,
                detail="(#100) Upload attachment failure. (fbtrace_id AbCdEfGhIjKlMnOpQrStUv1)",
            ),
        ),
    ],
)
async def test_a_file_that_does_not_arrive(
    behaviour: Any, answer: SendAnswer, api: SendApi, fake: FakeSendApi
) -> None:
    fake.next_requests(behaviour, to="message_attachments")
    assert await api.send(image(), CREDENTIALS) == answer
    assert [each.path.rpartition("/")[2] for each in fake.requests] == ["message_attachments"]
    assert fake.accepted == []


async def test_the_message_after_the_file_may_have_been_taken(
    api: SendApi, fake: FakeSendApi
) -> None:
    fake.next_requests(accepts_then_drops())
    assert await api.send(image(), CREDENTIALS) == Unsettled(reason="answer_lost")
    assert len(fake.accepted) == 1


# --- Every code of the table ---

CODES: list[tuple[int, int | None, int, SendAnswer | str]] = [
    (0, None, 401, AccountUnusable(reason="credentials", code=0)),
    (190, None, 401, AccountUnusable(reason="credentials", code=190)),
    (190, 463, 401, AccountUnusable(reason="credentials", code=190)),
    (3, None, 400, AccountUnusable(reason="permission", code=3)),
    (10, None, 403, AccountUnusable(reason="permission", code=10)),
    (200, None, 403, AccountUnusable(reason="permission", code=200)),
    (10904, None, 400, AccountUnusable(reason="permission", code=10904)),
    (368, None, 400, AccountUnusable(reason="blocked", code=368)),
    (10, 1893063, 403, AccountUnusable(reason="blocked", code=10)),
    (100, 33, 400, AccountUnusable(reason="account_unknown", code=100)),
    (4, None, 400, Deferred(reason="rate_limited")),
    (32, None, 400, Deferred(reason="rate_limited")),
    (613, None, 400, Deferred(reason="rate_limited")),
    (80006, None, 400, Deferred(reason="rate_limited")),
    (1, None, 400, Deferred(reason="unavailable")),
    (2, None, 503, Deferred(reason="unavailable")),
    (2, None, 500, Deferred(reason="unavailable")),
    (1200, None, 400, Deferred(reason="unavailable")),
    (1200, None, 500, Deferred(reason="unavailable")),
    (10, 2018278, 403, "window_closed"),
    (10, 2018065, 403, "window_closed"),
    (10, 2534022, 403, "window_closed"),
    (551, 1545041, 400, "undeliverable"),
    (551, None, 400, "undeliverable"),
    (200, 1545041, 400, "undeliverable"),
    (200, 2018108, 400, "undeliverable"),
    (230, None, 403, AccountUnusable(reason="permission", code=230)),
    (100, 2018001, 400, "undeliverable"),
    (100, 2018047, 400, "media"),
    (100, 2018109, 400, "media"),
    (613, 2018109, 400, "media"),
    (100, None, 400, "invalid"),
    (100, 12345, 400, "invalid"),
    (999999, None, 400, "unknown"),
    (999999, None, 500, Unsettled(reason="platform_failed")),
]


@pytest.mark.parametrize(("code", "subcode", "status", "expected"), CODES)
def test_a_code(code: int, subcode: int | None, status: int, expected: SendAnswer | str) -> None:
    error = GraphError(code=code, subcode=subcode, detail="why", trace_id="AbC")
    if isinstance(expected, str):
        expected = Rejected(reason=expected, code=code, detail="why (fbtrace_id AbC)")
    assert send_answer(error, MEANINGS, status=status, retry_after_seconds=None) == expected


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (fails(190), NotVerified(reason="credentials")),
        (fails(200), NotVerified(reason="permission")),
        (fails(100, 33), NotVerified(reason="account_unknown")),
        (fails(613), NotReached(reason="rate_limited")),
        (fails(2), NotReached(reason="unavailable")),
    ],
)
async def test_other_answers_to_a_verification(
    behaviour: Any, answer: VerificationAnswer, api: SendApi, fake: FakeSendApi
) -> None:
    fake.next_requests(behaviour, to=PAGE.page_id)
    assert await api.verify(PAGE.page_id, CREDENTIALS) == answer
    assert fake.requests[-1].query == {"fields": "id,name"}


async def test_the_token_of_another_page(client: httpx.AsyncClient) -> None:
    other = FakePage(page_id="109663280017745", access_token="another-token")
    async with FakeSendApi(accounts=[PAGE, other]) as fake:
        api = SendApi(client, base_address=fake.base_url)
        token = {"access_token": other.access_token}
        assert await api.verify(PAGE.page_id, token) == NotVerified(reason="account_unknown")
        stopped = AccountUnusable(reason="account_unknown", code=100)
        assert await api.send(message(), token) == stopped


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with new_http_client() as client:
        yield client


# --- Templates ---

SHIPPED = {"name": "shipped", "language": "en_US"}


@pytest.mark.parametrize(
    ("parameters", "written"),
    [
        ([], {}),
        (
            [["order", "A-7"]],
            {"type": "text", "parameter_name": "order", "text": "A-7"},
        ),
        ([["1", "A-7"]], {"type": "text", "text": "A-7"}),
    ],
)
async def test_a_template_is_a_utility_message(
    parameters: list[list[str]], written: dict[str, Any], api: SendApi, fake: FakeSendApi
) -> None:
    fake.templates.add(("shipped", "en_US"))
    content = Content(text="A-7 was shipped.", template={**SHIPPED, "parameters": parameters})
    answer = await api.send(message(kind="template", content=content), CREDENTIALS)
    (accepted,) = fake.accepted
    assert answer == Accepted(platform_id=accepted.platform_id)
    template: dict[str, Any] = {"name": "shipped", "language": {"code": "en_US"}}
    if written:
        template["components"] = [{"type": "body", "parameters": [written]}]
    assert accepted.body == {
        "recipient": {"id": CUSTOMER},
        "messaging_type": "UTILITY",
        "message": {"template": template, "metadata": "chat.message"},
    }


async def test_a_template_that_messenger_does_not_know_is_refused(api: SendApi) -> None:
    content = Content(template={**SHIPPED, "parameters": []})
    answer = await api.send(message(kind="template", content=content), CREDENTIALS)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code) == ("invalid", 100)


# --- Whether Messenger still delivers ---


@pytest.mark.parametrize("others", [set(), {17}])
async def test_a_page_that_was_forgotten_is_subscribed_again(
    others: set[int], api: SendApi, fake: FakeSendApi
) -> None:
    """Another app of the business may be listed: it is not ours."""
    fake.other_apps = others
    assert await api.renew_subscription(PAGE.page_id, CREDENTIALS) == DeliveryCheck()
    fake.subscribed.clear()
    found = await api.renew_subscription(PAGE.page_id, CREDENTIALS)
    assert found == DeliveryCheck(had_ended=True)
    assert fake.subscribed == {PAGE.page_id}
    asked = fake.requests[-1]
    assert (asked.method, asked.path) == ("POST", f"/v26.0/{PAGE.page_id}/subscribed_apps")
    assert asked.query == {"subscribed_fields": ",".join(SUBSCRIBED_FIELDS)}
    assert await api.renew_subscription(PAGE.page_id, CREDENTIALS) == DeliveryCheck()


@pytest.mark.parametrize(
    ("behaviour", "refusal"),
    [
        (fails(200), "permission"),
        (fails(190), "credentials"),
        (fails(100), "invalid"),
    ],
)
async def test_a_refusal_to_go_on_has_a_reason(
    behaviour: Behaviour, refusal: str, api: SendApi, fake: FakeSendApi
) -> None:
    fake.subscribed.clear()
    fake.next_requests(behaves(), behaviour, to="subscribed_apps")
    found = await api.renew_subscription(PAGE.page_id, CREDENTIALS)
    assert found == DeliveryCheck(had_ended=True, refusal=refusal)


@pytest.mark.parametrize(
    "behaviours",
    [
        (fails(190),),
        (answers(200, b'{"data": 7}'),),
        (drops(),),
        (behaves(), drops()),
        (behaves(), fails(2)),
        (behaves(), answers(502, b"proxy")),
    ],
)
async def test_what_cannot_be_known_now_is_asked_again(
    behaviours: tuple[Behaviour, ...], api: SendApi, fake: FakeSendApi
) -> None:
    fake.subscribed.clear()
    fake.next_requests(*behaviours, to="subscribed_apps")
    assert await api.renew_subscription(PAGE.page_id, CREDENTIALS) is None
    assert await api.renew_subscription("../me", CREDENTIALS) is None
    assert await api.renew_subscription(PAGE.page_id, {"access_token": "a\nb"}) is None


async def test_where_graph_does_not_name_our_app_any_is_taken_for_it(
    api: SendApi, fake: FakeSendApi
) -> None:
    fake.subscribed.clear()
    fake.other_apps = {17}
    fake.next_requests(fails(100), to="/app")
    assert await api.renew_subscription(PAGE.page_id, CREDENTIALS) == DeliveryCheck()


# --- Marking as read ---


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (None, "marked"),
        (fails(100), "refused"),
        (fails(10, 2018278), "refused"),
        (fails(190), None),  # Somebody will give another token.
        (fails(613), None),
        (answers(502, b"proxy"), None),
        (drops(), None),
    ],
)
async def test_marking_as_read(
    behaviour: Any, answer: str | None, api: SendApi, fake: FakeSendApi
) -> None:
    if behaviour is not None:
        fake.next_requests(behaviour)
    read = Content(platform_id="m_1", read_token=CUSTOMER)
    assert await api.mark_read(PAGE.page_id, read, CREDENTIALS) == answer
    assert fake.read == ([(PAGE.page_id, CUSTOMER)] if answer == "marked" else [])


async def test_without_its_customer_nothing_is_marked(api: SendApi, fake: FakeSendApi) -> None:
    assert await api.mark_read(PAGE.page_id, Content(platform_id="m_1"), CREDENTIALS) == "refused"
    assert fake.requests == []
