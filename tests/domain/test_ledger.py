"""The prepaid ledger: bought, charged, given back, corrected, recharged (L2–L5)."""

from datetime import UTC, datetime
from typing import Any, TypedDict

import pytest

from domain import ledger
from domain.event import Event
from domain.ledger import (
    AutoRecharge,
    AutoRechargeConfigured,
    BalanceAdjusted,
    Charge,
    Charged,
    ChargeRefunded,
    Credits,
    InsufficientCredits,
)
from domain.pricing import Inputs, Price
from domain.purchase import CreditsPurchased, ProviderTerms, PurchaseRequested
from domain.refusal import Invalid
from tests.scenario import fold, given

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


class When(TypedDict):
    """The moment of a booking, and the month in whose books it stands."""

    at: datetime
    month: str


WHEN: When = {"at": AT, "month": "2026-11"}
MANUAL = ProviderTerms(name="manual", confirms_at_once=True)
BANK = ProviderTerms(name="bank", confirms_at_once=False)


def bought(credits_: int = 1, *, recharge: bool = False, purchase_id: str = "p") -> Event:
    return CreditsPurchased(
        purchase_id=purchase_id,
        credits=credits_,
        micro_usd=credits_ * 2_000_000,
        provider="manual",
        recharge=recharge,
        user_id=None if recharge else "ada",
        **WHEN,
    )


PAID = Price("conversation", 8_000)
FREE = Price("conversation", 0, "business")


def charged(price: Price = PAID, *, month: str = "2026-11") -> Charged:
    return Charged(
        charge_id="m",
        chat_id="c",
        conversation_id="m",
        platform="whatsapp",
        account_id="5277",
        service="crm",
        user_id="ann",
        country="JP",
        at=AT,
        month=month,
        kind="pricing",
        rule="conversation/1",
        card="default/1",
        inputs=Inputs(
            category="service",
            is_template=False,
            in_window=True,
            opens_conversation=True,
            rate_micro_usd=8_000,
            used_by_business=0,
            used_by_account=0,
        ),
        price=price,
    )


def buy(credits_: Credits, count: int) -> list[Event]:
    return ledger.request_purchase(
        credits_, purchase_id="p", credits_bought=count, provider=MANUAL, user_id="ada", **WHEN
    )


def recharge(credits_: Credits) -> list[Event]:
    return ledger.recharge(credits_, purchase_id="p", provider=MANUAL, **WHEN)


def configured(threshold: int, count: int, *, enabled: bool = True) -> Event:
    return AutoRechargeConfigured(
        enabled=enabled, threshold_credits=threshold, credits=count, service="crm", user_id="ada"
    )


# Buying.


def test_l2_a_credit_costs_two_dollars_and_covers_250_conversations() -> None:
    state = fold(Credits, bought(1), *[charged()] * 250)
    assert (state.balance, state.sides) == (
        0,
        {"payments": -2_000_000, "balance": 0, "charges": 2_000_000},
    )


def test_l5_a_manual_purchase_is_booked_at_once() -> None:
    given().when(buy, count=25).then(bought(25))


@pytest.mark.parametrize("count", [0, -1, 1_000_001, 2**63])
def test_l5_a_number_of_credits_that_nobody_can_mean_is_refused(count: int) -> None:
    with pytest.raises(Invalid):
        buy(Credits(), count)


# Charging and giving back.


def test_l3_what_the_balance_does_not_cover_is_refused_with_both_amounts() -> None:
    dear = charged(Price("conversation", 2_000_001))
    given(bought(1)).when(ledger.charge, charged=dear).then_refused(
        InsufficientCredits, needed_micro_usd=2_000_001, balance_micro_usd=2_000_000
    )
    exact = charged(Price("conversation", 2_000_000))
    given(bought(1)).when(ledger.charge, charged=exact).then(exact)


def test_l2_what_is_free_needs_no_credits_and_counts_against_its_month() -> None:
    story = given().when(ledger.charge, charged=charged(FREE)).then(charged(FREE))
    state = fold(Credits, *story.events)
    assert (state.balance, state.used) == (0, {"2026-11": 1})
    assert ledger.used(state, month="2026-11", account_id="5277") == (1, 0)
    assert ledger.used(state, month="2026-12", account_id="5277") == (0, 0)


def test_l4_a_refund_gives_money_or_allowance_back() -> None:
    paid = ledger.charge_of(charged(), business_account="waba")
    free = ledger.charge_of(charged(FREE), business_account="waba")
    assert (paid, free) == (
        Charge(business_account="waba", micro_usd=8_000),
        Charge(business_account="waba", micro_usd=0, allowance="2026-11"),
    )
    back = [
        event
        for each in (paid, free)
        for event in ledger.refund(each, charge_id="m", chat_id="c", **WHEN)
    ]
    state = fold(Credits, bought(1), charged(), charged(FREE), *back)
    assert state == Credits(
        sides={"payments": -2_000_000, "balance": 2_000_000, "charges": 0}, used={"2026-11": 0}
    )


