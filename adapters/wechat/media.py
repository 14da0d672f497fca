"""Files that people send by WeChat: asked for by id, with the token that messages are sent with.

The token stands in the address, so no address may stand in a log line: `adapters/exchange.py` keeps
the client silent. What is wrong is said in JSON, in place of the file.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec

from adapters.download import Downloader
from adapters.readers import identifier, text
from adapters.tolerant import NotJson, decode
from adapters.unsendable import NotAsked
from adapters.wechat.client import DEFAULT_LIMITS
from adapters.wechat.errors import TOKEN_REFUSED, WeChatError, read_error
from adapters.wechat.tokens import Tokens
from domain.access_token import AccessToken, AccessTokens
from domain.credentials import Credentials
from domain.file_types import with_head
from domain.media_ports import Download, Gone, NotYet

HOSTS = ("*.weixin.qq.com", "*.tc.qq.com")

# Neither a picture nor a sound nor a video begins like this.
JSON_BEGINS = b"{"
JSON_BYTES_MAX = 16 << 10

JsonObject = dict[str, Any]


class WeChatMedia:
    """WeChat keeps files for three days. For a video it says where that is instead."""

    def __init__(
        self, client: httpx.AsyncClient, tokens: AccessTokens, *, base_address: str
    ) -> None:
        self._root = base_address.rstrip("/")
        self._downloader = Downloader(client, hosts=HOSTS, base_address=base_address)
        self._tokens = Tokens(client, tokens, base_address=base_address, limits=DEFAULT_LIMITS)

    @asynccontextmanager
    async def open(
        self, _account_id: str, file: Mapping[str, Any], credentials: Credentials
    ) -> AsyncIterator[Download]:
        """Begin to read a file. Raises NotYet, Gone."""
        if not (credentials.get("app_id") and credentials.get("app_secret")):
            raise NotYet("credentials")
        media_id = identifier(file.get("platform_id")) or ""
        token = await self._token(credentials)
        async with self._answer(media_id, token) as (download, said):
            if said is None:
                yield download
                return
        error = read_error(said, secret=token.value)
        if error is not None and error.code in TOKEN_REFUSED:
            await self._token(credentials, refused=token)
            raise NotYet("credentials")  # There is another one when it is asked for again.
        async with self._downloader.open(_video(said, error)) as download:
            yield download

    async def _token(
        self, credentials: Credentials, *, refused: AccessToken | None = None
    ) -> AccessToken:
        try:
            return await self._tokens.token(credentials, refused=refused)
        except NotAsked as not_asked:
            raise NotYet(not_asked.answer.reason) from None

    @asynccontextmanager
    async def _answer(
        self, media_id: str, token: AccessToken
    ) -> AsyncIterator[tuple[Download, JsonObject | None]]:
        """The file, or what WeChat says in place of it."""
        query = urlencode({"access_token": token.value, "media_id": media_id})
        async with self._downloader.open(f"{self._root}/cgi-bin/media/get?{query}") as download:
            head, chunks = await with_head(download.chunks)
            said = await _said(chunks) if head.startswith(JSON_BEGINS) else None
            yield msgspec.structs.replace(download, chunks=chunks), said


async def _said(chunks: AsyncIterator[bytes]) -> JsonObject:
    body = b""
    async for chunk in chunks:
        body += chunk
        if len(body) > JSON_BYTES_MAX:
            raise NotYet("answer_not_understood")
    try:
        said = decode(body).value
    except NotJson as error:
        raise NotYet("answer_not_understood") from error
    return said if isinstance(said, dict) else {}


def _video(said: JsonObject, error: WeChatError | None) -> str:
    """Where a video is. Raises NotYet, Gone where something else is said."""
    if error is not None:
        meaning = error.meaning
        if meaning.verdict == "reject":
            raise Gone("not_found")
        raise NotYet(meaning.reason)
    address = text(said.get("video_url"))
    if address is None:
        raise NotYet("answer_not_understood")
    return address
