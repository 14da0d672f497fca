"""Sends through Meta's Graph API, and asks it whether credentials are good."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from adapters.answers import (
    document_of,
    is_header_value,
    log_refusal,
    not_reached,
    unexplained,
)
from adapters.exchange import HEADERS, NoReply, Reply, TimeLimits, exchange
from adapters.meanings import verification_answer
from adapters.meta_errors import Meanings, read_error, send_answer
from adapters.multipart import form
from adapters.readers import identifier
from adapters.unsendable import NotAccepted, NotAsked, Unsendable
from domain.credentials import Credentials
from domain.outbound import (
    Accepted,
    AccountUnusable,
    NotVerified,
    OutboundFile,
    OutboundMessage,
    Rejected,
    SendAnswer,
    VerificationAnswer,
    Verified,
)
from domain.read_marking import Marked

DEFAULT_BASE_ADDRESS = "https://graph.facebook.com"

# Meta retires a version two years after the next one: v26.0 appeared on 2026-07-29.
DEFAULT_GRAPH_VERSION = "v26.0"
_WITH_VERSION = re.compile(r".*/v\d+\.\d+")

# A file takes its time; with the message after it this stays within a dispatcher's claim.
UPLOAD_SECONDS_MAX = 30.0

JsonObject = dict[str, Any]


class GraphApi:
    """A platform's part of it, for all accounts. Holds no credentials: each call brings its own.

    A platform says what a message's body is, how it is accepted and what its errors mean.
    """

    meanings: Meanings
    verification_fields: str

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        base_address: str = DEFAULT_BASE_ADDRESS,
        limits: TimeLimits | None = None,
    ) -> None:
        self._client = client
        self._root = httpx.URL(f"{graph_root(base_address)}/")
        self._limits = limits or TimeLimits()

    async def send(self, message: OutboundMessage, credentials: Credentials) -> SendAnswer:
        """Send one message, once. Whatever happens is an answer. Spec N3."""
        access_token = credentials["access_token"]
        if not is_account_id(message.account_id):
            return AccountUnusable(reason="account_unknown", code=None)
        if not is_header_value(access_token):
            return AccountUnusable(reason="credentials", code=None)
        try:
            body = await self.body(message, access_token)
            content = msgspec.json.encode(body)
        except (Unsendable, NotAsked) as unsent:
            return unsent.answer
        except UnicodeEncodeError:
            return Rejected(reason="invalid", code=None, detail="Half a character is no text.")
        reply = await self.ask("POST", f"{message.account_id}/messages", access_token, content)
        answer = self._read_send_reply(reply, message, secret=access_token)
        if not isinstance(answer, Accepted):
            self._log(answer, reply, message.account_id, secret=access_token)
        return answer

    async def verify(self, account_id: str, credentials: Credentials) -> VerificationAnswer:
        """Whether this token is good for this account. Spec S15."""
        access_token = credentials["access_token"]
        if not is_account_id(account_id):
            return NotVerified(reason="account_unknown")
        if not is_header_value(access_token):
            return NotVerified(reason="credentials")
        path = f"{account_id}?fields={self.verification_fields}"
        reply = await self.ask("GET", path, access_token)
        return self._read_verification_reply(reply, account_id, secret=access_token)

    async def tell_read(
        self, account_id: str, body: JsonObject, credentials: Credentials
    ) -> Marked | None:
        """Say what was read; again does no harm, so what is lost is to be said again (None)."""
        access_token = credentials["access_token"]
        if not is_account_id(account_id) or not is_header_value(access_token):
            return "refused"
        content = msgspec.json.encode(body)
        reply = await self.ask("POST", f"{account_id}/messages", access_token, content)
        if isinstance(reply, Reply) and reply.status < 300:
            return "marked"
        error = read_error(document_of(reply), secret=access_token)
        is_final = error is not None and error.meaning(self.meanings).verdict == "reject"
        return "refused" if is_final else None

    # What a platform says of itself.

    async def body(self, message: OutboundMessage, access_token: str) -> JsonObject:
        """The body of `POST /{account}/messages`. Raises Unsendable, NotAsked."""
        raise NotImplementedError

    def accepted(self, document: JsonObject, message: OutboundMessage) -> Accepted | None:
        """What an answer to a message that was taken says; None if it is not understood."""
        raise NotImplementedError

    # For platforms that are given files before the message.

    async def upload(
        self,
        account_id: str,
        path: str,
        fields: Mapping[str, str],
        *,
        name: str,
        file: OutboundFile,
        access_token: str,
    ) -> JsonObject:
        """Give Meta a file; returns what it says about it. Raises NotAsked."""
        upload = form(fields, name=name, file=file)
        request = httpx.Request(
            "POST",
            self._root.join(f"{account_id}/{path}"),
            headers=_headers(access_token) | upload.headers,
            content=upload.content,
        )
        limits = self._limits._replace(deadline_seconds=UPLOAD_SECONDS_MAX)
        reply = await exchange(self._client, request, limits=limits)
        answer = document_of(reply)
        if isinstance(reply, Reply) and reply.status < 300 and isinstance(answer, dict):
            return answer
        refusal = self._refusal(reply, secret=access_token)
        self._log(refusal, reply, account_id, secret=access_token)
        raise NotAsked(refusal)

    # Requests and answers.

    async def ask(
        self, method: str, path: str, access_token: str, content: bytes | None = None
    ) -> Reply | NoReply:
        """One request to Graph; `content` is JSON."""
        headers = _headers(access_token)
        if content is not None:
            headers["Content-Type"] = "application/json"
        request = httpx.Request(method, self._root.join(path), headers=headers, content=content)
        return await exchange(self._client, request, limits=self._limits)

    def _read_send_reply(
        self, reply: Reply | NoReply, message: OutboundMessage, *, secret: str
    ) -> SendAnswer:
        answer = document_of(reply)
        if isinstance(reply, Reply) and reply.status < 300 and isinstance(answer, dict):
            return self.accepted(answer, message) or unexplained(reply)
        return self._refusal(reply, secret=secret)

    def _refusal(self, reply: Reply | NoReply, *, secret: str) -> NotAccepted:
        error = read_error(document_of(reply), secret=secret)
        if isinstance(reply, NoReply) or reply.status < 400 or error is None:
            return unexplained(reply)
        return send_answer(
            error,
            self.meanings,
            status=reply.status,
            retry_after_seconds=reply.retry_after_seconds,
        )

    def _read_verification_reply(
        self, reply: Reply | NoReply, account_id: str, *, secret: str
    ) -> VerificationAnswer:
        answer = document_of(reply)
        if isinstance(reply, Reply) and reply.status < 300 and isinstance(answer, dict):
            is_right = identifier(answer.get("id")) == account_id
            return Verified() if is_right else not_reached(reply)
        error = read_error(answer, secret=secret)
        if error is None:
            return not_reached(reply)
        return verification_answer(error.meaning(self.meanings))

    def _log(
        self, answer: SendAnswer, reply: Reply | NoReply, account_id: str, *, secret: str
    ) -> None:
        error = read_error(document_of(reply), secret=secret)
        facts = {"code": error.code, "fbtrace_id": error.trace_id} if error else {}
        log_refusal(answer, reply, account_id=account_id, **facts)


def graph_root(base_address: str) -> str:
    """Where Graph is asked: in the version that the address ends with, else in ours."""
    root = base_address.rstrip("/")
    return root if _WITH_VERSION.fullmatch(root) else f"{root}/{DEFAULT_GRAPH_VERSION}"


def _headers(access_token: str) -> dict[str, str]:
    return {**HEADERS, "Authorization": f"Bearer {access_token}"}


def is_account_id(account_id: str) -> bool:
    """It becomes part of an address, so it must not lead elsewhere."""
    return account_id.isascii() and account_id.isalnum()
