"""What is WeChat's own in sending; `test_sending_contract.py` has what all platforms share."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.exchange import new_http_client
from adapters.fakes.behaviour import accepts_then_drops, answers, behaves, drops
from adapters.wechat.client import WeChatApi
from adapters.wechat.errors import WeChatError, send_answer
from adapters.wechat.fake import FakeWeChat
from adapters.wechat.fake_behaviour import fails
from adapters.wechat.fake_rules import ERRORS, FakeOfficialAccount
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
from domain.ports import Unavailable
from tests.adapters.files import file
from tests.adapters.tokens import MemoryTokens

ACCOUNT = FakeOfficialAccount()
CREDENTIALS = {"app_id": ACCOUNT.app_id, "app_secret": ACCOUNT.app_secret, "token": "t"}
CUSTOMER = "oQk8w5P0aTz4Xc"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
AMR = b"#!AMR\n" + bytes(range(256)) * 20
RID = "rid: 66e5c46f-52840e51-094bb310"


def message(**fields: Any) -> OutboundMessage:
    usual: dict[str, Any] = {
        "mark": "chat.message",
        "account_id": ACCOUNT.account_id,
        "recipient": (Address(f"wechat:{ACCOUNT.account_id}", CUSTOMER),),
        "kind": "text",
        "content": Content(text="你好"),
    }
    return OutboundMessage(**{**usual, **fields})


def voice(**fields: Any) -> OutboundMessage:
    sent = file(AMR, mime_type="audio/amr", name="reply.amr")
    return message(**{"kind": "audio", "content": Content(), "file": sent, **fields})


@dataclass
class Scene:
    """A client, its fake, and a clock that stands still until it is moved."""

    fake: FakeWeChat
    api: WeChatApi
    tokens: MemoryTokens
    now: datetime = NOON

    async def send(self, sent: OutboundMessage | None = None) -> SendAnswer:
        return await self.api.send(sent or message(), CREDENTIALS)

    @property
    def paths(self) -> list[str]:
        return [each.path.removeprefix("/cgi-bin/") for each in self.fake.requests]

    @property
    def demands(self) -> list[bool]:
        """For each request for a token, whether another one was demanded."""
        return [each["force_refresh"] for each in self.fake.token_requests]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene: Scene
    async with (
        new_http_client() as client,
        FakeWeChat(accounts=[ACCOUNT], window=True, now=lambda: scene.now) as fake,
    ):
        tokens = MemoryTokens()
        scene = Scene(fake, WeChatApi(client, tokens, base_address=fake.base_url), tokens)
        fake.customer_says(CUSTOMER, "在吗?")
        yield scene


# --- What goes out ---


async def test_a_text_goes_as_utf_8_under_our_own_name(scene: Scene) -> None:
    assert await scene.send() == Accepted(platform_id="chat.message")
    (accepted,) = scene.fake.accepted
    assert accepted.body == {"touser": CUSTOMER, "msgtype": "text", "text": {"content": "你好"}}
    assert "你好".encode() in scene.fake.requests[-1].body
    assert scene.paths == ["stable_token", "message/custom/send"]
    assert scene.fake.token_requests == [
        {
            "grant_type": "client_credential",
            "appid": ACCOUNT.app_id,
            "secret": ACCOUNT.app_secret,
            "force_refresh": False,
        }
    ]


@pytest.mark.parametrize(
    ("kind", "named"), [("image", "image"), ("audio", "voice"), ("video", "video")]
)
async def test_a_file_is_uploaded_and_then_sent(kind: str, named: str, scene: Scene) -> None:
    assert await scene.send(voice(kind=kind)) == Accepted(platform_id="chat.message")
    ((media_id, uploaded),) = scene.fake.uploads.items()
    assert (uploaded.name, uploaded.mime_type, uploaded.content) == ("reply.amr", "audio/amr", AMR)
    (accepted,) = scene.fake.accepted
    assert accepted.body == {
        "touser": CUSTOMER,
        "msgtype": named,
        named: {"media_id": media_id},
    }
    assert scene.paths == ["stable_token", "media/upload", "message/custom/send"]


async def test_a_template_has_an_id_of_its_own(scene: Scene) -> None:
    template = {"name": "OPENTM1", "language": "zh_CN", "parameters": [["thing1", "订单"]]}
    answer = await scene.send(message(kind="template", content=Content(template=template)))
    (accepted,) = scene.fake.accepted
    assert answer == Accepted(platform_id=accepted.platform_id)
    assert accepted.body == {
        "touser": CUSTOMER,
        "template_id": "OPENTM1",
        "data": {"thing1": {"value": "订单"}},
    }


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"content": Content(text="字" * 683)}, "invalid", "at most 2048 bytes"),
        ({"kind": "document"}, "invalid", "kind 'document' cannot be sent"),
        ({"kind": "image", "content": Content()}, "media", "The file is missing."),
        (
            {"kind": "image", "file": file(AMR), "content": Content(text="words")},
            "invalid",
            "A file is sent without words.",
        ),
        ({"recipient": (Address("wechat:gh_another", "o1"),)}, "address", "no OpenID"),
        ({"kind": "template", "content": Content(template={})}, "template", "needs a name"),
        (
            {"kind": "template", "content": Content(template={"name": "n", "parameters": ["x"]})},
            "template",
            "parameters are pairs",
        ),
    ],
)
async def test_what_cannot_be_sent(
    fields: dict[str, Any], reason: str, detail: str, scene: Scene
) -> None:
    answer = await scene.send(message(**fields))
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code, detail in answer.detail) == (reason, None, True)
    assert scene.fake.requests == []


async def test_the_longest_text_that_can_be_sent(scene: Scene) -> None:
    longest = message(content=Content(text="字" * 682 + "ab"))
    assert isinstance(await scene.send(longest), Accepted)


async def test_a_character_that_json_escapes_is_refused_by_wechat(scene: Scene) -> None:
    answer = await scene.send(message(content=Content(text="a\x07b")))
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code) == ("invalid", 40033)


# --- A file or token that is not to be had: nobody was asked to send the message ---

NOT_ASKED: list[tuple[Any, SendAnswer]] = [
    (drops(), Deferred(reason="answer_lost")),
    (accepts_then_drops(), Deferred(reason="answer_lost")),
    (answers(500), Deferred(reason="platform_failed")),
    (answers(200), Deferred(reason="answer_not_understood")),
    (answers(200, b"{}"), Deferred(reason="answer_not_understood")),
    (fails(-1), Deferred(reason="unavailable")),
    (fails(40164), AccountUnusable(reason="ip_not_allowed", code=40164)),
]


@pytest.mark.parametrize(("behaviour", "answer"), NOT_ASKED)
async def test_a_token_that_is_not_to_be_had(
    behaviour: Any, answer: SendAnswer, scene: Scene
) -> None:
    scene.fake.next_requests(behaviour, to="stable_token")
    assert await scene.send() == answer
    assert scene.paths == ["stable_token"]
    assert isinstance(await scene.send(), Accepted)


@pytest.mark.parametrize(("behaviour", "answer"), NOT_ASKED)
async def test_a_file_that_does_not_arrive(
    behaviour: Any, answer: SendAnswer, scene: Scene
) -> None:
    scene.fake.next_requests(behaviour, to="media/upload")
    assert await scene.send(voice()) == answer
    assert scene.paths == ["stable_token", "media/upload"]
    assert scene.fake.accepted == []


async def test_the_message_after_the_file_may_have_been_taken(scene: Scene) -> None:
    scene.fake.next_requests(accepts_then_drops())
    assert await scene.send(voice()) == Unsettled(reason="answer_lost")
    assert len(scene.fake.accepted) == 1


# --- The token ---


async def test_one_token_serves_many_messages(scene: Scene) -> None:
    for _ in range(3):
        assert isinstance(await scene.send(), Accepted)
    assert scene.demands == [False]


async def test_a_token_that_somebody_else_replaced_is_fetched_anew(scene: Scene) -> None:
    """40001. Nothing was taken, so the message goes out with the next token, once."""
    await scene.send()
    scene.fake.end_token()
    assert isinstance(await scene.send(), Accepted)
    assert len(scene.fake.accepted) == 2
    assert scene.demands == [False, False]


async def test_another_token_is_demanded_only_when_a_fresh_one_is_refused(scene: Scene) -> None:
    await scene.send()
    scene.fake.end_token(is_handed_out=True)
    assert isinstance(await scene.send(), Accepted)
    assert scene.demands == [False, False, True]


@pytest.mark.parametrize("code", [40001, 40014, 42001])
async def test_a_token_that_is_refused_twice_is_no_reason_to_stop(code: int, scene: Scene) -> None:
    await scene.send()
    scene.fake.next_requests(fails(code), fails(code))
    assert await scene.send() == Deferred(reason="token_refused")
    assert len(scene.fake.accepted) == 1
    assert isinstance(await scene.send(), Accepted)


async def test_a_token_that_ends_between_file_and_message(scene: Scene) -> None:
    await scene.send()
    scene.fake.next_requests(fails(42001))
    assert isinstance(await scene.send(voice()), Accepted)
    uploads = [each for each in scene.paths if each == "media/upload"]
    assert (len(uploads), len(scene.fake.accepted)) == (1, 2)


async def test_an_expired_token_is_refused_by_the_fake(scene: Scene) -> None:
    """42001, as WeChat says it: our clock stands still, WeChat's does not."""
    await scene.send()
    scene.now += timedelta(hours=2)
    assert isinstance(await scene.send(), Accepted)
    assert scene.demands == [False, False]


