"""Free entry points through the front door, to the cent."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from adapters.whatsapp.fake_behaviour import fails
from tests.api.clocked_shop import KIM, Bank, ClockedShop, a_bank
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
async def shop(bank: Bank) -> AsyncIterator[ClockedShop]:
    shop = await bank.shop()
    await shop.buy(1)
    yield shop
    await shop.rests()


async def marketing(shop: ClockedShop, chat: str) -> int:
    """What a marketing template costs now; it was quoted so."""
    quoted = await shop.quote(chat_id=chat, kind="template", category="marketing")
    before = await shop.balance()
    await shop.write(chat, "marketing")
    cost = before - await shop.balance()
    assert quoted["micro_usd"] == cost
    assert quoted["reason"] == (None if cost else "entry_point")
    return int(cost)


@pytest.mark.parametrize("rule", [BY_TEMPLATE, BY_MESSAGE])
async def test_whoever_answers_an_ad_is_free_for_72_hours_from_the_answer(
    shop: ClockedShop, rule: str
) -> None:
    await shop.price(rule)
    chat = await shop.hears(by_ad=True)
    await shop.waits(DAY - A_SECOND)
    assert await marketing(shop, chat) == FREE
    await shop.waits(THREE_DAYS - A_SECOND)
    assert await marketing(shop, chat) == FREE
    await shop.waits(A_SECOND)
    assert await marketing(shop, chat) == PAID


@pytest.mark.parametrize("rule", [BY_TEMPLATE, BY_MESSAGE])
async def test_an_answer_at_exactly_24_hours_is_too_late(shop: ClockedShop, rule: str) -> None:
    await shop.price(rule)
    chat = await shop.hears(by_ad=True)
    await shop.waits(DAY)
    assert await marketing(shop, chat) == PAID


async def test_c0_a_late_webhook_counts_from_the_platforms_time(shop: ClockedShop) -> None:
    await shop.price(BY_TEMPLATE)
    chat = await shop.hears(by_ad=True, seconds_ago=23 * 3_600)
    await shop.waits(timedelta(hours=1))
    assert await marketing(shop, chat) == PAID


async def test_c0_an_ad_that_is_told_after_its_answer_opens_from_that_answer(
    shop: ClockedShop,
) -> None:
    """What was charged before it was known stays charged."""
    await shop.price(BY_TEMPLATE)
    chat = (await shop.begin(KIM))["chat_id"]
    assert await shop.balance() == 2_000_000 - PAID
    await shop.waits(timedelta(hours=2))
    await shop.hears(by_ad=True, seconds_ago=3 * 3_600)
    await shop.waits(THREE_DAYS - timedelta(hours=2) - A_SECOND)
    assert await marketing(shop, chat) == FREE
    await shop.waits(A_SECOND)
    assert await marketing(shop, chat) == PAID


async def test_a_second_ad_has_an_entry_point_of_its_own(shop: ClockedShop) -> None:
    await shop.price(BY_TEMPLATE)
    chat = await shop.hears(by_ad=True)
    assert await marketing(shop, chat) == FREE
    await shop.waits(THREE_DAYS - A_SECOND)
    await shop.hears(by_ad=True)
    assert await marketing(shop, chat) == FREE
    await shop.waits(THREE_DAYS - A_SECOND)
    assert await marketing(shop, chat) == FREE
    await shop.waits(A_SECOND)
    assert await marketing(shop, chat) == PAID


async def test_l4_an_answer_that_the_platform_refused_opened_none(shop: ClockedShop) -> None:
    await shop.price(BY_TEMPLATE)
    chat = await shop.hears(by_ad=True)
    shop.trunkline.fake.next_requests(fails(131026))
    await shop.write(chat, "marketing")
    await shop.waits(DAY)
    assert await marketing(shop, chat) == PAID


async def test_l1_conversations_know_no_entry_points(shop: ClockedShop) -> None:
    chat = await shop.hears(by_ad=True)
    quoted = await shop.quote(chat_id=chat, kind="template", category="marketing")
    assert (quoted["micro_usd"], quoted["reason"]) == (PAID, None)
    await shop.write(chat, "marketing")
    assert await shop.charges() == [("2026-11", "marketing", PAID, False)]


async def test_a_question_may_say_that_it_is_asked_for_one(shop: ClockedShop) -> None:
    await shop.price(BY_MESSAGE)
    asked = {"kind": "template", "category": "marketing", "country": "JP"}
    free = await shop.quote(**asked, in_entry_point=True)
    assert (free["micro_usd"], free["free"], free["reason"]) == (0, True, "entry_point")
    assert (await shop.quote(**asked))["micro_usd"] == PAID
    text = await shop.quote()
    assert (text["free"], text["reason"]) == (True, "allowance")
    await shop.price(BY_TEMPLATE)
    text = await shop.quote()
    assert (text["unit"], text["free"], text["reason"]) == (None, False, "rule")


async def test_l6_a_bill_and_its_proofs_say_why_it_was_free(shop: ClockedShop) -> None:
    """And what was free so is not counted against the allowance."""
    await shop.price(BY_MESSAGE)
    chat = await shop.hears(by_ad=True)
    await shop.write(chat)
    await shop.write(chat, "marketing")
    await shop.waits(THREE_DAYS)
    await shop.hears()
    await shop.write(chat)
    await shop.write(chat, "marketing")
    charged = await shop.ledger("charged")
    assert [each["inputs"]["used_by_account"] for each in charged] == [0, 0, 0, 1]
    shown = await shop.month("2026-11")
    assert (shown["messages"]["free"], shown["messages"]["paid"]) == (3, 1)
    assert shown["free"] == [
        {"name": "entry_point", "count": 2},
        {"name": "allowance", "count": 1},
    ]
    lines = await shop.admin.get(f"/v1/statements/{shop.account}/2026-11/lines")
    charges = [each for each in lines["items"] if each["kind"] == "charge"]
    assert [each["free_because"] for each in charges] == [
        "entry_point",
        "entry_point",
        "allowance",
        None,
    ]
    assert charges[0]["proof"]["inputs"]["in_entry_point"] is True


async def test_l7_what_if_knows_the_entry_points_of_answers_that_were_charged_otherwise(
    shop: ClockedShop,
) -> None:
    chat = await shop.hears(by_ad=True)
    await shop.write(chat)
    for _ in range(3):
        await shop.waits(DAY)
        await shop.write(chat, "marketing")
    await shop.admin.settled()
    replayed: dict[str, Any] = {}
    for rule in EVERY_RULE:
        path = f"/v1/statements/{shop.account}/2026-11/replay"
        replayed[rule] = await shop.admin.post(path, {"pricing": rule})
    # A text, templates on the first and the second day; the third is 72 hours from the answer.
    assert {rule: each["replayed_micro_usd"] for rule, each in replayed.items()} == {
        "conversation/1": 3 * PAID,
        BY_TEMPLATE: PAID,
        BY_MESSAGE: PAID,
    }
    assert {each["recorded_micro_usd"] for each in replayed.values()} == {3 * PAID}
