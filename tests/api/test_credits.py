"""Buying, spending, statements and what-if, as an organisation has them (L1–L7)."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace as replace_fields

from adapters.whatsapp.fake_behaviour import fails
from api.commands.context import Actor
from api.commands.credits import CreditAccounts
from api.commands.quotes import Question, Quotes
from api.commands.replies import Replies, Start, TemplateReply
from api.main import Core, core
from domain.chat_events import ReplyRequested
from domain.chosen_rules import DEFAULT_PRICING
from domain.ledger import InsufficientCredits
from domain.ports import Append, Appended
from tests.adapters.log_scenario import TestClock
from tests.api.businesses import verification
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import eventually

TEMPLATE = {"category": "marketing", "body": "Hello", "parameters": [], "state": "approved"}
SEND = {"kind": "template", "name": "hello", "language": "en"}


class Shop:
    """An org with one number of a business account that nobody else has."""

    def __init__(self, trunkline: Trunkline, admin: Client, account: str, channel: str) -> None:
        self.trunkline = trunkline
        self.admin = admin
        self.account = account
        self.channel = channel
        self.payer = f"waba-{account}"

    async def credits(self, **query: Any) -> Any:
        return await self.admin.get("/v1/credits", params={"account_id": self.account, **query})

    async def balance(self) -> int:
        return int((await self.credits())["balance_micro_usd"])

    async def buy(self, count: int, *, expect: int = 201, **more: Any) -> Any:
        body = {"account_id": self.account, "credits": count}
        return await self.admin.post("/v1/credits/purchases", body, expect=expect, **more)

    async def start(self, number: int, *, expect: int = 202) -> Any:
        """Write to a new customer with a template, at the default rate."""
        body = {
            "channel_id": self.channel,
            "address": f"+81901000{number:04}",
            "message": SEND,
        }
        return await self.admin.post("/v1/services/crm/chats", body, expect=expect)

    async def hear(self, phone: str = "12025550143") -> str:
        await self.trunkline.says("hi", account_id=self.account, phone=phone)
        await self.admin.settled()
        (chat,) = [
            each
            for each in await self.admin.chats("crm")
            if each["customer"]["address"] == f"+{phone}"
        ]
        return str(chat["id"])

    async def statement(self, **query: Any) -> Any:
        return await self.admin.get(await self.path(), params=query)

    async def path(self, more: str = "") -> str:
        books = self.trunkline.parts.clock.now().strftime("%Y-%m")
        return f"/v1/statements/{self.account}/{books}{more}"

    async def written(self) -> int:
        """How much stands in the streams that bills come from."""
        streams = (f"credits:{self.payer}", "rules")
        return sum([len(await self.admin.events(stream=stream)) for stream in streams])

    async def ledger(self, *kinds: str) -> list[Any]:
        events = await self.admin.events(stream=f"credits:{self.payer}")
        return [each["data"] for each in events if each["type"].removeprefix("credits.") in kinds]

    async def amounts(self, kind: str) -> list[int]:
        return [each["micro_usd"] for each in await self.ledger(kind)]


async def shop(trunkline: Trunkline, *, bought: int = 0) -> Shop:
    admin, account = await trunkline.organisation(), trunkline.account()
    await admin.services("crm")
    made = await admin.connect("crm", account, business_account_id=f"waba-{account}")
    channel = made["id"]
    await eventually(lambda: verification(admin, channel), ("verified", None))
    opened = Shop(trunkline, admin, account, channel)
    await admin.put(f"/v1/accounts/{account}/templates/hello/en", TEMPLATE)
    if bought:
        await opened.buy(bought)
    return opened


# Buying.


async def test_a_manual_purchase_is_paid_and_spendable_at_once(trunkline: Trunkline) -> None:
    """Spec L2, L5."""
    here = await shop(trunkline)
    assert await here.credits() == {
        "account_id": here.account,
        "business_account_id": here.payer,
        "balance_micro_usd": 0,
        "credits": "0.000",
        "free_conversations_left": 1000,
        "auto_recharge": None,
        "failed_recharge": None,
    }
    bought = await here.buy(25)
    assert {**bought, "id": None} == {
        "id": None,
        "state": "paid",
        "credits": 25,
        "amount_micro_usd": 50_000_000,
    }
    assert (await here.credits())["credits"] == "25.000"
    listed = await here.admin.get("/v1/credits/purchases", params={"account_id": here.account})
    (purchase,) = listed["items"]
    assert (purchase["id"], purchase["state"], purchase["recharge"]) == (
        bought["id"],
        "paid",
        False,
    )
    assert purchase["user_id"] == here.admin.user_id


async def test_a_purchase_sent_twice_is_one(trunkline: Trunkline) -> None:
    """Spec L5; the other body is refused."""
    here, headers = await shop(trunkline), {"Idempotency-Key": "order-1"}
    bought = [await here.buy(3, headers=headers) for _ in range(2)]
    assert bought[0] == bought[1]
    assert await here.balance() == 6_000_000
    await here.buy(4, headers=headers, expect=422)
    assert len(await here.ledger("purchased")) == 1


@pytest.mark.parametrize(
    "credits_", [0, -1, 1.5, 1.0, "5", None, True, 1_000_001, 2**63, 10**30, [1]]
)
async def test_an_amount_that_nobody_can_mean_books_nothing(
    trunkline: Trunkline, credits_: Any
) -> None:
    """Bad input: refused with the field's name."""
    here = await shop(trunkline)
    refused = await here.buy(credits_, expect=400)
    assert [each["field"] for each in refused["errors"]] == ["credits"]
    assert await here.ledger("purchased") == []


