"""What Graph may say to one request to the fake Cloud API."""

from adapters.fakes.behaviour import Behaviour
from adapters.fakes.meta import refusal_answer
from adapters.whatsapp.fake_rules import GraphRefusal


def fails(code: int, *, status: int | None = None, details: str = "") -> Behaviour:
    """Refuse with an error in Graph's form."""
    return lambda _: refusal_answer(GraphRefusal(code, details, status=status))


def limits(retry_after_seconds: int, *, code: int = 130429) -> Behaviour:
    """429, and when to come back."""
    refusal = GraphRefusal(code, status=429)
    return lambda _: refusal_answer(refusal, retry_after_seconds=retry_after_seconds)
