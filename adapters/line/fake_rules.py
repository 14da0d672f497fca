"""The rules by which the fake Messaging API takes or refuses a message, as LINE documents them."""

import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

JsonObject = dict[str, Any]

TEXT_LENGTH_MAX = 5000  # In UTF-16 units.
MESSAGES_MAX = 5
URL_LENGTH_MAX = 2000
RETRY_KEY_LIFETIME = timedelta(hours=24)
REPLY_TOKEN_LIFETIME = timedelta(minutes=1)

# By what a message is quoted; which can be, and by which.
QUOTE = "quoteToken"
QUOTABLE = ("text", "sticker", "image", "video")
QUOTING = ("text", "sticker")

RECIPIENT = re.compile(r"[UCR][0-9a-f]{32}")

QUOTA_REACHED = "You have reached your monthly limit."
RATE_EXCEEDED = "The API rate limit has been exceeded. Try again later."
UNAUTHORISED = (
    "Authentication failed. Confirm that the access token in the authorization header is valid."
)


class FakeLineAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An official account that the fake knows, and what is good for it."""

    user_id: str = "U4af4980629d8f0a3c7b2e6d1a5f90b34"
    access_token: str = "fake-line-token"  # noqa: S105 - It guards nothing.
    channel_secret: str = "fake-channel-secret"  # noqa: S105 - It guards nothing.
    display_name: str = "Fake Business"
    monthly_quota: int | None = None  # Pushes a month; None: as many as one likes.


class LineRefusal(Exception):
    """An answer in LINE's form for a request that is not taken."""

    def __init__(
        self, status: int, message: str, *details: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: JsonObject = {"message": message}
        if details:
            pairs = [each.partition(": ") for each in details]
            self.body["details"] = [{"message": what, "property": name} for name, _, what in pairs]


def check_push(document: Any) -> JsonObject:
    """The body of a push that may be sent. Raises LineRefusal."""
    body = _checked(document)
    recipient = body.get("to")
    if not isinstance(recipient, str) or not RECIPIENT.fullmatch(recipient):
        raise LineRefusal(400, "The property, 'to', in the request body is invalid")
    return body


def check_reply(document: Any) -> JsonObject:
    """The body of a reply. Raises LineRefusal."""
    return _checked(document)


def check_retry_key(written: str | None) -> str | None:
    """A retry key in its usual form. Raises LineRefusal."""
    if written is None:
        return None
    try:
        return str(uuid.UUID(written))
    except ValueError:
        raise LineRefusal(400, "The retry key is invalid") from None


def _checked(document: Any) -> JsonObject:
    messages = document.get("messages") if isinstance(document, dict) else None
    if not isinstance(messages, list) or not 1 <= len(messages) <= MESSAGES_MAX:
        raise _errors(f"messages: Size must be between 1 and {MESSAGES_MAX}")
    for place, message in enumerate(messages):
        kind = message.get("type") if isinstance(message, dict) else None
        check = CHECKS.get(kind) if isinstance(kind, str) else None
        if check is None:
            raise _errors(f"messages[{place}].type: May not be another type")
        check(message, f"messages[{place}]")
        if QUOTE in message and kind not in QUOTING:
            raise _errors(f"messages[{place}].{QUOTE}: May not be there")
    body: JsonObject = document
    return body


def _check_text(message: JsonObject, where: str) -> None:
    text = message.get("text")
    if not isinstance(text, str) or not text:
        raise _errors(f"{where}.text: May not be empty")
    if len(text.encode("utf-16-le")) // 2 > TEXT_LENGTH_MAX:
        raise _errors(f"{where}.text: Length must be between 0 and {TEXT_LENGTH_MAX}")


def _check_shown(message: JsonObject, where: str) -> None:
    for name in ("originalContentUrl", "previewImageUrl"):
        _check_url(message, where, name)


def _check_audio(message: JsonObject, where: str) -> None:
    _check_url(message, where, "originalContentUrl")
    if not isinstance(message.get("duration"), int):
        raise _errors(f"{where}.duration: May not be empty")


def _check_url(message: JsonObject, where: str, name: str) -> None:
    address = message.get(name)
    if not isinstance(address, str) or not address.startswith("https://"):
        raise _errors(f"{where}.{name}: Must be a valid HTTPS URL")
    if len(address) > URL_LENGTH_MAX:
        raise _errors(f"{where}.{name}: Length must be between 0 and {URL_LENGTH_MAX}")


def _check_location(message: JsonObject, where: str) -> None:
    for name in ("title", "address"):
        if not isinstance(message.get(name), str) or not 1 <= len(message[name]) <= 100:
            raise _errors(f"{where}.{name}: Length must be between 1 and 100")
    for name in ("latitude", "longitude"):
        if not isinstance(message.get(name), int | float):
            raise _errors(f"{where}.{name}: May not be empty")


def _check_sticker(message: JsonObject, where: str) -> None:
    for name in ("packageId", "stickerId"):
        if not isinstance(message.get(name), str) or not message[name].isdigit():
            raise _errors(f"{where}.{name}: May not be empty")


def _errors(detail: str) -> LineRefusal:
    return LineRefusal(400, "The request body has 1 error(s)", detail)


CHECKS: dict[str, Callable[[JsonObject, str], None]] = {
    "text": _check_text,
    "image": _check_shown,
    "video": _check_shown,
    "audio": _check_audio,
    "location": _check_location,
    "sticker": _check_sticker,
}


class RetryKeys:
    """409: a push that was taken under this key is not taken again for 24 hours."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], tuple[datetime, str, JsonObject]] = {}

    def check(self, account_id: str, key: str, now: datetime) -> None:
        """Raises LineRefusal with what was answered when it was taken."""
        at, request_id, answer = self._taken.get((account_id, key), (None, "", {}))
        if at is not None and now < at + RETRY_KEY_LIFETIME:
            refusal = LineRefusal(
                409,
                "The retry key is already accepted",
                headers={"x-line-accepted-request-id": request_id},
            )
            refusal.body |= answer
            raise refusal

    def keep(
        self, account_id: str, key: str, now: datetime, request_id: str, answer: JsonObject
    ) -> None:
        """A push was taken."""
        self._taken[account_id, key] = (now, request_id, answer)


class Quotas:
    """429: so many pushes in a calendar month, and no more."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, int, int], int] = {}

    def used(self, account: FakeLineAccount, now: datetime) -> int:
        """This month's pushes."""
        return self._used.get((account.user_id, now.year, now.month), 0)

    def take(self, account: FakeLineAccount, now: datetime) -> None:
        """Count one push. Raises LineRefusal."""
        used = self.used(account, now)
        if account.monthly_quota is not None and used >= account.monthly_quota:
            raise LineRefusal(429, QUOTA_REACHED)
        self._used[account.user_id, now.year, now.month] = used + 1


class RateLimit:
    """429: so many requests in a second, over all accounts."""

    def __init__(self, requests_per_second: int) -> None:
        self._most = requests_per_second
        self._recent: list[datetime] = []

    def take(self, now: datetime) -> None:
        """Count one request. Raises LineRefusal."""
        second = timedelta(seconds=1)
        self._recent = [each for each in self._recent if now - each < second]
        if len(self._recent) >= self._most:
            raise LineRefusal(429, RATE_EXCEEDED)
        self._recent.append(now)


class MessageTokens:
    """What messages are quoted by, or marked as read by: as often as one likes, and for ever."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[str, str], str]] = {}

    def keep(self, token: str, chat: tuple[str, str], message_id: str) -> None:
        """A message has this token in its chat: the account, and the user or group."""
        self._known[token] = (chat, message_id)

    def take(self, token: Any, *, named: str) -> tuple[tuple[str, str], str]:
        """The chat and the message. Raises LineRefusal."""
        if not isinstance(token, str) or token not in self._known:
            raise LineRefusal(400, f"The property, '{named}', in the request body is invalid")
        return self._known[token]


class ReplyTokens:
    """A token answers one event, once, within a minute."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, datetime]] = {}

    def keep(self, token: str, recipient: str, now: datetime) -> None:
        """An event was posted with this token."""
        self._open[token] = (recipient, now)

    def take(self, token: Any, now: datetime) -> str:
        """Whom it answers; it is used up. Raises LineRefusal."""
        recipient, at = self._open.pop(token if isinstance(token, str) else "", ("", now))
        if not recipient or now >= at + REPLY_TOKEN_LIFETIME:
            raise LineRefusal(400, "Invalid reply token")
        return recipient
