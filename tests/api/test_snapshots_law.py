"""A kept state is the state: of every aggregate, after any events (I9)."""

import inspect
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.commands import snapshots
from api.commands.snapshots import code_of, decode_state, encode_state
from domain.aggregates import AGGREGATES
from domain.chat import Chat, evolve
from domain.chat_events import (
    MessageReceived,
    MessageSent,
    ReceiptReceived,
    ReplyRequested,
    SendStarted,
)
from domain.event import Event
from domain.outgoing import OUTBOUND_REMEMBERED_MAX, STATUS_RANK
from tests.domain.every_event import EVERY_EVENT, any_event
from tests.domain.world import CONTENT, NOON, SECOND

FEW = ("one", "two", "three")

Made = TypeVar("Made", bound=msgspec.Struct)


def about_few(event: Made) -> Made:
    """The same event with names of a few things, so that events are about the same ones."""
    changed: dict[str, Any] = {}
    for field in msgspec.structs.fields(type(event)):
        value = getattr(event, field.name)
        if field.name == "status":
            changed[field.name] = list(STATUS_RANK)[len(value) % len(STATUS_RANK)]
        elif isinstance(value, str) and field.type in (str, str | None):
            changed[field.name] = FEW[len(value) % len(FEW)]
        elif field.type is int:
            changed[field.name] = value % 2**32  # Sums of them still fit into 64 bits.
        elif isinstance(value, msgspec.Struct):
            changed[field.name] = about_few(value)
        elif isinstance(value, bytes):
            changed[field.name] = FEW[len(value) % len(FEW)].encode()
    return msgspec.structs.replace(event, **changed)


def events_of(kind: str) -> st.SearchStrategy[list[Event]]:
    classes = [each for (name, _), each in EVERY_EVENT.items() if name.startswith(f"{kind}.")]
    return st.lists(st.one_of(*map(any_event, classes)).map(about_few), max_size=10)


@pytest.mark.parametrize("kind", AGGREGATES)
@settings(max_examples=40)
@given(data=st.data())
def test_a_state_that_was_kept_goes_on_like_the_state_itself(
    kind: str, data: st.DataObject
) -> None:
    state, fold = AGGREGATES[kind]
    for event in data.draw(events_of(kind)):
        state = fold(state, event)
    kept = decode_state(f"{kind}:x", encode_state(state))
    assert kept == state
    for event in data.draw(events_of(kind)):
        state, kept = fold(state, event), fold(kept, event)
        assert kept == state
        assert orders(kept) == orders(state)


def orders(state: Any) -> list[list[Any]]:
    """The order in which a state has things, which equality says nothing of."""
    values = msgspec.structs.astuple(state)
    return [list(value) for value in values if isinstance(value, dict)]


def test_a_chat_of_a_hundred_thousand_messages_is_small() -> None:
    """State is bounded: what decisions look at does not grow with what was written."""
    chat = Chat()
    sizes = []
    for number in range(100_000):
        at = NOON + number * SECOND
        key, message_id = number.to_bytes(32), f"{number:026}"
        events: list[Event] = [
            MessageReceived(message_id=message_id, kind="text", at=at, content=CONTENT, key=key)
        ]
        if number % 5 == 0:
            events += [
                ReplyRequested(
                    message_id=message_id,
                    channel_id=f"channel{number % 3}",
                    service=FEW[number % 3],
                    user_id="ann",
                    kind="text",
                    at=at,
                    content=CONTENT,
                ),
                SendStarted(message_id=message_id, attempt=1, dispatcher="one"),
                ReceiptReceived(key=key[::-1], status="read", at=at),  # Of nobody's message.
                MessageSent(message_id=message_id, key=key),
                ReceiptReceived(key=key, status="read", at=at),
            ]
        for event in events:
            chat = evolve(chat, event)
        if number in (2_000, 99_999):
            sizes.append(len(encode_state(chat)))
    assert len(chat.outbound) == OUTBOUND_REMEMBERED_MAX
    assert sizes[1] <= 1.05 * sizes[0] < 64 * 1024


def test_the_code_of_an_aggregate_is_its_fold_with_all_that_it_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A change anywhere below makes another code of it, and of none beside."""
    before = {kind: code_of(kind) for kind in AGGREGATES}
    assert code_of("chat:a") == code_of("chat:b") == before["chat"]
    assert len({before["chat"], before["channel"], before["organisation"]}) == 3
    source = inspect.getsource

    def changed(module: Any) -> str:
        text: str = source(module)
        return text + "# changed" if module.__name__ == "domain.parent" else text

    monkeypatch.setattr(inspect, "getsource", changed)
    snapshots._digest.cache_clear()
    try:
        after = {kind: code_of(kind) for kind in AGGREGATES}
    finally:
        monkeypatch.undo()
        snapshots._digest.cache_clear()
    assert after["channel"] != before["channel"]
    assert after["template"] == before["template"]
    assert {kind: code_of(kind) for kind in AGGREGATES} == before
