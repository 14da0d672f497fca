"""WeChat's files, against the fake, over HTTP (C9, P1, P4)."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from adapters.exchange import new_http_client
from adapters.fakes.behaviour import Behaviour
from adapters.fakes.forms import File
from adapters.fakes.server import json_answer
from adapters.platforms import media_sources
from adapters.wechat.fake import FakeWeChat
from adapters.wechat.fake_rules import FakeOfficialAccount
from domain.media_ports import Gone, MediaSource, NotYet
from tests.adapters.tokens import MemoryTokens

ACCOUNT = FakeOfficialAccount()
CREDENTIALS = {"app_id": ACCOUNT.app_id, "app_secret": ACCOUNT.app_secret}
PICTURE = File("picture.jpg", "image/jpeg", b"\xff\xd8\xff" + b"picture" * 100_000)
VIDEO = File("video.mp4", "video/mp4", b"\0\0\0\x18ftypmp42" + b"video" * 1000)


@dataclass
class Scene:
    """What gives out the files of a fake."""

    fake: FakeWeChat
    source: MediaSource

    def sent(self, file: File) -> str:
        """The id of a file that a customer has just sent."""
        self.fake.customer_sends_file("oQk8", "image", file)
        return list(self.fake.uploads)[-1]

    async def fetched(self, media_id: str, **credentials: str) -> tuple[bytes, str | None]:
        file, with_these = {"platform_id": media_id}, CREDENTIALS | credentials
        async with self.source.open(ACCOUNT.account_id, file, with_these) as download:
            return b"".join([chunk async for chunk in download.chunks]), download.mime_type


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with new_http_client() as client, FakeWeChat(accounts=[ACCOUNT]) as fake:
        names = ("whatsapp", "messenger", "line", "telegram", "wechat")
        bases = dict.fromkeys(names, fake.base_url)
        yield Scene(fake, media_sources(client, bases, MemoryTokens())["wechat"])


async def test_a_picture_is_fetched_with_the_token_that_messages_are_sent_with(
    scene: Scene,
) -> None:
    assert await scene.fetched(scene.sent(PICTURE)) == (PICTURE.content, "image/jpeg")
    assert await scene.fetched(scene.sent(PICTURE)) == (PICTURE.content, "image/jpeg")
    assert len(scene.fake.token_requests) == 1


async def test_a_video_is_where_wechat_says(scene: Scene) -> None:
    assert await scene.fetched(scene.sent(VIDEO)) == (VIDEO.content, "video/mp4")
    assert "access_token" not in scene.fake.requests[-1].query


async def test_a_video_elsewhere_than_at_wechat_is_not_asked_for(scene: Scene) -> None:
    elsewhere = json_answer({"video_url": "https://evil.example/video.mp4"})
    scene.fake.next_requests(lambda _: elsewhere, to="/media/get")
    with pytest.raises(Gone, match="host_not_allowed"):
        await scene.fetched(scene.sent(VIDEO))


async def test_a_file_that_is_not_there_is_given_up(scene: Scene) -> None:
    for media_id in ("unknown", "", "a&media_id=b", "../x"):
        with pytest.raises(Gone, match="not_found"):
            await scene.fetched(media_id)


async def test_a_token_that_is_refused_is_replaced_before_the_next_try(scene: Scene) -> None:
    media_id = scene.sent(PICTURE)
    await scene.fetched(media_id)
    scene.fake.end_token()
    with pytest.raises(NotYet, match="credentials"):
        await scene.fetched(media_id)
    assert await scene.fetched(media_id) == (PICTURE.content, "image/jpeg")


def _saying(document: dict[str, object]) -> Behaviour:
    return lambda _: json_answer(document)


async def test_what_may_be_mended_is_asked_for_again(scene: Scene) -> None:
    media_id = scene.sent(PICTURE)
    for wrong in ({"app_id": ""}, {"app_secret": ""}, {"app_secret": "wrong"}):
        with pytest.raises(NotYet, match="credentials"):
            await scene.fetched(media_id, **wrong)
    answers: tuple[tuple[dict[str, object], str], ...] = (
        ({"errcode": -1, "errmsg": "system error"}, "unavailable"),
        ({"errcode": 45009, "errmsg": "reach max api daily quota limit"}, "rate_limited"),
        ({}, "answer_not_understood"),
        ({"video_url": 5}, "answer_not_understood"),
        ({"video_url": "x" * 20_000}, "answer_not_understood"),
    )
    for document, reason in answers:
        scene.fake.next_requests(_saying(document), to="/media/get")
        with pytest.raises(NotYet, match=reason):
            await scene.fetched(media_id)
    assert (await scene.fetched(media_id))[0] == PICTURE.content


async def test_the_token_stands_in_no_log_line(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    media_id = scene.sent(PICTURE)
    with caplog.at_level(logging.DEBUG):
        await scene.fetched(media_id)
        token = scene.fake.requests[-1].query["access_token"]
        await scene.fake.go_down()
        with pytest.raises(NotYet) as raised:
            await scene.fetched(media_id)
        await scene.fake.come_back()
    ours = [each for each in caplog.records if not each.name.startswith("uvicorn.")]  # The fake's.
    assert not any(token in each.getMessage() for each in ours)
    assert token not in str(raised.value)
