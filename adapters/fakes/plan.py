"""In which order, how late and how often a fake tells of what became of a message."""

from collections.abc import Sequence
from random import Random


def schedule(
    steps: Sequence[str],
    random: Random,
    *,
    delay_seconds: float,
    twice: float,
    out_of_order: float,
) -> list[tuple[float, str]]:
    """The steps of one message in the order of their delivery, with seconds from now.

    `delay_seconds` is before the first and between any two; the others are probabilities.
    """
    planned = [step for step in steps for _ in range(2 if random.random() < twice else 1)]
    if random.random() < out_of_order:
        random.shuffle(planned)
    return [((place + 1) * delay_seconds, each) for place, each in enumerate(planned)]
