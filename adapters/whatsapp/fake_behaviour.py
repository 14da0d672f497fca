"""What can go wrong with one request to the fake Cloud API."""

from collections.abc import Callable

from msgspec.structs import replace

from adapters.whatsapp.fake_rules import GraphRefusal
from adapters.whatsapp.fake_server import Answer, json_answer

# Gets the usual answer by calling its argument, which is what takes the message.
Behaviour = Callable[[Callable[[], Answer]], Answer]

TRACE_ID = "AbCdEfGhIjKlMnOpQrStUv1"


def behaves() -> Behaviour:
    """Nothing special: for scripts in which only a later request goes wrong."""
    return lambda usual: usual()


def fails(code: int, *, status: int | None = None, details: str = "") -> Behaviour:
    """Refuse with an error in Graph's form."""
    return lambda _: refusal_answer(GraphRefusal(code, details, status=status))


def limits(retry_after_seconds: int, *, code: int = 130429) -> Behaviour:
    """429, and when to come back."""
    refusal = GraphRefusal(code, status=429)
    return lambda _: refusal_answer(refusal, retry_after_seconds=retry_after_seconds)


def answers(
    status: int, body: bytes = b"<html>Sorry</html>", *headers: tuple[str, str]
) -> Behaviour:
    """Say something else, without taking the message."""
    return lambda _: Answer(status=status, body=body, headers=headers)


def accepts_then_answers(
    status: int, body: bytes = b"<html>Sorry</html>", *headers: tuple[str, str]
) -> Behaviour:
    """Take the message, and say something else."""

    def behave(usual: Callable[[], Answer]) -> Answer:
        usual()
        return Answer(status=status, body=body, headers=headers)

    return behave


def drops() -> Behaviour:
    """Break the connection without taking the message."""
    return lambda _: Answer(drops=True)


def accepts_then_drops() -> Behaviour:
    """Take the message, and break the connection before answering."""
    return lambda usual: replace(usual(), drops=True)


def accepts_late(seconds: float) -> Behaviour:
    """Take the message at once, and answer later."""
    return lambda usual: replace(usual(), wait_seconds=seconds)


def accepts_slowly(seconds_per_byte: float) -> Behaviour:
    """Take the message, and answer byte by byte."""
    return lambda usual: replace(usual(), drip_seconds=seconds_per_byte)


def refusal_answer(refusal: GraphRefusal, *, retry_after_seconds: int | None = None) -> Answer:
    """An error in Graph's form."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return json_answer(refusal.body(TRACE_ID), status=refusal.status, headers=headers)
