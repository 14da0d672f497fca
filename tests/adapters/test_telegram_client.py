"""What is Telegram's own in sending; `test_sending_contract.py` has what all platforms share."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.exchange import TimeLimits, new_http_client
from adapters.fakes.behaviour import answers
from adapters.telegram.client import BotApi
from adapters.telegram.errors import read_error, send_answer
from adapters.telegram.fake import FakeTelegram
from adapters.telegram.fake_behaviour import fails, limits
from adapters.telegram.fake_rules import FakeBot
from adapters.telegram.naming import MessageName, read_name
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

BOT = FakeBot()
CREDENTIALS = {"bot_token": BOT.token}
KIM, GROUP = 5_512_345_678, -4_012_345
# Time enough for a busy machine: nothing here waits for its end.
LIMITS = TimeLimits(connect_seconds=10.0, read_seconds=10.0, deadline_seconds=20.0)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Clock:
    """The fake's."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def message(**fields: Any) -> OutboundMessage:
    usual: dict[str, Any] = {
        "mark": "chat.message",
        "account_id": BOT.bot_id,
        "recipient": (Address(f"telegram:{BOT.bot_id}", str(KIM)),),
        "kind": "text",
        "content": Content(text="Hello"),
    }
    return OutboundMessage(**{**usual, **fields})


def to_group(chat_id: int = GROUP) -> tuple[Address, ...]:
    return (Address(f"group:{BOT.bot_id}", str(chat_id)),)


def file(mime_type: str, content: bytes = b"content", name: str = "f.bin") -> OutboundFile:
    async def read() -> AsyncIterator[bytes]:
        yield content

    return OutboundFile(mime_type=mime_type, byte_count=len(content), name=name, read=read)


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with new_http_client() as client:
        yield client


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def fake(clock: Clock) -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram(accounts=[BOT], now=clock) as fake:
        fake.customer_says(KIM, "hello", name="Kim")
        fake.customer_says(KIM, "hello", name="Kim", group_id=GROUP)
        yield fake


@pytest.fixture
def api(http: httpx.AsyncClient, fake: FakeTelegram) -> BotApi:
    return BotApi(http, base_address=fake.base_url, limits=LIMITS)


# --- What goes out ---

PLACE = {"latitude": 35.6, "longitude": 139.7}
UPLOADED = {"file_name": "f.bin", "mime_type": "image/png", "file_size": 7}

WRITTEN: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({}, "sendMessage", {"text": "Hello"}),
    (
        {"kind": "image", "content": Content(text="Look"), "file": file("image/png")},
        "sendPhoto",
        {"caption": "Look", "photo": UPLOADED},
    ),
    (
        {"kind": "audio", "content": Content(), "file": file("image/png")},
        "sendAudio",
        {"audio": UPLOADED},
    ),
    (
        {"kind": "video", "content": Content(), "file": file("image/png")},
        "sendVideo",
        {"video": UPLOADED},
    ),
    (
        {"kind": "document", "content": Content(text="{}"), "file": file("image/png")},
        "sendDocument",
        {"caption": "{}", "document": UPLOADED},
    ),
    (
        {"kind": "sticker", "content": Content(), "file": file("image/png")},
        "sendSticker",
        {"sticker": UPLOADED},
    ),
    (
        {"kind": "sticker", "content": Content(media={"sticker_id": "CAACAgIAAx"})},
        "sendSticker",
        {"sticker": "CAACAgIAAx"},
    ),
    ({"kind": "location", "content": Content(location=PLACE)}, "sendLocation", PLACE),
    (
        {
            "kind": "location",
            "content": Content(location=PLACE | {"name": "Shop", "address": "1-1 Ginza"}),
        },
        "sendVenue",
        PLACE | {"title": "Shop", "address": "1-1 Ginza"},
    ),
]


@pytest.mark.parametrize(("fields", "method", "written"), WRITTEN)
async def test_a_kind_in_telegrams_words(
    fields: dict[str, Any],
    method: str,
    written: dict[str, Any],
    api: BotApi,
    fake: FakeTelegram,
) -> None:
    answer = await api.send(message(**fields), CREDENTIALS)
    (accepted,) = fake.accepted
    assert answer == Accepted(platform_id=f":{KIM}:2")
    assert fake.requests[-1].path == f"/bot{BOT.token}/{method}"
    body = {name: value for name, value in accepted.body.items() if name != "chat_id"}
    assert (str(accepted.body["chat_id"]), body) == (str(KIM), written)


@pytest.mark.parametrize(
    ("quotes", "written"),
    [
        (f":{KIM}:1", {"message_id": 1, "allow_sending_without_reply": True}),
        (f":{GROUP}:1", None),  # Of another chat.
        ("callback:4382bfdwdsb323b2d9", None),
        (f":{KIM}:update.1", None),
    ],
)
async def test_a_message_that_is_answered(
    quotes: str, written: Any, api: BotApi, fake: FakeTelegram
) -> None:
    """Also beside a file, where everything is a field of a form."""
    photo = message(quotes=quotes, kind="image", content=Content(), file=file("image/png"))
    for sent in (message(quotes=quotes), photo):
        assert isinstance(await api.send(sent, CREDENTIALS), Accepted)
        assert fake.accepted[-1].body.get("reply_parameters") == written


