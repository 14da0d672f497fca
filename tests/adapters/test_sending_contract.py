"""What every platform's client does, over real sockets, with a fake that fails in every way.

Spec N3: whatever happens is an answer, and says whether the platform may have the message.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpx
import pytest

from adapters.exchange import BODY_BYTES_MAX, TimeLimits, new_http_client
from adapters.fakes.behaviour import (
    Behaviour,
    accepts_late,
    accepts_slowly,
    accepts_then_answers,
    accepts_then_drops,
    answers,
    drops,
)
from adapters.fakes.fake import Fake
from adapters.fakes.server import Answer, FakeServer, Request
from adapters.platforms import CLIENTS
from domain.credentials import FORMS
from domain.dispatch_ports import Platform
from domain.inbound import Address, Content
from domain.outbound import (
    Accepted,
    AccountUnusable,
    Deferred,
    NotReached,
    NotVerified,
    Rejected,
    SendAnswer,
    Unsettled,
    Verified,
)
from tests.adapters.senders import SENDERS
from tests.adapters.senders.sender import Sender

PATIENT = TimeLimits(connect_seconds=10.0, read_seconds=10.0, deadline_seconds=20.0)
# Where waiting in vain is what is tried.
QUICK = TimeLimits(connect_seconds=0.5, read_seconds=0.5, deadline_seconds=1.0)
HTML = b"<html>Sorry</html>"


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with new_http_client() as client:
        yield client


@pytest.fixture(scope="module", params=list(SENDERS.values()), ids=list(SENDERS))
async def platform(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Sender, Fake]]:
    sender: Sender = request.param
    async with sender.make_fake() as fake:
        yield sender, fake


@dataclass(frozen=True)
class Scene:
    """A platform's client before its fake; one message has gone through, and is forgotten."""

    sender: Sender
    fake: Fake
    client: Platform

    async def send(self) -> SendAnswer:
        return await self.client.send(self.sender.message(), self.sender.credentials)

    async def send_when_ready(self, *behaviours: Behaviour) -> SendAnswer:
        """The next requests meet these."""
        self.fake.next_requests(*behaviours)
        return await self.send()


@pytest.fixture
async def scene(http: httpx.AsyncClient, platform: tuple[Sender, Fake]) -> Scene:
    return await scene_of(http, platform, PATIENT)


@pytest.fixture
async def hurried(http: httpx.AsyncClient, platform: tuple[Sender, Fake]) -> Scene:
    """The same, with a client that does not wait for long."""
    return await scene_of(http, platform, QUICK)


async def scene_of(
    http: httpx.AsyncClient, platform: tuple[Sender, Fake], limits: TimeLimits
) -> Scene:
    sender, fake = platform
    scene = Scene(sender, fake, sender.make_client(http, fake.base_url, limits))
    # A client that fetches what it sends with has it from here on.
    assert isinstance(await scene.send(), Accepted)
    fake.accepted.clear()
    fake.requests.clear()
    return scene


def test_every_platform_is_here() -> None:
    assert set(SENDERS) == set(CLIENTS) == set(FORMS)


async def test_a_message_is_accepted_under_the_platforms_id(scene: Scene) -> None:
    answer = await scene.send()
    (accepted,) = scene.fake.accepted
    assert isinstance(answer, Accepted)
    assert (accepted.account_id, accepted.to) == (
        scene.sender.account_id,
        scene.sender.recipient.value,
    )
    assert (accepted.kind, accepted.text) == ("text", "Hello")


# --- What certainly was not taken, and what may have been ---

SOON = ("Retry-After", "7")

NOT_TAKEN: list[tuple[Behaviour, SendAnswer]] = [
    (answers(429, HTML, SOON), Deferred(reason="rate_limited", retry_after_seconds=7.0)),
    (answers(403), Deferred(reason="answer_not_understood")),
    (answers(404, b""), Deferred(reason="answer_not_understood")),
    (answers(308, b"", ("Location", "/elsewhere")), Deferred(reason="redirected")),
    # The platform took none of these, but nobody can tell.
    (answers(500), Unsettled(reason="platform_failed")),
    (answers(503), Unsettled(reason="platform_failed")),
    (answers(302, b"", ("Location", "/elsewhere")), Unsettled(reason="redirected")),
    (drops(), Unsettled(reason="answer_lost")),
]

TAKEN: list[tuple[Behaviour, str]] = [
    (accepts_then_drops(), "answer_lost"),
    (accepts_then_answers(500), "platform_failed"),
    (accepts_then_answers(502), "platform_failed"),
    (accepts_then_answers(504, b""), "platform_failed"),
    (accepts_then_answers(200, HTML), "answer_not_understood"),
    (accepts_then_answers(200, b""), "answer_not_understood"),
    (accepts_then_answers(204, b""), "answer_not_understood"),
    (accepts_then_answers(200, b"[]"), "answer_not_understood"),
    (accepts_then_answers(200, b"[" * 100_000), "answer_not_understood"),
    (accepts_then_answers(200, b" " * (BODY_BYTES_MAX + 1)), "answer_not_understood"),
    (accepts_then_answers(200, b"\x1f\x8b", ("Content-Encoding", "gzip")), "answer_not_understood"),
]


