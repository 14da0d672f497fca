"""Errors of Meta's Graph API, and what they mean for a message that was to be sent.

Which code means what differs from platform to platform: each has a table of its own.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from adapters.answers import printable
from adapters.meanings import PASSING, UNKNOWN, Meaning
from adapters.readers import identifier, text
from domain.outbound import AccountUnusable, Deferred, Rejected, Unsettled

CODE_LENGTH_MAX = 9  # Meta's have up to seven digits.

# By code and subcode; without a subcode, for every other one.
Meanings = Mapping[tuple[int, int | None], Meaning]


def meanings(lines: Iterable[tuple[Meaning, Iterable[int | tuple[int, int]]]]) -> Meanings:
    """A table from the general to the particular: a later line overrides an earlier one."""
    return {
        code if isinstance(code, tuple) else (code, None): meaning
        for meaning, codes in lines
        for code in codes
    }


class GraphError(msgspec.Struct, frozen=True, kw_only=True):
    """The `error` object of an answer."""

    code: int | None
    subcode: int | None
    detail: str
    trace_id: str  # Meta's support asks for it.
    is_transient: bool = False  # Meta's own word that it may pass later.

    def meaning(self, meanings: Meanings) -> Meaning:
        """What its code means; one that we do not know, and Meta neither, is for a person."""
        unknown = PASSING if self.is_transient else UNKNOWN
        if self.code is None:
            return unknown
        particular = meanings.get((self.code, self.subcode))
        return particular or meanings.get((self.code, None), unknown)


def read_error(document: Any, *, secret: str) -> GraphError | None:
    """The error in an answer, if it is one of Graph's. Graph repeats a wrong token: not we."""
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return None
    data = error.get("error_data")
    details = text(data.get("details")) if isinstance(data, dict) else None
    return GraphError(
        code=error_code(error),
        subcode=error_code(error, "error_subcode"),
        detail=printable(details or text(error.get("message")) or "", secret=secret),
        trace_id=printable(text(error.get("fbtrace_id")) or "", secret=secret),
        is_transient=error.get("is_transient") is True,
    )


def error_code(error: dict[str, Any] | None, name: str = "code") -> int | None:
    """The number of an error."""
    written = identifier(error.get(name)) if error else None
    if written is None or len(written) > CODE_LENGTH_MAX or not written.isascii():
        return None
    return int(written) if written.isdigit() else None


def send_answer(
    error: GraphError, meanings: Meanings, *, status: int, retry_after_seconds: float | None
) -> Rejected | Deferred | AccountUnusable | Unsettled:
    """What an error means for the message. Spec N3."""
    meaning = error.meaning(meanings)
    wait_seconds = retry_after_seconds if retry_after_seconds is not None else meaning.wait_seconds
    if meaning.verdict == "stop":
        return AccountUnusable(reason=meaning.reason, code=error.code)
    if meaning.verdict == "defer":
        return Deferred(reason=meaning.reason, retry_after_seconds=wait_seconds)
    if status == 429:
        return Deferred(reason="rate_limited", retry_after_seconds=wait_seconds)
    if meaning.verdict == "reject" and (status < 500 or meaning is not UNKNOWN):
        return Rejected(
            reason=meaning.reason,
            code=error.code,
            detail=_with_trace(error),
            once_more=meaning.once_more,
        )
    # Graph says 503 before it has begun, and 4xx instead of doing anything.
    if status < 500 or status == 503:
        return Deferred(reason="unavailable", retry_after_seconds=wait_seconds)
    return Unsettled(reason="platform_failed")


def _with_trace(error: GraphError) -> str:
    return f"{error.detail} (fbtrace_id {error.trace_id})" if error.trace_id else error.detail
