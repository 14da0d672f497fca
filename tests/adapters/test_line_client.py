"""What is LINE's own in sending; `test_sending_contract.py` has what all platforms share."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.exchange import TimeLimits, new_http_client
from adapters.fakes.behaviour import accepts_then_answers, accepts_then_drops, answers, drops
from adapters.line.client import MessagingApi
from adapters.line.errors import LineError, send_answer
from adapters.line.fake import FakeLine
from adapters.line.fake_behaviour import fails, limits
from adapters.line.fake_rules import QUOTA_REACHED, FakeLineAccount
from adapters.line.outgoing import request_body, retry_key
from adapters.unsendable import Unsendable
from domain.inbound import Address, Content
from domain.outbound import (
    Accepted,
    AccountUnusable,
    Deferred,
    NotReached,
    NotVerified,
    OutboundFile,
    OutboundMessage,
    Rejected,
    SendAnswer,
    Unsettled,
    VerificationAnswer,
)

ACCOUNT = FakeLineAccount(monthly_quota=None)
CREDENTIALS = {"access_token": ACCOUNT.access_token}
KIM = Address(f"line:{ACCOUNT.user_id}", "U19c8e7d6b5a493827160f5e4d3c2b1a0")
GROUP = Address(f"group:{ACCOUNT.user_id}", "C19c8e7d6b5a493827160f5e4d3c2b1a0")
# Time enough for a busy machine: nothing here waits for its end.
LIMITS = TimeLimits(connect_seconds=10.0, read_seconds=10.0, deadline_seconds=20.0)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Clock:
    """The fake's."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


def message(**fields: Any) -> OutboundMessage:
    usual: dict[str, Any] = {
        "mark": "chat.message",
        "account_id": ACCOUNT.user_id,
        "recipient": (KIM,),
        "kind": "text",
        "content": Content(text="Hello"),
    }
    return OutboundMessage(**{**usual, **fields})


def file(mime_type: str, *, url: str | None = "https://files.example/f") -> OutboundFile:
    return OutboundFile(mime_type=mime_type, byte_count=7, name="f", read=_nothing, url=url)


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with new_http_client() as client:
        yield client


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def fake(clock: Clock) -> AsyncIterator[FakeLine]:
    async with FakeLine(accounts=[ACCOUNT], now=clock) as fake:
        yield fake


@pytest.fixture
def api(http: httpx.AsyncClient, fake: FakeLine) -> MessagingApi:
    return MessagingApi(http, base_address=fake.base_url, limits=LIMITS)


# --- What goes out ---

WRITTEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"type": "text", "text": "Hello"}),
    (
        {"kind": "image", "content": Content(), "file": file("image/png")},
        {
            "type": "image",
            "originalContentUrl": "https://files.example/f",
            "previewImageUrl": "https://files.example/f",
        },
    ),
    (
        {
            "kind": "video",
            "content": Content(media={"preview_url": "https://files.example/still"}),
            "file": file("video/mp4"),
        },
        {
            "type": "video",
            "originalContentUrl": "https://files.example/f",
            "previewImageUrl": "https://files.example/still",
        },
    ),
    (
        {
            "kind": "audio",
            "content": Content(media={"duration_seconds": 2.5}),
            "file": file("audio/mpeg"),
        },
        {"type": "audio", "originalContentUrl": "https://files.example/f", "duration": 2500},
    ),
    (
        {"kind": "audio", "content": Content(), "file": file("audio/mpeg")},
        {"type": "audio", "originalContentUrl": "https://files.example/f", "duration": 60_000},
    ),
    (
        {
            "kind": "location",
            "content": Content(location={"latitude": 35.6, "longitude": 139.7, "name": "Shop"}),
        },
        {
            "type": "location",
            "title": "Shop",
            "address": "35.6, 139.7",
            "latitude": 35.6,
            "longitude": 139.7,
        },
    ),
    (
        {
            "kind": "sticker",
            "content": Content(media={"package_id": "446", "sticker_id": "1988"}),
        },
        {"type": "sticker", "packageId": "446", "stickerId": "1988"},
    ),
]