async def test_credits_of_unknown_and_others_accounts_are_not_found(trunkline: Trunkline) -> None:
    """Spec R2."""
    here, there = await shop(trunkline), await shop(trunkline)
    for account in ("999999999999999", there.account, there.payer):
        body = {"account_id": account, "credits": 1}
        await here.admin.post("/v1/credits/purchases", body, expect=404)
        await here.admin.get("/v1/credits", params={"account_id": account}, expect=404)
        await here.admin.get(f"/v1/statements/{account}/2026-11", expect=404)


# Spending.


async def test_an_answer_and_its_charge_are_one_append(trunkline: Trunkline) -> None:
    """Spec L1, L2: the free ones first; everything inside is one charge."""
    here = await shop(trunkline)
    chat = await here.hear()
    for text in ("one", "two", "three"):
        await here.admin.reply("crm", chat, text)
    (charged,) = await here.ledger("charged")
    assert charged["price"] == {
        "unit": "conversation",
        "micro_usd": 0,
        "allowance": "business",
    }
    assert (charged["country"], charged["inputs"]["category"]) == ("US", "service")
    events = await here.admin.events()
    types = [each["type"] for each in events]
    at = types.index("credits.charged")
    assert types[at : at + 3] == [
        "credits.charged",
        "chat.conversation_started",
        "chat.reply_requested",
    ]
    assert (await here.credits())["free_conversations_left"] == 999
    requested = [each["data"] for each in events if each["type"] == "chat.reply_requested"]
    assert [each["conversation"] for each in requested] == [charged["charge_id"]] * 3


