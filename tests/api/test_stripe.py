"""Buying through Stripe, on real sockets against a fake that fails, repeats and reorders (L5)."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from adapters.fakes.behaviour import (
    accepts_late,
    accepts_then_answers,
    accepts_then_drops,
    answers,
    behaves,
    drops,
)
from adapters.stripe.fake_webhooks import WebhookPlan
from api.main import Database
from domain.payment import RECHARGE_PAUSES, TRY_PAUSES
from tests.api.deliveries import eventually
from tests.api.stripe_world import CARD, Bank, a_bank, becomes, purchases
from tests.api.test_credits import Shop
from tests.conftest import Database as EmptyDatabase


@pytest.fixture(scope="module")
async def bank(
    database: EmptyDatabase, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bank]:
    where = Database(database.url, database.superuser, "trunkline", True)
    async with a_bank(where, tmp_path_factory.mktemp("home")) as opened:
        yield opened


async def test_a_purchase_is_pending_then_paid_once_by_answer_and_webhook(bank: Bank) -> None:
    """201 with what it is by then; the request carries what Stripe needs."""
    here = await bank.shop()
    bought = await here.buy(25)
    assert bought["state"] in ("pending", "paid")
    assert bought["amount_micro_usd"] == 50_000_000
    await becomes(here, bought["id"], "paid")
    await bank.stripe.settled()
    assert await here.balance() == 50_000_000
    assert bank.charged(bought["id"]) == [5_000]
    history = await here.admin.events(stream=f"credits:{here.payer}")
    assert [each["type"] for each in history] == ["credits.purchase_requested", "credits.purchased"]
    created = [each for each in bank.stripe.requests if each.method == "POST"][-1]
    assert created.headers["idempotency-key"] == bought["id"]
    kinds = {json.loads(each.body)["type"]: each.answers for each in bank.stripe.deliveries[-2:]}
    assert kinds == {"payment_intent.created": [200], "payment_intent.succeeded": [200]}


async def test_a_webhook_that_comes_before_the_answer_books_and_the_answer_changes_nothing(
    bank: Bank,
) -> None:
    here = await bank.shop()
    bank.stripe.next_requests(accepts_late(1.0))
    bought = await here.buy(2)
    await becomes(here, bought["id"], "paid")
    assert await here.balance() == 4_000_000
    await asyncio.sleep(1.2)
    assert await here.balance() == 4_000_000
    assert [len(await here.ledger(kind)) for kind in ("purchased", "purchase_failed")] == [1, 0]


async def test_without_any_webhook_the_answer_books(bank: Bank) -> None:
    here = await bank.shop()
    bank.stripe.deliver_to(None)
    bought = await here.buy(2)
    await becomes(here, bought["id"], "paid")
    assert await here.balance() == 4_000_000


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("insufficient_funds", "insufficient_funds"),
        ("expired_card", "expired_card"),
        ("authentication_required", "authentication_required"),
        ("requires_action", "requires_action"),
        ("canceled", "canceled"),
    ],
)
@pytest.mark.parametrize("with_webhooks", [True, False])
async def test_what_stripe_declines_has_failed_with_the_reason_shown(
    bank: Bank, card: str, reason: str, with_webhooks: bool
) -> None:
    here = await bank.shop()
    if not with_webhooks:
        bank.stripe.deliver_to(None)
    bank.stripe.cards[CARD] = card
    bought = await here.buy(3)
    await becomes(here, bought["id"], "failed", reason)
    await bank.stripe.settled()
    assert await here.balance() == 0
    assert len(await here.ledger("purchase_failed")) == 1


WAIT = answers(503, b"", ("Retry-After", "600"))  # Nobody asks again while a test looks.
TROUBLES: dict[str, Any] = {
    "dropped": drops(),
    "accepted and dropped": accepts_then_drops(),
    "409": answers(409, b'{"error": {"type": "idempotency_error"}}'),
    "429": answers(429, b'{"error": {"type": "rate_limit_error"}}', ("Retry-After", "3")),
    "401": answers(401, b'{"error": {"type": "invalid_request_error"}}'),
    "500": answers(500, b'{"error": {"type": "api_error"}}'),
    "accepted and 500": accepts_then_answers(500),
    "502 of a proxy": answers(502),
    "200 of a proxy": answers(200),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_after_trouble_it_is_tried_again_with_the_same_key_and_taken_once(
    bank: Bank, trouble: str
) -> None:
    """Spec L5: never double-charged, whatever became of the first try."""
    here = await bank.shop()
    bank.stripe.deliver_to(None)
    bank.stripe.next_requests(TROUBLES[trouble], TROUBLES[trouble])
    bought = await here.buy(2)
    for tries, pause in enumerate(TRY_PAUSES[:2], start=1):
        await eventually(lambda: tried(here), tries)
        bank.clock.by += pause
    await becomes(here, bought["id"], "paid")
    assert bank.charged(bought["id"]) == [400]
    assert await here.balance() == 4_000_000
    assert Counter(keys_of(bank))[bought["id"]] == 3


async def tried(here: Shop) -> int:
    return len(await here.ledger("purchase_deferred"))


def keys_of(bank: Bank) -> list[str | None]:
    return [each.headers.get("idempotency-key") for each in bank.stripe.requests]


async def test_while_it_waits_the_list_says_why(bank: Bank) -> None:
    here = await bank.shop()
    bank.stripe.next_requests(answers(429))
    bought = await here.buy(2)
    await becomes(here, bought["id"], "pending", "rate_limited")
    assert await bank.metrics("trunkline_purchases_waiting") >= 1
    bank.clock.by += TRY_PAUSES[0]
    await becomes(here, bought["id"], "paid")


async def test_after_eight_tries_it_has_failed_and_late_money_is_still_booked(bank: Bank) -> None:
    """The last try took the money, and nobody learnt so until the webhook came."""
    here = await bank.shop()
    bank.stripe.deliver_to(None)
    bank.stripe.next_requests(*[answers(503)] * 7, accepts_then_answers(503))
    bought = await here.buy(2)
    for tries, pause in enumerate(TRY_PAUSES, start=1):
        await eventually(lambda: tried(here), tries)
        bank.clock.by += pause
    await becomes(here, bought["id"], "failed", "provider_failed")
    assert keys_of(bank).count(bought["id"]) == 8
    assert await here.balance() == 0
    bank.stripe.deliver_to(f"{bank.trunkline.url}/webhooks/stripe")
    intent = bank.stripe.intent_of(bought["id"])
    for _ in range(3):
        bank.stripe.send("payment_intent.succeeded", intent)
        bank.stripe.send("payment_intent.payment_failed", intent)
    await bank.stripe.settled()
    await becomes(here, bought["id"], "paid")
    assert await here.balance() == 4_000_000
    assert bank.charged(bought["id"]) == [400]


async def test_a_purchase_whose_key_may_be_forgotten_is_given_up_and_not_asked_for(
    bank: Bank,
) -> None:
    """Stripe forgets keys after a day: then a repetition would be a second payment."""
    here = await bank.shop()
    bank.stripe.deliver_to(None)
    bank.stripe.next_requests(accepts_then_drops())
    bought = await here.buy(2)
    await eventually(lambda: tried(here), 1)
    bank.stripe.forget_keys()
    bank.clock.by += timedelta(hours=21)
    await becomes(here, bought["id"], "failed", "given_up")
    assert bank.charged(bought["id"]) == [400]


async def test_a_payment_that_takes_its_time_is_only_looked_at(bank: Bank) -> None:
    here = await bank.shop()
    bank.stripe.deliver_to(None)
    bank.stripe.cards[CARD] = "processing"
    bought = await here.buy(2)
    await becomes(here, bought["id"], "pending", "processing")
    bank.stripe.finish(bought["id"])
    bank.stripe.forget_keys()
    bank.clock.by += timedelta(hours=30)
    await becomes(here, bought["id"], "paid")
    assert bank.charged(bought["id"]) == [400]
    assert keys_of(bank).count(bought["id"]) == 1


async def test_more_than_stripe_takes_at_once_has_failed_with_its_word(bank: Bank) -> None:
    here = await bank.shop()
    bought = await here.buy(1_000_000)
    await becomes(here, bought["id"], "failed", "amount_too_large")


async def test_webhooks_twice_and_out_of_order_change_no_balance(bank: Bank) -> None:
    """Seeded: the same course of events every time."""
    here = await bank.shop()
    bank.stripe.plan = WebhookPlan(twice=0.7, out_of_order=0.7, delay_seconds=0.02)
    try:
        cards = ["good", "insufficient_funds", "good", "processing"]
        for number in range(12):
            bank.stripe.cards[CARD] = cards[number % len(cards)]
            bank.stripe.next_requests(accepts_late(0.05 * (number % 3)))
            bought = await here.buy(1)
            await eventually(partial(is_seen, bank, bought["id"]), True)
            if cards[number % len(cards)] == "processing":
                bank.stripe.finish(bought["id"])
        await bank.stripe.settled()

        async def states() -> Any:
            return Counter(each["state"] for each in await purchases(here))

        await eventually(states, Counter(paid=9, failed=3))
    finally:
        bank.stripe.plan = WebhookPlan()
    assert await here.balance() == 9 * 2_000_000
    assert all(each.is_done for each in bank.stripe.deliveries)


async def is_seen(bank: Bank, purchase_id: str) -> bool:
    return purchase_id in keys_of(bank)


# Recharges.


async def low(bank: Bank, here: Shop, *, card: str = "good") -> None:
    """Two credits, and a recharge of five at one or less: four answers away."""
    bought = await here.buy(2)
    await becomes(here, bought["id"], "paid")
    bank.stripe.cards[CARD] = card
    dear = [{"country": "any", "category": "any", "micro_usd": 500_000}]
    rule = {"rule": "conversation/1", "card": "dear/1", "rates": dear}
    await here.admin.put("/v1/rules/pricing", {**rule, "account_id": here.account})
    recharge = {"enabled": True, "threshold_credits": 1, "credits": 5}
    body = {"service": "crm", "account_id": here.account, **recharge}
    await here.admin.put("/v1/credits/auto-recharge", body)


async def recharges(here: Shop) -> list[tuple[str, str | None]]:
    """Oldest first: state and reason."""
    listed = [each for each in await purchases(here) if each["recharge"]]
    return [(each["state"], each["reason"]) for each in reversed(listed)]


async def test_one_recharge_however_many_sends_race(bank: Bank) -> None:
    """Spec L5: one for each crossing."""
    here = await bank.shop()
    await low(bank, here)
    await asyncio.gather(*(here.start(number) for number in range(8)))  # All that two credits buy.
    await eventually(lambda: recharges(here), [("paid", None)])
    await bank.stripe.settled()
    assert await here.balance() == 10_000_000
    assert bank.charged((await purchases(here))[0]["id"]) == [1_000]


async def test_a_failed_recharge_is_shown_and_asked_for_again_with_limits(bank: Bank) -> None:
    """In the credits, the metrics and the history; four times for one crossing."""
    here = await bank.shop()
    before = await bank.metrics("trunkline_recharges_failed")
    await low(bank, here, card="insufficient_funds")
    await asyncio.gather(*(here.start(number) for number in range(6)))
    declined = ("failed", "insufficient_funds")
    await eventually(lambda: recharges(here), [declined])
    shown = (await here.credits())["failed_recharge"]
    assert (shown["reason"], shown["tries"]) == ("insufficient_funds", 1)
    assert shown["retry_at"] is not None
    await eventually(lambda: bank.metrics("trunkline_recharges_failed"), before + 1)
    await here.start(6)  # Falls deeper, which is the same crossing.
    for tries, pause in enumerate(RECHARGE_PAUSES, start=2):
        bank.clock.by += pause
        await eventually(lambda: recharges(here), [declined] * tries)
    shown = (await here.credits())["failed_recharge"]
    assert (shown["tries"], shown["retry_at"]) == (4, None)
    bank.clock.by += timedelta(days=3)
    await here.start(7)
    await asyncio.sleep(0.3)
    assert await recharges(here) == [declined] * 4
    history = [each["type"] for each in await here.admin.events(stream=f"credits:{here.payer}")]
    assert history.count("credits.purchase_failed") == 4


async def test_a_recharge_that_works_the_second_time_is_shown_no_more(bank: Bank) -> None:
    here = await bank.shop()
    before = await bank.metrics("trunkline_recharges_failed")
    await low(bank, here, card="insufficient_funds")
    await asyncio.gather(*(here.start(number) for number in range(5)))
    await eventually(lambda: recharges(here), [("failed", "insufficient_funds")])
    bank.stripe.cards[CARD] = "good"
    bank.clock.by += RECHARGE_PAUSES[0]
    await eventually(lambda: recharges(here), [("failed", "insufficient_funds"), ("paid", None)])
    assert (await here.credits())["failed_recharge"] is None
    await eventually(lambda: bank.metrics("trunkline_recharges_failed"), before)
    assert await here.balance() == 11_500_000


async def test_a_recharge_that_is_no_longer_needed_lapses(bank: Bank) -> None:
    here = await bank.shop()
    await low(bank, here, card="insufficient_funds")
    await asyncio.gather(*(here.start(number) for number in range(5)))
    await eventually(lambda: recharges(here), [("failed", "insufficient_funds")])
    bank.stripe.cards[CARD] = "good"
    bought = await here.buy(10)
    await becomes(here, bought["id"], "paid")
    bank.clock.by += RECHARGE_PAUSES[0]

    async def lapsed() -> int:
        return len(await here.ledger("recharge_lapsed"))

    await eventually(lapsed, 1)
    assert await recharges(here) == [("failed", "insufficient_funds")]


async def test_a_recharge_for_a_price_alone_is_asked_for_again(bank: Bank) -> None:
    """Spec L5: the balance stays above the threshold, and no answer is covered."""
    here = await bank.shop()
    bought = await here.buy(2)
    await becomes(here, bought["id"], "paid")
    bank.stripe.cards[CARD] = "insufficient_funds"
    dear = [{"country": "any", "category": "any", "micro_usd": 5_000_000}]
    rule = {"rule": "conversation/1", "card": "dear/1", "rates": dear}
    await here.admin.put("/v1/rules/pricing", {**rule, "account_id": here.account})
    recharge = {"enabled": True, "threshold_credits": 0, "credits": 5}
    body = {"service": "crm", "account_id": here.account, **recharge}
    await here.admin.put("/v1/credits/auto-recharge", body)
    await here.start(1, expect=402)
    declined = ("failed", "insufficient_funds")
    await eventually(lambda: recharges(here), [declined])
    bank.stripe.cards[CARD] = "good"
    bank.clock.by += RECHARGE_PAUSES[0]
    await eventually(lambda: recharges(here), [declined, ("paid", None)])
    assert await here.balance() == 14_000_000
    await here.start(1)


# Webhooks that are not what they seem.


def event(kind: str, *, number: int = 1, **intent: Any) -> bytes:
    whole = {"id": "pi_1", "status": "succeeded", "currency": "usd", "metadata": {}, **intent}
    return json.dumps(
        {"id": f"evt_{number}", "object": "event", "type": kind, "data": {"object": whole}}
    ).encode()


async def kept(bank: Bank) -> int:
    parts = bank.trunkline.parts
    system = await parts.directory.create_organisation("system")
    return len(await parts.context.log.read_stream(system, "unrouted:stripe:none"))


async def test_what_is_not_authentic_is_refused_alike_and_leaves_a_counter(bank: Bank) -> None:
    here = await bank.shop()
    bank.stripe.deliver_to(None)
    bank.stripe.next_requests(WAIT)
    bought = await here.buy(2)
    await eventually(lambda: tried(here), 1)
    metadata = {
        "purchase_id": bought["id"],
        "organisation_id": here.admin.organization_id,
        "business_account": here.payer,
    }
    body = event("payment_intent.succeeded", amount_received=400, metadata=metadata)
    now = int(bank.clock.now().timestamp())
    before, noted = await bank.metrics("trunkline_webhooks_refused_total"), await kept(bank)
    refused = [
        await bank.notify(body, at=now, secret="whsec_guessed"),
        await bank.notify(body, at=now - 301),
        await bank.notify(body, at=now + 310),
        await bank.notify(body, at=now, **{"Stripe-Signature": f"t={now},v1={'0' * 64}"}),
        await bank.notify(body, at=now, **{"Stripe-Signature": ""}),
        await bank.notify(body, at=now, **{"Stripe-Signature": "t=,v1="}),
        await bank.notify(body, at=now, **{"Stripe-Signature": f"t={'9' * 5000},v1=0"}),
        await bank.trunkline.http.post("/webhooks/stripe", content=body),
    ]
    assert {each.status_code for each in refused} == {401}
    assert len({each.text for each in refused}) == 1
    assert refused[0].json()["code"] == "webhook_refused"
    assert await bank.metrics("trunkline_webhooks_refused_total") == before + len(refused)
    assert (await kept(bank), await here.balance()) == (noted, 0)
    # Both secrets hold while they are changed, also in one header.
    good = await bank.notify(body, at=now, secret="whsec_old")
    again = await bank.notify(body, at=now)
    assert (good.status_code, again.status_code, await here.balance()) == (200, 200, 4_000_000)


@pytest.mark.parametrize(
    "body",
    [
        event("charge.refunded", number=2),
        event("payment_intent.succeeded", number=3),
        event(
            "payment_intent.succeeded",
            number=4,
            metadata={"purchase_id": "x", "organisation_id": "y", "business_account": "z"},
        ),
        b'{"id": "evt_5", "type": "account.updated", "data": {"object": {"id": 5}}}',
        b"[1, 2]",
        b"not even JSON \xff",
        b"",
        b"[" * 100_000,
    ],
)
async def test_what_is_authentic_and_not_ours_is_acknowledged_and_kept_once(
    bank: Bank, body: bytes
) -> None:
    await bank.shop()
    noted, now = await kept(bank), int(bank.clock.now().timestamp())
    answered = [(await bank.notify(body, at=now + each)).status_code for each in (0, 0, 1)]
    assert answered == [200, 200, 200]
    assert await kept(bank) == noted + 1


async def test_money_of_another_amount_or_currency_books_nothing(bank: Bank) -> None:
    here = await bank.shop()
    bank.stripe.deliver_to(None)
    now = int(bank.clock.now().timestamp())
    others: list[dict[str, Any]] = [{"amount_received": 399}, {"currency": "eur"}]
    for number, other in enumerate(others):
        bank.stripe.next_requests(WAIT)
        bought = await here.buy(2)
        await eventually(lambda: tried(here), number + 1)
        metadata = {
            "purchase_id": bought["id"],
            "organisation_id": here.admin.organization_id,
            "business_account": here.payer,
        }
        said = {"amount_received": 400, "metadata": metadata, **other}
        told = await bank.notify(event("payment_intent.succeeded", number=90, **said), at=now)
        assert told.status_code == 200
        await becomes(here, bought["id"], "failed", "amount_differs")
    assert await here.balance() == 0


async def test_another_orgs_purchase_is_not_found_through_ones_own_metadata(bank: Bank) -> None:
    here, there = await bank.shop(), await bank.shop()
    bank.stripe.deliver_to(None)
    bank.stripe.next_requests(WAIT)
    bought = await here.buy(2)
    await eventually(lambda: tried(here), 1)
    metadata = {
        "purchase_id": bought["id"],
        "organisation_id": there.admin.organization_id,
        "business_account": there.payer,
    }
    body = event("payment_intent.succeeded", number=91, amount_received=400, metadata=metadata)
    noted, now = await kept(bank), int(bank.clock.now().timestamp())
    assert (await bank.notify(body, at=now)).status_code == 200
    assert await kept(bank) == noted + 1
    assert (await here.balance(), await there.balance()) == (0, 0)


async def test_a_body_that_is_too_large_is_refused(bank: Bank) -> None:
    told = await bank.notify(b"x" * (4 * 1024 * 1024 + 1))
    assert told.status_code == 413


async def test_a_server_that_is_down_while_stripe_calls_hears_it_later(bank: Bank) -> None:
    """Stripe tries again; and a try of ours that finds nobody charges nothing."""
    here = await bank.shop()
    bank.stripe.next_requests(behaves())
    await bank.stripe.go_down()
    bought = await here.buy(2)
    await becomes(here, bought["id"], "pending", "not_reached")
    await bank.stripe.come_back()
    bank.clock.by += TRY_PAUSES[0]
    await becomes(here, bought["id"], "paid")
    assert bank.charged(bought["id"]) == [400]
