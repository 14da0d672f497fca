"""What Graph may say to one request to the fake Send API."""

from adapters.fakes.behaviour import Behaviour
from adapters.fakes.meta import refusal_answer
from adapters.messenger.fake_rules import SendRefusal


def fails(code: int, subcode: int | None = None, *, status: int | None = None) -> Behaviour:
    """Refuse with an error in Graph's form."""
    return lambda _: refusal_answer(SendRefusal(code, subcode=subcode, status=status))


def limits(retry_after_seconds: int, *, code: int = 613) -> Behaviour:
    """429, and when to come back."""
    refusal = SendRefusal(code, status=429)
    return lambda _: refusal_answer(refusal, retry_after_seconds=retry_after_seconds)