async def test_inside_an_open_conversation_no_reply_touches_the_ledger(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue: the hot account must not become the bottleneck of all chats."""
    here = await shop(trunkline)
    chat = await here.hear()
    await here.admin.reply("crm", chat, "one")
    before = len(await here.admin.events(stream=f"credits:{here.payer}"))
    log, read = trunkline.parts.context.log, set[str]()
    submit = log.submit

    def submit_and_note(append: Append) -> asyncio.Future[Appended]:
        if any(isinstance(each.event, ReplyRequested) for each in append.events):
            read.update(stream for stream, _ in append.read)
        return submit(append)

    monkeypatch.setattr(log, "submit", submit_and_note)
    await here.admin.reply("crm", chat, "two")
    assert f"chat:{chat}" in read
    assert not {f"credits:{here.payer}", "rules"} & read
    assert len(await here.admin.events(stream=f"credits:{here.payer}")) == before


async def test_without_credits_a_template_is_refused_and_nothing_is_sent(
    trunkline: Trunkline,
) -> None:
    """Spec L4: 402 with both amounts; inside an open conversation it passes."""
    here = await shop(trunkline)
    before = len(await here.admin.events())
    refused = await here.start(1, expect=402)
    assert (refused["code"], refused["needed_micro_usd"], refused["balance_micro_usd"]) == (
        "insufficient_credits",
        8_000,
        0,
    )
    assert len(await here.admin.events()) == before
    chat = await here.hear()
    await here.admin.reply("crm", chat, "hello")
    await here.admin.post(f"/v1/services/crm/chats/{chat}/messages", SEND, expect=202)
    assert await here.balance() == 0


async def test_many_at_once_on_a_nearly_empty_balance(trunkline: Trunkline) -> None:
    """Spec L3: 250 conversations for a credit; never below zero, none lost, none doubled."""
    here = await shop(trunkline, bought=1)
    dear = [{"country": "any", "category": "any", "micro_usd": 300_000}]
    await here.admin.put(
        "/v1/rules/pricing", {"rule": "conversation/1", "card": "dear/1", "rates": dear}
    )

    async def try_to_start(number: int) -> int:
        body = {"channel_id": here.channel, "address": f"+8190{number:08}", "message": SEND}
        return (await here.admin.call("POST", "/v1/services/crm/chats", json=body)).status_code

    answered = await asyncio.gather(*(try_to_start(number) for number in range(20)))
    assert sorted(answered) == [202] * 6 + [402] * 14
    assert await here.balance() == 200_000
    assert len({each["charge_id"] for each in await here.ledger("charged")}) == 6


async def test_what_the_platform_refuses_altogether_is_given_back_once(
    trunkline: Trunkline,
) -> None:
    """Spec L4: void, so the next answer starts another."""
    here = await shop(trunkline, bought=1)
    trunkline.fake.next_requests(fails(131026))
    started = await here.start(7)
    await eventually(lambda: here.amounts("refunded"), [8_000])
    assert await here.balance() == 2_000_000
    path = f"/v1/services/crm/chats/{started['chat_id']}/messages"
    await here.admin.post(path, SEND, expect=202)
    assert await here.balance() == 1_992_000
    statement = await here.statement()
    assert {**statement["conversations"], "name": ""} == {
        "name": "",
        "count": 1,
        "free": 0,
        "paid": 1,
        "refunded": 1,
        "micro_usd": 8_000,
    }


# Recharging.


async def test_one_recharge_for_each_crossing(trunkline: Trunkline) -> None:
    """Spec L5, however many sends race."""
    here = await shop(trunkline, bought=3)
    dear = [{"country": "any", "category": "any", "micro_usd": 500_000}]
    await here.admin.put(
        "/v1/rules/pricing", {"rule": "conversation/1", "card": "dear/1", "rates": dear}
    )
    body = {
        "service": "crm",
        "account_id": here.account,
        "enabled": True,
        "threshold_credits": 1,
        "credits": 10,
    }
    await here.admin.put("/v1/credits/auto-recharge", body)
    await asyncio.gather(*(here.start(number) for number in range(12)))
    purchases = await here.ledger("purchased")
    assert [each.get("recharge", False) for each in purchases] == [False, True]
    assert await here.balance() == 6_000_000 + 20_000_000 - 12 * 500_000


async def short(trunkline: Trunkline) -> Shop:
    """The balance is above the threshold, and covers no template."""
    here = await shop(trunkline, bought=1)
    dear = [{"country": "any", "category": "any", "micro_usd": 3_000_000}]
    await here.admin.put(
        "/v1/rules/pricing", {"rule": "conversation/1", "card": "dear/1", "rates": dear}
    )
    body = {"service": "crm", "account_id": here.account, "enabled": True}
    await here.admin.put(
        "/v1/credits/auto-recharge", {**body, "threshold_credits": 0, "credits": 5}
    )
    return here


async def test_a_price_that_is_not_covered_recharges_in_the_answers_own_append(
    trunkline: Trunkline,
) -> None:
    """Spec L5: the threshold would never be reached while every answer is refused."""
    here = await short(trunkline)
    await here.start(1)
    assert await here.balance() == 2_000_000 + 10_000_000 - 3_000_000
    types = [each["type"] for each in await here.admin.events()]
    at = types.index("credits.charged")
    assert types[at - 1 : at + 2] == [
        "credits.purchased",
        "credits.charged",
        "chat.conversation_started",
    ]


async def test_a_provider_that_takes_its_time_is_asked_once_by_refused_answers(
    trunkline: Trunkline,
) -> None:
    """Spec L4, L5: the answers are refused, the recharge is not lost with them."""
    here = await short(trunkline)
    slow = replace(trunkline.settings, payment_provider="stripe")
    async with core(slow, trunkline.database) as parts:
        assert [await started(parts, here, number) for number in range(3)] == [False] * 3
    await here.admin.settled()
    (asked,) = await here.ledger("purchase_requested")
    assert (asked["credits"], asked["recharge"], asked["provider"]) == (5, True, "stripe")
    assert await here.balance() == 2_000_000


async def test_the_recharge_is_set_by_the_accounts_manager_alone(trunkline: Trunkline) -> None:
    """Spec S12; what is left out keeps its value."""
    here = await shop(trunkline)
    await here.admin.services("desk")
    await here.admin.connect("desk", here.account)
    body = {"service": "crm", "account_id": here.account, "enabled": True}
    refused = await here.admin.call("PUT", "/v1/credits/auto-recharge", json=body, expect=400)
    assert refused.json()["errors"][0]["field"] == "threshold_credits"
    whole = {**body, "threshold_credits": 0, "credits": 1, "enabled": False}
    refused = await here.admin.call(
        "PUT", "/v1/credits/auto-recharge", json={**whole, "service": "desk"}, expect=403
    )
    assert (refused.json()["code"], refused.json()["parent"]) == ("not_parent", "crm")
    await here.admin.put("/v1/credits/auto-recharge", whole)
    changed = await here.admin.put("/v1/credits/auto-recharge", {**body, "credits": 2})
    assert changed == {"enabled": True, "threshold_credits": 0, "credits": 2}
    assert (await here.credits())["credits"] == "2.000", "it was at the threshold"


async def test_changes_of_the_recharge_at_once_are_all_made(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec L5: each says one thing, and keeps what the other says."""
    here = await shop(trunkline)
    path, body = "/v1/credits/auto-recharge", {"service": "crm", "account_id": here.account}
    await here.admin.put(path, {**body, "enabled": False, "threshold_credits": 1, "credits": 1})
    executor, both_are_here = trunkline.parts.context.executor, asyncio.Barrier(2)
    execute = executor.execute

    async def execute_together(*arguments: Any, **more: Any) -> Any:
        if more.get("request") is not None:
            await both_are_here.wait()
        return await execute(*arguments, **more)

    monkeypatch.setattr(executor, "execute", execute_together)

    async def change(name: str) -> None:
        key = {"Idempotency-Key": f"change-{name}"}
        await here.admin.call("PUT", path, json={**body, name: 7}, headers=key, expect=200)

    await asyncio.gather(change("threshold_credits"), change("credits"))
    both = {"enabled": False, "threshold_credits": 7, "credits": 7}
    assert (await here.credits())["auto_recharge"] == both


async def test_a_change_of_the_recharge_sent_twice_is_answered_alike(trunkline: Trunkline) -> None:
    here = await shop(trunkline)
    body = {"service": "crm", "account_id": here.account}
    whole = {"enabled": False, "threshold_credits": 1, "credits": 2}
    path, key = "/v1/credits/auto-recharge", {"Idempotency-Key": "recharge-1"}
    first = await here.admin.call("PUT", path, json={**body, **whole}, headers=key, expect=200)
    await here.admin.put(path, {**body, "credits": 3})
    again = await here.admin.call("PUT", path, json={**body, **whole}, headers=key, expect=200)
    assert first.json() == again.json() == whole
    assert (await here.credits())["auto_recharge"] == {**whole, "credits": 3}


# Statements.


async def spent(trunkline: Trunkline) -> Shop:
    """3 templates to Japan, one free conversation with the US, a refund."""
    here = await shop(trunkline, bought=1)
    trunkline.fake.next_requests(fails(131026))
    await here.start(9)
    await eventually(lambda: here.amounts("refunded"), [8_000])
    for number in range(3):
        await here.start(number)
    await here.admin.reply("crm", await here.hear(), "hello")
    return here


async def test_a_statement_adds_up(trunkline: Trunkline) -> None:
    """Spec L6."""
    here = await spent(trunkline)
    found = await here.statement()
    assert found["opening_balance_micro_usd"] == 0
    assert found["closing_balance_micro_usd"] == 1_976_000 == await here.balance()
    assert {each["kind"]: each["micro_usd"] for each in found["movements"]} == {
        "purchase": 2_000_000,
        "charge": -32_000,
        "refund": 8_000,
    }
    named = {
        each["name"]: (each["count"], each["free"], each["micro_usd"])
        for each in found["by_country"]
    }
    assert named == {"JP": (3, 0, 24_000), "US": (1, 1, 0)}
    assert [each["name"] for each in found["by_category"]] == ["marketing", "service"]
    assert [(each["name"], each["count"]) for each in found["by_service"]] == [("crm", 4)]
    assert [each["agent"]["name"] for each in found["by_agent"]] == ["Admin"]


async def test_every_line_has_a_proof_that_gives_the_same_cent(trunkline: Trunkline) -> None:
    """Spec L6, E7."""
    here = await spent(trunkline)
    found = await here.admin.get(await here.path("/lines?limit=2"))
    items = found["items"]
    while found["next_cursor"]:
        found = await here.admin.get(await here.path(f"/lines?cursor={found['next_cursor']}"))
        items += found["items"]
    events = {each["position"]: each for each in await here.admin.events()}
    assert [each["kind"] for each in items] == [
        "purchase",
        "charge",
        "refund",
        "charge",
        "charge",
        "charge",
        "charge",
    ]
    assert sum(each["micro_usd"] for each in items) == await here.balance()
    for each in items:
        event = events[each["position"]]
        assert event["stream"] == f"credits:{here.payer}"
        if each["kind"] == "charge":
            assert each["proof"]["price"]["micro_usd"] == -each["micro_usd"]
            assert each["proof"]["inputs"] == event["data"]["inputs"]


async def test_a_statement_as_it_was(trunkline: Trunkline) -> None:
    """`as_of` is for admins and auditors."""
    here = await shop(trunkline, bought=1)
    then = here.admin.position
    before = await here.statement()
    await here.start(1)
    assert await here.statement(as_of=then) == before
    assert (await here.credits(as_of=then))["balance_micro_usd"] == 2_000_000
    supervisor = await here.admin.user("supervisor", {"crm": "reply"})
    path = await here.path()
    await supervisor.get(path)
    await supervisor.get(path, params={"as_of": then}, expect=403)


async def test_a_month_that_is_none_has_no_statement(trunkline: Trunkline) -> None:
    here = await shop(trunkline)
    for month in ("2026-13", "2026-00", "26-11", "november"):
        await here.admin.get(f"/v1/statements/{here.account}/{month}", expect=404)
    for month in ("2000-01", "2024-02", "9998-12"):
        empty = await here.admin.get(f"/v1/statements/{here.account}/{month}")
        assert (empty["conversations"]["count"], empty["movements"]) == (0, [])


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
async def test_months_have_an_end_in_every_time_zone(trunkline: Trunkline, zone: str) -> None:
    """Spec R1: those that could not have one are refused with the field's name."""
    here = await shop(trunkline)
    path, body = f"/v1/statements/{here.account}", {"time_zone": zone}
    for month in ("2000-01", "9998-12"):
        await here.admin.post(f"{path}/{month}/replay", body)
    for month in ("0000-01", "0001-01", "1999-12", "9999-01", "9999-12"):
        for refused in (
            await here.admin.post(f"{path}/{month}/replay", body, expect=400),
            await here.admin.get(f"{path}/{month}", expect=400),
            await here.admin.get(f"{path}/{month}/lines", expect=400),
            await here.admin.get(f"{path}/{month}/lines.csv", expect=400),
        ):
            assert [each["field"] for each in refused["errors"]] == ["month"]


async def test_the_table_for_spreadsheets_holds_no_formula(trunkline: Trunkline) -> None:
    """Every line; texts that begin like a formula stay texts."""
    here = await spent(trunkline)
    response = await here.admin.call("GET", await here.path("/lines.csv"), expect=200)
    head, *rows = response.text.splitlines()
    assert head.startswith("position,at,kind,micro_usd,free")
    assert len(rows) == 7
    assert response.headers["content-type"] == "text/csv; charset=utf-8"


async def test_the_free_conversations_are_those_of_the_rule_that_prices(
    trunkline: Trunkline,
) -> None:
    """Spec L2, L7: only conversation/1 has such an allowance."""
    here = await shop(trunkline)
    for rule, left in (("per-message/2025-07", None), ("conversation/1", 1000)):
        await here.admin.put("/v1/rules/pricing", {"rule": rule})
        assert (await here.credits())["free_conversations_left"] == left


async def test_books_as_they_were_have_the_month_of_then(trunkline: Trunkline) -> None:
    """Spec E2, L7: of the position's own time, in the zone that held; at the head, of now."""
    here, clock = await shop(trunkline), TestClock()
    await here.admin.reply("crm", await here.hear(), "hello")
    async with core(trunkline.settings, trunkline.database, clock=clock) as parts:
        org = await parts.directory.organisation(here.admin.organization_id)
        assert org is not None
        accounts = CreditAccounts(parts.context)

        async def month(as_of: int | datetime) -> tuple[str, int]:
            books = await accounts.books_as_of(org, here.account, as_of)
            return books.month, books.credits.used.get(books.month, 0)

        async def choose(rule: str, zone: str) -> int:
            actor = Actor(keys=await parts.directory.keys(org.number), user_id=here.admin.user_id)
            chosen = replace_fields(
                DEFAULT_PRICING, rule=rule, time_zone=zone, effective_from=clock.now()
            )
            return (await accounts.choose_pricing(actor, None, chosen)).position

        answered = await parts.context.log.position(org)
        answered_in = f"{trunkline.parts.clock.now():%Y-%m}"
        clock.time = datetime(2031, 1, 31, 20, tzinfo=UTC)
        assert await month(answered) == ("2031-01", 0), "the head"
        in_utc = await choose("per-message/2025-07", "UTC")
        clock.move(minutes=1)
        in_tokyo = await choose("conversation/1", "Asia/Tokyo")
        clock.time = datetime(2031, 6, 1, tzinfo=UTC)
        head = await choose("per-message/2025-07", "UTC")
        assert await month(answered) == (answered_in, 1)
        assert await month(in_utc) == ("2031-01", 0)
        assert await month(in_tokyo) == ("2031-02", 0)
        assert await month(head) == await month(head + 5) == ("2031-06", 0)
        assert await month(datetime(2031, 1, 31, 20, tzinfo=UTC)) == ("2031-01", 0)
        assert await month(datetime(2999, 1, 1, tzinfo=UTC)) == ("2031-06", 0)
        assert await month(0) == (answered_in, 0)


# What if.


async def test_what_if_gives_the_same_cent_under_the_same_rule(trunkline: Trunkline) -> None:
    """Spec L7: and writes nothing."""
    here = await spent(trunkline)
    before = await here.written()
    path = await here.path("/replay")
    headers = {"Trunkline-Min-Position": str(here.admin.position)}
    same = await here.admin.post(path, {"pricing": "conversation/1"}, headers=headers)
    assert (same["answers"], same["recorded_micro_usd"], same["replayed_micro_usd"]) == (
        5,
        24_000,
        24_000,
    )
    assert (same["differing"], same["lines"]) == (0, [])
    dearer = [{"country": "any", "category": "any", "micro_usd": 10_000}]
    other = await here.admin.post(
        path, {"pricing": "per-message/2025-07", "card": "dearer/1", "rates": dearer}
    )
    assert (other["replayed_micro_usd"], other["difference_micro_usd"], other["differing"]) == (
        30_000,
        6_000,
        3,
    )
    assert {each["replayed_micro_usd"] for each in other["lines"]} == {10_000}
    assert await here.written() == before
    refused = await here.admin.post(path, {"pricing": "free/1"}, expect=400)
    assert refused["errors"][0]["field"] == "pricing"


async def test_what_if_knows_the_window_of_every_answer(trunkline: Trunkline) -> None:
    """L0: inside an open conversation, too; utility is free there by the per-message rule."""
    here = await shop(trunkline, bought=1)
    utility = {**TEMPLATE, "category": "utility"}
    await here.admin.put(f"/v1/accounts/{here.account}/templates/hello/en", utility)
    chat = await here.hear()
    await here.admin.reply("crm", chat, "hello")
    await here.admin.post(f"/v1/services/crm/chats/{chat}/messages", SEND, expect=202)
    await here.start(1)
    replay: dict[str, Any] = {"headers": {"Trunkline-Min-Position": str(here.admin.position)}}
    found = await here.admin.post(
        await here.path("/replay"), {"pricing": "per-message/2025-07"}, **replay
    )
    assert (found["answers"], found["replayed_micro_usd"]) == (3, 8_000)
    found = await here.admin.post(
        await here.path("/replay"), {"pricing": "service-message/2026-10"}, **replay
    )
    assert found["replayed_micro_usd"] == 16_000


# Processes and switches.


async def test_two_processes_spend_what_is_there_and_no_more(trunkline: Trunkline) -> None:
    """Spec L3, I4: they decide on what each has read, and the log takes one of them."""
    here = await shop(trunkline, bought=1)
    dear = [{"country": "any", "category": "any", "micro_usd": 150_000}]
    await here.admin.put(
        "/v1/rules/pricing", {"rule": "conversation/1", "card": "dear/1", "rates": dear}
    )
    async with core(trunkline.settings, trunkline.database) as other:
        answered = await asyncio.gather(
            *(
                started(parts, here, number)
                for number, parts in enumerate([trunkline.parts, other] * 12)
            )
        )
    assert answered.count(True) == 13
    assert await here.balance() == 50_000
    await here.admin.settled()
    assert (await here.statement())["closing_balance_micro_usd"] == 50_000


async def started(parts: Core, here: Shop, number: int) -> bool:
    """Write to a new customer in this process; False where the balance does not cover it."""
    org = await parts.directory.organisation(here.admin.organization_id)
    assert org is not None
    actor = Actor(keys=await parts.directory.keys(org.number), user_id=here.admin.user_id)
    message = TemplateReply(name="hello", language="en", parameters={})
    start = Start(service="crm", channel_id=here.channel, phone=f"8180{number:08}", message=message)
    try:
        await Replies(parts.context).start(actor, start)
    except InsufficientCredits:
        return False
    return True


async def test_with_billing_off_nothing_is_charged_and_everything_passes(
    trunkline: Trunkline,
) -> None:
    """Spec L7: TRUNKLINE_BILLING=off."""
    here = await shop(trunkline)
    off = replace(trunkline.settings, billing=False)
    async with core(off, trunkline.database) as parts:
        assert await started(parts, here, 1)
    await here.admin.settled()
    assert await here.ledger("charged") == []
    assert await started(trunkline.parts, here, 2) is False


# Rules and quotes.


async def test_a_rule_holds_from_its_date_and_touches_no_old_charge(trunkline: Trunkline) -> None:
    """Spec L7."""
    here = await shop(trunkline, bought=1)
    await here.start(1)
    body = {"rule": "per-message/2025-07", "account_id": here.account}
    chosen = await here.admin.put("/v1/rules/pricing", body)
    assert (chosen["rule"], chosen["business_account_id"]) == ("per-message/2025-07", here.payer)
    started = await here.start(2)
    path = f"/v1/services/crm/chats/{started['chat_id']}/messages"
    await here.admin.post(path, SEND, expect=202)
    charged = await here.ledger("charged")
    assert [(each["rule"], each["price"]["unit"]) for each in charged] == [
        ("conversation/1", "conversation"),
        ("per-message/2025-07", "message"),
        ("per-message/2025-07", "message"),
    ]
    later = {**body, "rule": "conversation/1", "effective_from": "2999-01-01T00:00:00Z"}
    await here.admin.put("/v1/rules/pricing", later)
    assert len((await here.admin.get("/v1/rules/pricing"))["chosen"]) == 2
    await here.start(3)
    assert (await here.ledger("charged"))[-1]["rule"] == "per-message/2025-07"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rule": "free/1"}, "rule"),
        ({"rule": "conversation/1", "card": "nobodys/1"}, "card"),
        ({"rule": "conversation/1", "time_zone": "Mars/Phobos"}, "time_zone"),
        ({"rule": "conversation/1", "time_zone": "localtime"}, "time_zone"),
        ({"rule": "conversation/1", "time_zone": "../UTC"}, "time_zone"),
        ({"rule": "conversation/1", "effective_from": "2026-11-21T12:00:00"}, "effective_from"),
        (
            {
                "rule": "conversation/1",
                "card": "mine/1",
                "rates": [{"country": "JP", "category": "any", "micro_usd": 1}],
            },
            "rates",
        ),
        (
            {
                "rule": "conversation/1",
                "card": "mine/1",
                "rates": [{"country": "any", "category": "any", "micro_usd": -1}],
            },
            "rates[0].micro_usd",
        ),
        (
            {
                "rule": "conversation/1",
                "card": "mine/1",
                "rates": [{"country": "any", "category": "any", "micro_usd": 0.5}],
            },
            "rates[0].micro_usd",
        ),
    ],
)
async def test_a_pricing_that_could_not_price_is_refused(
    trunkline: Trunkline, body: Any, field: str
) -> None:
    """A rate card with a hole: refused with the field's name; nothing is written."""
    here = await shop(trunkline)
    before = len(await here.admin.events())
    refused = await here.admin.put("/v1/rules/pricing", body, expect=400)
    assert [each["field"] for each in refused["errors"]] == [field]
    assert len(await here.admin.events()) == before


