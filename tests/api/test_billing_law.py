"""Laws of the ledger, for any course of events (L1–L5; invariant I4).

A hundred thousand operations in every run: 95,000 here, on a log in memory, and the rest in
`test_billing_law_at_once.py`, by two processes on a real one.
"""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from adapters.manual import MANUAL
from adapters.stripe.client import STRIPE
from api.commands.unit import Unit
from domain import chosen_rules, ledger, payment, pricing
from domain.chat_events import MessageFailed, ReceiptReceived, ReplyRequested
from domain.chosen_rules import DEFAULT_PRICING
from domain.event import Event
from domain.ledger import Charged, Credits, InsufficientCredits
from domain.payment import PaymentAnswer, PaymentRefused, PaymentTaken, PaymentUnsettled
from domain.purchase import CreditsPurchased, ProviderTerms, PurchaseRequested
from domain.rate_card import ANY, Rate, RateCard
from domain.recount import Recount
from domain.rules import RULES
from tests.api.billing_audit import Audit
from tests.api.billing_world import LEDGER, WABA, World

LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"
# Of each machine; an answer among several at once is one.
OPERATIONS = 100_000 if LONG else 19_000
CARD = RateCard(
    name="law/1",
    rates=(
        Rate(country=ANY, category=ANY, micro_usd=300_000),
        Rate(country="JP", category="marketing", micro_usd=700_001),
    ),
)
FREE = 3  # Of a month, so that it is used up now and then.
CATEGORIES = st.sampled_from([None, None, "marketing", "utility", "service"])
CHATS = st.sampled_from(["c0", "c1", "c2"])
FATES = st.sampled_from(["accepted", "refused", "refused", "uncertain", "discarded", "late"])
# What looks at everything that ever happened is asked for so seldom.
STEPS_BETWEEN_RECOUNTS = 10


@pytest.fixture(autouse=True, scope="module")
def small_allowance() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing, "FREE_PER_MONTH", FREE)
        yield


