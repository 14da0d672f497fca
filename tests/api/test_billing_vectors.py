"""Bills worked out by hand from the rules, through the front door, to the cent."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from adapters.fakes.behaviour import accepts_then_drops
from adapters.whatsapp.fake_behaviour import fails
from tests.api.clocked_shop import CATEGORIES, KIM, LEE, Bank, ClockedShop, a_bank
from tests.api.deliveries import eventually
from tests.conftest import Database

A_BIT = timedelta(microseconds=1)
DAY = timedelta(hours=24)

# A row for everything, one for a country, one for a category, one for both, one from a date on.
CARD = {
    "card": "vectors/1",
    "rates": [
        {"country": "any", "category": "any", "micro_usd": 10_000},
        {"country": "JP", "category": "any", "micro_usd": 20_000},
        {"country": "any", "category": "utility", "micro_usd": 3_000},
        {"country": "JP", "category": "marketing", "micro_usd": 70_001},
        {
            "country": "any",
            "category": "authentication",
            "micro_usd": 4_000,
            "effective_from": "2027-01-01",
        },
    ],
}


def at(text: str) -> datetime:
    """A moment of the world's time."""
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.fixture(scope="module")
async def bank(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    async with a_bank(database, tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture
async def shop(bank: Bank) -> AsyncIterator[ClockedShop]:
    shop = await bank.shop()
    yield shop
    await shop.rests()


# Clocks.


@pytest.mark.parametrize(
    ("moment", "zone", "months"),
    [
        # The last moment of a month, and 24 hours on: a conversation of the next.
        ("2026-11-30T23:59:59.999999Z", "UTC", ("2026-11", "2026-12")),
        ("2026-12-01T00:00:00Z", "UTC", ("2026-12", "2026-12")),
        ("2026-12-31T12:00:00Z", "UTC", ("2026-12", "2027-01")),
        # Leap years have a 29th of February; 2100 is none.
        ("2028-02-28T12:00:00Z", "UTC", ("2028-02", "2028-02")),
        ("2028-02-29T12:00:00Z", "UTC", ("2028-02", "2028-03")),
        ("2027-02-28T12:00:00Z", "UTC", ("2027-02", "2027-03")),
        ("2100-02-28T12:00:00Z", "UTC", ("2100-02", "2100-03")),
        # 15:00 in London is midnight in Tokyo, 18:30 in Kolkata, 11:15 in the Chatham Islands.
        ("2026-11-30T14:59:59.999999Z", "Asia/Tokyo", ("2026-11", "2026-12")),
        ("2026-11-30T15:00:00Z", "Asia/Tokyo", ("2026-12", "2026-12")),
        ("2026-12-31T18:29:59.999999Z", "Asia/Kolkata", ("2026-12", "2027-01")),
        ("2026-12-31T18:30:00Z", "Asia/Kolkata", ("2027-01", "2027-01")),
        ("2026-12-01T07:59:59Z", "America/Los_Angeles", ("2026-11", "2026-12")),
        ("2027-07-01T06:59:59Z", "America/Los_Angeles", ("2027-06", "2027-07")),
        ("2027-07-01T07:00:00Z", "America/Los_Angeles", ("2027-07", "2027-07")),
    ],
)
async def test_l2_l7_a_charge_belongs_to_the_month_of_its_opening_answer(
    shop: ClockedShop, moment: str, zone: str, months: tuple[str, str]
) -> None:
    await shop.price("conversation/1", time_zone=zone)
    await shop.buy(1)
    await shop.comes(at(moment))
    chat = (await shop.begin(KIM))["chat_id"]
    await shop.waits(DAY - A_BIT)
    await shop.write(chat, "utility")
    await shop.waits(A_BIT)
    await shop.write(chat, "utility")
    assert await shop.charges() == [
        (months[0], "marketing", 8_000, False),
        (months[1], "utility", 8_000, False),
    ]
    for month in set(months):
        shown = await shop.month(month)
        assert shown["conversations"]["paid"] == months.count(month)


async def test_l0_a_late_webhook_moves_the_window_and_not_the_conversation(
    shop: ClockedShop,
) -> None:
    """C0: by the platform's time; a message that comes three hours late opened less."""
    await shop.buy(1)
    chat = await shop.hears(seconds_ago=3 * 3_600)
    await shop.write(chat)
    await shop.waits(timedelta(hours=21) - timedelta(seconds=1))
    await shop.write(chat)
    await shop.waits(timedelta(seconds=1))
    refused = await shop.write(chat, expect=409)
    assert refused["code"] == "window_closed"
    await shop.write(chat, "utility")  # Inside the conversation, which is 21 hours old.
    await shop.waits(timedelta(hours=3))
    await shop.write(chat, "utility")
    assert await shop.charges() == [
        ("2026-11", "service", 0, True),
        ("2026-11", "utility", 8_000, False),
    ]


async def test_c0_a_clock_that_runs_ahead_opens_no_longer_window(shop: ClockedShop) -> None:
    """More than five minutes ahead of ours is taken as ours."""
    chat = await shop.hears(seconds_ago=-3_600)
    await shop.waits(DAY - timedelta(seconds=1))
    await shop.write(chat)
    await shop.waits(timedelta(seconds=1))
    assert (await shop.write(chat, expect=409))["code"] == "window_closed"


# Rates.


@pytest.mark.parametrize(
    ("phone", "category", "day", "micro_usd"),
    [
        (KIM, "marketing", "2026-11-21", 70_001),
        (KIM, "utility", "2026-11-21", 20_000),
        (KIM, "authentication", "2027-01-01", 20_000),
        (LEE, "marketing", "2026-11-21", 10_000),
        (LEE, "utility", "2026-11-21", 3_000),
        (LEE, "authentication", "2026-12-31", 10_000),
        (LEE, "authentication", "2027-01-01", 4_000),
        ("99912345678", "marketing", "2026-11-21", 10_000),  # A code that no country has.
    ],
)
async def test_l2_the_rate_is_that_of_the_country_and_the_category_on_the_day(
    shop: ClockedShop, phone: str, category: str, day: str, micro_usd: int
) -> None:
    await shop.price("conversation/1", **CARD)
    await shop.buy(1)
    await shop.comes(at(f"{day}T13:00:00Z"))
    quoted = await shop.quote(kind="template", category=category, address=phone)
    assert quoted["micro_usd"] == micro_usd
    await shop.begin(phone, category)
    assert [each[1:] for each in await shop.charges()] == [(category, micro_usd, False)]
    assert await shop.balance() == 2_000_000 - micro_usd


async def test_l2_a_rates_day_is_one_of_the_rules_time_zone(shop: ClockedShop) -> None:
    await shop.price("conversation/1", **CARD, time_zone="Asia/Tokyo")
    await shop.buy(1)
    await shop.comes(at("2026-12-31T14:59:59.999999Z"))
    await shop.begin(LEE, "authentication")
    await shop.waits(A_BIT)
    await shop.begin("12025550144", "authentication")
    assert [each[2] for each in await shop.charges()] == [10_000, 4_000]


async def test_l2_whoever_shows_no_number_is_of_the_country_of_their_user_id(
    shop: ClockedShop,
) -> None:
    await shop.price("conversation/1", **CARD)
    await shop.buy(1)
    chat = await shop.hears_of("JP.48120993100278845511")
    quoted = await shop.quote(chat_id=chat, kind="template", category="marketing")
    assert (quoted["country"], quoted["micro_usd"]) == ("JP", 70_001)
    await shop.write(chat, "marketing")
    assert await shop.balance() == 2_000_000 - 70_001


async def test_l2_a_number_says_more_of_the_country_than_a_user_id(shop: ClockedShop) -> None:
    await shop.price("conversation/1", **CARD)
    await shop.buy(1)
    chat = await shop.hears(LEE, user_id="JP.48120993100278845512")
    assert (await shop.quote(chat_id=chat))["country"] == "US"
    await shop.write(chat, "marketing")
    assert await shop.balance() == 2_000_000 - 10_000


async def test_l7_a_quote_is_what_is_charged_then_under_every_rule(shop: ClockedShop) -> None:
    """Each kind of message, in and out of the window, in and out of a conversation."""
    await shop.buy(5)
    chat = await shop.hears()
    for rule in ("conversation/1", "per-message/2025-07", "service-message/2026-10"):
        for hours in (0, 2, 30):
            await shop.waits(timedelta(hours=hours))
            await shop.price(rule, **CARD)
            for category in (None, *CATEGORIES):
                if category is None and hours == 30:
                    continue  # No text: the window is closed.
                kind = {"kind": "template", "category": category} if category else {"kind": "text"}
                quoted = await shop.quote(chat_id=chat, **kind)
                before = await shop.balance()
                await shop.write(chat, category)
                assert before - await shop.balance() == quoted["micro_usd"]
        await shop.waits(DAY)
        await shop.hears()


async def test_l1_a_quote_for_a_number_knows_the_conversation_that_is_open(
    shop: ClockedShop,
) -> None:
    await shop.buy(1)
    asked = {"kind": "template", "category": "marketing", "address": f"+{KIM}"}
    assert (await shop.quote(**asked))["micro_usd"] == 8_000
    await shop.begin(KIM)
    written = len(await shop.admin.events())
    assert (await shop.quote(**asked))["micro_usd"] == 0
    assert (await shop.quote(**{**asked, "address": f"+{LEE}"}))["micro_usd"] == 8_000
    await shop.waits(DAY)
    assert (await shop.quote(**asked))["micro_usd"] == 8_000
    sent = {"chat.send_started", "chat.message_sent"}
    new = [each["type"] for each in (await shop.admin.events())[written:]]
    assert set(new) <= sent


# Refunds.


async def test_l4_a_refused_conversation_is_void_and_the_next_answer_starts_another(
    shop: ClockedShop,
) -> None:
    await shop.buy(1)
    shop.trunkline.fake.next_requests(fails(131026))
    chat = (await shop.begin(KIM))["chat_id"]
    await eventually(lambda: shop.amounts("refunded"), [8_000])
    await shop.waits(timedelta(hours=23))
    await shop.write(chat, "utility")
    await shop.waits(timedelta(hours=2))
    await shop.write(chat, "utility")  # Two hours into the second, 25 after the void one.
    assert [each[1] for each in await shop.charges()] == ["marketing", "utility"]
    assert await shop.balance() == 1_992_000


async def test_l4_free_again_is_what_was_free_and_void(shop: ClockedShop) -> None:
    chat = await shop.hears()
    shop.trunkline.fake.next_requests(fails(131026))
    await shop.write(chat)

    async def left() -> int:
        return int((await shop.credits())["free_conversations_left"])

    await eventually(lambda: shop.amounts("refunded"), [0])
    assert await left() == 1_000
    await shop.write(chat)
    assert await left() == 999
    shown = (await shop.month("2026-11"))["conversations"]
    assert (shown["count"], shown["free"], shown["refunded"]) == (1, 1, 1)


async def test_l4_receipts_in_any_order_refund_once_and_only_when_all_have_failed(
    shop: ClockedShop,
) -> None:
    """C15: also what was read can turn out to have failed; what is told again changes nothing."""
    await shop.buy(1)
    chat = (await shop.begin(KIM))["chat_id"]
    await shop.write(chat, "utility")
    for status in ("read", "delivered", "failed", "failed", "delivered"):
        await shop.told(status, 0)
    assert await shop.balance() == 1_992_000
    await shop.waits(DAY)  # Also when the conversation is over, and the next one is open.
    await shop.write(chat, "utility")
    assert await shop.balance() == 1_984_000
    for status in ("failed", "delivered", "failed", "read"):
        await shop.told(status, 1)
    assert await shop.balance() == 1_992_000
    await shop.write(chat, "utility")  # Inside the newer one.
    assert await shop.balance() == 1_992_000
    assert len(await shop.ledger("refunded")) == 1


async def test_l4_a_refund_counts_in_the_month_in_which_it_becomes_known(shop: ClockedShop) -> None:
    await shop.buy(1)
    await shop.comes(at("2026-11-30T23:59:59Z"))
    await shop.begin(KIM)
    await shop.waits(timedelta(seconds=1))
    await shop.told("failed")
    november, december = await shop.month("2026-11"), await shop.month("2026-12")
    assert november["closing_balance_micro_usd"] == 1_992_000
    assert [(each["kind"], each["micro_usd"]) for each in december["movements"]] == [
        ("refund", 8_000)
    ]
    assert december["closing_balance_micro_usd"] == 2_000_000


async def test_l4_discarding_refunds_nothing(shop: ClockedShop) -> None:
    """C15: it is no refusal of the platform."""
    await shop.buy(1)
    shop.trunkline.fake.next_requests(accepts_then_drops())
    begun = await shop.begin(KIM)
    chat = begun["chat_id"]

    async def status() -> str:
        return str((await shop.admin.messages("crm", chat))[-1]["status"])

    await eventually(status, "uncertain")
    path = f"/v1/services/crm/chats/{chat}/messages/{begun['message']['id']}/discard"
    await shop.admin.post(path)
    assert await shop.balance() == 1_992_000


# Later models.


async def test_l7_per_message_a_template_costs_and_utility_in_the_window_does_not(
    shop: ClockedShop,
) -> None:
    await shop.price("per-message/2025-07", **CARD)
    await shop.buy(1)
    chat = await shop.hears()
    for category in (None, "utility", "marketing", "authentication", "service", "marketing"):
        await shop.write(chat, category)
    await shop.waits(DAY)
    await shop.write(chat, "utility")
    assert [each[1:] for each in await shop.charges()] == [
        ("marketing", 70_001, False),
        ("authentication", 20_000, False),
        ("service", 20_000, False),
        ("marketing", 70_001, False),
        ("utility", 20_000, False),
    ]
    shown = await shop.month("2026-11")
    assert (shown["messages"]["count"], shown["conversations"]["count"]) == (5, 0)
    assert shown["messages"]["micro_usd"] == 200_002
    assert (await shop.credits())["free_conversations_left"] is None


async def test_l7_a_rule_holds_from_its_date_and_an_open_conversation_goes_on(
    shop: ClockedShop,
) -> None:
    await shop.buy(1)
    await shop.comes(at("2026-12-31T12:00:00Z"))
    later = "2027-01-01T00:00:00Z"
    await shop.price("per-message/2025-07", **CARD, effective_from=later)
    chat = (await shop.begin(KIM))["chat_id"]
    await shop.comes(at(later) - A_BIT)
    await shop.begin(LEE)
    await shop.waits(A_BIT)
    await shop.write(chat, "marketing")  # Paid for by its conversation until noon.
    await shop.begin("12025550144")
    await shop.comes(at("2027-01-01T12:00:00Z"))
    await shop.write(chat, "marketing")
    assert await shop.charges() == [
        ("2026-12", "marketing", 8_000, False),
        ("2026-12", "marketing", 8_000, False),
        ("2027-01", "marketing", 10_000, False),
        ("2027-01", "marketing", 70_001, False),
    ]
    assert await shop.balance() == 2_000_000 - 96_001


# Bills.


async def test_l6_opening_movements_and_closing_follow_from_month_to_month(
    shop: ClockedShop,
) -> None:
    await shop.buy(3)
    await shop.begin(KIM)
    await shop.waits(A_BIT)
    shop.trunkline.fake.next_requests(fails(131026))
    await shop.begin(LEE)
    await eventually(lambda: shop.amounts("refunded"), [8_000])
    await shop.comes(at("2026-12-05T12:00:00Z"))
    await shop.buy(1)
    for number in range(3):
        await shop.begin(f"8190777700{number:02}", "utility")
    await shop.comes(at("2027-02-01T00:00:00Z"))
    shown = {month: await shop.month(month) for month in ("2026-10", "2026-11", "2026-12")}
    shown["2027-01"] = await shop.month("2027-01")
    balances = [
        (each["opening_balance_micro_usd"], each["closing_balance_micro_usd"])
        for each in shown.values()
    ]
    assert balances == [
        (0, 0),
        (0, 5_992_000),
        (5_992_000, 7_968_000),
        (7_968_000, 7_968_000),
    ]
    assert [
        (each["kind"], each["count"], each["micro_usd"]) for each in shown["2026-11"]["movements"]
    ] == [("purchase", 1, 6_000_000), ("charge", 2, -16_000), ("refund", 1, 8_000)]
    assert {each["name"]: each["micro_usd"] for each in shown["2026-11"]["by_country"]} == {
        "JP": 8_000,
        "US": 0,
    }
    assert (await shop.credits())["credits"] == "3.984"


async def test_l7_a_month_under_the_other_rules_worked_out_by_hand(shop: ClockedShop) -> None:
    """One text in its window, one utility template there, two marketing ones a day apart."""
    await shop.price("conversation/1", **CARD)
    await shop.buy(1)
    chat = await shop.hears()
    await shop.write(chat)  # Opens a service conversation: free.
    await shop.write(chat, "utility")
    await shop.write(chat, "marketing")
    await shop.waits(DAY)
    await shop.write(chat, "marketing")  # 70,001.
    await shop.admin.settled()
    replayed = {}
    for rule in ("conversation/1", "per-message/2025-07", "service-message/2026-10"):
        path = f"/v1/statements/{shop.account}/2026-11/replay"
        replayed[rule] = await shop.admin.post(path, {"pricing": rule})
    assert {
        rule: (each["recorded_micro_usd"], each["replayed_micro_usd"], each["differing"])
        for rule, each in replayed.items()
    } == {
        "conversation/1": (70_001, 70_001, 0),
        "per-message/2025-07": (70_001, 140_002, 1),
        "service-message/2026-10": (70_001, 160_002, 2),
    }
    assert await shop.balance() == 1_929_999