def test_the_allowances_of_old_months_are_forgotten() -> None:
    months = [f"2026-{month:02}" for month in range(1, 13)]
    state = fold(Credits, *(charged(FREE, month=each) for each in months))
    assert state.used == dict.fromkeys(months[-3:], 1)


# Corrections.


def test_l3_a_correction_has_a_reason_and_leaves_nothing_below_zero() -> None:
    minus = BalanceAdjusted(micro_usd=-500, reason="Goodwill", user_id="ada", **WHEN)
    asked: dict[str, Any] = {"micro_usd": -500, "user_id": "ada", **WHEN}
    given(bought(1)).when(ledger.adjust, reason=" Goodwill ", **asked).then(minus)
    given().when(ledger.adjust, reason="Goodwill", **asked).then_refused(
        InsufficientCredits, needed_micro_usd=500, balance_micro_usd=0
    )
    with pytest.raises(Invalid):
        ledger.adjust(fold(Credits, bought(1)), reason=" ", **asked)


def test_l3_no_correction_makes_the_balance_larger_than_can_be_kept() -> None:
    asked: dict[str, Any] = {"reason": "Goodwill", "user_id": None, **WHEN}
    room = ledger.BALANCE_MICRO_USD_MAX - 2_000_000
    rest = BalanceAdjusted(micro_usd=room, reason="Goodwill", **WHEN)
    story = given(bought(1)).when(ledger.adjust, micro_usd=room, **asked).then(rest)
    with pytest.raises(Invalid, match="larger than can be kept"):
        ledger.adjust(fold(Credits, *story.events), micro_usd=1, **asked)


# Recharging.


def test_l5_one_recharge_for_each_time_the_balance_falls_to_the_threshold() -> None:
    a_credit = charged(Price("conversation", 2_000_000))
    story = given(bought(3), configured(1, 1))
    story = story.when(recharge).then_nothing()
    story = given(*story.events, a_credit).when(recharge).then_nothing()  # 2 credits: above.
    story = given(*story.events, a_credit).when(recharge).then(bought(recharge=True))  # 1: at.
    story = given(*story.events, a_credit).when(recharge).then(bought(recharge=True))  # Again.


def test_l5_the_next_recharge_waits_until_the_balance_was_above() -> None:
    short = [bought(1), configured(10, 1)]
    story = given(*short).when(recharge).then(bought(recharge=True))
    story = story.when(recharge).then_nothing()
    toggled = (configured(10, 1, enabled=False), configured(10, 1))
    story = given(*story.events, *toggled).when(recharge).then_nothing()
    story = given(*story.events, bought(50)).when(recharge).then_nothing()
    dear = charged(Price("conversation", 100_000_000))
    given(*story.events, dear).when(recharge).then(bought(recharge=True))


DEAR = Price("conversation", 3_000_000)


def short_recharge(credits_: Credits, provider: ProviderTerms = MANUAL) -> list[Event]:
    needed = DEAR.micro_usd
    return ledger.recharge(
        credits_, purchase_id="p", provider=provider, needed_micro_usd=needed, **WHEN
    )


def test_l5_a_price_that_is_not_covered_counts_as_the_threshold_reached() -> None:
    story = given(bought(1), configured(0, 1)).when(short_recharge).then(bought(recharge=True))
    story.when(short_recharge).then_nothing()  # Now it is covered.
    given(bought(1), configured(0, 1, enabled=False)).when(short_recharge).then_nothing()


def test_l5_such_a_recharge_is_asked_for_once_until_the_balance_rises() -> None:
    asked = PurchaseRequested(
        purchase_id="p",
        credits=1,
        micro_usd=2_000_000,
        provider="bank",
        at=AT,
        recharge=True,
        needed_micro_usd=DEAR.micro_usd,
    )
    story = given(bought(1), configured(0, 1)).when(short_recharge, provider=BANK).then(asked)
    story = story.when(short_recharge, provider=BANK).then_nothing()
    story = given(*story.events, charged()).when(short_recharge, provider=BANK).then_nothing()
    rest = charged(Price("conversation", 1_992_000))
    given(*story.events, rest).when(recharge).then_nothing()
    paid = bought(1, recharge=True)
    spent = charged(Price("conversation", 2_000_000))
    story = given(*story.events, paid, spent)
    story.when(short_recharge, provider=BANK).then(asked)


def test_l5_what_is_switched_off_buys_nothing() -> None:
    given(configured(10, 1, enabled=False)).when(recharge).then_nothing()
    given().when(recharge).then_nothing()


def test_l5_the_same_configuration_again_is_no_event() -> None:
    wanted = AutoRecharge(enabled=True, threshold_credits=1, credits=5)
    asked = {"wanted": wanted, "service": "crm", "user_id": "ada"}
    story = given().when(ledger.configure_auto_recharge, **asked).then(configured(1, 5))
    story.when(ledger.configure_auto_recharge, **asked).then_nothing()


def test_l4_a_refund_is_what_a_fact_says_it_is() -> None:
    (event,) = ledger.refund(
        Charge(business_account="waba", micro_usd=8_000), charge_id="m", chat_id="c", **WHEN
    )
    assert event == ChargeRefunded(charge_id="m", chat_id="c", micro_usd=8_000, **WHEN)
