"""Marking as read: asked for once for each message, and over when it has an answer."""

from datetime import datetime
from typing import Any

import pytest

from domain.chat import Chat
from domain.chat_events import ChatStarted, CustomerBlocked, WindowOpened
from domain.event import Event
from domain.limits import LIMITS
from domain.read_marking import ReadMarkingEnded, ReadMarkingRequested, end, request
from tests.domain.world import HOUR, NOON, reply, wrote
from tests.scenario import fold, given


def chat(*events: Event, platform: str = "whatsapp") -> Chat:
    began = ChatStarted(chat_id="chat", platform=platform, account_id="1055", contact_id="kim")
    return fold(Chat, began, *events)


def seen(of: Chat, *, service: str = "crm", now: datetime = NOON) -> dict[str, Any]:
    return {"chat": of, "service": service, "user_id": "ann", "now": now}


def requested(version: int, *, at: datetime = NOON) -> ReadMarkingRequested:
    return ReadMarkingRequested(
        platform="whatsapp",
        account_id="1055",
        message_version=version,
        service="crm",
        user_id="ann",
        at=at,
    )


def test_the_newest_message_is_marked_once_however_often_it_is_seen() -> None:
    heard = chat(wrote(), reply())
    asked = given().when(request, **seen(heard)).then(requested(2))
    asked.when(request, **seen(heard)).then_nothing()
    again = chat(wrote(), reply(), wrote(NOON + HOUR, key=b"more"))
    asked.when(request, **seen(again, now=NOON + HOUR)).then(requested(4, at=NOON + HOUR))


def test_an_older_message_that_comes_late_is_not_the_newest() -> None:
    late = chat(wrote(), wrote(NOON - HOUR, key=b"late"))
    given().when(request, **seen(late)).then(requested(2))


@pytest.mark.parametrize("is_late", [False, True])
def test_what_opens_the_window_without_a_message_is_not_the_newest(is_late: bool) -> None:
    """Also where it was done after a message that comes later (P2)."""
    opened = WindowOpened(at=NOON + HOUR, by="reaction")
    events = [opened, wrote()] if is_late else [wrote(), opened]
    now = NOON + HOUR
    found = given().when(request, **seen(chat(*events), now=now))
    found.then(requested(3 if is_late else 2, at=now))


@pytest.mark.parametrize(
    "of",
    [
        chat(),  # Nothing was heard.
        chat(reply()),
        chat(wrote(), CustomerBlocked(service="crm")),
        chat(wrote(), platform="telegram"),
    ],
)
def test_where_there_is_nothing_to_show_nothing_is_asked_for(of: Chat) -> None:
    given().when(request, **seen(of)).then_nothing()


def test_it_is_over_once() -> None:
    over = given(requested(2)).when(end, message_version=2, outcome="marked")
    ended = over.then(ReadMarkingEnded(message_version=2, outcome="marked"))
    ended.when(end, message_version=2, outcome="refused").then_nothing()
    # A newer message has been asked for meanwhile: that one goes on.
    newer = given(requested(2), requested(5)).when(end, message_version=2, outcome="marked")
    newer.then(ReadMarkingEnded(message_version=2, outcome="marked"))


def test_which_platforms_show_it() -> None:
    assert {name for name, limits in LIMITS.items() if limits.marks_read} == {
        "whatsapp",
        "messenger",
        "line",
    }