class Happenings(RuleBasedStateMachine):
    """What may happen to a business account."""

    operations: ClassVar[int] = 0  # Of all courses of events.
    kind_of_world: ClassVar[type[World]] = World
    pricing_rule = DEFAULT_PRICING.rule

    def __init__(self) -> None:
        super().__init__()
        self.world = self.kind_of_world()
        self.audit = Audit(LEDGER)
        self.looked_at = 0  # Events.
        self.steps = 0
        self.refusals = 0

    @initialize(credits_=st.integers(1, 3))
    def begin(self, credits_: int) -> None:
        chosen = replace(DEFAULT_PRICING, rule=self.pricing_rule, card=CARD)
        self.world.record(chosen_rules.STREAM, chosen)
        self.buy(credits_)

    @rule(chat=CHATS, category=CATEGORIES)
    def answer(self, chat: str, category: str | None) -> None:
        self._write((chat, category))

    @rule(answers=st.lists(st.tuples(CHATS, CATEGORIES), min_size=2, max_size=5))
    def answer_at_once(self, answers: list[tuple[str, str | None]]) -> None:
        self._write(*answers)

    def _write(self, *answers: tuple[str, str | None]) -> None:
        charged = len(self.world.of(Charged))
        try:
            self.world.run(*(self.world.answer(*each) for each in answers))
        except InsufficientCredits:
            self.refusals += 1
        self.did(len(answers))
        is_charged = len(self.world.of(Charged)) > charged
        assert not (is_charged and self.looked().owes_a_recharge)

    @precondition(lambda self: self.world.of(ReplyRequested))
    @rule(data=st.data(), what=FATES)
    def fate(self, data: st.DataObject, what: str) -> None:
        messages = self.world.messages()
        message_id = data.draw(st.sampled_from(sorted(messages)))
        self.world.fate(messages[message_id], message_id, what)
        self.did()

    @rule(chat=CHATS)
    def hear(self, chat: str) -> None:
        self.world.hears(chat)
        self.did()

    @rule(chat=CHATS, minutes=st.sampled_from([-4, 0, 0, 0, 1, 60, 1439, 1440, 4319]))
    def come_by_an_ad(self, chat: str, minutes: int) -> None:
        """Wire 1.12; told so many minutes late, or by a clock that is ahead."""
        self.world.hears(chat, late=timedelta(minutes=minutes), referred=True)
        self.did()

    @rule(chat=CHATS, category=CATEGORIES)
    def answer_an_ad_in_vain(self, chat: str, category: str | None) -> None:
        """Wire 1.12: what the platform refuses opens nothing."""
        self.come_by_an_ad(chat, 0)
        known = self.world.messages().keys()
        self._write((chat, category))
        for message_id in self.world.messages().keys() - known:
            self.world.fate(chat, message_id, "refused")
            self.did()

    @rule(minutes=st.sampled_from([0, 1, 60, 719, 1439, 1440, 1441, 3000, 4319, 4320]))
    def wait(self, minutes: int) -> None:
        self.world.now += timedelta(minutes=minutes)
        self.did()

    @rule()
    def wait_for_the_end_of_a_month(self) -> None:
        now = self.world.now
        first = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
        self.world.now = first - timedelta(microseconds=1)
        self.did()

    @rule(credits_=st.integers(1, 2))
    def buy(self, credits_: int) -> None:
        self.ask_for(credits_, MANUAL)

    def ask_for(self, credits_: int, provider: ProviderTerms) -> None:
        bought = ledger.request_purchase(
            self.world.ledger,
            purchase_id=next(self.world.ids),
            credits_bought=credits_,
            provider=provider,
            **self.when(),
        )
        self.record(bought)

    @rule(micro_usd=st.sampled_from([-2_000_000, -300_000, -1, 1, 299_999, 700_001]))
    def correct(self, micro_usd: int) -> None:
        said = {"reason": "Goodwill", "user_id": None, **self.when()}
        try:
            self.record(ledger.adjust(self.world.ledger, micro_usd=micro_usd, **said))
        except InsufficientCredits:
            assert self.world.ledger.balance + micro_usd < 0

    @rule(threshold=st.integers(0, 2), credits_=st.integers(1, 3), enabled=st.booleans())
    def configure(self, threshold: int, credits_: int, enabled: bool) -> None:
        wanted = ledger.AutoRecharge(enabled=enabled, threshold_credits=threshold, credits=credits_)
        configured = ledger.configure_auto_recharge(
            self.world.ledger, wanted, service="crm", user_id="ada"
        )
        self.record(configured)

    def when(self) -> dict[str, Any]:
        return {"at": self.world.now, "month": f"{self.world.now:%Y-%m}"}

    def record(self, events: list[Event]) -> None:
        """Write to the ledger what was decided on it; that is one operation."""
        self.world.record(LEDGER, *events)
        self.did()

    def did(self, count: int = 1) -> None:
        type(self).operations += count
        self.steps += 1

    # Laws.

    def looked(self) -> Audit:
        """The audit of all that has happened."""
        self.audit.look(self.world.log[self.looked_at :])
        self.looked_at = len(self.world.log)
        return self.audit

    @invariant()
    def no_event_breaks_a_law_and_the_ledger_says_what_they_add_up_to(self) -> None:
        """L1, L3–L5, I4; the audit counts by itself."""
        audit, present = self.looked(), self.world.ledger
        assert {side: audit.sides[side] for side in present.sides} == present.sides
        assert sum(present.sides.values()) == 0
        assert present.balance >= 0

    @invariant()
    def now_and_then_everything_is_recounted(self) -> None:
        if self.steps % STEPS_BETWEEN_RECOUNTS == 0:
            self.recount()

    def teardown(self) -> None:
        self.recount()

    def recount(self) -> None:
        """What follows from the log, from its first event, is what is at hand."""
        events = [each.event for each in self.world.log if each.stream == LEDGER]
        assert reduce(ledger.evolve, events, Credits()) == self.world.ledger


class ThroughAProvider(Happenings):
    """Purchases that a provider settles: late, twice, by answer and webhook, or never (L5)."""

    def __init__(self) -> None:
        super().__init__()
        self.world.billing.provider = STRIPE
        self.taken: set[str] = set()  # What the provider has the money for.

    @rule(credits_=st.integers(1, 2))
    def buy(self, credits_: int) -> None:
        self.ask_for(credits_, STRIPE if self.world.of(CreditsPurchased) else MANUAL)

    @precondition(lambda self: self.world.of(PurchaseRequested))
    @rule(data=st.data(), answer=st.sampled_from(["taken", "declined", "lost", "given up"]))
    def answer_or_webhook(self, data: st.DataObject, answer: str) -> None:
        """Of any purchase ever, again and again; what was taken stays taken."""
        requests = {each.purchase_id: each for each in self.world.of(PurchaseRequested)}
        purchase_id = data.draw(st.sampled_from(sorted(requests)))
        answers: dict[str, PaymentAnswer] = {
            "taken": PaymentTaken(micro_usd=requests[purchase_id].micro_usd),
            "declined": PaymentRefused(reason="declined", may_ask_anew=True),
            "lost": PaymentUnsettled(reason="lost"),
            "given up": PaymentRefused(reason="given_up"),
        }
        purchases = self.world.ledger.purchases
        waiting = purchases.waiting.get(purchase_id)
        if purchases.payable(purchase_id) and answer == "taken":
            self.taken.add(purchase_id)
        tries = waiting.tries if waiting else 0
        self.record(
            payment.record_answer(
                self.world.ledger, purchase_id, answers[answer], tries=tries, **self.when()
            )
        )

    @precondition(lambda self: self.world.ledger.purchases.failed_recharge)
    @rule()
    def ask_anew(self) -> None:
        failed = self.world.ledger.purchases.failed_recharge
        assert failed is not None
        self.record(
            payment.recharge_anew(
                self.world.ledger,
                failed.purchase_id,
                purchase_id=next(self.world.ids),
                provider=STRIPE,
                **self.when(),
            )
        )

    def recount(self) -> None:
        super().recount()
        booked = {each.purchase_id for each in self.world.of(CreditsPurchased)}
        by_hand = {
            each.purchase_id
            for each in self.world.of(CreditsPurchased)
            if each.provider == MANUAL.name
        }
        assert booked - by_hand == self.taken


