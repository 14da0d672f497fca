"""Prices to the cent: allowance, months, conversations, categories (L0–L4)."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from adapters.manual import MANUAL
from domain import chosen_rules, ledger
from domain.chosen_rules import DEFAULT_PRICING
from domain.ledger import Charged, ChargeRefunded, InsufficientCredits
from tests.api.billing_world import LEDGER, SECOND_ACCOUNT, World

A_BIT = timedelta(microseconds=1)
DAY = timedelta(hours=24)


def bought(world: World, count: int) -> None:
    events = ledger.request_purchase(
        world.ledger,
        purchase_id=next(world.ids),
        credits_bought=count,
        provider=MANUAL,
        at=world.now,
        month=f"{world.now:%Y-%m}",
    )
    world.record(LEDGER, *events)


def write(world: World, chat: str, category: str | None = None) -> None:
    world.run(world.answer(chat, category))


def prices(world: World) -> list[tuple[str, str, int, bool]]:
    """Month, category, amount and whether it was free, of every charge."""
    return [
        (each.month, each.inputs.category, each.price.micro_usd, each.price.allowance is not None)
        for each in world.of(Charged)
    ]


def crowd(world: World, count: int, prefix: str = "n") -> None:
    """So many customers are each answered once."""
    for number in range(count):
        world.meet(f"{prefix}{number}", "JP")
        write(world, f"{prefix}{number}")


def test_l2_the_1000th_is_free_the_1001st_is_not_and_the_next_month_begins_anew() -> None:
    world = World()
    world.now = datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC)
    crowd(world, 1_000)
    assert [each[3] for each in prices(world)] == [True] * 1_000
    world.meet("late")
    with pytest.raises(InsufficientCredits) as refused:
        write(world, "late")
    assert refused.value.facts == {"needed_micro_usd": 8_000, "balance_micro_usd": 0}
    bought(world, 1)
    write(world, "late")
    assert prices(world)[-1] == ("2026-11", "service", 8_000, False)
    assert world.ledger.balance == 1_992_000
    world.now += A_BIT
    world.meet("december")
    write(world, "december")
    assert prices(world)[-1] == ("2026-12", "service", 0, True)


def test_l2_the_numbers_of_a_business_account_share_its_allowance() -> None:
    world = World()
    crowd(world, 1_000)
    world.meet("other", account_id=SECOND_ACCOUNT)
    with pytest.raises(InsufficientCredits):
        write(world, "other")


def test_l7_in_the_later_model_each_number_has_its_own() -> None:
    world = World()
    later = replace(DEFAULT_PRICING, rule="service-message/2026-10")
    world.record(chosen_rules.STREAM, later)
    world.meet("here")
    world.meet("there", account_id=SECOND_ACCOUNT)
    for _ in range(1_000):
        write(world, "here")
    with pytest.raises(InsufficientCredits):
        write(world, "here")
    write(world, "there")
    assert world.ledger.used == {
        f"2026-10/{world.of(Charged)[0].account_id}": 1_000,
        f"2026-10/{SECOND_ACCOUNT}": 1,
    }


def test_l2_a_conversation_belongs_to_the_month_of_its_opening_answer() -> None:
    world = World()
    world.now = datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    write(world, "c0")
    world.now += DAY - A_BIT
    write(world, "c0")
    assert [each[0] for each in prices(world)] == ["2026-10"]
    world.now += A_BIT  # Exactly 24 hours: half open.
    write(world, "c0")
    assert [each[0] for each in prices(world)] == ["2026-10", "2026-11"]


@pytest.mark.parametrize(
    ("moment", "zone", "month"),
    [
        (datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC), "UTC", "2028-02"),
        (datetime(2028, 3, 1, tzinfo=UTC), "UTC", "2028-03"),
        (datetime(2026, 12, 31, 15, tzinfo=UTC), "Asia/Tokyo", "2027-01"),
        (datetime(2026, 12, 31, 14, 59, 59, tzinfo=UTC), "Asia/Tokyo", "2026-12"),
    ],
)
def test_l7_the_month_is_one_of_the_rules_time_zone(
    moment: datetime, zone: str, month: str
) -> None:
    world = World()
    world.now = moment
    world.record(chosen_rules.STREAM, replace(DEFAULT_PRICING, time_zone=zone))
    write(world, "c0")
    assert prices(world) == [(month, "service", 0, True)]


def test_l1_everything_inside_is_one_charge_whatever_its_category() -> None:
    world = World()
    bought(world, 1)
    write(world, "c0", "marketing")
    for category in (None, "utility", "authentication", "marketing"):
        write(world, "c0", category)
    write(world, "c1")
    write(world, "c1", "marketing")
    assert prices(world) == [
        ("2026-10", "marketing", 8_000, False),
        ("2026-10", "service", 0, True),
    ]


def test_l2_a_credit_covers_250_conversations_at_the_base_rate() -> None:
    world = World()
    bought(world, 1)
    for number in range(250):
        world.meet(f"m{number}")
        write(world, f"m{number}", "marketing")
    world.meet("one too many")
    with pytest.raises(InsufficientCredits):
        write(world, "one too many", "marketing")
    assert world.ledger.balance == 0


def test_l4_what_was_free_is_free_again_for_its_month_also_later() -> None:
    world = World()
    world.now = datetime(2026, 10, 31, 12, tzinfo=UTC)
    write(world, "c0")
    ((message_id, chat),) = world.messages().items()
    world.now += 2 * DAY
    write(world, "c1")
    assert world.ledger.used == {"2026-10": 1, "2026-11": 1}
    world.fate(chat, message_id, "late")
    assert world.ledger.used == {"2026-10": 0, "2026-11": 1}
    (refund,) = world.of(ChargeRefunded)
    assert (refund.allowance, refund.month, refund.micro_usd) == ("2026-10", "2026-11", 0)


def test_l1_a_clock_that_steps_back_begins_nothing_new() -> None:
    world = World()
    write(world, "c0")
    world.now -= timedelta(minutes=5)
    write(world, "c0")
    assert len(prices(world)) == 1


def test_l0_the_customers_messages_move_the_window_and_not_the_conversation() -> None:
    world = World()
    write(world, "c0")
    for _ in range(3):
        world.now += timedelta(hours=7)
        world.hears("c0")
        write(world, "c0")
    world.now += timedelta(hours=3)
    write(world, "c0")
    assert len(prices(world)) == 2
