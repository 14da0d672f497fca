"""Sends through Telegram's Bot API, and asks it whether credentials are good."""

from typing import Any

import httpx
import msgspec

from adapters import multipart
from adapters.answers import document_of, is_plain, log_refusal, unexplained
from adapters.exchange import NoReply, Reply, TimeLimits, exchange
from adapters.meanings import whose_it_is
from adapters.readers import identifier, part
from adapters.telegram.calls import call, is_token
from adapters.telegram.errors import BotError, read_error, send_answer
from adapters.telegram.naming import MessageName, is_group
from adapters.telegram.outgoing import Method, chat_of, method_for
from adapters.unsendable import Unsendable
from domain.credentials import Credentials
from domain.outbound import (
    Accepted,
    AccountUnusable,
    NotVerified,
    OutboundMessage,
    Rejected,
    SendAnswer,
    VerificationAnswer,
)

DEFAULT_BASE_ADDRESS = "https://api.telegram.org"


class BotApi:
    """The Bot API for all bots. Holds no credentials: each call brings its own."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        base_address: str = DEFAULT_BASE_ADDRESS,
        limits: TimeLimits | None = None,
    ) -> None:
        self._client = client
        self._base_address = base_address
        self._limits = limits or TimeLimits()

    async def send(self, message: OutboundMessage, credentials: Credentials) -> SendAnswer:
        """Send one message, once. Whatever happens is an answer. Spec N3."""
        bot_token = credentials["bot_token"]
        if not is_token(bot_token):
            return AccountUnusable(reason="credentials", code=None)
        try:
            chat_id = chat_of(message)
            reply = await self._call(bot_token, method_for(message, chat_id=chat_id))
            error = _error(reply, secret=bot_token)
            if error is not None and error.moved_to is not None:
                # Nothing was taken: the group has another id now, under which we ask once more.
                method = method_for(message, chat_id=error.moved_to)
                reply = await self._call(bot_token, method)
        except Unsendable as unsendable:
            return unsendable.answer
        except UnicodeEncodeError:
            return Rejected(reason="invalid", code=None, detail="Half a character is no text.")
        answer = _read_send_reply(reply, secret=bot_token, to_group=is_group(chat_id))
        if not isinstance(answer, Accepted):
            log_refusal(answer, reply, account_id=message.account_id)
        return answer

    async def verify(self, account_id: str, credentials: Credentials) -> VerificationAnswer:
        """Whether this token is the one of this bot. Spec S15."""
        bot_token = credentials["bot_token"]
        if not is_token(bot_token):
            return NotVerified(reason="credentials")
        reply = await self._call(bot_token, Method("getMe", {}))
        error = _error(reply, secret=bot_token)
        return whose_it_is(
            reply,
            account_id,
            named=identifier(_result(document_of(reply)).get("id")),
            meaning=error.meaning if error is not None else None,
        )

    async def _call(self, bot_token: str, method: Method) -> Reply | NoReply:
        if method.file is not None:
            fields = {name: _as_field(value) for name, value in method.arguments.items()}
            headers, content = multipart.form(fields, name=method.file_name, file=method.file)
            request = call(
                self._base_address, bot_token, method.name, content=content, headers=headers
            )
        else:
            request = call(
                self._base_address,
                bot_token,
                method.name,
                content=msgspec.json.encode(method.arguments),
                headers={"Content-Type": "application/json"},
            )
        return await exchange(self._client, request, limits=self._limits)


def _as_field(value: Any) -> str:
    """A form holds texts; what is more than a text goes as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _error(reply: Reply | NoReply, *, secret: str) -> BotError | None:
    if isinstance(reply, NoReply) or reply.status < 400:
        return None
    return read_error(document_of(reply), secret=secret)


def _read_send_reply(reply: Reply | NoReply, *, secret: str, to_group: bool) -> SendAnswer:
    if isinstance(reply, Reply) and reply.status < 300:
        return _accepted(document_of(reply)) or unexplained(reply)
    error = _error(reply, secret=secret)
    return send_answer(error, to_group=to_group) if error is not None else unexplained(reply)


def _accepted(document: Any) -> Accepted | None:
    """The message as it stands in its chat, by the name under which webhooks speak of it."""
    message = _result(document)
    connection = identifier(message.get("business_connection_id")) or ""
    chat_id = identifier(part(message, "chat").get("id"))
    message_id = identifier(message.get("message_id"))
    if chat_id is None or message_id is None:
        return None
    platform_id = str(MessageName(connection, chat_id, message_id))
    return Accepted(platform_id=platform_id) if is_plain(platform_id) else None


def _result(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict) or document.get("ok") is not True:
        return {}
    return part(document, "result")
