"""What Telegram may say to one request to its fake."""

from adapters.fakes.behaviour import Behaviour
from adapters.fakes.server import Answer, json_answer
from adapters.telegram.fake_rules import BotRefusal


def fails(code: int, description: str = "Something is wrong", **parameters: int) -> Behaviour:
    """Refuse in Telegram's form."""
    return lambda _: refusal_answer(BotRefusal(code, description, **parameters))


def limits(retry_after_seconds: int) -> Behaviour:
    """429, and when to come back."""
    said = f"Too Many Requests: retry after {retry_after_seconds}"
    return fails(429, said, retry_after=retry_after_seconds)


def refusal_answer(refusal: BotRefusal) -> Answer:
    """An error in Telegram's form."""
    return json_answer(refusal.body, status=refusal.code)
