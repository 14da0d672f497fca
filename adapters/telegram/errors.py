"""What Telegram's errors mean for a message that was to be sent.

An error is an HTTP status and a sentence; the sentences are no part of the documented interface,
so only those that change what is to be done are looked for.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.answers import printable
from adapters.exchange import RETRY_AFTER_SECONDS_MAX
from adapters.meanings import UNKNOWN, Meaning
from adapters.readers import identifier, number, part, text
from adapters.telegram.naming import is_chat_id
from domain.outbound import AccountUnusable, Deferred, Rejected, Unsettled

BLOCKED = Meaning("reject", "blocked")
UNDELIVERABLE = Meaning("reject", "undeliverable")
NO_RIGHT = Meaning("reject", "permission")
MEDIA = Meaning("reject", "media")

MEANINGS: Mapping[int, Meaning] = {
    400: Meaning("reject", "invalid"),
    401: Meaning("stop", "credentials"),
    403: BLOCKED,
    # A token that is none leads to no address at all.
    404: Meaning("stop", "credentials"),
    # Another program has taken the bot's updates, or is being put in the place of one.
    409: Meaning("defer", "unavailable"),
    413: MEDIA,
    429: Meaning("defer", "rate_limited"),
}

FAILED = Meaning("transient", "platform_failed")

# Where the status alone does not tell: some words of the sentence, the first that are found.
SENTENCES: tuple[tuple[int, str, Meaning], ...] = (
    (400, "chat not found", UNDELIVERABLE),
    (400, "user not found", UNDELIVERABLE),
    (400, "peer_id_invalid", UNDELIVERABLE),
    (400, "group chat was deactivated", UNDELIVERABLE),
    (400, "business connection", UNDELIVERABLE),  # It was ended, or does not let us answer.
    (400, "business_", UNDELIVERABLE),
    (400, "user_is_blocked", BLOCKED),
    (400, "input_user_deactivated", BLOCKED),
    (400, "not enough rights", NO_RIGHT),
    (400, "no rights", NO_RIGHT),
    (400, "chat_write_forbidden", NO_RIGHT),
    (400, "chat_restricted", NO_RIGHT),
    (400, "topic_closed", NO_RIGHT),
    (400, "photo", MEDIA),
    (400, "wrong file identifier", MEDIA),
    (400, "file is too big", MEDIA),
    (400, "wrong type", MEDIA),
    (400, "failed to get http url content", MEDIA),
    (403, "can't initiate conversation", UNDELIVERABLE),
    (403, "can't send messages to bots", UNDELIVERABLE),
)


class BotError(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not `ok`."""

    code: int
    detail: str
    retry_after_seconds: float | None
    moved_to: str | None  # The group has become a supergroup, which has this id.

    @property
    def meaning(self) -> Meaning:
        """What it means; what we do not know is for a person to look at."""
        said = self.detail.lower()
        for code, words, meaning in SENTENCES:
            if code == self.code and words in said:
                return meaning
        return FAILED if self.code >= 500 else MEANINGS.get(self.code, UNKNOWN)


def read_error(document: Any, *, secret: str) -> BotError | None:
    """The error in an answer, if it is one of Telegram's."""
    if not isinstance(document, dict) or document.get("ok") is not False:
        return None
    code, more = document.get("error_code"), part(document, "parameters")
    if not isinstance(code, int) or isinstance(code, bool):
        return None
    wait, moved_to = number(more.get("retry_after")), identifier(more.get("migrate_to_chat_id"))
    return BotError(
        code=code,
        detail=printable(text(document.get("description")) or "", secret=secret),
        retry_after_seconds=None if wait is None else _within_limits(wait),
        moved_to=moved_to if moved_to is not None and is_chat_id(moved_to) else None,
    )


def _within_limits(seconds: float) -> float:
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def send_answer(
    error: BotError, *, to_group: bool
) -> Rejected | Deferred | AccountUnusable | Unsettled:
    """What an error means for the message. Spec N3.

    Groups are limited far sooner than the bot is, so what is said of one is not held against all.
    """
    meaning = error.meaning
    match meaning.verdict:
        case "stop":
            return AccountUnusable(reason=meaning.reason, code=error.code)
        case "defer":
            reason = "pair_limited" if to_group else meaning.reason
            return Deferred(reason=reason, retry_after_seconds=error.retry_after_seconds)
        case "transient":
            return Unsettled(reason=meaning.reason)
        case "reject":
            return Rejected(reason=meaning.reason, code=error.code, detail=error.detail)
