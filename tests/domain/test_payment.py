"""How the money for a purchase is got: answers, tries, and recharges that fail (L5)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain import ledger, payment
from domain.event import Event
from domain.ledger import Credits
from domain.payment import (
    RECHARGE_PAUSES,
    TRY_PAUSES,
    PaymentNotice,
    PaymentRefused,
    PaymentTaken,
    PaymentUnsettled,
)
from domain.purchase import (
    REMEMBERED_MAX,
    CreditsPurchased,
    OpenPurchase,
    ProviderTerms,
    PurchaseDeferred,
    PurchaseFailed,
    PurchaseRequested,
    RechargeLapsed,
)
from tests.domain.test_ledger import When, charged, configured
from tests.scenario import fold, given

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
WHEN: When = {"at": AT, "month": "2026-11"}
STRIPE = ProviderTerms(name="stripe", confirms_at_once=False)
TAKEN = PaymentTaken(micro_usd=4_000_000)
DECLINED = PaymentRefused(reason="insufficient_funds", may_ask_anew=True)
LOST = PaymentUnsettled(reason="answer_lost")


def requested(purchase_id: str = "p", **more: Any) -> PurchaseRequested:
    said = {"provider": "stripe", "at": AT, "user_id": "ada", **more}
    return PurchaseRequested(purchase_id=purchase_id, credits=2, micro_usd=4_000_000, **said)


def paid(purchase_id: str = "p", **more: Any) -> CreditsPurchased:
    said = {"provider": "stripe", "user_id": "ada", **WHEN, **more}
    return CreditsPurchased(purchase_id=purchase_id, credits=2, micro_usd=4_000_000, **said)


def failed(reason: str = "insufficient_funds", **more: Any) -> PurchaseFailed:
    return PurchaseFailed(**{"purchase_id": "p", "reason": reason, "at": AT, **more})


def deferred(tries: int, pause: timedelta, reason: str = "answer_lost") -> PurchaseDeferred:
    return PurchaseDeferred(purchase_id="p", tries=tries, reason=reason, at=AT, retry_at=AT + pause)


def answered(answer: Any, **more: Any) -> dict[str, Any]:
    return {"purchase_id": "p", "answer": answer, **WHEN, **more}


def test_l5_a_providers_purchase_waits_and_is_booked_once() -> None:
    story = given().when(
        ledger.request_purchase,
        purchase_id="p",
        credits_bought=2,
        provider=STRIPE,
        user_id="ada",
        **WHEN,
    )
    waiting = story.then(requested())
    assert fold(Credits, *waiting.events).balance == 0
    done = waiting.when(payment.record_answer, **answered(TAKEN)).then(paid())
    for answer in (TAKEN, DECLINED, LOST):
        done.when(payment.record_answer, **answered(answer, tries=0)).then_nothing()
    assert fold(Credits, *done.events).sides == {"payments": -4_000_000, "balance": 4_000_000}


def test_l5_a_failed_purchase_books_nothing_until_the_money_is_there() -> None:
    story = given(requested()).when(payment.record_answer, **answered(DECLINED)).then(failed())
    assert fold(Credits, *story.events).balance == 0
    story.when(payment.record_answer, **answered(DECLINED)).then_nothing()
    late = story.when(payment.record_answer, **answered(TAKEN)).then(paid())
    late.when(payment.record_answer, **answered(TAKEN)).then_nothing()


def test_l5_an_unknown_purchase_is_nothing() -> None:
    for answer in (TAKEN, DECLINED, LOST):
        given().when(payment.record_answer, **answered(answer, tries=0)).then_nothing()


def test_l5_another_amount_than_was_asked_for_is_not_booked() -> None:
    other = PaymentTaken(micro_usd=3_990_000)
    decided = given(requested()).when(payment.record_answer, **answered(other))
    story = decided.then(failed("amount_differs"))
    story.when(payment.record_answer, **answered(other)).then_nothing()


def test_l5_what_is_not_settled_is_tried_eight_times_with_longer_and_longer_pauses() -> None:
    story = given(requested())
    for tries, pause in enumerate(TRY_PAUSES):
        story = story.when(payment.record_answer, **answered(LOST, tries=tries)).then(
            deferred(tries + 1, pause)
        )
    story.when(payment.record_answer, **answered(LOST, tries=7)).then(failed("answer_lost"))
    assert sum(TRY_PAUSES, timedelta()) < payment.ASKED_FOR_AT_MOST < timedelta(hours=24)


def test_l5_two_processes_that_ask_at_once_count_one_try() -> None:
    decided = given(requested()).when(payment.record_answer, **answered(LOST, tries=0))
    story = decided.then(deferred(1, TRY_PAUSES[0]))
    story.when(payment.record_answer, **answered(LOST, tries=0)).then_nothing()


@pytest.mark.parametrize(
    ("seconds", "pause"),
    [(1, TRY_PAUSES[0]), (90, timedelta(seconds=90)), (10**9, timedelta(hours=1))],
)
def test_a_provider_may_ask_for_a_longer_pause_but_not_for_ever(
    seconds: int, pause: timedelta
) -> None:
    answer = PaymentUnsettled(reason="rate_limited", retry_after_seconds=seconds)
    story = given(requested()).when(payment.record_answer, **answered(answer, tries=0))
    story.then(deferred(1, pause, "rate_limited"))


def test_l5_a_purchase_is_not_asked_for_when_its_key_may_be_forgotten() -> None:
    """A payment that the provider has named is only looked at: that is safe for ever."""
    seen, named = (OpenPurchase(requested=requested(), payment_id=each) for each in (None, "pi_1"))
    edge = AT + payment.ASKED_FOR_AT_MOST
    assert not payment.is_too_old(seen, now=edge)
    assert payment.is_too_old(seen, now=edge + timedelta(seconds=1))
    assert not payment.is_too_old(named, now=edge + timedelta(days=9))


def test_a_begun_payment_keeps_its_name_through_later_tries() -> None:
    begun = PaymentUnsettled(reason="processing", payment_id="pi_1")
    story = given(requested()).when(payment.record_answer, **answered(begun, tries=0))
    state = fold(Credits, requested(), *story.events, deferred(2, TRY_PAUSES[1]))
    assert state.purchases.waiting["p"].payment_id == "pi_1"


def test_a_webhook_is_known_by_its_purchase_and_its_money() -> None:
    def known(state: Credits, answer: Any = TAKEN) -> bool:
        notice = PaymentNotice(
            organisation_id="o", business_account="b", purchase_id="p", answer=answer
        )
        return payment.is_known(state, notice)

    other = PaymentTaken(micro_usd=1)
    assert [known(fold(Credits, *events)) for events in ((), (requested(),))] == [False, True]
    assert known(fold(Credits, requested(), failed()), DECLINED)
    assert known(fold(Credits, requested(), paid()), other)
    assert not known(fold(Credits, requested(), failed()), other)
    assert not known(fold(Credits, paid(provider="manual")))


def test_what_is_remembered_is_bounded() -> None:
    events: list[Event] = []
    for number in range(REMEMBERED_MAX + 5):
        lost, good = f"lost{number}", f"good{number}"
        events += [requested(lost), failed(purchase_id=lost), requested(good), paid(good)]
    purchases = fold(Credits, *events).purchases
    assert (len(purchases.failed), len(purchases.paid)) == (REMEMBERED_MAX, REMEMBERED_MAX)
    assert "lost0" not in purchases.failed
    assert list(purchases.failed)[-1] == f"lost{REMEMBERED_MAX + 4}"


# Recharges.

LOW = (configured(1, 2), requested(recharge=True, user_id=None))


def anew(**more: Any) -> dict[str, Any]:
    said = {"failed_purchase_id": "p", "purchase_id": "q", "provider": STRIPE, **WHEN}
    return {**said, **more}


def test_l5_a_declined_recharge_is_asked_for_anew_later_and_not_by_the_next_answer() -> None:
    decided = given(*LOW).when(payment.record_answer, **answered(DECLINED))
    retry_at = AT + RECHARGE_PAUSES[0]
    story = decided.then(failed(retry_at=retry_at))
    recharged = {"purchase_id": "r", "provider": STRIPE, **WHEN}
    story.when(ledger.recharge, **recharged).then_nothing()
    story.when(payment.recharge_anew, **anew(at=retry_at - timedelta(seconds=1))).then_nothing()
    again = requested("q", recharge=True, user_id=None, at=retry_at)
    story = story.when(payment.recharge_anew, **anew(at=retry_at)).then(again)
    story.when(payment.recharge_anew, **anew(at=retry_at)).then_nothing()
    story.when(ledger.recharge, **recharged).then_nothing()


def test_l5_a_recharge_is_asked_for_four_times_for_one_crossing() -> None:
    events: list[Event] = list(LOW)
    pauses = []
    for number in range(len(RECHARGE_PAUSES) + 1):
        name = "p" if not number else f"p{number}"
        if number:
            events.append(requested(name, recharge=True))
        (event,) = payment.record_answer(fold(Credits, *events), name, DECLINED, **WHEN)
        assert isinstance(event, PurchaseFailed)
        pauses.append(event.retry_at and event.retry_at - AT)
        events.append(event)
    assert pauses == [*RECHARGE_PAUSES, None]
    above = fold(Credits, *events, requested("x"), paid("x"))  # 2 credits: above.
    assert above.purchases.failed_recharge is not None
    assert above.purchases.failed_recharge.tries == 0
    assert not above.recharged


@pytest.mark.parametrize(
    "answer", [PaymentRefused(reason="authentication_required"), PaymentRefused(reason="given_up")]
)
def test_l5_what_may_still_be_paid_is_not_asked_for_twice(answer: PaymentRefused) -> None:
    story = given(*LOW).when(payment.record_answer, **answered(answer))
    story.then(failed(answer.reason))


def test_l5_what_an_admin_buys_is_not_asked_for_anew() -> None:
    story = given(requested()).when(payment.record_answer, **answered(DECLINED))
    story.then(failed())


@pytest.mark.parametrize(
    "between",
    [
        (configured(1, 2, enabled=False),),
        (requested("other"), paid("other")),  # 2 credits: above the threshold.
    ],
)
def test_l5_a_recharge_that_is_no_longer_needed_lapses(between: tuple[Event, ...]) -> None:
    decided = given(*LOW, failed(retry_at=AT), *between).when(payment.recharge_anew, **anew())
    story = decided.then(RechargeLapsed(purchase_id="p", at=AT))
    story.when(payment.recharge_anew, **anew()).then_nothing()


SHORT = {"purchase_id": "p", "provider": STRIPE, "needed_micro_usd": 6_000_000}


def test_l5_a_recharge_for_a_price_is_asked_for_anew_until_the_price_is_covered() -> None:
    """Above the threshold all the while: the price alone is why."""
    asked = requested(recharge=True, user_id=None, needed_micro_usd=6_000_000)
    decided = given(paid("first"), configured(1, 2)).when(ledger.recharge, **SHORT, **WHEN)
    declined = decided.then(asked).when(payment.record_answer, **answered(DECLINED))
    retry_at = AT + RECHARGE_PAUSES[0]
    story = declined.then(failed(retry_at=retry_at))
    again = requested("q", recharge=True, user_id=None, at=retry_at, needed_micro_usd=6_000_000)
    retried = story.when(payment.recharge_anew, **anew(at=retry_at)).then(again)
    retried.when(payment.recharge_anew, **anew(at=retry_at)).then_nothing()
    covered = given(*story.events, paid("other"))
    lapsed = RechargeLapsed(purchase_id="p", at=retry_at)
    covered.when(payment.recharge_anew, **anew(at=retry_at)).then(lapsed)


def test_l5_a_late_payment_ends_the_recharge() -> None:
    events = (*LOW, failed(retry_at=AT), paid(recharge=True, user_id=None))
    assert fold(Credits, *events).purchases.failed_recharge is None
    given(*events).when(payment.recharge_anew, **anew()).then_nothing()


def test_too_many_open_purchases_hold_up_no_answer() -> None:
    """A recharge that cannot be asked for is no reason to refuse what asked for it."""
    many = [requested(f"p{number}") for number in range(100)]
    low = (*many, configured(1, 2), charged())
    given(*low).when(ledger.recharge, purchase_id="r", provider=STRIPE, **WHEN).then_nothing()
