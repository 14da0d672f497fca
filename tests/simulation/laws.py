"""What must hold after every run, by the names of the specification and of the invariants."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar

from api.commands.marks import mark_of, message_key
from domain import channel as channels
from domain.account import ChannelOpened
from domain.aggregates import aggregate_of
from domain.channel import Channel, ParentChosen, replay_choice
from domain.chat_events import (
    ChatAssigned,
    ChatUnassigned,
    MessageReceived,
    ReplyRequested,
    SendUncertain,
)
from domain.event import Event
from domain.inbound import AnyOccurrence, MessageOccurred
from domain.sending import KNOWN_AGAIN
from tests.adapters.log_scenario import link_by_hand
from tests.simulation.database import Row
from tests.simulation.story import HELD, WAITING, Story
from tests.simulation.unread import require_same_unread

Fact = TypeVar("Fact", bound=Event)


class Broken(AssertionError):
    """A law does not hold."""


def require(holds: bool, what: object) -> None:
    if not holds:
        raise Broken(what)


def positions_are_1_to_n_and_chained(story: Story) -> None:
    """I2, and each hash follows from what was before."""
    for org, _, _ in story.tables.organisations.values():
        link = bytes(32)
        versions: Counter[str] = Counter()
        for position, row in enumerate(story.database.events[org.number], 1):
            versions[row.stream] += 1
            place = (org.id, position, row.stream, versions[row.stream])
            require((org.id, row.position, row.stream, row.version) == place, place)
            link = link_by_hand(org, link, _columns(row))
            require(row.hash == link, place)
        head = story.database.heads[org.number]
        require((head.position, head.hash) == (sum(versions.values()), link), org.id)


def _columns(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__}


def acknowledged_is_there_once(story: Story) -> None:
    """I1, P2: each message of an acknowledged delivery is one event; nothing is there twice."""
    there = Counter((org, event.key) for org, _, event in _all(story, MessageReceived))
    require(set(there.values()) <= {1}, "a message was received twice")
    kept = sum(
        row.type == "unrouted.delivery_kept" for row in story.database.events[story.system.number]
    )
    for webhook in story.platform.webhooks:
        for occurrence in webhook.occurrences:
            if isinstance(occurrence, MessageOccurred):
                found = sum(there[key] for key in _keys(story, occurrence))
                still_waits = _holder(story, occurrence) is None and kept > 0
                require(found == 1 or still_waits, f"{occurrence.platform_id}: {found} times")


def _all(story: Story, kind: type[Fact]) -> Iterator[tuple[int, Row, Fact]]:
    for org, rows in story.database.events.items():
        for row in rows:
            if isinstance(row.event, kind):
                yield org, row, row.event


def _keys(story: Story, occurrence: MessageOccurred) -> list[tuple[int, bytes]]:
    """By which each organisation would know the message."""
    account_id, platform_id = occurrence.account_id or "", occurrence.platform_id
    return [
        (
            org.number,
            message_key(story.keys[org.number], story.platform.name, account_id, platform_id),
        )
        for org in (story.org, story.rival)
    ]


def _holder(story: Story, occurrence: AnyOccurrence) -> int | None:
    row = story.tables.accounts.get((story.platform.name, occurrence.account_id or ""))
    return row["org"] if row else None


def what_came_later_stands_later(story: Story) -> None:
    """Of one customer: in the order of a delivery, and behind what was acknowledged before."""
    places = {(org, event.key): row.position for org, row, event in _all(story, MessageReceived)}
    lanes: defaultdict[object, list[tuple[float, float, int]]] = defaultdict(list)
    for webhook in story.platform.webhooks:
        before: dict[object, int] = {}
        for occurrence in webhook.occurrences:
            if not isinstance(occurrence, MessageOccurred) or occurrence.account_id == WAITING:
                continue  # What waited for its account stands behind what came after it (S10).
            place = next((places[key] for key in _keys(story, occurrence) if key in places), None)
            if place is None:
                continue
            lane = occurrence.account_id, occurrence.person.addresses
            require(before.get(lane, 0) < place, f"{occurrence.platform_id} is too early")
            before[lane] = place
            done = webhook.acknowledged_at
            assert done is not None
            lanes[lane].append((webhook.sent_at, done, place))
    for lane_places in lanes.values():
        for _, done, place in lane_places:
            for sent_later, _, later in lane_places:
                require(sent_later <= done or place < later, f"{place} and {later}")


def one_request_is_done_once(story: Story) -> None:
    """The same Idempotency-Key again changes nothing, and what is answered is so."""
    requested = Counter(event.message_id for _, _, event in _all(story, ReplyRequested))
    answered = [asked.outcome for asked in story.asked if asked.name == "reply" and asked.outcome]
    for outcome in answered:
        require(requested[outcome.ids["message"]] == 1, outcome)
    require(len(answered) == len(requested), "a reply was queued that nobody was told of")
    require(set(requested.values()) <= {1}, "a reply was queued twice")


def sent_at_most_once_and_in_order(story: Story) -> None:
    """N3, N4, I5: what the platform took is known to be sent, or said to be uncertain."""
    taken = [taken.mark for taken in story.platform.taken]
    require(len(set(taken)) == len(taken), "a message was sent twice")
    for (_, _), chat in story.projected.chats.items():
        marks = [mark_of(chat.chat_id or "", message_id) for message_id in chat.outbound]
        places = [taken.index(mark) for mark in marks if mark in taken]
        require(places == sorted(places), "a later reply overtook an earlier one")
        for mark, message in zip(marks, chat.outbound.values(), strict=True):
            require(message.status != "queued", mark)
            if message.status not in ("uncertain", "failed"):
                require(mark in taken, f"{mark} is {message.status} and was never sent")
            if mark in taken:
                require(message.status != "failed", f"{mark} was sent and is called failed")


def a_platform_with_keys_leaves_nothing_uncertain(story: Story) -> None:
    """N3: it is asked again until it answers, unless nobody may send the message any more."""
    if story.platform.name in KNOWN_AGAIN:
        for _, _, event in _all(story, SendUncertain):
            require(event.reason == "service_left", event)


def a_channel_has_one_parent(story: Story) -> None:
    """S1, S8, S9: at every version, and each choice is what its rule answers again."""
    for account_id in (HELD, WAITING):
        opened = [
            (org, event.channel_id)
            for org, row, event in _all(story, ChannelOpened)
            if row.stream.endswith(f":{account_id}") and event.shared
        ]
        require(len(opened) <= 1, f"shared channels of {account_id}: {opened}")
    for (_, stream), rows in story.database.streams.items():
        if not stream.startswith(channels.stream_of("")):
            continue
        channel = Channel()
        for row in rows:
            channel = channels.evolve(channel, row.event)
            if isinstance(row.event, ParentChosen):
                again = replay_choice(row.event, rule="earliest-created/1")
                require(again == row.event.chosen, stream)
                earliest = min(channel.sharing, default=None, key=lambda s: _rank(channel, s))
                require(row.event.chosen == earliest, stream)
        is_led = channel.parent in channel.sharing if channel.sharing else channel.parent is None
        require(is_led, f"{stream}: {channel.parent} of {channel.sharing}")


def _rank(channel: Channel, service: str) -> int:
    return channel.connections[service].created


def an_owner_is_replaced_by_nobody(story: Story) -> None:
    """C18: without `confirm` only a chat without an owner is given; of a race one wins."""
    winners: Counter[str] = Counter()
    for (_, stream), rows in story.database.streams.items():
        owners: dict[str, str] = {}
        for row in rows:
            match row.event:
                case ChatAssigned() as event:
                    require(event.service not in owners, f"{stream}@{row.version}: {owners}")
                    owners[event.service] = event.owner
                    winners[event.owner] += 1
                case ChatUnassigned() as event:
                    require(owners.pop(event.service) == event.previous, stream)
    told = sum(asked.outcome is not None for race in story.races for asked in race)
    require(sum(winners.values()) <= told, "somebody owns a chat and was not told")


def what_processes_remember_is_in_the_log(story: Story) -> None:
    """I9: each state at hand is the fold of its stream, up to its version."""
    for process in story.processes:
        for (org, stream), entry in process.states._entries.items():
            state, evolve = aggregate_of(stream)
            for row in story.database.streams[org, stream][: entry.version]:
                state = evolve(state, row.event)
            require(entry.version <= story.database.version((org, stream)), stream)
            require(entry.state == state, f"{stream}@{entry.version}")
            require(entry.writing == 0, stream)


def unread_is_what_counting_each_message_gives(story: Story) -> None:
    """C6, of the first organisation."""
    require_same_unread(story.database.events[story.org.number], chance=story.chance)


def times_never_go_back(story: Story) -> None:
    for rows in story.database.events.values():
        for before, after in pairwise(rows):
            require(before.recorded_at <= after.recorded_at, after.position)


LAWS: list[Callable[[Story], None]] = [
    positions_are_1_to_n_and_chained,
    times_never_go_back,
    acknowledged_is_there_once,
    what_came_later_stands_later,
    one_request_is_done_once,
    sent_at_most_once_and_in_order,
    a_platform_with_keys_leaves_nothing_uncertain,
    a_channel_has_one_parent,
    an_owner_is_replaced_by_nobody,
    what_processes_remember_is_in_the_log,
    unread_is_what_counting_each_message_gives,
]


def check(story: Story) -> None:
    """Raises Broken."""
    for law in LAWS:
        law(story)