async def test_a_card_keeps_its_rates(trunkline: Trunkline) -> None:
    """Spec L7: the name that a charge carries says what it was priced by."""
    here = await shop(trunkline)
    rate = {"country": "any", "category": "any", "micro_usd": 300_000}
    body = {"rule": "conversation/1", "card": "dear/1"}
    await here.admin.put("/v1/rules/pricing", {**body, "rates": [rate]})
    dearer = [{**rate, "micro_usd": 300_001}]
    refused = await here.admin.put("/v1/rules/pricing", {**body, "rates": dearer}, expect=400)
    assert [each["field"] for each in refused["errors"]] == ["card"]
    await here.admin.put("/v1/rules/pricing", {**body, "card": "dear/2", "rates": dearer})


async def test_a_quote_says_what_a_message_would_cost_and_writes_nothing(
    trunkline: Trunkline,
) -> None:
    here = await shop(trunkline, bought=1)
    chat = await here.hear()
    before = len(await here.admin.events())
    asked = {"account_id": here.account}
    text = await here.admin.post("/v1/quotes", asked)
    assert (text["micro_usd"], text["free"], text["unit"]) == (0, True, "conversation")
    assert text["reason"] == "allowance"
    template = {**asked, "kind": "template", "category": "utility", "address": "+819012345678"}
    quoted = await here.admin.post("/v1/quotes", template)
    assert quoted == {
        "micro_usd": 8_000,
        "free": False,
        "reason": None,
        "unit": "conversation",
        "rule": "conversation/1",
        "card": "default/1",
        "rate_micro_usd": 8_000,
        "country": "JP",
        "opens_conversation": True,
        "balance_micro_usd": 2_000_000,
        "covered": True,
    }
    inside = await here.admin.post("/v1/quotes", {**template, "in_conversation": True})
    assert (inside["micro_usd"], inside["unit"]) == (0, None)
    assert (inside["free"], inside["reason"]) == (False, "conversation")
    of_chat = await here.admin.post("/v1/quotes", {**asked, "chat_id": chat})
    assert (of_chat["country"], of_chat["opens_conversation"]) == ("US", True)
    assert len(await here.admin.events()) == before
    await here.admin.reply("crm", chat, "hello")
    of_chat = await here.admin.post("/v1/quotes", {**asked, "chat_id": chat})
    assert (of_chat["unit"], of_chat["opens_conversation"]) == (None, False)