async def test_a_customer_of_a_connected_business_is_answered_through_the_connection(
    api: BotApi, fake: FakeTelegram
) -> None:
    fake.customer_says(KIM, "hello, owner", connection="k")
    ways = tuple(
        Address(f"connection:{bot}", f"{name}:{chat}")
        for bot, name, chat in (("1", "x", KIM), (BOT.bot_id, "y", 7), (BOT.bot_id, "k", KIM))
    )
    recipient = (*message().recipient, *ways)
    photo = message(recipient=recipient, kind="image", content=Content(), file=file("image/png"))
    for number, sent in enumerate((message(recipient=recipient, quotes=f"k:{KIM}:2"), photo), 3):
        answer = await api.send(sent, CREDENTIALS)
        assert answer == Accepted(platform_id=f"k:{KIM}:{number}")
        assert fake.accepted[-1].body["business_connection_id"] == "k"
    assert fake.accepted[0].body["reply_parameters"]["message_id"] == 2
    # What was said to the bot itself stands in another chat.
    await api.send(message(recipient=recipient, quotes=f":{KIM}:1"), CREDENTIALS)
    assert "reply_parameters" not in fake.accepted[-1].body
    fake.customer_says(KIM, "hello again", connection="ended")
    ended = await api.send(message(recipient=recipient), CREDENTIALS)
    assert isinstance(ended, Rejected)
    assert ended.reason == "undeliverable"


UNSENDABLE: list[tuple[dict[str, Any], str]] = [
    ({"content": Content(text="x" * 4097)}, "invalid"),
    (
        {"kind": "image", "content": Content(text="x" * 1025), "file": file("image/png")},
        "invalid",
    ),
    ({"kind": "image", "content": Content(text="look")}, "media"),
    ({"kind": "sticker", "content": Content()}, "media"),
    ({"kind": "sticker", "content": Content(text="x"), "file": file("image/webp")}, "invalid"),
    ({"kind": "location", "content": Content(location={"latitude": 35.6})}, "invalid"),
    ({"recipient": (Address(f"telegram:{BOT.bot_id}", "@somebody"),)}, "address"),
]


@pytest.mark.parametrize(("fields", "reason"), UNSENDABLE)
async def test_what_telegram_would_not_take_is_not_asked(
    fields: dict[str, Any], reason: str, api: BotApi, fake: FakeTelegram
) -> None:
    answer = await api.send(message(**fields), CREDENTIALS)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code) == (reason, None)
    assert fake.requests == []


@pytest.mark.parametrize("name", ["1:2", "::", "a:b:c", ":1:2:3", ""])
def test_what_names_no_message(name: str) -> None:
    assert read_name(name) is None


def test_a_name_is_read_as_it_was_written() -> None:
    name = MessageName("", str(GROUP), "7")
    assert read_name(str(name)) == name


# --- Groups that move ---


async def test_a_group_that_moved_is_found_where_it_is_now(api: BotApi, fake: FakeTelegram) -> None:
    moved = fake.migrates(GROUP)
    answer = await api.send(message(recipient=to_group()), CREDENTIALS)
    (accepted,) = fake.accepted
    assert answer == Accepted(platform_id=accepted.platform_id)
    assert accepted.to == str(moved)


async def test_a_group_is_not_followed_for_ever(api: BotApi, fake: FakeTelegram) -> None:
    fake.next_requests(*[fails(400, "moved", migrate_to_chat_id=GROUP)] * 2)
    answer = await api.send(message(recipient=to_group()), CREDENTIALS)
    assert answer == Rejected(reason="invalid", code=400, detail="moved")
    assert len(fake.requests) == 2


# --- Errors ---

ERRORS: list[tuple[int, str, SendAnswer | str]] = [
    (400, "Bad Request: message is too long", "invalid"),
    (400, "Bad Request: can't parse entities", "invalid"),
    (400, "Bad Request: chat not found", "undeliverable"),
    (400, "Bad Request: PEER_ID_INVALID", "undeliverable"),
    (400, "Bad Request: USER_IS_BLOCKED", "blocked"),
    (400, "Bad Request: not enough rights to send text messages to the chat", "permission"),
    (400, "Bad Request: have no rights to send a message", "permission"),
    (400, "Bad Request: PHOTO_INVALID_DIMENSIONS", "media"),
    (400, "Bad Request: wrong file identifier/HTTP URL specified", "media"),
    (401, "Unauthorized", AccountUnusable(reason="credentials", code=401)),
    (403, "Forbidden: bot was blocked by the user", "blocked"),
    (403, "Forbidden: user is deactivated", "blocked"),
    (403, "Forbidden: bot was kicked from the supergroup chat", "blocked"),
    (403, "Forbidden: bot can't initiate conversation with a user", "undeliverable"),
    (404, "Not Found", AccountUnusable(reason="credentials", code=404)),
    (409, "Conflict: terminated by other getUpdates request", Deferred(reason="unavailable")),
    (413, "Request Entity Too Large", "media"),
    (418, "Something new", "unknown"),
    (429, "Too Many Requests: retry after 7", Deferred(reason="rate_limited")),
    (500, "Internal Server Error", Unsettled(reason="platform_failed")),
    (502, "Bad Gateway", Unsettled(reason="platform_failed")),
]