@pytest.mark.parametrize(("fields", "written"), WRITTEN)
async def test_a_kind_in_lines_words(
    fields: dict[str, Any], written: dict[str, Any], api: MessagingApi, fake: FakeLine
) -> None:
    answer = await api.send(message(**fields), CREDENTIALS)
    (accepted,) = fake.accepted
    assert isinstance(answer, Accepted)
    assert answer.platform_id == accepted.platform_id
    assert accepted.body == {"to": KIM.value, "messages": [written]}


async def test_what_was_sent_and_what_was_received_is_quoted_by_its_token(
    api: MessagingApi, fake: FakeLine
) -> None:
    ours = await api.send(message(mark="a.1"), CREDENTIALS)
    assert isinstance(ours, Accepted)
    fake.deliver_to("http://127.0.0.1:9/webhooks/line")
    heard = fake.customer_says(KIM.value, "hello")
    theirs = json.loads(fake.deliveries[-1].body)["events"][0]["message"]["quoteToken"]
    for mark, token in (("a.2", ours.quote_token), ("a.3", theirs)):
        assert isinstance(await api.send(message(mark=mark, quotes=token), CREDENTIALS), Accepted)
    assert [what for _, what in fake.quoted] == [ours.platform_id, heard]
    # And in its own chat only.
    elsewhere = message(mark="a.4", quotes=theirs, recipient=(GROUP,))
    answer = await api.send(elsewhere, CREDENTIALS)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code) == ("invalid", 400)


async def test_a_file_has_a_token_and_sound_has_none(api: MessagingApi) -> None:
    for kind, mime_type, has_token in (
        ("image", "image/png", True),
        ("audio", "audio/mpeg", False),
    ):
        sent = message(mark=kind, kind=kind, content=Content(), file=file(mime_type))
        answer = await api.send(sent, CREDENTIALS)
        assert isinstance(answer, Accepted)
        assert (answer.quote_token is not None) == has_token


async def test_a_group_is_written_to_like_a_person(api: MessagingApi, fake: FakeLine) -> None:
    await api.send(message(recipient=(GROUP, KIM)), CREDENTIALS)
    assert fake.accepted[0].to == GROUP.value


UNSENDABLE: list[tuple[dict[str, Any], str]] = [
    # A character outside the basic plane counts twice.
    ({"content": Content(text="𠮷" * 2501)}, "invalid"),
    ({"kind": "document", "content": Content(), "file": file("application/pdf")}, "invalid"),
    ({"kind": "image", "content": Content()}, "media"),
    ({"kind": "image", "content": Content(), "file": file("image/png", url=None)}, "media"),
    ({"kind": "image", "content": Content(), "file": file("image/png", url="http://f")}, "media"),
    ({"kind": "image", "content": Content(text="look"), "file": file("image/png")}, "invalid"),
    ({"kind": "location", "content": Content(location={"latitude": 35.6})}, "invalid"),
    ({"kind": "sticker", "content": Content(media={"sticker_id": "1988"})}, "invalid"),
]


@pytest.mark.parametrize(("fields", "reason"), UNSENDABLE)
async def test_what_line_would_not_take_is_not_asked(
    fields: dict[str, Any], reason: str, api: MessagingApi, fake: FakeLine
) -> None:
    answer = await api.send(message(**fields), CREDENTIALS)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code) == (reason, None)
    assert fake.requests == []


def test_the_longest_text_that_line_takes() -> None:
    request_body(message(content=Content(text="𠮷" * 2500)))
    with pytest.raises(Unsendable, match="5000 UTF-16 units"):
        request_body(message(content=Content(text="𠮷" * 2500 + "x")))


# --- The retry key ---


def test_a_key_follows_from_the_message_for_ever() -> None:
    """Whoever changes it lets messages that are on their way arrive twice."""
    assert retry_key("chat.message") == "574cc579-f731-5f10-a980-f015cebabe4a"
    assert retry_key("chat.message") != retry_key("chat.another")


