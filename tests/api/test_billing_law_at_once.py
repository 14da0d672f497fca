"""The same laws in earnest: two processes at once on one real log (L3–L5, I4).

Everything of a round is asked for at the same time. What a process has read may be old when it
decides; the log takes one of two that cannot both be, and the other is decided again.
"""

import asyncio
import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import count
from typing import Any, ClassVar, NamedTuple

import psycopg
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from api.commands.channels import Channels, ConnectService
from api.commands.context import Actor
from api.commands.credits import CreditAccounts
from api.commands.execute import Repeatable
from api.commands.organisations import Organisations
from api.commands.replies import Replies, Start, TemplateReply
from api.commands.templates import AccountTemplates
from api.main import Core, core, found
from api.main import Database as Where
from api.settings import Settings
from domain import ledger
from domain.chosen_rules import DEFAULT_PRICING
from domain.dispatch_ports import DueMessage
from domain.event import Recorded, decode
from domain.ledger import Credits, InsufficientCredits
from domain.organisation import ConfigureService
from domain.outbound import Accepted, Rejected, SendAnswer
from domain.rate_card import ANY, Rate, RateCard
from domain.template import Template
from tests.adapters.log_scenario import TestClock
from tests.api.billing_audit import Audit
from tests.conftest import Database

LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"
OPERATIONS = 50_000 if LONG else 5_000
ROUNDS, AT_ONCE_MAX = 15, 16
LEDGER = ledger.stream_of("waba")
DEAR = RateCard(name="dear/1", rates=(Rate(country=ANY, category=ANY, micro_usd=700_000),))
HELLO = Template(category="marketing", body="Hello", parameters=(), state="approved")
EVENTS = """
SELECT position, stream, version, recorded_at, type, schema_version, data
  FROM trunkline.events WHERE org = %s AND position > %s ORDER BY position
"""
ANSWERS: dict[str, SendAnswer] = {
    "accept": Accepted(platform_id="wamid.1"),
    "refuse": Rejected(reason="undeliverable", code=131026, detail=""),
}


class Doing(NamedTuple):
    """One operation: in which process, what, and to which customer, message or request."""

    process: int
    what: str
    number: int


DOINGS = st.builds(
    Doing,
    st.integers(0, 1),
    st.sampled_from(
        ["start", "start", "start", "buy", "buy once", "correct", "accept", "refuse", "refuse"]
    ),
    st.integers(0, 7),
)


class House(NamedTuple):
    """Two processes and their log; they live in a thread, for Hypothesis does not wait."""

    portal: BlockingPortal
    processes: Sequence[Core]
    clock: TestClock
    database: psycopg.Connection[Any]
    accounts: Iterator[int]


@pytest.fixture(scope="module")
def house(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    where = Where(database.url, database.superuser, "trunkline", True)
    configured, clock = Settings(home=tmp_path_factory.mktemp("home")), TestClock()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(core(configured, where, clock=clock)) as one,
        portal.wrap_async_context_manager(core(configured, where, clock=clock)) as other,
        psycopg.connect(database.superuser, autocommit=True) as connection,
    ):
        yield House(portal, (one, other), clock, connection, count(5_277))


