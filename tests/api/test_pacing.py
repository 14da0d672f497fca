"""Sending no faster than platforms allow, and nobody slower than they do (N3, N4)."""

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from adapters import pacing, shares
from adapters.fakes.behaviour import accepts_then_drops
from adapters.fakes.server import Answer, Request
from adapters.whatsapp import fake_rules
from adapters.whatsapp.fake_behaviour import limits
from adapters.whatsapp.fake_rules import PairLimit
from domain.budgets import BUDGETS, Budget, Rate
from tests.api.conftest import Trunkline
from tests.api.deliveries import eventually
from tests.api.test_inbox import Inbox
from tests.api.test_sending import accepted, fates, ready, sent_texts, statuses

CUSTOMERS = "ABCD"


async def office(trunkline: Trunkline) -> Inbox:
    """An account with a few customers who have just written."""
    inbox = await ready(trunkline)
    for customer in CUSTOMERS[1:]:
        await inbox.hear(customer)
    return inbox


# Budgets.


@pytest.mark.parametrize("is_kept", [True, False])
async def test_the_budget_of_a_pair_is_kept_so_that_the_platform_refuses_nothing(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    """Control: without the budget the platform refuses, and only its refusal slows us down.

    The platform's own figures are wider: on their way, messages draw nearer to each other.
    """
    pair = Rate(1, 2, burst=2) if is_kept else None
    monkeypatch.setitem(BUDGETS, "whatsapp/1", Budget(name="whatsapp/1", pair=pair))
    monkeypatch.setattr(fake_rules, "PAIR_BURST", 2)
    monkeypatch.setattr(fake_rules, "PAIR_INTERVAL", timedelta(seconds=1))
    monkeypatch.setattr(trunkline.fake, "_pair_limit", PairLimit())
    inbox = await ready(trunkline)
    await inbox.hear("B")
    texts = ["1", "2", "3", "4"]
    with statuses(trunkline):
        await trunkline.fake.go_down()  # So that all of them wait, however slow this machine is.
        try:
            for text in texts:
                await inbox.org.reply("crm", inbox.chats["A"], text)
            await inbox.org.reply("crm", inbox.chats["B"], "to B")
        finally:
            await trunkline.fake.come_back()
        await eventually(lambda: fates(inbox), [("sent", None)] * len(texts))
    sent = await sent_texts(inbox)
    assert [each for each in sent if each != "to B"] == texts
    assert ("pair_limited" not in await deferrals(inbox)) is is_kept
    assert sent[-1] != "to B"  # Whoever waits holds up nobody else.


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_limit_of_the_account_is_waited_for_by_all_its_messages(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    """Control: taken for a limit of the one customer, it stops nobody else."""
    if not is_kept:
        monkeypatch.setattr(pacing, "OF_ONE_CHAT", {"rate_limited"})
    inbox, other = await office(trunkline), await ready(trunkline)
    trunkline.fake.next_requests(limits(2))
    await inbox.org.reply("crm", inbox.chats["A"], "a")
    await eventually(lambda: deferrals(inbox), ["rate_limited"])
    await inbox.org.reply("crm", inbox.chats["B"], "b")
    await other.org.reply("crm", other.chats["A"], "of another account")
    await eventually(lambda: sent_texts(other), ["of another account"])
    await eventually(lambda: count(inbox), 2)
    (deferral,) = await inbox.org.events(type="chat.send_deferred")
    (other_customers,) = [each for each in await accepted(inbox) if each.text == "b"]
    limited_until = datetime.fromisoformat(deferral["data"]["retry_at"])
    # It counts from when the answer is written down, a moment after it came. Who does not wait is
    # earlier by almost all of the two seconds.
    assert (other_customers.at >= limited_until - timedelta(seconds=1)) is is_kept


async def deferrals(inbox: Inbox) -> list[str]:
    found = await inbox.org.events(type="chat.send_deferred")
    return [each["data"]["reason"] for each in found]


async def count(inbox: Inbox) -> int:
    return len(await accepted(inbox))


@pytest.mark.parametrize("is_let_alone", [True, False])
async def test_an_outage_costs_few_events_however_much_waits(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch, is_let_alone: bool
) -> None:
    """While the platform is away one message asks from time to time. Control: each for itself."""
    if not is_let_alone:
        monkeypatch.setattr(pacing, "PAUSE_SECONDS_MAX", 0.0)
    inbox = await office(trunkline)
    began = time.monotonic()
    await trunkline.fake.go_down()
    try:
        replies = (
            inbox.org.reply("crm", inbox.chats[customer], f"{customer}{number}")
            for number in range(2)
            for customer in CUSTOMERS
        )
        await asyncio.gather(*replies)
        await asyncio.sleep(3)
        tried = await inbox.org.events(type="chat.send_started")
    finally:
        await trunkline.fake.come_back()
    # What was on its way at first, and one after 1 second, after 2 more, after 4 more …
    asked_again = math.floor(math.log2(time.monotonic() - began + 1))
    assert (len(tried) <= len(CUSTOMERS) + asked_again) is is_let_alone
    await eventually(lambda: count(inbox), 2 * len(CUSTOMERS))


async def test_one_lost_answer_does_not_hold_up_the_account(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "back_off", lambda _: timedelta(minutes=5))
    inbox = await office(trunkline)
    trunkline.fake.next_requests(accepts_then_drops())
    with statuses(trunkline):
        await inbox.org.reply("crm", inbox.chats["A"], "lost")
        await eventually(lambda: fates(inbox), [("uncertain", None)])
        await inbox.org.reply("crm", inbox.chats["B"], "next")
        await eventually(lambda: count(inbox), 2)


# Shares.


@contextmanager
def slow(trunkline: Trunkline, *accounts: str, seconds: float) -> Iterator[list[float]]:
    """The platform takes long with the messages of these accounts; when it has answered each."""
    usual, answered_at = trunkline.fake.answer, []

    def answer(request: Request) -> Answer:
        found = usual(request)
        if not any(account in request.path for account in accounts):
            return found
        answered_at.append(time.monotonic() + seconds)
        return replace(found, wait_seconds=seconds)

    trunkline.fake.answer = answer  # type: ignore[method-assign]
    try:
        yield answered_at
    finally:
        del trunkline.fake.answer


@pytest.mark.parametrize("is_fair", [True, False])
async def test_accounts_that_are_slow_do_not_slow_another_one(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch, is_fair: bool
) -> None:
    """As many lanes as the slow ones can fill. Control: whoever comes first takes them all."""
    monkeypatch.setattr(shares, "ACCOUNT_LANES_MAX", 4)
    monkeypatch.setattr(shares, "PLATFORM_LANES_MAX", 4)
    if not is_fair:
        monkeypatch.setattr(shares.Shares, "has_room", first_come_first_served)
    first, second, quick = [await office(trunkline) for _ in range(2)] + [await ready(trunkline)]
    seconds = 8.0 if is_fair else 2.0
    with slow(trunkline, first.account, second.account, seconds=seconds) as answered_at:
        replies = (
            inbox.org.reply("crm", inbox.chats[customer], "slow")
            for inbox in (first, second)
            for customer in CUSTOMERS
        )
        await asyncio.gather(*replies)
        await eventually(lambda: answers_awaited(answered_at), True)
        await quick.org.reply("crm", quick.chats["A"], "quick")
        await eventually(lambda: count(quick), 1)
        done_at = time.monotonic()
        is_slowed = done_at > min(answered_at)
        await eventually(lambda: count(first), len(CUSTOMERS))
        await eventually(lambda: count(second), len(CUSTOMERS))
    assert is_slowed is not is_fair


async def answers_awaited(answered_at: list[float]) -> bool:
    return len(answered_at) >= 4


def first_come_first_served(self: shares.Shares, account: Any, **_: Any) -> bool:
    return sum(len(each) for each in self._begun.values()) < shares.PLATFORM_LANES_MAX