TAKEN_TOO_SLOWLY: list[tuple[Behaviour, str]] = [
    (accepts_late(0.8), "answer_lost"),
    (accepts_slowly(0.05), "answer_not_understood"),
]


@pytest.mark.parametrize(("behaviour", "answer"), NOT_TAKEN)
async def test_what_was_not_taken(behaviour: Behaviour, answer: SendAnswer, scene: Scene) -> None:
    assert await scene.send_when_ready(behaviour) == answer
    assert scene.fake.accepted == []


@pytest.mark.parametrize(("behaviour", "reason"), TAKEN)
async def test_what_was_taken_and_nobody_knows(
    behaviour: Behaviour, reason: str, scene: Scene
) -> None:
    assert await scene.send_when_ready(behaviour) == Unsettled(reason=reason)
    assert len(scene.fake.accepted) == 1


@pytest.mark.parametrize(("behaviour", "reason"), TAKEN_TOO_SLOWLY)
async def test_what_was_taken_too_slowly_and_nobody_knows(
    behaviour: Behaviour, reason: str, hurried: Scene
) -> None:
    assert await hurried.send_when_ready(behaviour) == Unsettled(reason=reason)
    assert len(hurried.fake.accepted) == 1


async def test_the_platform_says_when_to_come_back(scene: Scene) -> None:
    answer = await scene.send_when_ready(scene.sender.limited)
    assert answer == Deferred(reason="rate_limited", retry_after_seconds=7.0)
    assert scene.fake.accepted == []


async def test_a_dead_token_stops_the_account(scene: Scene) -> None:
    answer = await scene.client.send(scene.sender.message(), scene.sender.dead)
    assert answer == scene.sender.dead_answer
    assert scene.fake.accepted == []


@pytest.mark.parametrize("spoilt", ["", "tökén", "two\nlines", "bad\r\nHost: evil", "\0", "a/../b"])
async def test_a_token_that_leads_elsewhere(spoilt: str, scene: Scene) -> None:
    names = [
        name for name, value in scene.sender.credentials.items() if value == scene.sender.secret
    ]
    credentials = {**scene.sender.credentials, **dict.fromkeys(names, spoilt)}
    answer = await scene.client.send(scene.sender.message(), credentials)
    assert isinstance(answer, AccountUnusable)
    assert answer.reason == "credentials"
    verified = await scene.client.verify(scene.sender.account_id, credentials)
    assert verified == NotVerified(reason="credentials")


# --- Messages that are not even tried ---


async def test_a_message_for_another_platform(scene: Scene) -> None:
    elsewhere = scene.sender.message(recipient=(Address("carrier pigeon", "coop 7"),))
    answer = await scene.client.send(elsewhere, scene.sender.credentials)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code) == ("address", None)


async def test_a_recipient_of_another_account(scene: Scene) -> None:
    elsewhere = scene.sender.message(recipient=(Address("group:another account", "g"),))
    answer = await scene.client.send(elsewhere, scene.sender.credentials)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code) == ("address", None)


@pytest.mark.parametrize("text", [None, "", "\ud83d", "x" * 50_000])
async def test_a_text_that_is_none(text: str | None, scene: Scene) -> None:
    wrong = scene.sender.message(content=Content(text=text))
    answer = await scene.client.send(wrong, scene.sender.credentials)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code) == ("invalid", None)
    assert scene.fake.requests == []


async def test_a_kind_that_is_none(scene: Scene) -> None:
    wrong = scene.sender.message(kind="hologram")
    answer = await scene.client.send(wrong, scene.sender.credentials)
    assert isinstance(answer, Rejected)
    assert (answer.reason, answer.code) == ("invalid", None)
    assert scene.fake.requests == []


# --- Platforms that are away, slow or not themselves ---


@pytest.fixture
def sender(platform: tuple[Sender, Fake]) -> Sender:
    return platform[0]


async def test_nobody_listens(sender: Sender, http: httpx.AsyncClient) -> None:
    async with sender.make_fake() as fake:
        client = sender.make_client(http, fake.base_url, PATIENT)
        await fake.go_down()
        answer = await client.send(sender.message(), sender.credentials)
        assert answer == Deferred(reason="not_reached")
        verification = await client.verify(sender.account_id, sender.credentials)
        assert verification == NotReached(reason="not_reached")
        await fake.come_back()
        assert isinstance(await client.send(sender.message(), sender.credentials), Accepted)


async def test_a_name_that_does_not_resolve(sender: Sender, http: httpx.AsyncClient) -> None:
    client = sender.make_client(http, "http://nowhere.invalid", QUICK)
    answer = await client.send(sender.message(), sender.credentials)
    assert answer == Deferred(reason="not_reached")