class UnderOneRule(Happenings):
    """A replay under the rule that held gives the bill again (L6)."""

    def recount(self) -> None:
        super().recount()
        counted = Recount(self.pricing_rule, CARD, UTC)
        prices = {each.message_id: counted.price(each) for each in self.world.billable()}
        charged = {name: each.micro_usd for name, each in prices.items() if each.price}
        assert charged == self.looked().net()


class ByConversation(UnderOneRule):
    """Under `conversation/1`, beside a naive account of the same course of events."""

    def recount(self) -> None:
        super().recount()
        assert naive_charges(self.world) == self.looked().net()


class ByTemplate(UnderOneRule):
    """Each template has its price."""

    pricing_rule = "per-message/2025-07"


class ByMessage(UnderOneRule):
    """Each message has its price, behind the free ones."""

    pricing_rule = "service-message/2026-10"


class ByAnyRule(Happenings):
    """With rules that change in the middle of it."""

    @rule(name=st.sampled_from(sorted(RULES["pricing"])), own=st.booleans())
    def choose(self, name: str, own: bool) -> None:
        chosen = replace(
            DEFAULT_PRICING,
            rule=name,
            card=CARD,
            effective_from=self.world.now,
            business_account=WABA if own else None,
        )
        self.world.record(chosen_rules.STREAM, chosen)
        self.did()


def naive_charges(world: World) -> dict[str, int]:
    """L1, L2, L4 word by word, without a thought for speed: walk through all that happened."""
    net: dict[str, int] = {}
    free: dict[str, str] = {}
    used: Counter[str] = Counter()
    current: dict[str, tuple[str, datetime]] = {}
    members: dict[str, dict[str, str]] = {}  # Of a conversation: each message's fate.
    country = {"chat:c0": "JP", "chat:c1": "US", "chat:c2": None}
    for each in world.log:
        event = each.event
        match event:
            case ReplyRequested():
                name, began = current.get(each.stream, ("", None))
                if began is None or event.at >= began + timedelta(hours=24):
                    name = event.message_id
                    current[each.stream] = (name, event.at)
                    members[name] = {}
                    category, month = event.category or "service", f"{event.at:%Y-%m}"
                    is_dear = (category, country[each.stream]) == ("marketing", "JP")
                    net[name] = 700_001 if is_dear else 300_000
                    if category == "service" and used[month] < FREE:
                        used[month] += 1
                        net[name], free[name] = 0, month
                members[name][event.message_id] = "open"
            case MessageFailed() | ReceiptReceived():
                failed = event.message_id or ""
                for name, fates in members.items():
                    if fates.get(failed) != "open":
                        continue
                    kept = getattr(event, "reason", "") == "discarded"
                    fates[failed] = "kept" if kept else "refused"
                    if set(fates.values()) == {"refused"}:
                        net[name] = 0
                        used[free.pop(name, "")] -= 1
                        if current.get(each.stream, ("",))[0] == name:
                            del current[each.stream]
    return net


MACHINES = (ByConversation, ByTemplate, ByMessage, ByAnyRule, ThroughAProvider)
STEPS = 50


@pytest.mark.parametrize("machine", MACHINES, ids=lambda each: each.__name__)
def test_the_laws_hold_for_any_course_of_events(machine: type[Happenings]) -> None:
    machine.operations = 0
    courses = settings(max_examples=OPERATIONS // STEPS, stateful_step_count=STEPS, deadline=None)
    run_state_machine_as_test(machine, settings=courses)
    assert machine.operations >= OPERATIONS


class Careless(World):
    """A log that takes what was decided on states that are no more."""

    def commit(self, unit: Unit) -> bool:
        for new in unit.events:
            self.record(new.stream, new.event)
        return True


class InACarelessWorld(ByConversation):
    """Where many spend what one has."""

    kind_of_world = Careless


def test_control_the_laws_need_a_log_that_looks_at_versions() -> None:
    courses = settings(
        max_examples=200, phases=[Phase.generate], report_multiple_bugs=False, database=None
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(InACarelessWorld, settings=courses)