async def test_a_quote_of_a_chat_is_of_its_own_account(trunkline: Trunkline) -> None:
    """Spec R2: a chat of another account is not found."""
    here, other = await shop(trunkline), trunkline.account()
    chat = await here.hear()
    await here.admin.connect("crm", other, business_account_id=here.payer)
    asked = {"chat_id": chat}
    await here.admin.post("/v1/quotes", {**asked, "account_id": other}, expect=404)
    await here.admin.post("/v1/quotes", {**asked, "account_id": here.account})
    await here.admin.reply("crm", chat, "hello")
    await here.admin.post("/v1/quotes", {**asked, "account_id": here.payer})


async def test_a_quote_inside_a_charged_conversation_is_nothing_under_any_rule(
    trunkline: Trunkline,
) -> None:
    """Spec L1: it was paid as a whole, before the rule changed."""
    here = await shop(trunkline, bought=1)
    chat = (await here.start(1))["chat_id"]
    await here.admin.put("/v1/rules/pricing", {"rule": "per-message/2025-07"})
    asked = {"account_id": here.account, "kind": "template", "category": "marketing"}
    inside = await here.admin.post("/v1/quotes", {**asked, "chat_id": chat})
    assert (inside["micro_usd"], inside["unit"], inside["opens_conversation"]) == (0, None, False)
    assert inside["reason"] == "conversation"
    elsewhere = await here.admin.post("/v1/quotes", asked)
    assert (elsewhere["micro_usd"], elsewhere["unit"]) == (8_000, "message")
    before = await here.balance()
    await here.admin.post(f"/v1/services/crm/chats/{chat}/messages", SEND, expect=202)
    assert await here.balance() == before


async def test_with_billing_off_a_quote_is_nothing(trunkline: Trunkline) -> None:
    """Spec L7: TRUNKLINE_BILLING=off."""
    here = await shop(trunkline)
    question = Question(
        account_id=here.account,
        chat_id=None,
        is_template=True,
        category="marketing",
        country="JP",
        in_conversation=False,
        in_window=False,
        in_entry_point=False,
    )
    off = replace(trunkline.settings, billing=False)
    async with core(off, trunkline.database) as parts:
        org = await parts.directory.organisation(here.admin.organization_id)
        assert org is not None
        keys = await parts.directory.keys(org.number)
        quote = await Quotes(parts.context).quote(keys, question)
    assert (quote.micro_usd, quote.unit, quote.opens_conversation) == (0, None, False)
    assert (quote.covered, quote.reason) == (True, "not_billed")
