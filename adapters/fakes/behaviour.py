"""What can go wrong with one request to a fake, whatever it speaks."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from adapters.fakes.server import Answer

# Gets the usual answer by calling its argument, which is what takes the message.
Behaviour = Callable[[Callable[[], Answer]], Answer]


def behaves() -> Behaviour:
    """Nothing special: for scripts in which only a later request goes wrong."""
    return lambda usual: usual()


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


def cuts_off(byte_count: int) -> Behaviour:
    """Take the request, and break the connection after so many bytes of the answer's body."""
    return lambda usual: replace(usual(), drops_after=byte_count)


def accepts_late(seconds: float) -> Behaviour:
    """Take the message at once, and answer later."""
    return lambda usual: replace(usual(), wait_seconds=seconds)


def accepts_until(happened: asyncio.Event) -> Behaviour:
    """Take the message at once, and answer when this has happened."""
    return lambda usual: replace(usual(), held=happened)


def accepts_slowly(seconds_per_byte: float) -> Behaviour:
    """Take the message, and answer byte by byte."""
    return lambda usual: replace(usual(), drip_seconds=seconds_per_byte)