async def test_the_same_message_again_is_the_same_push(api: MessagingApi, fake: FakeLine) -> None:
    """Spec N3: 409 brings what was answered before."""
    fake.next_requests(accepts_then_drops(), accepts_then_answers(500))
    lost = Unsettled(reason="answer_lost")
    assert await api.send(message(), CREDENTIALS) == lost
    assert await api.send(message(), CREDENTIALS) == Unsettled(reason="platform_failed")
    answer = await api.send(message(), CREDENTIALS)
    (accepted,) = fake.accepted
    assert isinstance(answer, Accepted)
    assert answer.platform_id == accepted.platform_id
    assert accepted.mark == retry_key("chat.message")
    assert isinstance(await api.send(message(mark="chat.another"), CREDENTIALS), Accepted)
    assert len(fake.accepted) == 2


async def test_accepted_before_without_an_id_is_accepted(api: MessagingApi, fake: FakeLine) -> None:
    fake.next_requests(fails(409, "The retry key is already accepted"))
    answer = await api.send(message(), CREDENTIALS)
    assert answer == Accepted(platform_id=f"retry-key:{retry_key('chat.message')}")


async def test_a_conflict_that_is_not_lines_is_no_acceptance(
    api: MessagingApi, fake: FakeLine
) -> None:
    fake.next_requests(answers(409))
    answer = await api.send(message(), CREDENTIALS)
    assert answer == Deferred(reason="answer_not_understood")


async def test_line_forgets_a_key_after_a_day(
    api: MessagingApi, fake: FakeLine, clock: Clock
) -> None:
    """So does the fake; `domain.sending.KNOWN_AGAIN` stays below."""
    for hours, taken in ((0, 1), (23.9, 1), (24, 2)):
        clock.now = NOON + timedelta(hours=hours)
        await api.send(message(), CREDENTIALS)
        assert len(fake.accepted) == taken


# --- Errors ---

ERRORS: list[tuple[int, str, SendAnswer | str]] = [
    (400, "The request body has 1 error(s)", "invalid"),
    (400, "The property, 'to', in the request body is invalid", "address"),
    (400, "Failed to send messages", "undeliverable"),
    (401, "Authentication failed.", AccountUnusable(reason="credentials", code=401)),
    (403, "Access denied", AccountUnusable(reason="permission", code=403)),
    (404, "Not found", "undeliverable"),
    (410, "Gone", "undeliverable"),
    (413, "Too large", "invalid"),
    (415, "Unsupported media type", "invalid"),
    (429, "You have reached your monthly limit.", "quota_exceeded"),
    (429, "The API rate limit has been exceeded.", Deferred(reason="rate_limited")),
    (418, "Something new", "unknown"),
    (500, "Internal server error", Unsettled(reason="platform_failed")),
    (503, "Unavailable", Unsettled(reason="platform_failed")),
]


@pytest.mark.parametrize(("status", "said", "expected"), ERRORS)
def test_an_error(status: int, said: str, expected: SendAnswer | str) -> None:
    error = LineError(status=status, detail=said)
    if isinstance(expected, str):
        expected = Rejected(reason=expected, code=status, detail=said)
    assert send_answer(error, retry_after_seconds=None) == expected


async def test_an_error_says_where_it_is(api: MessagingApi, fake: FakeLine) -> None:
    fake.next_requests(fails(400, "1 error(s)", "messages[0].text: May not be empty"))
    answer = await api.send(message(), CREDENTIALS)
    said = "1 error(s); messages[0].text: May not be empty"
    assert answer == Rejected(reason="invalid", code=400, detail=said)


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (fails(401), NotVerified(reason="credentials")),
        (fails(403), NotVerified(reason="permission")),
        (fails(500), NotReached(reason="platform_failed")),
        (limits(1), NotReached(reason="rate_limited")),
        (answers(200, b'{"userId": "another"}'), NotVerified(reason="account_unknown")),
        (answers(200, b'{"userId": 7}'), NotReached(reason="answer_not_understood")),
    ],
)
async def test_other_answers_to_a_verification(
    behaviour: Any, answer: VerificationAnswer, api: MessagingApi, fake: FakeLine
) -> None:
    fake.next_requests(behaviour, to="/info")
    assert await api.verify(ACCOUNT.user_id, CREDENTIALS) == answer


# --- Marking as read ---


