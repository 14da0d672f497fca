"""Sends through Meta's Cloud API, and asks it whether credentials are good."""

import logging
from typing import Any

import httpx
import msgspec

from adapters.exchange import NoReply, Reply, TimeLimits, exchange
from adapters.readers import IDENTIFIER_LENGTH_MAX, identifier, objects
from adapters.tolerant import NotJson, decode
from adapters.unsendable import Unsendable
from adapters.whatsapp.errors import GraphError, read_error, send_answer
from adapters.whatsapp.outgoing import request_body
from adapters.whatsapp.readers import phone_number
from domain.credentials import Credentials
from domain.inbound import Address
from domain.outbound import (
    Accepted,
    AccountStopped,
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

DEFAULT_BASE_ADDRESS = "https://graph.facebook.com"

# Meta retires a version two years after the next one: v26.0 appeared on 2026-07-29.
DEFAULT_GRAPH_VERSION = "v26.0"

VERIFICATION_FIELDS = "id,display_phone_number,verified_name"

logger = logging.getLogger(__name__)


class CloudApi:
    """The Cloud API for all accounts. Holds no credentials: each call brings its own."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        base_address: str = DEFAULT_BASE_ADDRESS,
        graph_version: str = DEFAULT_GRAPH_VERSION,
        limits: TimeLimits | None = None,
    ) -> None:
        self._client = client
        self._root = httpx.URL(f"{base_address.rstrip('/')}/{graph_version}/")
        self._limits = limits or TimeLimits()

    async def send(self, message: OutboundMessage, credentials: Credentials) -> SendAnswer:
        """Send one message, once. Whatever happens is an answer. Spec N3."""
        access_token = credentials["access_token"]
        if not _is_account_id(message.account_id):
            return AccountStopped(reason="account_unknown", code=None)
        if not _is_token(access_token):
            return AccountStopped(reason="credentials", code=None)
        try:
            content = msgspec.json.encode(request_body(message))
        except Unsendable as unsendable:
            return unsendable.answer
        except UnicodeEncodeError:
            return Rejected(reason="invalid", code=None, detail="Half a character is no text.")
        request = self._request("POST", f"{message.account_id}/messages", access_token, content)
        reply = await exchange(self._client, request, limits=self._limits)
        answer = _read_send_reply(reply, message, secret=access_token)
        if not isinstance(answer, Accepted):
            _log(answer, reply, account_id=message.account_id, secret=access_token)
        return answer

    async def verify(self, account_id: str, credentials: Credentials) -> VerificationAnswer:
        """Whether this token is good for this account. Spec S15."""
        access_token = credentials["access_token"]
        if not _is_account_id(account_id):
            return NotVerified(reason="account_unknown")
        if not _is_token(access_token):
            return NotVerified(reason="credentials")
        path = f"{account_id}?fields={VERIFICATION_FIELDS}"
        request = self._request("GET", path, access_token)
        reply = await exchange(self._client, request, limits=self._limits)
        return _read_verification_reply(reply, account_id, secret=access_token)

    def _request(
        self, method: str, path: str, access_token: str, content: bytes | None = None
    ) -> httpx.Request:
        headers = {
            "Authorization": f"Bearer {access_token}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "trunkline",
        }
        if content is not None:
            headers["Content-Type"] = "application/json"
        return httpx.Request(method, self._root.join(path), headers=headers, content=content)


def _read_send_reply(
    reply: Reply | NoReply, message: OutboundMessage, *, secret: str
) -> SendAnswer:
    if isinstance(reply, NoReply):
        if reply.written:
            return Unsettled(reason="answer_lost")
        return Deferred(reason="not_reached")
    document = _document(reply)
    if reply.status < 300:
        return _accepted(document, message) or Unsettled(reason="answer_not_understood")
    if reply.status < 400:
        return _redirected(reply)
    error = read_error(document, secret=secret)
    if error is not None:
        return send_answer(
            error, status=reply.status, retry_after_seconds=reply.retry_after_seconds
        )
    return _without_error(reply)


def _without_error(reply: Reply) -> SendAnswer:
    """Not Graph, but something between us and it has answered: no refusal by the platform.

    A proxy says 503 also when the connection behind it broke after the message went through.
    """
    if reply.status == 429:
        return Deferred(reason="rate_limited", retry_after_seconds=reply.retry_after_seconds)
    if reply.status < 500:
        return Deferred(
            reason="answer_not_understood", retry_after_seconds=reply.retry_after_seconds
        )
    return Unsettled(reason="platform_failed")


def _redirected(reply: Reply) -> SendAnswer:
    """Redirects are never followed: the token would go with them.

    307 and 308 mean "ask there instead"; the others may also mean "done, look there".
    """
    if reply.status in (307, 308):
        return Deferred(reason="redirected", retry_after_seconds=reply.retry_after_seconds)
    return Unsettled(reason="redirected")


def _accepted(document: Any, message: OutboundMessage) -> Accepted | None:
    if not isinstance(document, dict):
        return None
    sent = next(iter(objects(document.get("messages"))), {})
    platform_id = sent.get("id")
    if not isinstance(platform_id, str) or not _is_plain(platform_id):
        return None
    contact = next(iter(objects(document.get("contacts"))), {})
    return Accepted(platform_id=platform_id, recipient=_recipient(contact, message))


def _recipient(contact: dict[str, Any], message: OutboundMessage) -> tuple[Address, ...]:
    """The recipient as WhatsApp names it, which may be another number than we wrote to."""
    found: list[Address] = []
    number = phone_number(contact.get("wa_id"))
    if number is not None:
        found.append(Address("phone", number))
    user_id = identifier(contact.get("user_id"))
    kinds = (each.kind for each in message.recipient if each.kind.startswith("bsuid:"))
    kind = next(kinds, None)
    if user_id is not None and kind is not None:
        found.append(Address(kind, user_id))
    return tuple(found)


def _read_verification_reply(
    reply: Reply | NoReply, account_id: str, *, secret: str
) -> VerificationAnswer:
    if isinstance(reply, NoReply):
        return NotReached(reason="not_reached")
    document = _document(reply)
    if reply.status < 300 and isinstance(document, dict):
        if identifier(document.get("id")) == account_id:
            return Verified()
        return NotReached(reason="answer_not_understood")
    error = read_error(document, secret=secret)
    return _not_verified(error) if error is not None else NotReached(reason="answer_not_understood")


def _not_verified(error: GraphError) -> VerificationAnswer:
    meaning = error.meaning
    if meaning.verdict in ("defer", "transient"):
        return NotReached(reason=meaning.reason)
    return NotVerified(reason=meaning.reason)


def _document(reply: Reply) -> Any:
    """The JSON of an answer, or None."""
    try:
        return decode(reply.body).value if reply.body is not None else None
    except NotJson:
        return None


def _is_account_id(account_id: str) -> bool:
    """It becomes part of an address, so it must not lead elsewhere."""
    return account_id.isascii() and account_id.isalnum()


def _is_token(access_token: str) -> bool:
    """A header takes nothing else, and would say so in an error that shows the token."""
    return bool(access_token) and access_token.isascii() and access_token.isprintable()


def _is_plain(platform_id: str) -> bool:
    length_is_right = 0 < len(platform_id) <= IDENTIFIER_LENGTH_MAX
    return length_is_right and platform_id.isascii() and platform_id.isprintable()


def _log(answer: SendAnswer, reply: Reply | NoReply, *, account_id: str, secret: str) -> None:
    """Say what came instead of an acceptance; never what was written, nor to whom."""
    error = read_error(_document(reply), secret=secret) if isinstance(reply, Reply) else None
    facts = {
        "account_id": account_id,
        "answer": type(answer).__name__,
        "http_status": reply.status if isinstance(reply, Reply) else None,
        "code": error.code if error is not None else None,
        "fbtrace_id": error.trace_id if error is not None else None,
        "failure": reply.reason if isinstance(reply, NoReply) else None,
    }
    logger.warning("A message was not accepted", extra=facts)
