"""Sends through WeChat's customer service API, and asks it whether credentials are good."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import msgspec

from adapters.answers import document_of, log_refusal, unexplained
from adapters.exchange import NoReply, Reply, TimeLimits, exchange
from adapters.multipart import form
from adapters.outgoing import file_of, text_of
from adapters.readers import identifier
from adapters.unsendable import NotAccepted, NotAsked, Unsendable
from adapters.wechat.calls import call
from adapters.wechat.errors import SUCCESS, TOKEN_REFUSED, read_code, read_error, send_answer
from adapters.wechat.outgoing import FILES, open_id_of, template_of
from adapters.wechat.tokens import Tokens
from domain.access_token import AccessToken, AccessTokens
from domain.credentials import Credentials
from domain.outbound import (
    Accepted,
    Deferred,
    NotVerified,
    OutboundFile,
    OutboundMessage,
    Rejected,
    SendAnswer,
    VerificationAnswer,
    Verified,
)

DEFAULT_BASE_ADDRESS = "https://api.weixin.qq.com"

# With a file before the message and a token before both, this stays within a dispatcher's claim.
DEFAULT_LIMITS = TimeLimits(deadline_seconds=10.0)
UPLOAD_SECONDS_MAX = 15.0

CUSTOM = "message/custom/send"
TEMPLATE = "message/template/send"

JsonObject = dict[str, Any]


class WeChatApi:
    """The API for all accounts. Holds no credentials: each call brings its own."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        tokens: AccessTokens,
        *,
        base_address: str = DEFAULT_BASE_ADDRESS,
        limits: TimeLimits = DEFAULT_LIMITS,
    ) -> None:
        self._client = client
        self._base_address = base_address
        self._limits = limits
        self._tokens = Tokens(client, tokens, base_address=base_address, limits=limits)

    async def send(self, message: OutboundMessage, credentials: Credentials) -> SendAnswer:
        """Send one message, once. Whatever happens is an answer. Spec N3."""
        access = _Access(self._client, self._tokens, credentials)
        try:
            path, body = await self._written(message, access)
            content = msgspec.json.encode(body)  # As UTF-8: WeChat refuses escapes (40033).
            reply = await access.ask(
                lambda token: self._call(path, {"access_token": token}, content),
                limits=self._limits,
            )
        except (Unsendable, NotAsked) as unsent:
            return unsent.answer
        except UnicodeEncodeError:
            return Rejected(reason="invalid", code=None, detail="Half a character is no text.")
        answer = _accepted(reply, message) or _refusal(reply, secret=access.secret)
        if not isinstance(answer, Accepted):
            _log(answer, reply, message.account_id)
        return answer

    async def verify(self, account_id: str, credentials: Credentials) -> VerificationAnswer:
        """Whether a token can be had with these. Whose it is, WeChat does not say. Spec S15."""
        if not account_id.startswith("gh_"):
            return NotVerified(reason="account_unknown")
        return await self._tokens.check(credentials) or Verified()

    async def _written(self, message: OutboundMessage, access: "_Access") -> tuple[str, JsonObject]:
        """Where a message is posted, and as what. Raises Unsendable, NotAsked."""
        to = {"touser": open_id_of(message)}
        match message.kind:
            case "text":
                text = {"content": text_of(message, platform="wechat")}
                return CUSTOM, to | {"msgtype": "text", "text": text}
            case "template":
                return TEMPLATE, to | template_of(message)
            case _:
                named, file = file_of(message, FILES)
                media_id = await self._upload(message.account_id, named, file, access)
                return CUSTOM, to | {"msgtype": named, named: {"media_id": media_id}}

    async def _upload(
        self, account_id: str, named: str, file: OutboundFile, access: "_Access"
    ) -> str:
        """The id of the file that goes with the message. Raises NotAsked."""

        def upload(token: str) -> httpx.Request:
            headers, content = form({}, name="media", file=file)
            query = {"access_token": token, "type": named}
            return self._call("media/upload", query, content, headers=headers)

        limits = self._limits._replace(deadline_seconds=UPLOAD_SECONDS_MAX)
        reply = await access.ask(upload, limits=limits)
        document = document_of(reply)
        media_id = identifier(document.get("media_id")) if isinstance(document, dict) else None
        if media_id is not None:
            return media_id
        refusal = _refusal(reply, secret=access.secret)
        _log(refusal, reply, account_id)
        raise NotAsked(refusal)

    def _call(
        self,
        path: str,
        query: Mapping[str, str],
        content: bytes | AsyncIterator[bytes],
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        return call(self._base_address, path, query=query, content=content, headers=headers)


class _Access:
    """The requests of one message, with a token that is renewed at most once.

    A token that has ended is noticed before anything is taken, so the same is asked again.
    """

    def __init__(self, client: httpx.AsyncClient, tokens: Tokens, credentials: Credentials) -> None:
        self._client = client
        self._tokens = tokens
        self._credentials = credentials
        self._token: AccessToken | None = None
        self._is_renewed = False

    @property
    def secret(self) -> str:
        """What must be in no log."""
        return self._token.value if self._token is not None else ""

    async def ask(
        self, make: Callable[[str], httpx.Request], *, limits: TimeLimits
    ) -> Reply | NoReply:
        """Send what is made with a token. Raises NotAsked."""
        token = self._token or await self._tokens.token(self._credentials)
        reply = await exchange(self._client, make(token.value), limits=limits)
        if read_code(document_of(reply)) in TOKEN_REFUSED and not self._is_renewed:
            self._is_renewed = True
            token = await self._tokens.token(self._credentials, refused=token)
            reply = await exchange(self._client, make(token.value), limits=limits)
        self._token = token
        return reply


def _accepted(reply: Reply | NoReply, message: OutboundMessage) -> Accepted | None:
    """What was taken. Only templates are given an id, so ours names all others."""
    document = document_of(reply)
    if isinstance(reply, NoReply) or reply.status >= 300 or read_code(document) != SUCCESS:
        return None
    return Accepted(platform_id=identifier(document.get("msgid")) or message.mark)


def _refusal(reply: Reply | NoReply, *, secret: str) -> NotAccepted:
    error = read_error(document_of(reply), secret=secret)
    if isinstance(reply, NoReply) or error is None:
        return unexplained(reply)
    if error.code in TOKEN_REFUSED:  # Also the one that was made just now.
        return Deferred(reason="token_refused")
    return send_answer(error, retry_after_seconds=reply.retry_after_seconds)


def _log(answer: SendAnswer, reply: Reply | NoReply, account_id: str) -> None:
    error = read_error(document_of(reply), secret="")
    facts = {"code": error.code, "rid": error.request_id} if error else {}
    log_refusal(answer, reply, account_id=account_id, **facts)
