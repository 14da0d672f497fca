"""One command's unit of work: what it reads, what it records, what is stored with it."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeVar

from api.commands.states import States
from domain.aggregates import aggregate_of
from domain.event import Event
from domain.ports import AddressClaim, NewEvent, NewKey, Org

State = TypeVar("State")
Fact = TypeVar("Fact")


class Missing(Exception):
    """Something the decision needs is not at hand; `fetch` gets it, then it is decided again."""

    def __init__(self, fetch: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.fetch = fetch


class Unit:
    """What a decision sees of the log, and what it leaves behind. Nothing in it waits."""

    def __init__(self, org: Org, states: States, facts: dict[Hashable, Any]) -> None:
        self.org = org
        self._states = states
        self._facts = facts
        self._begun: set[str] = set()
        self.found: dict[str, Any] = {}  # States, as they were at hand.
        self._seen: dict[str, int] = {}  # Versions, as they were found,
        self._versions: dict[str, int] = {}  # and as they are left where something is recorded.
        self._now: dict[str, Any] = {}
        self.events: list[NewEvent] = []
        self.keys: list[NewKey] = []
        self.addresses: list[AddressClaim] = []
        self.dropped_addresses: list[bytes] = []
        self.ids: dict[str, str] = {}
        self.status: int | None = None  # What is answered, where it is not the request's usual.

    def state(self, stream: str, kind: type[State]) -> State:
        """The stream's state, with what this unit has recorded. Raises Missing."""
        if stream not in self._now:
            entry = self._states.get(self.org, stream)
            if entry is None:
                raise Missing(lambda: self._states.load(self.org, stream))
            self._seen[stream] = entry.version
            self.found[stream] = self._now[stream] = entry.state
        state = self._now[stream]
        assert isinstance(state, kind)
        return state

    def begin(self, stream: str) -> None:
        """A stream of a new random id: nobody can have written to it, so it is not looked up."""
        self._begun.add(stream)
        self._seen[stream] = 0
        self._now[stream], _ = aggregate_of(stream)

    def fact(self, name: Hashable, fetch: Callable[[], Awaitable[Fact]]) -> Fact:
        """Something else that is looked up, once per attempt. Raises Missing."""
        if name not in self._facts:

            async def keep() -> None:
                self._facts[name] = await fetch()

            raise Missing(keep)
        fact: Fact = self._facts[name]
        return fact

    def doubt(self, name: Hashable) -> None:
        """Look a fact up again: it does not fit what else is known."""
        self._facts.pop(name, None)

    def record(self, stream: str, events: Sequence[Event]) -> None:
        """Add facts to a stream; its state here includes them from now on."""
        if not events:
            return
        state = self.state(stream, object)
        version = self._versions.get(stream, self._seen[stream])
        _, evolve = aggregate_of(stream)
        for event in events:
            version += 1
            self.events.append(NewEvent(stream, version, event))
            state = evolve(state, event)
        self._now[stream], self._versions[stream] = state, version

    @property
    def read(self) -> list[tuple[str, int]]:
        """Every stream that was read, with the version that was seen."""
        return [item for item in self._seen.items() if item[0] not in self._begun]

    def written(self) -> list[tuple[str, Any, int]]:
        """The streams that were written, each with the state and version it is left in."""
        return [(stream, self._now[stream], version) for stream, version in self._versions.items()]
