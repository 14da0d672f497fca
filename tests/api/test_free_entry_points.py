"""Free entry points through the front door, to the cent."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from adapters.whatsapp.fake_behaviour import fails
from tests.api.till import KIM, Bank, Till, a_bank
from tests.conftest import Database

A_SECOND = timedelta(seconds=1)
DAY = timedelta(hours=24)
THREE_DAYS = timedelta(hours=72)
BY_MESSAGE, BY_TEMPLATE = "service-message/2026-10", "per-message/2025-07"
EVERY_RULE = ("conversation/1", BY_TEMPLATE, BY_MESSAGE)
FREE, PAID = 0, 8_000


@pytest.fixture(scope="module")
async def bank(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    async with a_bank(database, tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture
async def till(bank: Bank) -> AsyncIterator[Till]:
    till = await bank.till()
    await till.buy(1)
    yield till
    await till.rests()


async def marketing(till: Till, chat: str) -> int:
    """What a marketing template costs now; it was quoted so."""
    quoted = await till.quote(chat_id=chat, kind="template", category="marketing")
    before = await till.balance()
    await till.write(chat, "marketing")
    cost = before - await till.balance()
    assert quoted["micro_usd"] == cost
    assert quoted["reason"] == (None if cost else "entry_point")
    return int(cost)


@pytest.mark.parametrize("rule", [BY_TEMPLATE, BY_MESSAGE])
async def test_whoever_answers_an_ad_is_free_for_72_hours_from_the_answer(
    till: Till, rule: str
) -> None:
    await till.price(rule)
    chat = await till.hears(by_ad=True)
    await till.waits(DAY - A_SECOND)
    assert await marketing(till, chat) == FREE
    await till.waits(THREE_DAYS - A_SECOND)
    assert await marketing(till, chat) == FREE
    await till.waits(A_SECOND)
    assert await marketing(till, chat) == PAID


@pytest.mark.parametrize("rule", [BY_TEMPLATE, BY_MESSAGE])
async def test_an_answer_at_exactly_24_hours_is_too_late(till: Till, rule: str) -> None:
    await till.price(rule)
    chat = await till.hears(by_ad=True)
    await till.waits(DAY)
    assert await marketing(till, chat) == PAID


async def test_c0_a_late_webhook_counts_from_the_platforms_time(till: Till) -> None:
    await till.price(BY_TEMPLATE)
    chat = await till.hears(by_ad=True, seconds_ago=23 * 3_600)
    await till.waits(timedelta(hours=1))
    assert await marketing(till, chat) == PAID


async def test_c0_an_ad_that_is_told_after_its_answer_opens_from_that_answer(till: Till) -> None:
    """What was charged before it was known stays charged."""
    await till.price(BY_TEMPLATE)
    chat = (await till.begin(KIM))["chat_id"]
    assert await till.balance() == 2_000_000 - PAID
    await till.waits(timedelta(hours=2))
    await till.hears(by_ad=True, seconds_ago=3 * 3_600)
    await till.waits(THREE_DAYS - timedelta(hours=2) - A_SECOND)
    assert await marketing(till, chat) == FREE
    await till.waits(A_SECOND)
    assert await marketing(till, chat) == PAID


async def test_a_second_ad_has_an_entry_point_of_its_own(till: Till) -> None:
    await till.price(BY_TEMPLATE)
    chat = await till.hears(by_ad=True)
    assert await marketing(till, chat) == FREE
    await till.waits(THREE_DAYS - A_SECOND)
    await till.hears(by_ad=True)
    assert await marketing(till, chat) == FREE
    await till.waits(THREE_DAYS - A_SECOND)
    assert await marketing(till, chat) == FREE
    await till.waits(A_SECOND)
    assert await marketing(till, chat) == PAID


async def test_l4_an_answer_that_the_platform_refused_opened_none(till: Till) -> None:
    await till.price(BY_TEMPLATE)
    chat = await till.hears(by_ad=True)
    till.trunkline.fake.next_requests(fails(131026))
    await till.write(chat, "marketing")
    await till.waits(DAY)
    assert await marketing(till, chat) == PAID


async def test_l1_conversations_know_no_entry_points(till: Till) -> None:
    chat = await till.hears(by_ad=True)
    quoted = await till.quote(chat_id=chat, kind="template", category="marketing")
    assert (quoted["micro_usd"], quoted["reason"]) == (PAID, None)
    await till.write(chat, "marketing")
    assert await till.charges() == [("2026-11", "marketing", PAID, False)]


async def test_a_question_may_say_that_it_is_asked_for_one(till: Till) -> None:
    await till.price(BY_MESSAGE)
    asked = {"kind": "template", "category": "marketing", "country": "JP"}
    free = await till.quote(**asked, in_entry_point=True)
    assert (free["micro_usd"], free["free"], free["reason"]) == (0, True, "entry_point")
    assert (await till.quote(**asked))["micro_usd"] == PAID
    text = await till.quote()
    assert (text["free"], text["reason"]) == (True, "allowance")
    await till.price(BY_TEMPLATE)
    text = await till.quote()
    assert (text["unit"], text["free"], text["reason"]) == (None, False, "rule")


async def test_l6_a_bill_and_its_proofs_say_why_it_was_free(till: Till) -> None:
    """And what was free so is not counted against the allowance."""
    await till.price(BY_MESSAGE)
    chat = await till.hears(by_ad=True)
    await till.write(chat)
    await till.write(chat, "marketing")
    await till.waits(THREE_DAYS)
    await till.hears()
    await till.write(chat)
    await till.write(chat, "marketing")
    charged = await till.ledger("charged")
    assert [each["inputs"]["used_by_account"] for each in charged] == [0, 0, 0, 1]
    shown = await till.month("2026-11")
    assert (shown["messages"]["free"], shown["messages"]["paid"]) == (3, 1)
    assert shown["free"] == [
        {"name": "entry_point", "count": 2},
        {"name": "allowance", "count": 1},
    ]
    lines = await till.admin.get(f"/v1/statements/{till.account}/2026-11/lines")
    charges = [each for each in lines["items"] if each["kind"] == "charge"]
    assert [each["free_because"] for each in charges] == [
        "entry_point",
        "entry_point",
        "allowance",
        None,
    ]
    assert charges[0]["proof"]["inputs"]["in_entry_point"] is True


async def test_l7_what_if_knows_the_entry_points_of_answers_that_were_charged_otherwise(
    till: Till,
) -> None:
    chat = await till.hears(by_ad=True)
    await till.write(chat)
    for _ in range(3):
        await till.waits(DAY)
        await till.write(chat, "marketing")
    await till.admin.settled()
    replayed: dict[str, Any] = {}
    for rule in EVERY_RULE:
        path = f"/v1/statements/{till.account}/2026-11/replay"
        replayed[rule] = await till.admin.post(path, {"pricing": rule})
    # A text, templates on the first and the second day; the third is 72 hours from the answer.
    assert {rule: each["replayed_micro_usd"] for rule, each in replayed.items()} == {
        "conversation/1": 3 * PAID,
        BY_TEMPLATE: PAID,
        BY_MESSAGE: PAID,
    }
    assert {each["recorded_micro_usd"] for each in replayed.values()} == {3 * PAID}
