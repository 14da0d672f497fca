"""Sends through Meta's Cloud API, and asks it whether credentials are good."""

from typing import Any

import httpx
import msgspec

from adapters.answers import (
    document_of,
    is_header_value,
    is_plain,
    log_refusal,
    not_reached,
    unexplained,
)
from adapters.exchange import HEADERS, NoReply, Reply, TimeLimits, exchange
from adapters.readers import identifier, objects
from adapters.unsendable import Unsendable
from adapters.whatsapp.errors import GraphError, read_error, send_answer
from adapters.whatsapp.outgoing import request_body
from adapters.whatsapp.readers import phone_number
from domain.credentials import Credentials
from domain.inbound import Address
from domain.outbound import (
    Accepted,
    AccountStopped,
    NotReached,
    NotVerified,
    OutboundMessage,
    Rejected,
    SendAnswer,
    VerificationAnswer,
    Verified,
)

DEFAULT_BASE_ADDRESS = "https://graph.facebook.com"

# Meta retires a version two years after the next one: v26.0 appeared on 2026-07-29.
DEFAULT_GRAPH_VERSION = "v26.0"

VERIFICATION_FIELDS = "id,display_phone_number,verified_name"


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
        if not is_header_value(access_token):
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
            error = read_error(document_of(reply), secret=access_token)
            facts = {"code": error.code, "fbtrace_id": error.trace_id} if error else {}
            log_refusal(answer, reply, account_id=message.account_id, **facts)
        return answer

    async def verify(self, account_id: str, credentials: Credentials) -> VerificationAnswer:
        """Whether this token is good for this account. Spec S15."""
        access_token = credentials["access_token"]
        if not _is_account_id(account_id):
            return NotVerified(reason="account_unknown")
        if not is_header_value(access_token):
            return NotVerified(reason="credentials")
        path = f"{account_id}?fields={VERIFICATION_FIELDS}"
        request = self._request("GET", path, access_token)
        reply = await exchange(self._client, request, limits=self._limits)
        return _read_verification_reply(reply, account_id, secret=access_token)

    def _request(
        self, method: str, path: str, access_token: str, content: bytes | None = None
    ) -> httpx.Request:
        headers = {**HEADERS, "Authorization": f"Bearer {access_token}"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        return httpx.Request(method, self._root.join(path), headers=headers, content=content)


def _read_send_reply(
    reply: Reply | NoReply, message: OutboundMessage, *, secret: str
) -> SendAnswer:
    document = document_of(reply)
    if isinstance(reply, Reply) and reply.status < 300:
        return _accepted(document, message) or unexplained(reply)
    error = read_error(document, secret=secret)
    if isinstance(reply, NoReply) or reply.status < 400 or error is None:
        return unexplained(reply)
    return send_answer(error, status=reply.status, retry_after_seconds=reply.retry_after_seconds)


def _accepted(document: Any, message: OutboundMessage) -> Accepted | None:
    if not isinstance(document, dict):
        return None
    sent = next(iter(objects(document.get("messages"))), {})
    platform_id = sent.get("id")
    if not is_plain(platform_id):
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
    document = document_of(reply)
    if isinstance(reply, Reply) and reply.status < 300 and isinstance(document, dict):
        return Verified() if identifier(document.get("id")) == account_id else not_reached(reply)
    error = read_error(document, secret=secret)
    return _not_verified(error) if error is not None else not_reached(reply)


def _not_verified(error: GraphError) -> VerificationAnswer:
    meaning = error.meaning
    if meaning.verdict in ("defer", "transient"):
        return NotReached(reason=meaning.reason)
    return NotVerified(reason=meaning.reason)


def _is_account_id(account_id: str) -> bool:
    """It becomes part of an address, so it must not lead elsewhere."""
    return account_id.isascii() and account_id.isalnum()
