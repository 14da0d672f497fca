"""What WeChat's codes mean for a message that was to be sent.

The HTTP status is 200 whatever happens; `errcode` says what did, and `errmsg` holds a `rid` that
WeChat's support asks for.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from adapters.answers import printable
from adapters.meanings import UNKNOWN, Meaning
from adapters.readers import text
from domain.outbound import (
    AccountUnusable,
    Deferred,
    Rejected,
)

SUCCESS = 0

# The token is not good any more. Nothing was taken, so another one may be tried at once.
TOKEN_REFUSED = frozenset({40001, 40014, 42001})

REQUEST_ID = re.compile(r"rid: ?([0-9A-Za-z-]{1,64})")


_LINES: tuple[tuple[Meaning, Iterable[int]], ...] = (
    (Meaning("stop", "credentials"), (40013, 40125, 40243, 41001, 41002, 41004, *TOKEN_REFUSED)),
    (Meaning("stop", "permission"), (48001,)),
    (Meaning("stop", "blocked"), (48004, 50002, 50004, 50007)),
    # Our address must stand in the account's list: GET /v1/installation names it.
    (Meaning("stop", "ip_not_allowed"), (40164, 61004, 89501, 89503, 89506, 89507)),
    (Meaning("defer", "unavailable"), (-1,)),
    # So many calls a day, and so many a minute.
    (Meaning("defer", "rate_limited", 600.0), (45009,)),
    (Meaning("defer", "rate_limited", 60.0), (45011,)),
    (Meaning("reject", "window_closed"), (45015,)),
    (Meaning("reject", "quota_exceeded"), (45047,)),
    (Meaning("reject", "undeliverable"), (43004, 43101, 48002, 50005)),
    (Meaning("reject", "blocked"), (43019,)),
    (Meaning("reject", "address"), (40003,)),
    (Meaning("reject", "invalid"), (40008, 40033, 40035, 44002, 44004, 45002, 47001)),
    (
        Meaning("reject", "media"),
        (*range(40004, 40008), *range(40009, 40013), 40118, 40121, 40137, 41005, 44001, 45001),
    ),
    (Meaning("reject", "media"), (45007,)),
    (Meaning("reject", "template"), (40037, 47003)),
)

MEANINGS: Mapping[int, Meaning] = {code: meaning for meaning, codes in _LINES for code in codes}


class WeChatError(msgspec.Struct, frozen=True, kw_only=True):
    """An answer in which WeChat says what is wrong."""

    code: int
    detail: str

    @property
    def request_id(self) -> str | None:
        """What WeChat's support asks for."""
        found = REQUEST_ID.search(self.detail)
        return found[1] if found is not None else None

    @property
    def meaning(self) -> Meaning:
        """What it means; a code that we do not know is for a person to look at."""
        return MEANINGS.get(self.code, UNKNOWN)


def read_code(document: Any) -> int | None:
    """The `errcode` of an answer; None where there is none."""
    code = document.get("errcode") if isinstance(document, dict) else None
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def read_error(document: Any, *, secret: str) -> WeChatError | None:
    """The error in an answer, if there is one."""
    code = read_code(document)
    if code is None or code == SUCCESS:
        return None
    detail = printable(text(document.get("errmsg")) or "", secret=secret)
    return WeChatError(code=code, detail=detail)


def send_answer(
    error: WeChatError, *, retry_after_seconds: float | None
) -> Rejected | Deferred | AccountUnusable:
    """What an error means for the message. Spec N3."""
    meaning = error.meaning
    if meaning.verdict == "stop":
        return AccountUnusable(reason=meaning.reason, code=error.code)
    if meaning.verdict == "defer":
        named = retry_after_seconds
        wait_seconds = named if named is not None else meaning.wait_seconds
        return Deferred(reason=meaning.reason, retry_after_seconds=wait_seconds)
    return Rejected(reason=meaning.reason, code=error.code, detail=error.detail)