def read_token(fake: FakeLine) -> str:
    """Of what a customer has just written."""
    fake.deliver_to("http://127.0.0.1:9/webhooks/line")
    fake.customer_says(KIM.value, "hello")
    token: str = json.loads(fake.deliveries[-1].body)["events"][0]["message"]["markAsReadToken"]
    return token


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (None, "marked"),
        (fails(400), "refused"),
        (fails(403), None),  # Somebody will give another token.
        (fails(500), None),
        (answers(404, b"proxy"), None),
        (limits(1), None),
        (drops(), None),
    ],
)
async def test_marking_as_read(
    behaviour: Any, answer: str | None, api: MessagingApi, fake: FakeLine
) -> None:
    read = Content(read_token=read_token(fake))
    if behaviour is not None:
        fake.next_requests(behaviour, to="/markAsRead")
    assert await api.mark_read(ACCOUNT.user_id, read, CREDENTIALS) == answer
    assert len(fake.read) == (answer == "marked")


async def test_what_cannot_be_marked_as_read(api: MessagingApi, fake: FakeLine) -> None:
    """LINE marks by its token alone; it gives none where the account marks everything by itself."""
    without, unknown = Content(platform_id="582"), Content(read_token="x")
    dead = {"access_token": "a\nb"}
    assert await api.mark_read(ACCOUNT.user_id, without, CREDENTIALS) == "refused"
    assert await api.mark_read(ACCOUNT.user_id, unknown, dead) == "refused"
    assert fake.requests == []
    assert await api.mark_read(ACCOUNT.user_id, unknown, CREDENTIALS) == "refused"


# --- The fake has LINE's manners ---


async def test_the_fakes_quota_lasts_until_the_month_is_over(
    http: httpx.AsyncClient, clock: Clock
) -> None:
    account = FakeLineAccount(monthly_quota=1)
    async with FakeLine(accounts=[account], now=clock) as fake:
        api = MessagingApi(http, base_address=fake.base_url, limits=LIMITS)
        assert isinstance(await api.send(message(), CREDENTIALS), Accepted)
        over = Rejected(reason="quota_exceeded", code=429, detail=QUOTA_REACHED)
        assert await api.send(message(mark="chat.two"), CREDENTIALS) == over
        # What was taken before is not counted again, nor refused.
        assert isinstance(await api.send(message(), CREDENTIALS), Accepted)
        clock.now = datetime(2026, 12, 1, tzinfo=UTC)
        assert isinstance(await api.send(message(mark="chat.two"), CREDENTIALS), Accepted)


async def test_the_fakes_rate_limit_is_another_429(http: httpx.AsyncClient, clock: Clock) -> None:
    async with FakeLine(accounts=[ACCOUNT], now=clock, requests_per_second=1) as fake:
        api = MessagingApi(http, base_address=fake.base_url, limits=LIMITS)
        assert isinstance(await api.send(message(mark="a.1"), CREDENTIALS), Accepted)
        limited = Deferred(reason="rate_limited")
        assert await api.send(message(mark="a.2"), CREDENTIALS) == limited
        clock.now += timedelta(seconds=1)
        assert isinstance(await api.send(message(mark="a.2"), CREDENTIALS), Accepted)


async def test_the_fakes_reply_token_is_good_once_and_for_a_minute(
    http: httpx.AsyncClient, fake: FakeLine, clock: Clock
) -> None:
    fake.deliver_to("http://127.0.0.1:9/webhooks/line")

    async def replies() -> int:
        fake.customer_says(KIM.value, "hello")
        delivered = json.loads(fake.deliveries[-1].body)["events"][0]
        return await reply_with(delivered["replyToken"])

    async def reply_with(token: str, **headers: str) -> int:
        response = await http.post(
            f"{fake.base_url}/v2/bot/message/reply",
            json={"replyToken": token, "messages": [{"type": "text", "text": "hi"}]},
            headers={"Authorization": f"Bearer {ACCOUNT.access_token}", **headers},
        )
        return response.status_code

    assert await replies() == 200
    used = json.loads(fake.deliveries[-1].body)["events"][0]["replyToken"]
    assert await reply_with(used) == 400
    fake.customer_says(KIM.value, "hello")
    late = json.loads(fake.deliveries[-1].body)["events"][0]["replyToken"]
    assert await reply_with(late, **{"X-Line-Retry-Key": retry_key("x")}) == 400
    clock.now += timedelta(minutes=1)
    assert await reply_with(late) == 400
