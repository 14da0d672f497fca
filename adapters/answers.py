"""What an answer says before one asks whose it is, and what may be said of it in a log."""

import logging
from typing import Any, TypeGuard

from adapters.exchange import NoReply, Reply
from adapters.readers import IDENTIFIER_LENGTH_MAX
from adapters.tolerant import NotJson, decode
from domain.outbound import Deferred, NotReached, SendAnswer, Unsettled

DETAIL_LENGTH_MAX = 500

logger = logging.getLogger(__name__)


def document_of(reply: Reply | NoReply) -> Any:
    """The JSON of an answer, or None."""
    if isinstance(reply, NoReply) or reply.body is None:
        return None
    try:
        return decode(reply.body).value
    except NotJson:
        return None


def unexplained(reply: Reply | NoReply) -> Deferred | Unsettled:
    """What became of a message if there is no answer, or none in the platform's own form (N3).

    Then something between us and the platform has answered, which is no refusal. A proxy says
    503 also when the connection behind it broke after the message went through.
    """
    if isinstance(reply, NoReply):
        return Unsettled(reason="answer_lost") if reply.written else Deferred(reason="not_reached")
    wait_seconds = reply.retry_after_seconds
    if reply.status < 300:
        return Unsettled(reason="answer_not_understood")
    if reply.status in (307, 308):
        # Redirects are never followed: the token would go with them. These two mean "ask there
        # instead", the others may also mean "done, look there".
        return Deferred(reason="redirected", retry_after_seconds=wait_seconds)
    if reply.status < 400:
        return Unsettled(reason="redirected")
    if reply.status == 429:
        return Deferred(reason="rate_limited", retry_after_seconds=wait_seconds)
    if reply.status < 500:
        return Deferred(reason="answer_not_understood", retry_after_seconds=wait_seconds)
    return Unsettled(reason="platform_failed")


def not_reached(reply: Reply | NoReply) -> NotReached:
    """The same for a question about credentials: it is asked again."""
    if isinstance(reply, NoReply):
        return NotReached(reason="not_reached")
    return NotReached(reason="answer_not_understood")


def is_header_value(token: str) -> bool:
    """A header takes nothing else, and would say so in an error that shows the token."""
    return bool(token) and token.isascii() and token.isprintable()


def is_plain(platform_id: Any) -> TypeGuard[str]:
    """Whether it can be a platform's id of a message."""
    if not isinstance(platform_id, str) or not 0 < len(platform_id) <= IDENTIFIER_LENGTH_MAX:
        return False
    return platform_id.isascii() and platform_id.isprintable()


def printable(written: str, *, secret: str) -> str:
    """What a platform says of an error, fit for a log: one line of limited length.

    Some repeat a wrong token; we do not.
    """
    shown = written.replace(secret, "…") if secret else written
    shown = "".join(each if each.isprintable() else " " for each in shown[:DETAIL_LENGTH_MAX])
    return shown.strip()


def log_refusal(
    answer: SendAnswer, reply: Reply | NoReply, *, account_id: str, **facts: Any
) -> None:
    """Say what came instead of an acceptance; never what was written, nor to whom."""
    came = {
        "account_id": account_id,
        "answer": type(answer).__name__,
        "http_status": reply.status if isinstance(reply, Reply) else None,
        "failure": reply.reason if isinstance(reply, NoReply) else None,
    }
    logger.warning("A message was not accepted", extra={**came, **facts})
