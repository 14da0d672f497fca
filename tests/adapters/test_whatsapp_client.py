"""What is Meta's own in sending; `test_sending_contract.py` has what all platforms share."""

import email.utils
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from adapters.exchange import BODY_BYTES_MAX, TimeLimits, new_http_client
from adapters.fakes.behaviour import (
    Behaviour,
    accepts_late,
    accepts_then_answers,
    accepts_then_drops,
    answers,
)
from adapters.fakes.server import Answer, FakeServer, Request, json_answer
from adapters.meta_errors import GraphError, read_error, send_answer
from adapters.whatsapp.client import CloudApi
from adapters.whatsapp.errors import MEANINGS
from adapters.whatsapp.fake import FakeCloudApi
from adapters.whatsapp.fake_behaviour import fails, limits
from adapters.whatsapp.fake_rules import FakeAccount
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
    Verified,
)

FOLDER = Path(__file__).parent.parent.parent / "adapters" / "whatsapp" / "fixtures"
FIXTURES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}

TOKEN = "EAAG-never-shown-anywhere"
ACCOUNT = FakeAccount(access_token=TOKEN)
PHONE = Address("phone", "12025550143")
TEMPLATE = {"name": "hello", "language": "en"}

QUICK = TimeLimits(connect_seconds=0.3, read_seconds=0.3, deadline_seconds=0.6)


def message(**fields: Any) -> OutboundMessage:
    usual: dict[str, Any] = {
        "mark": "chat.message",
        "account_id": ACCOUNT.phone_number_id,
        "recipient": (PHONE,),
        "kind": "text",
        "content": Content(text="Hello"),
    }
    return OutboundMessage(**{**usual, **fields})


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with new_http_client() as client:
        yield client


@pytest.fixture(scope="module")
async def shared_fake() -> AsyncIterator[FakeCloudApi]:
    async with FakeCloudApi(accounts=[ACCOUNT]) as fake:
        yield fake


@pytest.fixture
def fake(shared_fake: FakeCloudApi) -> FakeCloudApi:
    shared_fake.accepted.clear()
    return shared_fake


@pytest.fixture
def api(client: httpx.AsyncClient, fake: FakeCloudApi) -> CloudApi:
    return CloudApi(client, base_address=fake.base_url)