@contextmanager
def full_listener() -> Iterator[int]:
    """A port whose queue of connections is full: the system answers nothing to more of them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for each in waiting:
                each.close()


async def test_a_connection_that_takes_too_long(sender: Sender, http: httpx.AsyncClient) -> None:
    with full_listener() as port:
        client = sender.make_client(http, f"http://127.0.0.1:{port}", QUICK)
        answer = await client.send(sender.message(), sender.credentials)
        assert answer == Deferred(reason="not_reached")


async def test_the_deadline_holds_while_the_answer_drips(hurried: Scene) -> None:
    """Each byte comes within the time for reading; together they would take a minute."""
    slowly = Answer(body=b" " * 600, drip_seconds=0.1)
    async with asyncio.timeout(30):
        answer = await hurried.send_when_ready(lambda _: slowly)
    assert answer == Unsettled(reason="answer_not_understood")


async def test_what_is_no_http_at_all(sender: Sender, http: httpx.AsyncClient) -> None:
    async def say_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x15\x03\x01 nonsense\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(say_nonsense, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = sender.make_client(http, f"http://127.0.0.1:{port}", PATIENT)
        verification = await client.verify(sender.account_id, sender.credentials)
        assert verification == NotReached(reason="not_reached")


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[tuple[str, list[Request]]]:
    """A server that gives one answer to everything: its address, and what it was asked."""
    requests: list[Request] = []

    def handle(request: Request) -> Answer:
        requests.append(request)
        return answer

    server = FakeServer(handle)
    await server.start()
    try:
        yield server.base_url, requests
    finally:
        await server.stop()


async def test_redirects_are_not_followed_and_cookies_not_kept(
    sender: Sender, http: httpx.AsyncClient
) -> None:
    redirect = (("Location", "/elsewhere"), ("Set-Cookie", "account=one; Path=/"))
    async with answering(Answer(status=307, headers=redirect)) as (base, requests):
        client = sender.make_client(http, base, PATIENT)
        await client.send(sender.message(), sender.credentials)
        await client.verify(sender.account_id, sender.credentials)
        assert len(requests) == 2
        assert all("cookie" not in each.headers for each in requests)


async def test_a_base_address_may_have_a_path(sender: Sender, http: httpx.AsyncClient) -> None:
    async with answering(Answer(status=403)) as (base, requests):
        client = sender.make_client(http, f"{base}/through/a/proxy/", PATIENT)
        await client.send(sender.message(), sender.credentials)
        await client.verify(sender.account_id, sender.credentials)
        assert [each.path.startswith("/through/a/proxy/") for each in requests] == [True, True]


async def test_the_environment_is_not_trusted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with new_http_client() as http:
        client = scene.sender.make_client(http, scene.fake.base_url, PATIENT)
        answer = await client.send(scene.sender.message(), scene.sender.credentials)
        assert isinstance(answer, Accepted)


async def test_nothing_secret_in_any_log_or_answer(
    scene: Scene, hurried: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """P4. Neither credentials nor what is written, nor to whom."""
    caplog.set_level(logging.DEBUG)
    secret, customer = scene.sender.secret, scene.sender.recipient.value
    echo = b'{"message": "Malformed token %s"}' % secret.encode()
    shown = [repr(scene.client), repr(await scene.send())]
    for behaviour in (answers(400, echo), accepts_then_drops(), answers(500)):
        shown.append(repr(await scene.send_when_ready(behaviour)))
    shown.append(repr(await hurried.send_when_ready(accepts_late(0.8))))
    scene.fake.next_requests(answers(400, echo), to="")
    shown.append(repr(await scene.client.verify(scene.sender.account_id, scene.sender.credentials)))
    logged = [f"{each.getMessage()} {each.__dict__}" for each in caplog.records]
    logged = [each for each in logged if "asyncio" not in each]
    assert any("A message was not accepted" in each for each in logged)
    assert not [each for each in shown + logged if secret in each]
    assert not [each for each in logged if "Hello" in each or customer in each]


# --- Verification ---


async def test_good_credentials(scene: Scene) -> None:
    verified = await scene.client.verify(scene.sender.account_id, scene.sender.credentials)
    assert verified == Verified()


async def test_dead_credentials(scene: Scene) -> None:
    verified = await scene.client.verify(scene.sender.account_id, scene.sender.dead)
    assert verified == NotVerified(reason="credentials")


@pytest.mark.parametrize("account_id", ["1", "../me", ""])
async def test_credentials_of_another_account(account_id: str, scene: Scene) -> None:
    verified = await scene.client.verify(account_id, scene.sender.credentials)
    assert verified == NotVerified(reason="account_unknown")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (answers(500), "answer_not_understood"),
        (answers(200), "answer_not_understood"),
        (answers(200, b"[]"), "answer_not_understood"),
        (answers(302, b"", ("Location", "/")), "answer_not_understood"),
        (drops(), "not_reached"),
    ],
)
async def test_what_is_no_verdict_on_credentials(
    behaviour: Behaviour, reason: str, scene: Scene
) -> None:
    scene.fake.next_requests(behaviour, to="")
    verified = await scene.client.verify(scene.sender.account_id, scene.sender.credentials)
    assert verified == NotReached(reason=reason)
