"""A Messaging API to develop against: it behaves like LINE's, and fails on demand.

async with FakeLine(webhook_url="http://127.0.0.1:8000/webhooks/line") as fake:
    fake.base_url                       # For TRUNKLINE_LINE_API_BASE.
    fake.customer_says("U19c8e7d6b5a493827160f5e4d3c2b1a0", "Hello")
    fake.next_requests(fails(500), accepts_then_drops())
    await fake.settled()
    fake.accepted                       # Every push it took, doubles included.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

from adapters.fakes.courier import RETRY_DELAYS_SECONDS, Courier
from adapters.fakes.fake import AcceptedSend, Fake
from adapters.fakes.server import Answer, Request, json_answer
from adapters.line.fake_behaviour import refusal_answer
from adapters.line.fake_rules import (
    QUOTABLE,
    QUOTE,
    UNAUTHORISED,
    FakeLineAccount,
    JsonObject,
    LineRefusal,
    MessageTokens,
    Quotas,
    RateLimit,
    ReplyTokens,
    RetryKeys,
    check_push,
    check_reply,
    check_retry_key,
)
from adapters.line.fake_webhooks import (
    as_line_writes,
    envelope,
    event,
    new_token,
    redelivered,
    signed,
    source,
)

ANSWER_SECONDS_MAX = 2.0  # Longer LINE does not wait.


class FakeLine(Fake):
    """The fake, running between `async with` and its end.

    Webhooks of an account go to `webhook_url`, a slash and the account's user id. LINE delivers
    again what was not answered only where an account asks for it (`redelivers`).
    """

    SENDS = "/push"

    def __init__(
        self,
        *,
        accounts: Sequence[FakeLineAccount] = (FakeLineAccount(),),
        webhook_url: str | None = None,
        redelivers: bool = True,
        requests_per_second: int = 2000,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seed: int = 0,
        retry_delays_seconds: Sequence[float] = RETRY_DELAYS_SECONDS,
        port: int = 0,
    ) -> None:
        self.blocked: set[tuple[str, str]] = set()  # Account and user who blocked it.
        self.files: dict[str, tuple[bytes, str]] = {}  # With their types, by message.
        self.read: list[tuple[str, str]] = []  # Accounts, with the messages marked in them.
        self.quoted: list[tuple[str, str]] = []  # Accounts, with the messages quoted in them.
        self._read_tokens = MessageTokens()
        self._quote_tokens = MessageTokens()
        self._accounts = {account.user_id: account for account in accounts}
        self._retry_keys = RetryKeys()
        self._quotas = Quotas()
        self._rate_limit = RateLimit(requests_per_second)
        self._reply_tokens = ReplyTokens()
        self._now = now
        self._random = Random(seed)  # noqa: S311 - A plan that can be repeated, not a secret.
        self._messages = 612_300_000_000_000_000
        courier = Courier(
            webhook_url=webhook_url,
            sign=lambda _: {},
            again=redelivered,
            retry_delays_seconds=retry_delays_seconds if redelivers else (),
            answer_seconds_max=ANSWER_SECONDS_MAX,
        )
        super().__init__(courier, port=port)

    # What a test or a demo does to it.

    def customer_says(
        self,
        user_id: str | None,
        text: str,
        *,
        account_id: str | None = None,
        group_id: str | None = None,
        quotes: str | None = None,
    ) -> str:
        """A customer writes; the id of their message. In groups `user_id` may be unknown."""
        message: JsonObject = {"type": "text", "text": text}
        if quotes is not None:
            message["quotedMessageId"] = quotes
        return self.customer_sends(user_id, message, account_id=account_id, group_id=group_id)

    def customer_sends(
        self,
        user_id: str | None,
        message: JsonObject,
        *,
        account_id: str | None = None,
        group_id: str | None = None,
    ) -> str:
        """A customer sends anything at all: `message` is what LINE would put into the event."""
        message_id, account = self._new_message_id(), self._account(account_id)
        chat = (account.user_id, group_id or user_id or "")
        token, read_token = new_token(self._random), new_token(self._random)
        self._reply_tokens.keep(token, chat[1], self._now())
        self._read_tokens.keep(read_token, chat, message_id)
        named = {"id": message_id, "markAsReadToken": read_token}
        named |= self._quotable(message, chat, message_id)
        self._post(
            "message",
            user_id,
            account_id=account_id,
            group_id=group_id,
            replyToken=token,
            message={**named, **message},
        )
        return message_id

    def customer_sends_file(
        self, user_id: str, kind: str, data: bytes, mime_type: str, *, account_id: str | None = None
    ) -> str:
        """A customer sends a file; LINE gives it out under the message's id."""
        message: JsonObject = {"type": kind, "contentProvider": {"type": "line"}}
        message_id = self.customer_sends(user_id, message, account_id=account_id)
        self.files[message_id] = (data, mime_type)
        return message_id

    def _quotable(
        self, message: JsonObject, chat: tuple[str, str], message_id: str
    ) -> dict[str, str]:
        """The token by which a message can be quoted in its chat, if it can be."""
        if message["type"] not in QUOTABLE:
            return {}
        token = new_token(self._random)
        self._quote_tokens.keep(token, chat, message_id)
        return {"quoteToken": token}

    def follows(self, user_id: str, *, account_id: str | None = None) -> None:
        """Somebody becomes a friend of the account, or lets it in again."""
        account = self._account(account_id)
        was_blocked = (account.user_id, user_id) in self.blocked
        self.blocked.discard((account.user_id, user_id))
        self._post("follow", user_id, account_id=account_id, follow={"isUnblocked": was_blocked})

    def blocks(self, user_id: str, *, account_id: str | None = None) -> None:
        """Somebody blocks the account: it is told so, and its pushes go nowhere from then on."""
        self.blocked.add((self._account(account_id).user_id, user_id))
        self._post("unfollow", user_id, account_id=account_id)

    def unsends(self, user_id: str, message_id: str, *, account_id: str | None = None) -> None:
        """A customer takes a message back."""
        self._post("unsend", user_id, account_id=account_id, unsend={"messageId": message_id})

    def _post(
        self,
        kind: str,
        user_id: str | None,
        *,
        account_id: str | None,
        group_id: str | None = None,
        **more: JsonObject | str,
    ) -> None:
        account = self._account(account_id)
        happened = event(
            kind,
            source=source(user_id, group_id),
            at=self._now(),
            random=self._random,
            **more,
        )
        self._courier.post(
            as_line_writes(envelope(account, happened)),
            path=f"/{account.user_id}",
            sign=lambda body: signed(body, account.channel_secret),
        )

    def _account(self, account_id: str | None) -> FakeLineAccount:
        return self._accounts[account_id] if account_id else next(iter(self._accounts.values()))

    def _new_message_id(self) -> str:
        self._messages += self._random.randrange(1, 1_000)
        return str(self._messages)

    # What it answers.

    def answer(self, request: Request) -> Answer:
        """What LINE answers."""
        try:
            if request.path.endswith("/content"):
                return self._content(request)
            return json_answer(self._answer(request), headers={"x-line-request-id": "fake"})
        except LineRefusal as refusal:
            return refusal_answer(refusal)

    def _content(self, request: Request) -> Answer:
        self._authorised(request)
        path = request.path.removeprefix("/v2/bot/message/")
        found = self.files.get(path.removesuffix("/content"))
        if found is None:
            raise LineRefusal(404, "Not found")
        data, mime_type = found
        return Answer(body=data, headers=(("Content-Type", mime_type),))

    def _answer(self, request: Request) -> JsonObject:
        account = self._authorised(request)
        now = self._now()
        match (request.method, request.path.removeprefix("/v2/bot/")):
            case ("GET", "info"):
                return _about(account)
            case ("GET", "message/quota"):
                return _quota(account)
            case ("GET", "message/quota/consumption"):
                return {"totalUsage": self._quotas.used(account, now)}
            case ("POST", "message/push"):
                self._rate_limit.take(now)
                return self._push(account, request, now)
            case ("POST", "message/reply"):
                self._rate_limit.take(now)
                return self._reply(account, request, now)
            case ("POST", "chat/markAsRead"):
                return self._mark_read(account, _json(request.body))
            case _:
                raise LineRefusal(404, "Not found")

    def _authorised(self, request: Request) -> FakeLineAccount:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        for account in self._accounts.values():
            if account.access_token == token:
                return account
        raise LineRefusal(401, UNAUTHORISED)

    def _push(self, account: FakeLineAccount, request: Request, now: datetime) -> JsonObject:
        key = check_retry_key(request.headers.get("x-line-retry-key"))
        if key is not None:
            self._retry_keys.check(account.user_id, key, now)
        body = check_push(_json(request.body))
        self._quotas.take(account, now)
        answer = self._take(account, body["to"], body, key, now)
        if key is not None:
            self._retry_keys.keep(account.user_id, key, now, "fake", answer)
        return answer

    def _reply(self, account: FakeLineAccount, request: Request, now: datetime) -> JsonObject:
        if "x-line-retry-key" in request.headers:
            raise LineRefusal(400, "The retry key is not supported here")
        body = check_reply(_json(request.body))
        recipient = self._reply_tokens.take(body.get("replyToken"), now)
        return self._take(account, recipient, body, None, now)

    def _mark_read(self, account: FakeLineAccount, document: Any) -> JsonObject:
        token = document.get("markAsReadToken") if isinstance(document, dict) else None
        (account_id, _), message_id = self._read_tokens.take(token, named="markAsReadToken")
        if account_id != account.user_id:
            raise LineRefusal(400, "The markAsReadToken is of another account")
        self.read.append((account.user_id, message_id))
        return {}

    def _take(
        self,
        account: FakeLineAccount,
        recipient: str,
        body: JsonObject,
        key: str | None,
        now: datetime,
    ) -> JsonObject:
        sent = []
        chat = (account.user_id, recipient)
        self.quoted += [self._quoted_by(each, chat) for each in body["messages"] if QUOTE in each]
        for message in body["messages"]:
            message_id = self._new_message_id()
            sent.append({"id": message_id, **self._quotable(message, chat, message_id)})
            self.accepted.append(
                AcceptedSend(
                    account_id=account.user_id,
                    platform_id=message_id,
                    to=recipient,
                    kind=message["type"],
                    text=message.get("text"),
                    mark=key,
                    at=now,
                    body=body,
                )
            )
        return {"sentMessages": sent}

    def _quoted_by(self, message: JsonObject, chat: tuple[str, str]) -> tuple[str, str]:
        where, message_id = self._quote_tokens.take(message[QUOTE], named=QUOTE)
        if where != chat:
            raise LineRefusal(400, "The quoteToken is of another chat")
        return chat[0], message_id


def _about(account: FakeLineAccount) -> JsonObject:
    return {
        "userId": account.user_id,
        "basicId": "@fake",
        "displayName": account.display_name,
        "chatMode": "bot",
        "markAsReadMode": "auto",
    }


def _quota(account: FakeLineAccount) -> JsonObject:
    if account.monthly_quota is None:
        return {"type": "none"}
    return {"type": "limited", "value": account.monthly_quota}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
