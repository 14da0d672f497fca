"""The law of the unread counters: they equal what counting every message by hand gives (C6, C7)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.conftest import BUILDS, Database
from tests.projections.unread_scenario import (
    Counters,
    Step,
    blocked,
    chat_visit,
    connected,
    created,
    deleted,
    disabled,
    enabled,
    message,
    reply,
    role_changed,
    services_changed,
    started,
    unblocked,
    user_added,
    visit,
)

SERVICES = ("crm", "desk")
USERS = ("ann", "ben")
CHATS = {"a": "1", "b": "1", "c": "2"}
# By channel: the account, and the one service of a separate channel.
CHANNELS = {"shared1": ("1", None), "desk1": ("1", "desk"), "shared2": ("2", None)}


@dataclass
class History:
    """A log, and every fact that counting by hand needs."""

    log: list[Step] = field(default_factory=list)
    messages: list[tuple[int, str, frozenset[str]]] = field(default_factory=list)  # blocked in
    began: dict[tuple[str, str], int] = field(default_factory=dict)
    active: set[tuple[str, str]] = field(default_factory=set)
    blocked: set[tuple[str, str]] = field(default_factory=set)
    roles: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    access: dict[tuple[str, str], int] = field(default_factory=dict)
    service_visits: list[tuple[int, str, str, frozenset[str]]] = field(default_factory=list)
    chat_visits: list[tuple[int, str, str, str]] = field(default_factory=list)

    def add(self, step: Step) -> int:
        self.log.append(step)
        return len(self.log)

    def unread(self, user: str, service: str) -> dict[str, int]:
        """By brute force: every message, looked at once for every user."""
        numbers = dict.fromkeys(CHATS, 0)
        for at, chat, blocked_in in self.messages:
            if service not in blocked_in and (service, chat) not in self.blocked:
                numbers[chat] += any(
                    self.is_unread(user, service, channel, chat, at)
                    for name, channel in self.active
                    if name == service and CHANNELS[channel][0] == CHATS[chat]
                )
        return numbers

    def is_unread(self, user: str, service: str, channel: str, chat: str, at: int) -> bool:
        seen = any(
            visited > at and (user, service) == (by, there) and channel in active
            for visited, by, there, active in self.service_visits
        ) or any(
            visited > at and (user, service, chat) == (by, there, opened)
            for visited, by, there, opened in self.chat_visits
        )
        return at > self.began[service, channel] and at > self.access[user, service] and not seen

    def may_view(self, user: str, service: str) -> bool:
        role, services = self.roles.get(user, ("agent", frozenset()))
        return role != "agent" or service in services

    def change_access(self, user: str, role: str, services: frozenset[str], step: Step) -> None:
        before = {service for service in SERVICES if self.may_view(user, service)}
        at = self.add(step)
        self.roles[user] = (role, services)
        for service in SERVICES:
            if self.may_view(user, service) and service not in before:
                self.access[user, service] = at


services = st.sampled_from(SERVICES)
users = st.sampled_from(USERS)
chat_ids = st.sampled_from(sorted(CHATS))
access = st.frozensets(services)
STEPS = st.one_of(
    st.tuples(st.just("message"), chat_ids),
    st.tuples(st.just("message"), chat_ids),
    st.tuples(st.just("message"), chat_ids),
    st.tuples(st.just("connect"), services, st.sampled_from(sorted(CHANNELS))),
    st.tuples(st.just("leave"), services, st.sampled_from(sorted(CHANNELS)), st.booleans()),
    st.tuples(st.just("block"), services, chat_ids),
    st.tuples(st.just("visit"), users, services),
    st.tuples(st.just("visit_chat"), users, services, chat_ids),
    st.tuples(st.just("reply"), users, services, chat_ids),
    st.tuples(st.just("role"), users, st.sampled_from(["admin", "agent", "auditor"])),
    st.tuples(st.just("services"), users, access),
)


def begin() -> History:
    history = History()
    for channel, (account, service) in CHANNELS.items():
        history.add(created(channel, account, shared=service is None))
    for user in USERS:
        history.change_access(user, "agent", frozenset({"crm"}), user_added(user, services="crm"))
    for service, channel in (("crm", "shared1"), ("desk", "desk1"), ("crm", "shared2")):
        take(history, ("connect", service, channel))
    for chat, account in CHATS.items():
        history.add(started(chat, account))
    return history


def take(history: History, step: Sequence[Any]) -> None:
    match step:
        case "message", chat:
            at = history.add(message(chat))
            blocked_in = frozenset(name for name, each in history.blocked if each == chat)
            history.messages.append((at, chat, blocked_in))
        case "connect", service, channel:
            if (service, channel) in history.active or CHANNELS[channel][1] not in (None, service):
                return
            known = (service, channel) in history.began
            at = history.add((enabled if known else connected)(service, channel))
            history.began.setdefault((service, channel), at)
            history.active.add((service, channel))
        case "leave", service, channel, forever:
            if (service, channel) in history.active:
                history.add((deleted if forever else disabled)(service, channel))
                history.active.remove((service, channel))
        case "block", service, chat:
            is_blocked = (service, chat) in history.blocked
            history.add((unblocked if is_blocked else blocked)(chat, service))
            history.blocked ^= {(service, chat)}
        case "visit", user, service if history.may_view(user, service):
            at = history.add(visit(user, service))
            active = frozenset(each for name, each in history.active if name == service)
            history.service_visits.append((at, user, service, active))
        case "visit_chat", user, service, chat if history.may_view(user, service):
            at = history.add(chat_visit(chat, user, service))
            history.chat_visits.append((at, user, service, chat))
        case "reply", user, service, chat if history.may_view(user, service):
            at = history.add(reply(chat, user, service))
            history.chat_visits.append((at, user, service, chat))
        case "role", user, role:
            history.change_access(user, role, history.roles[user][1], role_changed(user, role))
        case "services", user, names:
            step = services_changed(user, " ".join(names))
            history.change_access(user, history.roles[user][0], names, step)


@pytest.fixture(scope="module")
def url(database: Database) -> str:
    return database.url


@settings(max_examples=1500 if os.environ.get("TRUNKLINE_TEST_PROFILE") == "long" else 100)
@example(  # A chat that is begun and visited in one batch, by somebody known from another.
    batches=[
        [*[("message", "a")] * 4, ("role", "ann", "admin")],
        [*[("message", "a")] * 3, ("message", "b"), ("visit_chat", "ann", "desk", "b")],
    ]
)
@given(batches=st.lists(st.lists(STEPS, min_size=5, max_size=25), min_size=2, max_size=6))
async def test_c6_numbers_are_those_of_counting_every_message(
    url: str, batches: list[list[tuple[Any, ...]]]
) -> None:
    history, done = begin(), 0
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET ROLE trunkline_project")
        await connection.execute(f"SET search_path = {BUILDS}")
        counters = Counters(connection)
        for batch in batches:
            for step in batch:
                take(history, step)
            await counters.happened_at_once(*history.log[done:])
            done = len(history.log)
            for user in USERS:
                for service in SERVICES:
                    if history.may_view(user, service):
                        numbers = history.unread(user, service)
                        listed = {chat: number for chat, number in numbers.items() if number}
                        assert await counters.page(user, service, sorted(CHATS)) == numbers
                        assert await counters.of(user, service) == (sum(numbers.values()), listed)
