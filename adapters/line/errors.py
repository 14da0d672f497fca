"""What LINE's errors mean for a message that was to be sent.

LINE has no codes: an error is an HTTP status and a sentence.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.answers import printable
from adapters.meanings import UNKNOWN, Meaning
from adapters.readers import objects, text
from domain.outbound import AccountUnusable, Deferred, Rejected, Unsettled

MEANINGS: Mapping[int, Meaning] = {
    400: Meaning("reject", "invalid"),
    401: Meaning("stop", "credentials"),
    403: Meaning("stop", "permission"),
    404: Meaning("reject", "undeliverable"),
    410: Meaning("reject", "undeliverable"),
    413: Meaning("reject", "invalid"),
    415: Meaning("reject", "invalid"),
    429: Meaning("defer", "rate_limited"),
}

FAILED = Meaning("transient", "platform_failed")

# Where the status alone does not tell: a word of LINE's sentence.
SENTENCES: Mapping[tuple[int, str], Meaning] = {
    # Until the month ends or somebody buys more: waiting for it would look like a stuck queue.
    (429, "monthly limit"): Meaning("reject", "quota_exceeded"),
    (400, "property, 'to'"): Meaning("reject", "address"),
    (400, "failed to send"): Meaning("reject", "undeliverable"),
}


class LineError(msgspec.Struct, frozen=True, kw_only=True):
    """An answer in which LINE says what is wrong."""

    status: int
    detail: str

    @property
    def meaning(self) -> Meaning:
        """What it means; what we do not know is for a person to look at."""
        said = self.detail.lower()
        for (status, words), meaning in SENTENCES.items():
            if status == self.status and words in said:
                return meaning
        return FAILED if self.status >= 500 else MEANINGS.get(self.status, UNKNOWN)


def read_error(document: Any, *, status: int, secret: str) -> LineError | None:
    """The error in an answer, if it is one of LINE's."""
    sentence = text(document.get("message")) if isinstance(document, dict) else None
    if sentence is None:
        return None
    details = [
        f"{text(each.get('property')) or ''}: {text(each.get('message')) or ''}"
        for each in objects(document.get("details"))
    ]
    return LineError(
        status=status, detail=printable("; ".join([sentence, *details]), secret=secret)
    )


def send_answer(
    error: LineError, *, retry_after_seconds: float | None
) -> Rejected | Deferred | AccountUnusable | Unsettled:
    """What an error means for the message. Spec N3."""
    meaning = error.meaning
    match meaning.verdict:
        case "stop":
            return AccountUnusable(reason=meaning.reason, code=error.status)
        case "defer":
            return Deferred(reason=meaning.reason, retry_after_seconds=retry_after_seconds)
        case "transient":
            return Unsettled(reason=meaning.reason)
        case "reject":
            return Rejected(reason=meaning.reason, code=error.status, detail=error.detail)
