"""Bills from the log: lines, sums, purchases, and what could be billed otherwise (L6, L7)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from adapters.manual import MANUAL
from adapters.stripe.client import STRIPE
from domain import chosen_rules, ledger, payment
from domain.chosen_rules import DEFAULT_PRICING
from domain.ledger import InsufficientCredits
from domain.payment import PaymentAnswer, PaymentRefused, PaymentTaken, PaymentUnsettled
from domain.rate_card import ANY, Rate, RateCard
from projections.statements import queries
from projections.statements.projection import SQL, Statements
from tests.api.billing_audit import Audit
from tests.api.billing_world import LEDGER, WABA, World
from tests.conftest import BUILDS, Database

START, END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
CARD = RateCard(
    name="law/1",
    rates=(
        Rate(country=ANY, category=ANY, micro_usd=300_000),
        Rate(country="JP", category="marketing", micro_usd=700_001),
    ),
)
FATES = ("accepted", "refused", "refused", "uncertain", "discarded", "late")


@pytest.fixture(scope="module")
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("SET ROLE trunkline_project")
        await connection.execute(f"SET search_path = {BUILDS}")
        yield connection


def some_history(seed: int, rule: str) -> World:
    """A few hundred answers in two months, and their fates."""
    random, world = Random(seed), World()
    world.record(chosen_rules.STREAM, replace(DEFAULT_PRICING, rule=rule, card=CARD))
    for _ in range(150):
        world.now += timedelta(minutes=random.choice((1, 60, 600)))
        chat, what = f"c{random.randrange(3)}", random.randrange(10)
        if what == 0:
            buy(world, random.randint(1, 3))
        elif what == 1:
            world.hears(chat)
        elif what < 7:
            category = random.choice((None, None, "marketing", "utility"))
            try:
                world.run(world.answer(chat, category))
            except InsufficientCredits:
                continue
        elif messages := world.messages():
            message_id = random.choice(sorted(messages))
            world.fate(messages[message_id], message_id, random.choice(FATES))
    return world


def buy(world: World, count: int) -> None:
    bought = ledger.request_purchase(
        world.ledger,
        purchase_id=f"b{next(world.ids)}",
        credits_bought=count,
        provider=MANUAL,
        at=world.now,
        month=f"{world.now:%Y-%m}",
    )
    world.record(LEDGER, *bought)


async def project(connection: psycopg.AsyncConnection, world: World, *, size: int) -> None:
    for start in range(0, len(world.log), size):
        await Statements().apply(connection, 1, world.log[start : start + size])


async def charges_of(connection: psycopg.AsyncConnection) -> list[queries.Charge]:
    return [
        each
        async for each in queries.charges(
            connection, org=1, business_account=WABA, start=START, end=END
        )
    ]


@pytest.mark.parametrize("rule", ["conversation/1", "per-message/2025-07"])
@pytest.mark.parametrize(("seed", "size"), [(1, 1), (2, 7), (3, 10_000), (4, 50)])
async def test_i4_the_bills_are_the_ledger_in_whatever_batches_the_log_comes(
    connection: psycopg.AsyncConnection, seed: int, size: int, rule: str
) -> None:
    world = some_history(seed, rule)
    async with connection.transaction(force_rollback=True):
        await project(connection, world, size=size)
        closing, refunded = 0, 0
        for month in ("2026-10", "2026-11", "2026-12", "2027-01"):
            sums = await queries.statement(connection, org=1, business_account=WABA, month=month)
            (opening,) = [each.micro_usd for each in sums if each.part == "opening"]
            assert opening == closing
            closing += sum(each.micro_usd for each in sums if each.part == "movement")
            for part in ("category", "country", "service", "agent"):
                assert _total(sums, part) == _total(sums, "unit"), part
            refunded += sum(each.refunded for each in sums if each.part == "unit")
        assert closing == world.ledger.balance
        assert refunded == len(world.of(ledger.ChargeRefunded)) > 0


def _total(sums: list[queries.Part], part: str) -> list[int]:
    of = [each for each in sums if each.part == part]
    return [sum(getattr(each, name) for each in of) for name in ("count", "free", "micro_usd")]


@pytest.mark.parametrize("rule", ["conversation/1", "service-message/2026-10"])
@pytest.mark.parametrize("seed", range(5, 9))
async def test_l7_what_could_be_billed_otherwise_is_all_that_was_answered(
    connection: psycopg.AsyncConnection, seed: int, rule: str
) -> None:
    world = some_history(seed, rule)
    async with connection.transaction(force_rollback=True):
        await project(connection, world, size=40)
        found = await charges_of(connection)
    by_hand = world.billable()
    assert [_comparable(each.answer) for each in found] == [_comparable(each) for each in by_hand]
    charged = {each.answer.message_id: each.charged_micro_usd for each in found if each.is_charged}
    audit = Audit(LEDGER)
    audit.look(world.log)
    assert charged == audit.net()


def _comparable(answer: Any) -> Any:
    # By hand, refusals are known from the money they moved; the tables know the others too.
    return replace(answer, message_void=None, conversation_void=answer.conversation_void and 1)


async def test_l6_lines_come_page_by_page_and_as_of_a_position(
    connection: psycopg.AsyncConnection,
) -> None:
    world = some_history(3, "conversation/1")
    async with connection.transaction(force_rollback=True):
        await project(connection, world, size=10_000)
        asked: dict[str, Any] = {"org": 1, "business_account": WABA, "month": "2026-10"}
        whole = await queries.lines(connection, **asked, limit=1_000)
        paged: list[queries.Line] = []
        while page := await queries.lines(
            connection, **asked, limit=3, after=paged[-1].position if paged else 0
        ):
            paged += page
        assert paged == whole
        middle = whole[len(whole) // 2].position
        then = await queries.statement(connection, **asked, as_of=middle)
        moved = sum(each.micro_usd for each in whole if each.position <= middle)
        assert sum(each.micro_usd for each in then if each.part == "movement") == moved


async def test_l5_a_purchase_keeps_its_place_when_it_is_paid_or_fails(
    connection: psycopg.AsyncConnection,
) -> None:
    world = World()
    for purchase_id in ("one", "two", "three"):
        requested = ledger.request_purchase(
            world.ledger,
            purchase_id=purchase_id,
            credits_bought=5,
            provider=STRIPE,
            at=world.now,
            month="2026-10",
            user_id="ada",
        )
        world.record(LEDGER, *requested)
    answers: dict[str, PaymentAnswer] = {
        "one": PaymentTaken(micro_usd=10_000_000),
        "two": PaymentRefused(reason="card_declined"),
        "three": PaymentUnsettled(reason="rate_limited"),
    }
    for name, answer in answers.items():
        told: dict[str, Any] = {"at": world.now, "month": "2026-10", "tries": 0}
        world.record(LEDGER, *payment.record_answer(world.ledger, name, answer, **told))
    async with connection.transaction(force_rollback=True):
        await project(connection, world, size=1)
        rows = await queries.purchases(connection, org=1, limit=10)
    assert [(each.purchase_id, each.state, each.reason) for each in rows] == [
        ("three", "pending", "rate_limited"),
        ("two", "failed", "card_declined"),
        ("one", "paid", None),
    ]


async def test_what_answers_a_statement_is_the_index_of_the_month(
    connection: psycopg.AsyncConnection,
) -> None:
    """Issue: 100,000 conversations in one indexed query."""
    async with connection.transaction(force_rollback=True):
        await connection.execute(
            """INSERT INTO statements_lines (org, business_account, position, month, kind, at,
                      recorded_at, micro_usd, subject, unit, category, country, service, user_id,
                      free)
               SELECT 1, %(waba)s, n, '2026-' || to_char(1 + n %% 12, 'FM00'), 'charge', now(),
                      now(), -8000, n::text, 'conversation', 'service', 'JP', 'crm', 'ann', false
                 FROM generate_series(1, 60000) AS n""",
            {"waba": WABA},
        )
        await connection.execute("ANALYZE statements_lines")
        query = SQL["statement"].format(opening=SQL["opening_now"])
        cursor = await connection.execute(
            f"EXPLAIN {query}",
            {"org": 1, "business_account": WABA, "month": "2026-05", "as_of": queries.NOW},
        )
        plan = "\n".join(row[0] for row in await cursor.fetchall())
        assert "statements_lines_of_month" in plan
        assert "Seq Scan on statements_lines" not in plan


async def test_what_is_priced_again_is_read_as_a_stream(
    connection: psycopg.AsyncConnection,
) -> None:
    """Issue: a month of any size in flat memory; the index of the month, and of conversations."""
    days, per_conversation = 100, 5
    async with connection.transaction(force_rollback=True):
        await fill_with_messages(connection, 20_000, days=days, per_conversation=per_conversation)
        start = datetime(2026, 1, 1, tzinfo=UTC)
        month: dict[str, Any] = {
            "business_account": WABA,
            "start": start,
            "end": start + timedelta(days=2),
        }
        cursor = psycopg.AsyncClientCursor(connection)
        await cursor.execute(
            f"EXPLAIN (ANALYZE, TIMING OFF) {SQL['billable']}", {"org": 1, **month}
        )
        plan = "\n".join(row[0] for row in await cursor.fetchall())
        assert "statements_messages_in_order" in plan
        assert "statements_messages_by_conversation" in plan
        assert "One-Time Filter: (message.message_id = message.conversation_id)" in plan
        answers = [each async for each in queries.charges(connection, org=1, **month)]
    positions = [each.answer.position for each in answers]
    assert positions == sorted(positions)
    assert len(positions) == 20_000 // days * 2
    opened = [each for each in answers if each.answer.conversation_void is not None]
    assert len(opened) == len(positions) // per_conversation


async def fill_with_messages(
    connection: psycopg.AsyncConnection, count: int, *, days: int, per_conversation: int
) -> None:
    """Answers that the platform has all refused, evenly over these days."""
    numbers = {"waba": WABA, "count": count, "days": days, "each": per_conversation}
    await connection.execute(
        """INSERT INTO statements_conversations (org, conversation_id, business_account, platform,
                  account_id)
           SELECT 1, n::text, %(waba)s, 'whatsapp', '1'
             FROM generate_series(0, %(count)s - 1, %(each)s) AS n""",
        numbers,
    )
    await connection.execute(
        """INSERT INTO statements_messages (org, message_id, business_account, at, position,
                  conversation_id, chat_id, service, user_id, category, is_template, in_window,
                  in_entry_point, refused_position)
           SELECT 1, n::text, %(waba)s,
                  '2026-01-01Z'::timestamptz + interval '1 day' * %(days)s * n / %(count)s, n,
                  (n - n %% %(each)s)::text, 'c', 'crm', 'ann', 'service', false, true,
                  false, n + 1
             FROM generate_series(0, %(count)s - 1) AS n""",
        numbers,
    )
    await connection.execute("ANALYZE statements_messages, statements_conversations")
