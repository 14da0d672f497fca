"""given(...).when(...).then(...): a decision of the domain told as a sentence.

    given(*SHARED).when(disable, service="crm", user_id=ADMIN).then(LEFT, CHOSEN)

What is given are facts of one stream; what is decided on is the state they leave. `then` goes on:
what was decided is given to the next `when`.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any, TypeVar

from domain.aggregates import AGGREGATES, aggregate_of
from domain.event import Event
from domain.refusal import Refusal

State = TypeVar("State")


def fold(kind: type[State], *events: Event) -> State:
    """The state of this kind that a stream's events leave."""
    empty, evolve = next(each for each in AGGREGATES.values() if type(each[0]) is kind)
    state: State = reduce(evolve, events, empty)
    return state


def fold_stream(stream: str, events: Iterable[Event]) -> Any:
    """The state that these events leave in a stream, found by the stream's name."""
    empty, evolve = aggregate_of(stream)
    return reduce(evolve, events, empty)


def given(*events: Event) -> "Given":
    """What has happened in one stream."""
    return Given(events)


class Given:
    """A history, on which something is decided."""

    def __init__(self, events: tuple[Event, ...]) -> None:
        self.events = events

    def when(self, decision: Callable[..., Sequence[Event]], **arguments: Any) -> "Decided":
        """Decide on the state; which kind of state the decision's first parameter says."""
        first = next(iter(inspect.signature(decision).parameters.values()))
        state = fold(first.annotation, *self.events)
        try:
            return Decided(self, decision(state, **arguments), None)
        except Refusal as refusal:
            return Decided(self, [], refusal)


class Decided:
    """What came of a decision: facts, or a refusal."""

    def __init__(self, given: Given, events: Sequence[Event], refusal: Refusal | None) -> None:
        self.given = given
        self.events = events
        self.refusal = refusal

    def then(self, *events: Event) -> Given:
        """Exactly these facts, in this order; the tale goes on from here."""
        if self.refusal is not None:
            raise self.refusal
        assert self.events == list(events)
        return Given(self.given.events + events)

    def then_nothing(self) -> Given:
        """It was so already."""
        return self.then()

    def then_refused(self, refusal: type[Refusal], **facts: Any) -> Given:
        """Not allowed, for this reason and with exactly these facts."""
        assert self.refusal is not None, f"decided {self.events}, not refused"
        assert (type(self.refusal), self.refusal.facts) == (refusal, facts)
        return self.given
