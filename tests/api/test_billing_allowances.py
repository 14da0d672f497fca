"""The 1,000th and the 1,001st, in earnest and through the front door (L2).

Nothing is sent: a platform takes no thousand messages at one moment.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from api.commands.context import Actor
from api.commands.replies import Replies, Start, TemplateReply, TextReply, Write
from tests.api.clocked_shop import KIM, LEE, Bank, ClockedShop, a_bank, template
from tests.api.test_billing_vectors import at
from tests.conftest import Database

AT_ONCE = 100  # A whole thousand would wait for each other.


@pytest.fixture(scope="module")
async def bank(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    async with a_bank(database, tmp_path_factory.mktemp("home"), sends=False) as opened:
        yield opened


@pytest.fixture
async def shop(bank: Bank) -> ClockedShop:
    return await bank.shop()


async def author(shop: ClockedShop) -> tuple[Replies, Actor]:
    """The admin, without HTTP, where a thousand are only to be there."""
    parts = shop.trunkline.parts
    org = await parts.directory.organisation(shop.admin.organization_id)
    assert org is not None
    actor = Actor(keys=await parts.directory.keys(org.number), user_id=shop.admin.user_id)
    return Replies(parts.context), actor


async def begin_with_many(shop: ClockedShop, count: int) -> None:
    """So many customers are each written to about service."""
    replies, actor = await author(shop)
    message = TemplateReply(name="service", language="en", parameters={})

    async def begin(number: int) -> None:
        phone = f"8190{number:08}"
        start = Start(service="crm", channel_id=shop.channel, phone=phone, message=message)
        await replies.start(actor, start)

    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*map(begin, range(first, min(first + AT_ONCE, count))))


async def write_many(shop: ClockedShop, chat: str, count: int) -> None:
    """So many texts to one customer."""
    replies, actor = await author(shop)
    text = Write(service="crm", chat_id=chat, message=TextReply(text="Hello"))
    await asyncio.gather(*(replies.write(actor, text) for _ in range(count)))


async def test_l2_the_1000th_is_free_and_the_1001st_is_refused_until_it_is_paid(
    shop: ClockedShop,
) -> None:
    await shop.comes(at("2026-11-30T23:00:00Z"))
    await begin_with_many(shop, 999)
    assert (await shop.credits())["free_conversations_left"] == 1
    body = {"channel_id": shop.channel, "message": template("service")}
    race = await asyncio.gather(
        *(
            shop.admin.call(
                "POST", "/v1/services/crm/chats", json={**body, "address": f"+81800000000{number}"}
            )
            for number in range(5)
        )
    )
    assert sorted(each.status_code for each in race) == [202, 402, 402, 402, 402]
    assert (await shop.credits())["free_conversations_left"] == 0
    refused = await shop.begin("819099990001", "service", expect=402)
    assert (refused["code"], refused["needed_micro_usd"], refused["balance_micro_usd"]) == (
        "insufficient_credits",
        8_000,
        0,
    )
    assert not (await shop.quote(address=KIM))["covered"]
    await shop.buy(1)
    await shop.begin("819099990001", "service")
    shown = await shop.month("2026-11")
    counted = [shown["conversations"][name] for name in ("count", "free", "paid")]
    assert counted == [1_001, 1_000, 1]
    assert shown["closing_balance_micro_usd"] == 1_992_000
    await shop.waits(timedelta(hours=1))
    assert (await shop.credits())["free_conversations_left"] == 1_000
    await shop.begin("819099990002", "service")
    assert (await shop.charges())[-1] == ("2026-12", "service", 0, True)
    assert (await shop.month("2026-12"))["opening_balance_micro_usd"] == 1_992_000


async def test_l2_only_service_conversations_use_the_allowance(shop: ClockedShop) -> None:
    await shop.buy(1)
    for phone, category in ((KIM, "marketing"), (LEE, "utility")):
        await shop.begin(phone, category)
    assert (await shop.credits())["free_conversations_left"] == 1_000
    await shop.begin("819099990003", "service")
    assert (await shop.credits())["free_conversations_left"] == 999


async def test_l7_service_message_each_number_has_a_thousand_a_month_and_templates_cost(
    shop: ClockedShop,
) -> None:
    """The sample card's figure for Mexico; the month is Tokyo's."""
    sample = "sample-service-2026-10/1"
    await shop.price("service-message/2026-10", card=sample, time_zone="Asia/Tokyo")
    await shop.comes(at("2026-11-30T14:30:00Z"))
    chat = await shop.hears("5215512345678")
    await write_many(shop, chat, 1_000)
    refused = await shop.write(chat, expect=402)
    assert (refused["needed_micro_usd"], refused["balance_micro_usd"]) == (8_500, 0)
    await shop.buy(1)
    await shop.write(chat)
    await shop.write(chat, "utility")  # In the window, and no longer free.
    assert [each[1:] for each in (await shop.charges())[-3:]] == [
        ("service", 0, True),
        ("service", 8_500, False),
        ("utility", 8_000, False),
    ]
    await shop.comes(at("2026-11-30T15:00:00Z"))
    await shop.write(chat)
    assert (await shop.charges())[-1] == ("2026-12", "service", 0, True)
    assert (await shop.month("2026-11"))["messages"]["free"] == 1_000
