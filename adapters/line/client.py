"""Sends through LINE's Messaging API, and asks it whether credentials are good.

Every push carries a retry key that follows from the message. So a push whose answer was lost can
be sent again: LINE delivers once, and answers 409 with what it had answered before (N3).
"""

from typing import Any

import httpx
import msgspec

from adapters.answers import (
    document_of,
    is_header_value,
    is_plain,
    log_refusal,
    unexplained,
)
from adapters.exchange import HEADERS, NoReply, Reply, TimeLimits, exchange
from adapters.line.errors import read_error, send_answer
from adapters.line.outgoing import request_body, retry_key
from adapters.meanings import whose_it_is
from adapters.readers import objects, text
from adapters.unsendable import Unsendable
from domain.credentials import Credentials
from domain.inbound import Content
from domain.outbound import (
    Accepted,
    AccountUnusable,
    NotVerified,
    OutboundMessage,
    Rejected,
    SendAnswer,
    VerificationAnswer,
)
from domain.read_marking import Marked

DEFAULT_BASE_ADDRESS = "https://api.line.me"

ACCEPTED_BEFORE = 409


class MessagingApi:
    """The Messaging API for all accounts. Holds no credentials: each call brings its own."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        base_address: str = DEFAULT_BASE_ADDRESS,
        limits: TimeLimits | None = None,
    ) -> None:
        self._client = client
        self._root = httpx.URL(f"{base_address.rstrip('/')}/v2/bot/")
        self._limits = limits or TimeLimits()

    async def send(self, message: OutboundMessage, credentials: Credentials) -> SendAnswer:
        """Push one message; the same message again is the same push. Spec N3."""
        access_token = credentials["access_token"]
        if not is_header_value(access_token):
            return AccountUnusable(reason="credentials", code=None)
        try:
            content = msgspec.json.encode(request_body(message))
        except Unsendable as unsendable:
            return unsendable.answer
        except UnicodeEncodeError:
            return Rejected(reason="invalid", code=None, detail="Half a character is no text.")
        headers = {"X-Line-Retry-Key": retry_key(message.mark)}
        request = self._request("POST", "message/push", access_token, headers, content)
        reply = await exchange(self._client, request, limits=self._limits)
        answer = _read_send_reply(reply, message, secret=access_token)
        if not isinstance(answer, Accepted):
            log_refusal(answer, reply, account_id=message.account_id)
        return answer

    async def verify(self, account_id: str, credentials: Credentials) -> VerificationAnswer:
        """Whether this token is the one of this account. Spec S15."""
        access_token = credentials["access_token"]
        if not is_header_value(access_token):
            return NotVerified(reason="credentials")
        request = self._request("GET", "info", access_token)
        reply = await exchange(self._client, request, limits=self._limits)
        document = document_of(reply)
        status = reply.status if isinstance(reply, Reply) else 0
        error = read_error(document, status=status, secret=access_token)
        return whose_it_is(
            reply,
            account_id,
            named=text(document.get("userId")) if isinstance(document, dict) else None,
            meaning=error.meaning if error is not None else None,
        )

    async def mark_read(
        self, _account_id: str, message: Content, credentials: Credentials
    ) -> Marked | None:
        """Mark a customer's message, and all before it, as read; again does no harm."""
        token, access_token = message.read_token, credentials["access_token"]
        if token is None or not is_header_value(access_token):
            return "refused"
        content = msgspec.json.encode({"markAsReadToken": token})
        request = self._request("POST", "chat/markAsRead", access_token, content=content)
        reply = await exchange(self._client, request, limits=self._limits)
        if isinstance(reply, NoReply):
            return None
        if reply.status < 300:
            return "marked"
        error = read_error(document_of(reply), status=reply.status, secret=access_token)
        return "refused" if error is not None and error.meaning.verdict == "reject" else None

    def _request(
        self,
        method: str,
        path: str,
        access_token: str,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Request:
        headers = {**HEADERS, "Authorization": f"Bearer {access_token}", **(headers or {})}
        if content is not None:
            headers["Content-Type"] = "application/json"
        return httpx.Request(method, self._root.join(path), headers=headers, content=content)


def _read_send_reply(
    reply: Reply | NoReply, message: OutboundMessage, *, secret: str
) -> SendAnswer:
    document = document_of(reply)
    if isinstance(reply, NoReply) or 300 <= reply.status < 400:
        return unexplained(reply)
    accepted = _accepted(document)
    if reply.status < 300 and accepted is not None:
        return accepted
    error = read_error(document, status=reply.status, secret=secret)
    if reply.status < 300 or error is None:
        return unexplained(reply)
    if reply.status == ACCEPTED_BEFORE:
        # The customer has it. Should LINE not say under which id, nothing can be told of it later.
        return accepted or Accepted(platform_id=f"retry-key:{retry_key(message.mark)}")
    return send_answer(error, retry_after_seconds=reply.retry_after_seconds)


def _accepted(document: Any) -> Accepted | None:
    """How LINE names the one message that was pushed; None if it does not."""
    sent = objects(document.get("sentMessages")) if isinstance(document, dict) else []
    first = next(iter(sent), {})
    platform_id, quote_token = first.get("id"), first.get("quoteToken")
    if not is_plain(platform_id):
        return None
    return Accepted(
        platform_id=platform_id, quote_token=quote_token if is_plain(quote_token) else None
    )
