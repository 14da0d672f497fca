"""The laws of the parent: whatever services do, in whatever order (S8, S9)."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.channel import (
    Channel,
    Connect,
    ParentChosen,
    connect,
    delete,
    disable,
    enable,
    evolve,
    replay_choice,
)
from domain.event import Event
from domain.refusal import NotFound

LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"
LAW = settings(max_examples=5_000 if LONG else 120)

SERVICES = ("crm", "desk", "salesiq", "bigin", "marketing")
Step = tuple[str, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("connect", "enable", "disable", "delete")), st.sampled_from(SERVICES)
    ),
    max_size=40,
)


def decide(channel: Channel, step: Step) -> list[Event]:
    """What a step leads to; nothing where it is refused."""
    name, service = step
    try:
        match name:
            case "connect":
                wish = Connect(
                    channel_id="c",
                    service=service,
                    platform="whatsapp",
                    account_id="1",
                    shared=True,
                    name="Acme",
                )
                return connect(channel, wish, user_id="admin")
            case "enable":
                return enable(channel, service, user_id="admin")
            case "disable":
                return disable(channel, service, user_id="admin")
            case _:
                return delete(channel, service, user_id="admin")
    except NotFound:
        assert service not in channel.connections
        return []


def walk(steps: list[Step]) -> list[tuple[Channel, list[Event], Channel]]:
    """For each step: the channel before, what was decided, the channel after."""
    walked, channel = [], Channel()
    for step in steps:
        events, before = decide(channel, step), channel
        for event in events:
            channel = evolve(channel, event)
        walked.append((before, events, channel))
    return walked


def choices(events: list[Event]) -> list[ParentChosen]:
    return [event for event in events if isinstance(event, ParentChosen)]


@LAW
@given(STEPS)
def test_s8_there_is_exactly_one_parent_whenever_somebody_shares(steps: list[Step]) -> None:
    for _, _, channel in walk(steps):
        if channel.sharing:
            assert channel.parent in channel.sharing
        else:
            assert channel.parent is None


@LAW
@given(STEPS)
def test_s8_who_becomes_parent_is_the_earliest_created_of_those_that_share(
    steps: list[Step],
) -> None:
    # Counted here by hand: the order in which connections were made, deleted ones forgotten.
    made: list[str] = []
    active: set[str] = set()
    for (name, service), (before, events, after) in zip(steps, walk(steps), strict=True):
        match name:
            case "connect" if service not in made:
                made.append(service)
                active.add(service)
            case "connect" | "enable" if service in made:
                active.add(service)
            case "disable":
                active.discard(service)
            case "delete" if service in made:
                made.remove(service)
                active.discard(service)
        ranked = [each for each in made if each in active]
        assert sorted(after.sharing) == sorted(ranked)
        for choice in choices(events):
            assert choice.chosen == after.parent == (ranked[0] if ranked else None)
            assert {each.service for each in choice.candidates} == active
            assert choice.previous == before.parent


@LAW
@given(STEPS)
def test_s8_the_parent_changes_only_when_it_left_or_there_was_none(steps: list[Step]) -> None:
    for before, events, after in walk(steps):
        stayed = before.parent is not None and after.is_active(before.parent)
        assert len(choices(events)) <= 1
        if stayed:
            assert after.parent == before.parent
            assert choices(events) == []
        elif before.parent != after.parent:
            assert len(choices(events)) == 1


@LAW
@given(STEPS)
def test_s9_every_choice_replays_to_itself_and_says_what_caused_it(steps: list[Step]) -> None:
    for index, (before, events, after) in enumerate(walk(steps)):
        for choice in choices(events):
            assert replay_choice(choice) == choice.chosen
            assert events[-1] is choice  # In the same transaction, behind what caused it.
            match choice.cause:
                case "first_creation":
                    assert before.channel_id is None
                case "succession":
                    assert before.parent is not None
                    assert after.sharing
                case "nobody_left":
                    assert before.parent is not None
                    assert not after.sharing
                case "revival":
                    assert before.parent is None
                    assert index > 0
            longest = min(choice.candidates, key=lambda each: each.joined, default=None)
            what_if = replay_choice(choice, rule="earliest-joined/1")
            assert what_if == (longest.service if longest else None)


@LAW
@given(STEPS)
def test_s8_a_step_done_twice_is_done_once(steps: list[Step]) -> None:
    channel = Channel()
    for step in steps:
        for event in decide(channel, step):
            channel = evolve(channel, event)
        assert decide(channel, step) == []


@LAW
@given(STEPS)
def test_s9_ranks_are_places_in_the_stream_so_no_two_are_alike(steps: list[Step]) -> None:
    for _, _, channel in walk(steps):
        created = [each.created for each in channel.connections.values()]
        joined = [each.joined for each in channel.connections.values()]
        assert len(set(created)) == len(created)
        assert len(set(joined)) == len(joined)
        assert all(rank <= channel.version for rank in created + joined)
