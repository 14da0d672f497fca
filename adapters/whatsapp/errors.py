"""What Meta's error codes mean for a message that was to be sent."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from adapters.answers import printable
from adapters.readers import text
from adapters.whatsapp.readers import error_code
from domain.outbound import AccountStopped, Deferred, Rejected, Unsettled

Verdict = Literal["reject", "defer", "stop", "transient"]


class Meaning(msgspec.Struct, frozen=True):
    """What to do about a code, and our word for the reason.

    `transient` is a failure inside the platform: whether it took the message before is known
    only from the HTTP status.
    """

    verdict: Verdict
    reason: str
    wait_seconds: float | None = None


# From the general to the particular: a later line overrides an earlier one.
_LINES: tuple[tuple[Meaning, Iterable[int]], ...] = (
    (Meaning("stop", "permission"), (3, 10, *range(200, 300), 131005)),
    (Meaning("stop", "registration"), (131037, 131045, *range(133000, 133017))),
    (Meaning("stop", "credentials"), (0, 102, 190)),
    (Meaning("stop", "blocked"), (368, 131031)),
    (Meaning("stop", "payment"), (131042,)),
    # "The business phone number has been deleted": no other message would fare better.
    (Meaning("stop", "account_unknown"), (33,)),
    (Meaning("defer", "rate_limited"), (4, 80007, 130429, 133016)),
    (Meaning("defer", "spam_limited"), (131048,)),
    # One message in six seconds to the same customer, after a burst of 45.
    (Meaning("defer", "pair_limited", 6.0), (131056,)),
    (Meaning("defer", "unavailable"), (131057,)),
    (Meaning("transient", "unavailable"), (1, 2, 131000, 131016, 133004)),
    (Meaning("reject", "invalid"), (100, 131008, 131009, 131021, 131051)),
    (Meaning("reject", "undeliverable"), (131026, 131030, 130472)),
    # Only towards customers of one country, so the account goes on with all others.
    (Meaning("reject", "restricted_country"), (130497,)),
    (Meaning("reject", "window_closed"), (131047,)),
    # A customer gets only so much marketing from everybody together: no sooner than tomorrow.
    (Meaning("reject", "marketing_limited"), (131049,)),
    (Meaning("reject", "opted_out"), (131050,)),
    (Meaning("reject", "blocked"), (130403,)),
    (Meaning("reject", "media"), (131052, 131053)),
    (Meaning("reject", "address"), (131062,)),
    (Meaning("reject", "template"), range(132000, 133000)),
)

MEANINGS: Mapping[int, Meaning] = {code: meaning for meaning, codes in _LINES for code in codes}

UNKNOWN = Meaning("reject", "unknown")

# Code 100 is any wrong parameter; with this subcode the account itself is what does not exist,
# or not for this token.
OBJECT_MISSING = (100, 33)


class GraphError(msgspec.Struct, frozen=True, kw_only=True):
    """The `error` object of an answer."""

    code: int | None
    subcode: int | None
    detail: str
    trace_id: str  # Meta's support asks for it.

    @property
    def meaning(self) -> Meaning:
        """What its code means; a code that we do not know is for a person to look at."""
        if (self.code, self.subcode) == OBJECT_MISSING:
            return MEANINGS[33]
        return MEANINGS.get(self.code, UNKNOWN) if self.code is not None else UNKNOWN


def read_error(document: Any, *, secret: str) -> GraphError | None:
    """The error in an answer, if it is one of Graph's. Graph repeats a wrong token: not we."""
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return None
    data = error.get("error_data")
    details = text(data.get("details")) if isinstance(data, dict) else None
    return GraphError(
        code=error_code(error),
        subcode=error_code({"code": error.get("error_subcode")}),
        detail=printable(details or text(error.get("message")) or "", secret=secret),
        trace_id=printable(text(error.get("fbtrace_id")) or "", secret=secret),
    )


def send_answer(
    error: GraphError, *, status: int, retry_after_seconds: float | None
) -> Rejected | Deferred | AccountStopped | Unsettled:
    """What an error means for the message. Spec N3."""
    meaning = error.meaning
    wait_seconds = retry_after_seconds if retry_after_seconds is not None else meaning.wait_seconds
    if meaning.verdict == "stop":
        return AccountStopped(reason=meaning.reason, code=error.code)
    if meaning.verdict == "defer":
        return Deferred(reason=meaning.reason, retry_after_seconds=wait_seconds)
    if status == 429:
        return Deferred(reason="rate_limited", retry_after_seconds=wait_seconds)
    if meaning.verdict == "reject" and (status < 500 or meaning is not UNKNOWN):
        return Rejected(reason=meaning.reason, code=error.code, detail=_with_trace(error))
    # Graph says 503 before it has begun, and 4xx instead of doing anything.
    if status < 500 or status == 503:
        return Deferred(reason="unavailable", retry_after_seconds=wait_seconds)
    return Unsettled(reason="platform_failed")


def _with_trace(error: GraphError) -> str:
    return f"{error.detail} (fbtrace_id {error.trace_id})" if error.trace_id else error.detail