async def test_a_changed_secret_has_a_token_of_its_own(scene: Scene) -> None:
    await scene.send()
    wrong = {**CREDENTIALS, "app_secret": "reset in the console"}
    stopped = AccountUnusable(reason="credentials", code=40125)
    assert await scene.api.send(message(), wrong) == stopped
    assert isinstance(await scene.send(), Accepted)


async def test_where_tokens_are_kept_may_be_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was asked to send anything."""

    async def away(_: str) -> None:
        raise Unavailable

    with monkeypatch.context() as patched:
        patched.setattr(scene.tokens, "find", away)
        assert await scene.send() == Deferred(reason="unavailable")
    assert scene.fake.requests == []
    assert isinstance(await scene.send(), Accepted)


async def test_no_token_in_any_log_or_answer(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """P4. It stands in the address of every request."""
    # The libraries too: a server keeps them quiet, and another test may have left them so.
    for name in (None, "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    shown = [repr(await scene.send()), repr(scene.tokens.kept)]
    for behaviour in (fails(45047), accepts_then_drops(), answers(500)):
        scene.fake.next_requests(behaviour)
        shown.append(repr(await scene.send()))
    (token,) = {each.query["access_token"] for each in scene.fake.requests if each.query}
    # The fake's own server writes down what it is asked.
    ours = [each for each in caplog.records if not each.name.startswith("uvicorn")]
    logged = [f"{each.getMessage()} {each.__dict__}" for each in ours]
    assert any("/cgi-bin/message/custom/send" in each for each in logged)
    assert not [each for each in shown + logged if token in each]


# --- Every code of the table ---

CODES: list[tuple[int, SendAnswer | str]] = [
    (-1, Deferred(reason="unavailable")),
    (45009, Deferred(reason="rate_limited", retry_after_seconds=600.0)),
    (45011, Deferred(reason="rate_limited", retry_after_seconds=60.0)),
    (40013, AccountUnusable(reason="credentials", code=40013)),
    (40125, AccountUnusable(reason="credentials", code=40125)),
    (48001, AccountUnusable(reason="permission", code=48001)),
    (40164, AccountUnusable(reason="ip_not_allowed", code=40164)),
    (61004, AccountUnusable(reason="ip_not_allowed", code=61004)),
    (50002, AccountUnusable(reason="blocked", code=50002)),
    (45015, "window_closed"),
    (45047, "quota_exceeded"),
    (43004, "undeliverable"),
    (43101, "undeliverable"),
    (48002, "undeliverable"),
    (43019, "blocked"),
    (40003, "address"),
    (40033, "invalid"),
    (45002, "invalid"),
    (47003, "template"),
    (40007, "media"),
    (45001, "media"),
    (40037, "template"),
    (99999, "unknown"),
]


@pytest.mark.parametrize(("code", "expected"), CODES)
def test_a_code(code: int, expected: SendAnswer | str) -> None:
    error = WeChatError(code=code, detail=f"why {RID}")
    if isinstance(expected, str):
        expected = Rejected(reason=expected, code=code, detail=f"why {RID}")
    assert send_answer(error, retry_after_seconds=None) == expected


async def test_a_refusal_keeps_what_wechats_support_asks_for(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.fake.next_requests(fails(43101))
    detail = f"{ERRORS[43101]} {RID}"
    assert await scene.send() == Rejected(reason="undeliverable", code=43101, detail=detail)
    (logged,) = caplog.records
    assert f"rid: {vars(logged)['rid']}" == RID


async def test_five_messages_and_48_hours(scene: Scene) -> None:
    """N1: WeChat's own counting has the last word."""
    for _ in range(5):
        assert isinstance(await scene.send(), Accepted)
    sixth = await scene.send()
    assert isinstance(sixth, Rejected)
    assert (sixth.reason, sixth.code) == ("quota_exceeded", 45047)
    scene.fake.customer_says(CUSTOMER, "?")
    scene.now += timedelta(hours=48)
    late = await scene.send()
    assert isinstance(late, Rejected)
    assert (late.reason, late.code) == ("window_closed", 45015)


# --- Verification ---


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (behaves(), Verified()),
        (fails(40013), NotVerified(reason="credentials")),
        (fails(40125), NotVerified(reason="credentials")),
        (fails(40001), NotVerified(reason="credentials")),
        (fails(40164), NotVerified(reason="ip_not_allowed")),
        (fails(50007), NotVerified(reason="blocked")),
        (fails(45011), NotReached(reason="rate_limited")),
        (fails(-1), NotReached(reason="unavailable")),
    ],
)
async def test_credentials_are_good_if_a_token_can_be_had(
    behaviour: Any, answer: VerificationAnswer, scene: Scene
) -> None:
    scene.fake.next_requests(behaviour, to="stable_token")
    assert await scene.api.verify(ACCOUNT.account_id, CREDENTIALS) == answer
    assert scene.demands == [False]