class AtOnce(RuleBasedStateMachine):
    """What may happen to a business account that two processes serve."""

    house: ClassVar[House]
    operations: ClassVar[int] = 0  # Of all courses of events.

    def __init__(self) -> None:
        super().__init__()
        self.audit = Audit(LEDGER)
        self.log: list[Recorded] = []
        self.sent: list[tuple[str, str]] = []  # Chat and message.
        self.bought: list[str] = []
        self.bought_once: dict[int, str] = {}  # By the number of the request.

    @initialize(credits_=st.integers(1, 3), threshold=st.none() | st.integers(0, 1))
    def begin(self, credits_: int, threshold: int | None) -> None:
        self.house.portal.call(self._begin, credits_, threshold)

    async def _begin(self, credits_: int, threshold: int | None) -> None:
        parts = self.house.processes[0]
        self.org, self.admin, _ = await found(parts, "Acme")
        self.account = str(next(self.house.accounts))
        actor = await self._actor(parts)
        bundled = ConfigureService(service="crm", subscription="bundled", owner_replies=False)
        await Organisations(parts.context).configure_service(actor, bundled)
        connected = ConnectService(
            service="crm",
            platform="whatsapp",
            account_id=self.account,
            name="Main number",
            business_account_id="waba",
        )
        made = await Channels(parts.context).connect(actor, connected)
        self.channel = made.ids["channel"]
        shown = {each: getattr(HELLO, each) for each in ("category", "body", "parameters", "state")}
        await AccountTemplates(parts.context).define(
            actor, account_id=self.account, name="hello", language="en", given=shown
        )
        accounts = CreditAccounts(parts.context)
        await accounts.choose_pricing(actor, None, replace(DEFAULT_PRICING, card=DEAR))
        await accounts.buy(actor, self.account, credits_)
        if threshold is not None:
            wanted = {"enabled": True, "threshold_credits": threshold, "credits": 1}
            await accounts.configure_auto_recharge(actor, self.account, "crm", wanted)

    async def _actor(self, parts: Core, request: Repeatable | None = None) -> Actor:
        keys = await parts.directory.keys(self.org.number)
        return Actor(keys=keys, user_id=self.admin, request=request)

    @rule(
        doings=st.lists(DOINGS, min_size=AT_ONCE_MAX // 2, max_size=AT_ONCE_MAX),
        hours=st.sampled_from([0, 0, 1, 23, 24, 25]),
    )
    def happen_at_once(self, doings: list[Doing], hours: int) -> None:
        self.house.clock.move(hours=hours)

        async def all_of_them() -> None:
            await asyncio.gather(*(self._do(each) for each in doings))

        self.house.portal.call(all_of_them)
        type(self).operations += len(doings)

    async def _do(self, doing: Doing) -> None:
        parts = self.house.processes[doing.process]
        try:
            match doing.what:
                case "start":
                    await self._start(parts, doing.number)
                case "buy" | "buy once":
                    await self._buy(parts, doing)
                case "correct":
                    micro_usd = (3 - doing.number) * 500_000 + 1
                    accounts = CreditAccounts(parts.context)
                    await accounts.adjust(
                        self.org, self.account, micro_usd=micro_usd, reason="Test"
                    )
                case _ if self.sent:
                    await self._settle(parts, doing)
        except InsufficientCredits as refused:
            needed, balance = refused.facts["needed_micro_usd"], refused.facts["balance_micro_usd"]
            assert needed > balance >= 0

    async def _start(self, parts: Core, number: int) -> None:
        hello = TemplateReply(name="hello", language="en", parameters={})
        start = Start(
            service="crm", channel_id=self.channel, phone=f"81901000000{number}", message=hello
        )
        outcome = await Replies(parts.context).start(await self._actor(parts), start)
        self.sent.append((outcome.ids["chat"], outcome.ids["message"]))

    async def _buy(self, parts: Core, doing: Doing) -> None:
        """Some of them with an Idempotency-Key, which both processes may see at once."""
        request = None
        if doing.what == "buy once":
            key = hashlib.sha256(f"{self.org.id} {doing.number}".encode()).digest()
            request = Repeatable(key, key, 201)
        actor = await self._actor(parts, request)
        outcome = await CreditAccounts(parts.context).buy(actor, self.account, 1)
        bought = outcome.ids["purchase"]
        if request is None:
            self.bought.append(bought)
        else:
            assert self.bought_once.setdefault(doing.number, bought) == bought

    async def _settle(self, parts: Core, doing: Doing) -> None:
        """Say what became of a message, whatever was said of it before."""
        chat_id, message_id = self.sent[doing.number * 7 % len(self.sent)]
        due = DueMessage(
            org=self.org.number,
            platform="whatsapp",
            account_id=self.account,
            chat_id=chat_id,
            message_id=message_id,
        )
        await parts.dispatching.start_sending(due, dispatcher=f"process {doing.process}")
        await parts.dispatching.record_answer(due, ANSWERS[doing.what])

    # Laws.

    @invariant()
    def what_was_answered_is_in_the_log_and_the_log_is_lawful(self) -> None:
        if not hasattr(self, "org"):
            return
        after = self.log[-1].position if self.log else 0
        rows = self.house.database.execute(EVENTS, [self.org.number, after]).fetchall()
        new = [
            Recorded(position, stream, version, at, decode(kind, schema, data))
            for position, stream, version, at, kind, schema, data in rows
        ]
        self.audit.look(new)
        self.log += new
        assert {message_id for _, message_id in self.sent} == self.audit.messages.keys()
        for purchase_id in (*self.bought, *self.bought_once.values()):
            assert self.audit.paid[purchase_id] == 1

    def teardown(self) -> None:
        """Every process says what a recount of the log says."""
        events = [each.event for each in self.log if each.stream == LEDGER]
        recounted = reduce(ledger.evolve, events, Credits())
        for parts in self.house.processes:
            self.house.portal.call(parts.context.log.is_current, self.org)
            books = self.house.portal.call(
                CreditAccounts(parts.context).books, self.org, self.account
            )
            assert books.credits == recounted


def test_the_laws_hold_for_two_processes_at_once(house: House) -> None:
    AtOnce.house, AtOnce.operations = house, 0
    courses = settings(
        max_examples=OPERATIONS // (ROUNDS * AT_ONCE_MAX // 2) + 5,
        stateful_step_count=ROUNDS,
        deadline=None,
    )
    run_state_machine_as_test(AtOnce, settings=courses)
    assert AtOnce.operations >= OPERATIONS
