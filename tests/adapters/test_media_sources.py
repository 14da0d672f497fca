"""LINE's, Telegram's and Messenger's files, over HTTP (P1); WhatsApp's are in tests/api, WeChat's
in test_wechat_media.py."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from adapters.exchange import new_http_client
from adapters.fakes.server import Answer, FakeServer, Request, json_answer
from adapters.platforms import media_sources
from domain.media_ports import Gone, MediaSource, NotYet
from tests.adapters.tokens import MemoryTokens

TOKEN = "7012345678:AAbb-secret_token"
CREDENTIALS = {
    "line": {"access_token": "line-token"},
    "telegram": {"bot_token": TOKEN},
    "messenger": {"access_token": "page-token"},
}


class Platforms:
    """All three, as far as they give files out."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.is_ready = True

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        match request.path.split("/"):
            case ["", "v2", "bot", "message", "500", "content"]:
                if request.headers.get("authorization") != "Bearer line-token":
                    return Answer(status=401)
                video = (("Content-Type", "video/mp4"),)
                return Answer(body=b"video", headers=video) if self.is_ready else Answer(status=202)
            case ["", bot, "getFile"] if bot == f"bot{TOKEN}":
                return self._telegram(request.query["file_id"])
            case ["", "file", bot, "photos", "file 1.jpg"] if bot == f"bot{TOKEN}":
                return Answer(body=b"photo")
            case ["", "cdn", "photo.png"]:
                return Answer(body=b"picture", headers=(("Content-Type", "image/png"),))
        return Answer(status=404)

    def _telegram(self, file_id: str) -> Answer:
        if file_id == "large":
            error = {"ok": False, "description": "Bad Request: file is too big"}
            return json_answer(error, status=400)
        if file_id == "unknown":
            error = {"ok": False, "description": "Bad Request: invalid file_id"}
            return json_answer(error, status=400)
        if file_id == "sly":
            return json_answer({"ok": True, "result": {"file_path": "../../secret"}})
        return json_answer({"ok": True, "result": {"file_path": "photos/file 1.jpg"}})


@pytest.fixture
def platforms() -> Platforms:
    return Platforms()


@pytest.fixture
async def server(platforms: Platforms) -> AsyncIterator[FakeServer]:
    server = FakeServer(platforms.answer)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def sources(server: FakeServer) -> AsyncIterator[dict[str, MediaSource]]:
    names = ("whatsapp", "messenger", "line", "telegram", "wechat")
    async with new_http_client() as client:
        yield media_sources(client, dict.fromkeys(names, server.base_url), MemoryTokens())


async def fetched(
    sources: dict[str, MediaSource], platform: str, file: dict[str, Any], **credentials: str
) -> tuple[bytes, str | None]:
    with_these = {**CREDENTIALS[platform], **credentials}
    async with sources[platform].open("account", file, with_these) as download:
        return b"".join([chunk async for chunk in download.chunks]), download.mime_type


async def test_a_file_of_line_is_under_its_messages_id(
    sources: dict[str, MediaSource], platforms: Platforms
) -> None:
    assert await fetched(sources, "line", {"platform_id": "500"}) == (b"video", "video/mp4")
    platforms.is_ready = False
    with pytest.raises(NotYet, match="not_ready"):
        await fetched(sources, "line", {"platform_id": "500"})
    with pytest.raises(Gone, match="not_found"):
        await fetched(sources, "line", {"platform_id": "501"})
    for token in ("wrong", "", "a\r\nb: c"):
        with pytest.raises(NotYet, match="credentials"):
            await fetched(sources, "line", {"platform_id": "500"}, access_token=token)


async def test_what_a_sender_of_line_holds_elsewhere_is_not_asked_for(
    sources: dict[str, MediaSource], platforms: Platforms, server: FakeServer
) -> None:
    """Even where it is an address that we would ask for another reason."""
    file = {"platform_id": "500", "url": f"{server.base_url}/cdn/photo.png"}
    with pytest.raises(Gone, match="held_elsewhere"):
        await fetched(sources, "line", file)
    with pytest.raises(Gone, match="not_found"):
        await fetched(sources, "line", {"platform_id": "../../../cdn/photo.png?"})
    assert platforms.requests == []


async def test_telegram_is_asked_where_a_file_is(sources: dict[str, MediaSource]) -> None:
    found, _ = await fetched(sources, "telegram", {"platform_id": "F1"})
    assert found == b"photo"
    for file_id, reason in (("large", "too_large"), ("unknown", "not_found"), ("sly", "not_found")):
        with pytest.raises(Gone, match=reason):
            await fetched(sources, "telegram", {"platform_id": file_id})
    for token in ("1:wrong", "", "../x"):
        with pytest.raises(NotYet, match="credentials"):
            await fetched(sources, "telegram", {"platform_id": "F1"}, bot_token=token)


async def test_the_bots_token_stands_in_no_log_line(
    sources: dict[str, MediaSource], server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """P4: neither when it goes well nor when it does not, and however much is logged."""
    with caplog.at_level(logging.DEBUG):
        await fetched(sources, "telegram", {"platform_id": "F1"})
        await server.stop()
        with pytest.raises(NotYet) as raised:
            await fetched(sources, "telegram", {"platform_id": "F1"})
    assert TOKEN not in caplog.text
    assert TOKEN not in str(raised.value)


async def test_a_file_of_messenger_is_where_the_webhook_says_if_that_is_metas(
    sources: dict[str, MediaSource], platforms: Platforms, server: FakeServer
) -> None:
    file = {"url": f"{server.base_url}/cdn/photo.png", "type": "image"}
    assert await fetched(sources, "messenger", file) == (b"picture", "image/png")
    assert "authorization" not in platforms.requests[0].headers
    with pytest.raises(Gone, match="host_not_allowed"):
        await fetched(sources, "messenger", {"url": "https://evil.example/photo.png"})
    with pytest.raises(Gone, match="not_found"):
        await fetched(sources, "messenger", {"sticker_id": "5"})


async def test_the_client_logs_no_addresses() -> None:
    async with new_http_client() as client:
        assert isinstance(client, httpx.AsyncClient)
    for name in ("httpx", "httpcore"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)
