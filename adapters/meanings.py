"""What an error of a platform means, whatever its form: each platform has a table of its own."""

from typing import Literal

import msgspec

from adapters.answers import not_reached
from adapters.exchange import NoReply, Reply
from domain.outbound import NotReached, NotVerified, VerificationAnswer, Verified

Verdict = Literal["reject", "defer", "stop", "transient"]


class Meaning(msgspec.Struct, frozen=True):
    """What to do about an error, and our word for the reason.

    `transient` is a failure inside the platform: whether it took the message before is known
    only from the HTTP status, if at all.
    """

    verdict: Verdict
    reason: str
    wait_seconds: float | None = None
    once_more: bool = False  # Rejected, and yet the same may pass when it is tried again.


UNKNOWN = Meaning("reject", "unknown")
PASSING = Meaning("transient", "unavailable")


def verification_answer(meaning: Meaning) -> NotVerified | NotReached:
    """What an error says of credentials, where they were asked about. Spec S15."""
    is_later = meaning.verdict in ("defer", "transient")
    return NotReached(reason=meaning.reason) if is_later else NotVerified(reason=meaning.reason)


def whose_it_is(
    reply: Reply | NoReply, account_id: str, *, named: str | None, meaning: Meaning | None
) -> VerificationAnswer:
    """What the answer of a platform says that is asked whose credentials these are. Spec S15.

    `named` is the account in it, `meaning` that of the error in it, if it has one.
    """
    if isinstance(reply, Reply) and reply.status < 300 and named is not None:
        return Verified() if named == account_id else NotVerified(reason="account_unknown")
    if isinstance(reply, NoReply) or reply.status < 400 or meaning is None:
        return not_reached(reply)
    return verification_answer(meaning)