class Recorder:
    """A server that gives one answer and keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.server = FakeServer(self._handle)

    def _handle(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.answer


@asynccontextmanager
async def recorder(answer: Answer) -> AsyncIterator[Recorder]:
    recording = Recorder(answer)
    await recording.server.start()
    try:
        yield recording
    finally:
        await recording.server.stop()


# --- What goes out, and what the answers mean: one fixture per case ---


@pytest.fixture(scope="module")
async def stand_in() -> AsyncIterator[Recorder]:
    async with recorder(Answer()) as recording:
        yield recording


@pytest.mark.parametrize("fixture", FIXTURES.values(), ids=FIXTURES)
async def test_a_fixture(
    fixture: dict[str, Any], client: httpx.AsyncClient, stand_in: Recorder
) -> None:
    response = fixture["response"]
    stand_in.answer = json_answer(
        response["body"], status=response["status"], headers=response["headers"]
    )
    api = CloudApi(client, base_address=stand_in.server.base_url)
    sent = msgspec.convert(fixture["message"], OutboundMessage)
    answer = await api.send(sent, {"access_token": "fixture-token"})
    asked = stand_in.requests[-1]
    assert fixture["request"] == {
        "method": asked.method,
        "path": asked.path,
        "body": json.loads(asked.body),
    }
    assert asked.headers["authorization"] == "Bearer fixture-token"
    assert asked.headers["content-type"] == "application/json"
    said = json.loads(msgspec.json.encode(answer))
    said.pop("quote_token", None)  # There are none on WhatsApp.
    assert {"type": type(answer).__name__, **said} == fixture["answer"]


async def test_the_version_and_the_base_address_are_configuration(
    client: httpx.AsyncClient, stand_in: Recorder
) -> None:
    stand_in.answer = json_answer({"messages": [{"id": "wamid.1"}]})
    for path, asked in (("/proxy/", "/proxy/v26.0"), ("/proxy/v27.0/", "/proxy/v27.0")):
        api = CloudApi(client, base_address=f"{stand_in.server.base_url}{path}")
        assert await api.send(message(), {"access_token": TOKEN}) == Accepted(platform_id="wamid.1")
        assert stand_in.requests[-1].path == f"{asked}/{ACCOUNT.phone_number_id}/messages"


async def test_an_accepted_message(api: CloudApi, fake: FakeCloudApi) -> None:
    answer = await api.send(message(quotes="wamid.QUOTED"), {"access_token": TOKEN})
    (accepted,) = fake.accepted
    assert answer == Accepted(platform_id=accepted.platform_id, recipient=(PHONE,))
    assert accepted.body == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+12025550143",
        "type": "text",
        "text": {"body": "Hello", "preview_url": False},
        "context": {"message_id": "wamid.QUOTED"},
        "biz_opaque_callback_data": "chat.message",
    }


async def test_components_are_sent_as_they_are(api: CloudApi, fake: FakeCloudApi) -> None:
    button = {"type": "button", "sub_type": "quick_reply", "index": "0", "parameters": []}
    template = TEMPLATE | {"components": [button]}
    sent = message(kind="template", content=Content(template=template))
    assert isinstance(await api.send(sent, {"access_token": TOKEN}), Accepted)
    expected = {"name": "hello", "language": {"code": "en"}, "components": [button]}
    assert fake.accepted[0].body["template"] == expected


# --- Messages that are not even tried ---


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        (
            {"kind": "image"},
            Rejected(
                reason="invalid", code=None, detail="Messages of kind 'image' cannot be sent yet."
            ),
        ),
        (
            {"content": Content()},
            Rejected(reason="invalid", code=None, detail="There is no text to send."),
        ),
        (
            {"content": Content(text="x" * 4097)},
            Rejected(reason="invalid", code=None, detail="A text has at most 4096 characters."),
        ),
        (
            {"content": Content(text="\ud83d")},
            Rejected(reason="invalid", code=None, detail="Half a character is no text."),
        ),
        (
            {"kind": "template", "content": Content(template={"name": "hello"})},
            Rejected(
                reason="template", code=None, detail="A template needs a name and a language."
            ),
        ),
        (
            {"kind": "template", "content": Content(template=TEMPLATE | {"parameters": ["x"]})},
            Rejected(reason="template", code=None, detail="A template's parameters are pairs."),
        ),
        (
            {"recipient": (Address("line:1", "U1"), Address("phone", "no number"))},
            Rejected(
                reason="address",
                code=None,
                detail="There is no telephone number, user id or group to send to.",
            ),
        ),
        (
            {"recipient": (Address("group:another account", "g"),)},
            Rejected(
                reason="address",
                code=None,
                detail="There is no telephone number, user id or group to send to.",
            ),
        ),
        ({"account_id": "../me"}, AccountUnusable(reason="account_unknown", code=None)),
        ({"account_id": ""}, AccountUnusable(reason="account_unknown", code=None)),
    ],
)
async def test_what_cannot_be_sent(
    fields: dict[str, Any], answer: SendAnswer, api: CloudApi, fake: FakeCloudApi
) -> None:
    assert await api.send(message(**fields), {"access_token": TOKEN}) == answer
    assert fake.accepted == []


# --- Every code of the table ---

# Its code is that of the line, as with all that are rejected.
ONCE_MORE = Rejected(reason="media", code=None, detail="", once_more=True)

CODES: list[tuple[int, int, SendAnswer | str]] = [
    (0, 401, AccountUnusable(reason="credentials", code=0)),
    (190, 401, AccountUnusable(reason="credentials", code=190)),
    (3, 500, AccountUnusable(reason="permission", code=3)),
    (10, 403, AccountUnusable(reason="permission", code=10)),
    (200, 403, AccountUnusable(reason="permission", code=200)),
    (299, 403, AccountUnusable(reason="permission", code=299)),
    (131005, 403, AccountUnusable(reason="permission", code=131005)),
    (368, 403, AccountUnusable(reason="blocked", code=368)),
    (131031, 403, AccountUnusable(reason="blocked", code=131031)),
    (130497, 403, "restricted_country"),
    (4, 429, Deferred(reason="rate_limited")),
    (80007, 429, Deferred(reason="rate_limited")),
    (130429, 400, Deferred(reason="rate_limited")),
    (131048, 400, Deferred(reason="spam_limited")),
    (131056, 400, Deferred(reason="pair_limited")),
    (133016, 400, Deferred(reason="rate_limited")),
    (1, 400, Deferred(reason="unavailable")),
    (1, 500, Unsettled(reason="platform_failed")),
    (2, 503, Deferred(reason="unavailable")),
    (2, 500, Deferred(reason="unavailable")),
    (131000, 500, Unsettled(reason="platform_failed")),
    (131016, 503, Deferred(reason="unavailable")),
    (131016, 500, Deferred(reason="unavailable")),
    (131057, 500, Deferred(reason="unavailable")),
    (133004, 503, Deferred(reason="unavailable")),
    (33, 400, AccountUnusable(reason="account_unknown", code=33)),
    (100, 400, "invalid"),
    (131008, 400, "invalid"),
    (131009, 400, "invalid"),
    (131021, 400, "invalid"),
    (131026, 400, "undeliverable"),
    (131026, 500, "undeliverable"),
    (131047, 400, "window_closed"),
    (131049, 400, "marketing_limited"),
    (131050, 400, "opted_out"),
    (130403, 400, "blocked"),
    (130472, 400, "undeliverable"),
    (131037, 400, AccountUnusable(reason="registration", code=131037)),
    (131045, 400, AccountUnusable(reason="registration", code=131045)),
    (133010, 400, AccountUnusable(reason="registration", code=133010)),
    (133000, 400, AccountUnusable(reason="registration", code=133000)),
    (131042, 400, AccountUnusable(reason="payment", code=131042)),
    (131051, 400, "invalid"),
    (131052, 400, ONCE_MORE),
    (131053, 400, ONCE_MORE),
    (131062, 400, "address"),
    (132000, 400, "template"),
    (132001, 404, "template"),
    (132005, 400, "template"),
    (132007, 400, "template"),
    (132012, 400, "template"),
    (132015, 400, "template_paused"),
    (132016, 400, "template_paused"),
    (132068, 400, "template"),
    (132069, 400, "template"),
    (999999, 400, "unknown"),
    (999999, 429, Deferred(reason="rate_limited")),
    (999999, 500, Unsettled(reason="platform_failed")),
    (999999, 503, Deferred(reason="unavailable")),
]


@pytest.mark.parametrize(("code", "status", "expected"), CODES)
def test_a_code(code: int, status: int, expected: SendAnswer | str) -> None:
    error = GraphError(code=code, subcode=None, detail="why", trace_id="AbC")
    if isinstance(expected, str):
        expected = Rejected(reason=expected, code=None, detail="")
    if isinstance(expected, Rejected):
        expected = replace(expected, code=code, detail="why (fbtrace_id AbC)")
    assert send_answer(error, MEANINGS, status=status, retry_after_seconds=None) == expected


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        (999999, 400, Deferred(reason="unavailable")),
        (999999, 500, Unsettled(reason="platform_failed")),
        (131026, 400, "undeliverable"),  # What a code means does not depend on it.
    ],
)
def test_of_a_code_that_nobody_knows_meta_says_whether_it_passes(
    code: int, status: int, expected: SendAnswer | str
) -> None:
    document = {"error": {"code": code, "message": "why", "is_transient": True}}
    error = read_error(document, secret=TOKEN)
    assert error is not None
    if isinstance(expected, str):
        expected = Rejected(reason=expected, code=code, detail="why")
    assert send_answer(error, MEANINGS, status=status, retry_after_seconds=None) == expected


# --- What certainly was not taken, and what may have been ---

NOT_TAKEN: list[tuple[Behaviour, SendAnswer]] = [
    (limits(17), Deferred(reason="rate_limited", retry_after_seconds=17.0)),
    (fails(131016, status=503), Deferred(reason="unavailable")),
    (
        fails(131047),
        Rejected(
            reason="window_closed",
            code=131047,
            detail="Re-engagement message (fbtrace_id AbCdEfGhIjKlMnOpQrStUv1)",
        ),
    ),
]

TAKEN: list[tuple[Behaviour, SendAnswer]] = [
    (accepts_then_answers(200, b'{"messages": {}}'), Unsettled(reason="answer_not_understood")),
    (accepts_then_answers(200, b'{"messages": []}'), Unsettled(reason="answer_not_understood")),
    (
        accepts_then_answers(200, b'{"messages": [{"id": 7}]}'),
        Unsettled(reason="answer_not_understood"),
    ),
    (
        accepts_then_answers(200, b'{"messages": [{"id": "a\\u0000b"}]}'),
        Unsettled(reason="answer_not_understood"),
    ),
    (
        accepts_then_answers(200, b'{"messages": [{"id": "' + b"w" * 600 + b'"}]}'),
        Unsettled(reason="answer_not_understood"),
    ),
    (
        accepts_then_answers(200, b" " * (BODY_BYTES_MAX + 1) + b'{"messages": [{"id": "w"}]}'),
        Unsettled(reason="answer_not_understood"),
    ),
    (
        accepts_then_answers(200, b'{"messages": [{"id": "wamid.1"}], "contacts": 7}'),
        Accepted(platform_id="wamid.1"),
    ),
]


@pytest.mark.parametrize(("behaviour", "answer"), NOT_TAKEN)
async def test_what_was_not_taken(
    behaviour: Behaviour, answer: SendAnswer, api: CloudApi, fake: FakeCloudApi
) -> None:
    fake.next_requests(behaviour)
    assert await api.send(message(), {"access_token": TOKEN}) == answer
    assert fake.accepted == []


@pytest.mark.parametrize(("behaviour", "answer"), TAKEN)
async def test_what_was_taken(
    behaviour: Behaviour, answer: SendAnswer, api: CloudApi, fake: FakeCloudApi
) -> None:
    fake.next_requests(behaviour)
    assert await api.send(message(), {"access_token": TOKEN}) == answer
    assert len(fake.accepted) == 1


async def test_a_wrong_token_and_a_wrong_account(api: CloudApi) -> None:
    dead = AccountUnusable(reason="credentials", code=190)
    assert await api.send(message(), {"access_token": "dead"}) == dead
    missing = AccountUnusable(reason="account_unknown", code=100)
    assert await api.send(message(account_id="1"), {"access_token": TOKEN}) == missing


RETRY_AFTER: list[tuple[str, float | None]] = [
    ("0", 0.0),
    ("9" * 400, 86_400.0),
    ("-5", None),
    ("soon", None),
    ("١٧", None),
    ("", None),
    ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ("Wed, 99 Foo 2015", None),
]


@pytest.mark.parametrize(("written", "seconds"), RETRY_AFTER)
async def test_retry_after(
    written: str, seconds: float | None, client: httpx.AsyncClient, stand_in: Recorder
) -> None:
    stand_in.answer = Answer(status=429, headers=(("Retry-After", written),))
    api = CloudApi(client, base_address=stand_in.server.base_url)
    expected = Deferred(reason="rate_limited", retry_after_seconds=seconds)
    assert await api.send(message(), {"access_token": TOKEN}) == expected


async def test_retry_after_a_date(client: httpx.AsyncClient, stand_in: Recorder) -> None:
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    stand_in.answer = Answer(status=429, headers=(("Retry-After", date),))
    api = CloudApi(client, base_address=stand_in.server.base_url)
    answer = await api.send(message(), {"access_token": TOKEN})
    assert isinstance(answer, Deferred)
    assert answer.retry_after_seconds is not None
    assert 30 < answer.retry_after_seconds <= 60


async def test_no_token_in_any_log_or_answer(
    client: httpx.AsyncClient, fake: FakeCloudApi, caplog: pytest.LogCaptureFixture
) -> None:
    patient, hurried = [
        CloudApi(client, base_address=fake.base_url, limits=limits) for limits in (None, QUICK)
    ]
    caplog.set_level(logging.DEBUG)
    echoes = fails(100, details=f"Malformed access token {TOKEN}\nsecond line")
    shown = [repr(patient)]
    fake.next_requests(echoes, accepts_then_drops(), fails(190), limits(1), accepts_late(0.5))
    for api in (*[patient] * 4, hurried):
        shown.append(repr(await api.send(message(), {"access_token": TOKEN})))
    logged = [f"{each.getMessage()} {each.__dict__}" for each in caplog.records]
    assert any("A message was not accepted" in each for each in logged)
    assert not [each for each in shown + logged if TOKEN in each]
    assert not [each for each in logged if "Hello" in each or "12025550143" in each]
    assert "Malformed access token … second line" in shown[1]


# --- Verification ---


async def test_good_credentials(api: CloudApi) -> None:
    assert await api.verify(ACCOUNT.phone_number_id, {"access_token": TOKEN}) == Verified()


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (fails(190), NotVerified(reason="credentials")),
        (fails(10), NotVerified(reason="permission")),
        (fails(131016), NotReached(reason="unavailable")),
        (limits(1), NotReached(reason="rate_limited")),
        (answers(200, b'{"id": "another"}'), NotReached(reason="answer_not_understood")),
    ],
)
async def test_other_answers_to_a_verification(
    behaviour: Behaviour, answer: VerificationAnswer, api: CloudApi, fake: FakeCloudApi
) -> None:
    fake.next_requests(behaviour, to=ACCOUNT.phone_number_id)
    assert await api.verify(ACCOUNT.phone_number_id, {"access_token": TOKEN}) == answer


async def test_an_account_that_the_token_does_not_reach(api: CloudApi) -> None:
    unknown = NotVerified(reason="account_unknown")
    assert await api.verify("1", {"access_token": TOKEN}) == unknown
    assert await api.verify("../debug_token", {"access_token": TOKEN}) == unknown


# --- Marking as read ---


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (None, "marked"),
        (fails(131009), "refused"),
        (fails(131016), None),
        (fails(131056), None),
        (fails(190), None),  # Somebody will give another token.
        (answers(502, b"proxy"), None),
        (limits(1), None),
    ],
)
async def test_marking_as_read(
    behaviour: Behaviour | None, answer: str | None, api: CloudApi, fake: FakeCloudApi
) -> None:
    if behaviour is not None:
        fake.next_requests(behaviour)
    account = ACCOUNT.phone_number_id
    before = len(fake.read)
    read = Content(platform_id="wamid.1")
    assert await api.mark_read(account, read, {"access_token": TOKEN}) == answer
    assert fake.read[before:] == ([(account, "wamid.1")] if answer == "marked" else [])


async def test_what_could_lead_elsewhere_is_not_asked_for(api: CloudApi) -> None:
    read = Content(platform_id="wamid.1")
    assert await api.mark_read("../me", read, {"access_token": TOKEN}) == "refused"
    assert await api.mark_read("1", read, {"access_token": "a\nb"}) == "refused"
