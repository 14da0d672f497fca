"""What LINE may say to one request to its fake."""

from adapters.fakes.behaviour import Behaviour
from adapters.fakes.server import Answer, json_answer
from adapters.line.fake_rules import RATE_EXCEEDED, LineRefusal


def fails(status: int, message: str = "Something is wrong", *details: str) -> Behaviour:
    """Refuse in LINE's form; a detail is `property: message`."""
    return lambda _: refusal_answer(LineRefusal(status, message, *details))


def limits(retry_after_seconds: int) -> Behaviour:
    """429 for too many requests, and when to come back."""
    headers = {"Retry-After": str(retry_after_seconds)}
    return lambda _: refusal_answer(LineRefusal(429, RATE_EXCEEDED), headers=headers)


def refusal_answer(refusal: LineRefusal, *, headers: dict[str, str] | None = None) -> Answer:
    """An error in LINE's form."""
    return json_answer(refusal.body, status=refusal.status, headers=headers or refusal.headers)