@pytest.mark.parametrize(("code", "said", "expected"), ERRORS)
def test_an_error(code: int, said: str, expected: SendAnswer | str) -> None:
    error = read_error({"ok": False, "error_code": code, "description": said}, secret="bot-secret")
    assert error is not None
    if isinstance(expected, str):
        expected = Rejected(reason=expected, code=code, detail=said)
    assert send_answer(error, to_group=False) == expected


@pytest.mark.parametrize(("chat", "reason"), [(KIM, "rate_limited"), (GROUP, "pair_limited")])
async def test_a_limit_of_a_group_is_not_held_against_the_bot(
    chat: int, reason: str, api: BotApi, fake: FakeTelegram
) -> None:
    kind = "group" if chat < 0 else "telegram"
    fake.next_requests(limits(3))
    limited = message(recipient=(Address(f"{kind}:{BOT.bot_id}", str(chat)),))
    assert await api.send(limited, CREDENTIALS) == Deferred(reason=reason, retry_after_seconds=3.0)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(7, 7.0), (0, 0.0), (-5, 0.0), (10**400, None), ("soon", None), (None, None), (1e9, 86_400.0)],
)
def test_how_long_to_wait(written: Any, seconds: float | None) -> None:
    document = {"ok": False, "error_code": 429, "parameters": {"retry_after": written}}
    error = read_error(document, secret="bot-secret")
    assert error is not None
    assert error.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "document", [None, [], {"ok": True}, {"ok": False}, {"ok": False, "error_code": True}]
)
def test_what_is_no_error_of_telegrams(document: Any) -> None:
    assert read_error(document, secret="bot-secret") is None


async def test_customers_who_are_gone(api: BotApi, fake: FakeTelegram) -> None:
    """Whoever blocks the bot, whose account is deleted, and a group that puts it out."""
    fake.blocks(KIM)
    blocked = await api.send(message(), CREDENTIALS)
    fake.unblocks(KIM)
    assert isinstance(await api.send(message(), CREDENTIALS), Accepted)
    fake.vanishes(KIM)
    vanished = await api.send(message(), CREDENTIALS)
    fake.removes(GROUP, by=KIM)
    removed = await api.send(message(recipient=to_group()), CREDENTIALS)
    for answer in (blocked, vanished, removed):
        assert isinstance(answer, Rejected)
        assert (answer.reason, answer.code) == ("blocked", 403)


async def test_nobody_is_written_to_who_has_not_written_first(
    api: BotApi, fake: FakeTelegram
) -> None:
    stranger = message(recipient=(Address(f"telegram:{BOT.bot_id}", "1"),))
    answer = await api.send(stranger, CREDENTIALS)
    assert isinstance(answer, Rejected)
    assert answer.reason == "undeliverable"


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (fails(401), NotVerified(reason="credentials")),
        (fails(404), NotVerified(reason="credentials")),
        (fails(500), NotReached(reason="platform_failed")),
        (limits(1), NotReached(reason="rate_limited")),
        (
            answers(200, b'{"ok": true, "result": {"id": 7}}'),
            NotVerified(reason="account_unknown"),
        ),
        (answers(200, b'{"ok": true}'), NotReached(reason="answer_not_understood")),
    ],
)
async def test_other_answers_to_a_verification(
    behaviour: Any, answer: VerificationAnswer, api: BotApi, fake: FakeTelegram
) -> None:
    fake.next_requests(behaviour, to="/getMe")
    assert await api.verify(BOT.bot_id, CREDENTIALS) == answer


# --- The fake has Telegram's manners ---


async def test_the_fakes_chats_take_one_message_a_second_and_groups_one_in_three(
    http: httpx.AsyncClient, clock: Clock
) -> None:
    async with FakeTelegram(accounts=[BOT], now=clock, rate_limit=True) as fake:
        fake.customer_says(KIM, "hello")
        fake.customer_says(KIM, "hello", group_id=GROUP)
        api = BotApi(http, base_address=fake.base_url, limits=LIMITS)
        for sent, seconds in ((message(), 1), (message(recipient=to_group()), 3)):
            assert isinstance(await api.send(sent, CREDENTIALS), Accepted)
            answer = await api.send(sent, CREDENTIALS)
            assert isinstance(answer, Deferred)
            assert answer.retry_after_seconds is not None
            assert answer.retry_after_seconds >= seconds
            clock.now += timedelta(seconds=seconds)
            assert isinstance(await api.send(sent, CREDENTIALS), Accepted)
