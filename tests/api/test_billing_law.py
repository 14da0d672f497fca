"""Laws of the ledger, for any course of events (L1–L5; invariant I4)."""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec.structs import replace

from adapters.manual import MANUAL
from adapters.stripe.client import STRIPE
from domain import chosen_rules, ledger, payment, pricing
from domain.chat import ReplyRequested
from domain.chosen_rules import DEFAULT_PRICING
from domain.conversation import ConversationStarted
from domain.event import Event
from domain.ledger import Charged, ChargeRefunded, Credits, InsufficientCredits
from domain.payment import PaymentAnswer, PaymentRefused, PaymentTaken, PaymentUnsettled
from domain.purchase import CreditsPurchased, PurchaseRequested
from domain.rate_card import ANY, Rate, RateCard
from domain.recount import Recount
from domain.rules import RULES
from tests.api.billing_world import LEDGER, WABA, World

LONG = os.environ.get("TRUNKLINE_TEST_PROFILE") == "long"
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


@pytest.fixture(autouse=True, scope="module")
def small_allowance():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing, "FREE_PER_MONTH", FREE)
        yield


class Happenings(RuleBasedStateMachine):
    """What may happen to a business account."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.refusals = 0

    pricing_rule = DEFAULT_PRICING.rule

    @initialize(credits_=st.integers(1, 3))
    def begin(self, credits_: int) -> None:
        chosen = replace(DEFAULT_PRICING, rule=self.pricing_rule, card=CARD)
        self.world.record(chosen_rules.STREAM, chosen)
        self.buy(credits_)

    @rule(chat=CHATS, category=CATEGORIES)
    def answer(self, chat: str, category: str | None) -> None:
        self._write((chat, category))

    @rule(
        answers=st.lists(st.tuples(CHATS, CATEGORIES), min_size=2, max_size=5),
    )
    def answer_at_once(self, answers: list[tuple[str, str | None]]) -> None:
        self._write(*answers)

    def _write(self, *answers: tuple[str, str | None]) -> None:
        try:
            self.world.run(*(self.world.answer(*each) for each in answers))
        except InsufficientCredits:
            self.refusals += 1

    @precondition(lambda self: self.world.messages())
    @rule(data=st.data(), what=FATES)
    def fate(self, data: st.DataObject, what: str) -> None:
        messages = self.world.messages()
        message_id = data.draw(st.sampled_from(sorted(messages)))
        self.world.fate(messages[message_id], message_id, what)

    @rule(chat=CHATS)
    def hear(self, chat: str) -> None:
        self.world.hears(chat)

    @rule(minutes=st.sampled_from([0, 1, 60, 719, 1439, 1440, 1441, 3000]))
    def wait(self, minutes: int) -> None:
        self.world.now += timedelta(minutes=minutes)

    @rule()
    def wait_for_the_end_of_a_month(self) -> None:
        now = self.world.now
        first = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
        self.world.now = first - timedelta(microseconds=1)

    @rule(credits_=st.integers(1, 2))
    def buy(self, credits_: int) -> None:
        bought = ledger.request_purchase(
            self.world.ledger,
            purchase_id=next(self.world.ids),
            credits_bought=credits_,
            provider=MANUAL,
            at=self.world.now,
            month=f"{self.world.now:%Y-%m}",
        )
        self.world.record(LEDGER, *bought)

    @rule(threshold=st.integers(0, 2), credits_=st.integers(1, 3), enabled=st.booleans())
    def configure(self, threshold: int, credits_: int, enabled: bool) -> None:
        wanted = ledger.AutoRecharge(enabled=enabled, threshold_credits=threshold, credits=credits_)
        configured = ledger.configure_auto_recharge(
            self.world.ledger, wanted, service="crm", user_id="ada"
        )
        self.world.record(LEDGER, *configured)

    # Laws.

    @invariant()
    def the_sum_is_zero_and_the_balance_never_below(self) -> None:
        assert sum(self.world.ledger.sides.values()) == 0
        assert self.world.ledger.balance >= 0

    @invariant()
    def a_recount_of_the_log_is_the_ledger(self) -> None:
        recounted = Credits()
        for each in self.world.log:
            if each.stream == LEDGER:
                assert sum(amount for _, amount in ledger.postings(each.event)) == 0
                recounted = ledger.evolve(recounted, each.event)
                assert recounted.balance >= 0
        assert recounted == self.world.ledger

    @invariant()
    def each_charge_and_each_refund_is_one(self) -> None:
        for kind in (Charged, ChargeRefunded):
            counted = Counter(each.charge_id for each in self.world.of(kind))
            assert not counted or max(counted.values()) == 1
        charged = {each.charge_id: each for each in self.world.of(Charged)}
        for refund in self.world.of(ChargeRefunded):
            assert refund.micro_usd == charged[refund.charge_id].price.micro_usd

    @invariant()
    def a_rule_on_the_recorded_inputs_gives_the_recorded_price(self) -> None:
        for charged in self.world.of(Charged):
            assert RULES["pricing"][charged.rule](charged.inputs) == charged.price

    @invariant()
    def no_message_is_in_two_conversations_and_each_within_its_24_hours(self) -> None:
        started = {each.conversation_id: each for each in self.world.of(ConversationStarted)}
        assert len(started) == len(self.world.of(ConversationStarted))
        for message in self.world.of(ReplyRequested):
            begun = started[message.conversation]
            assert begun.at <= message.at < begun.at + timedelta(hours=24)

    @invariant()
    def one_recharge_for_each_crossing(self) -> None:
        """L5: between two recharges the balance was above the threshold."""
        state, recharged = Credits(), False
        for each in self.world.log:
            if each.stream != LEDGER:
                continue
            state = ledger.evolve(state, each.event)
            configured = state.auto_recharge
            if getattr(each.event, "recharge", False):
                assert not recharged
                recharged = True
            if configured is None or state.balance > configured.threshold_micro_usd:
                recharged = False


class ThroughAProvider(Happenings):
    """Purchases that a provider settles: late, twice, by answer and webhook, or never (L5)."""

    def __init__(self) -> None:
        super().__init__()
        self.world.billing.provider = STRIPE
        self.taken: set[str] = set()  # What the provider has the money for.

    def buy(self, credits_: int) -> None:
        self._ask(
            ledger.request_purchase(
                self.world.ledger,
                purchase_id=next(self.world.ids),
                credits_bought=credits_,
                provider=STRIPE if self.world.of(CreditsPurchased) else MANUAL,
                at=self.world.now,
                month=f"{self.world.now:%Y-%m}",
            )
        )

    buy_more = rule(credits_=st.integers(1, 2))(buy)

    def _ask(self, events: list[Event]) -> None:
        self.world.record(LEDGER, *events)

    @precondition(lambda self: self.world.of(PurchaseRequested))
    @rule(data=st.data(), answer=st.sampled_from(["taken", "declined", "lost", "given up"]))
    def answer_or_webhook(self, data: st.DataObject, answer: str) -> None:
        """Of any purchase ever, again and again; what was taken stays taken."""
        requests = {each.purchase_id: each for each in self.world.of(PurchaseRequested)}
        purchase_id = data.draw(st.sampled_from(sorted(requests)))
        micro_usd = requests[purchase_id].micro_usd
        said: PaymentAnswer = {
            "taken": PaymentTaken(micro_usd=micro_usd),
            "declined": PaymentRefused(reason="declined", may_ask_anew=True),
            "lost": PaymentUnsettled(reason="lost"),
            "given up": PaymentRefused(reason="given_up"),
        }[answer]
        waiting = self.world.ledger.purchases.waiting.get(purchase_id)
        if self.world.ledger.purchases.payable(purchase_id) and answer == "taken":
            self.taken.add(purchase_id)
        self._ask(
            payment.record_answer(
                self.world.ledger,
                purchase_id,
                said,
                at=self.world.now,
                month=f"{self.world.now:%Y-%m}",
                tries=waiting.tries if waiting else 0,
            )
        )

    @rule()
    def ask_anew(self) -> None:
        failed = self.world.ledger.purchases.failed_recharge
        if failed is not None:
            self._ask(
                payment.recharge_anew(
                    self.world.ledger,
                    failed.purchase_id,
                    purchase_id=next(self.world.ids),
                    provider=STRIPE,
                    at=self.world.now,
                    month=f"{self.world.now:%Y-%m}",
                )
            )

    @invariant()
    def what_was_taken_is_booked_once_and_nothing_else(self) -> None:
        booked = Counter(
            each.purchase_id
            for each in self.world.of(CreditsPurchased)
            if each.provider == "stripe"
        )
        assert booked == dict.fromkeys(self.taken, 1)

    @invariant()
    def one_recharge_for_each_crossing(self) -> None:
        """L5: at most one is asked for at a time, and four times where all are refused."""
        state, asked = Credits(), 0
        for each in self.world.log:
            if each.stream != LEDGER:
                continue
            if isinstance(each.event, PurchaseRequested) and each.event.recharge:
                failed = state.purchases.failed_recharge
                assert asked == 0 or (failed is not None and failed.retry_at is not None)
                asked += 1
                assert asked <= 4
            state = ledger.evolve(state, each.event)
            configured = state.auto_recharge
            if configured is None or state.balance > configured.threshold_micro_usd:
                asked = 0


class UnderOneRule(Happenings):
    """A replay under the rule that held gives the bill again (L6)."""

    @invariant()
    def the_same_rule_again_gives_the_same_cents(self) -> None:
        recount = Recount(self.pricing_rule, CARD, UTC)
        prices = {each.message_id: recount.price(each) for each in self.world.billable()}
        charged = {name: each.micro_usd for name, each in prices.items() if each.price}
        assert charged == self.world.net_charges()


class ByConversation(UnderOneRule):
    """Under `conversation/1`, beside a naive account of the same course of events."""

    @invariant()
    def a_naive_account_says_the_same(self) -> None:
        assert naive_charges(self.world) == self.world.net_charges()


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
        match type(event).__name__:
            case "ReplyRequested":
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
            case "MessageFailed" | "ReceiptReceived":
                for name, fates in members.items():
                    if fates.get(event.message_id) != "open":
                        continue
                    kept = getattr(event, "reason", "") == "discarded"
                    fates[event.message_id] = "kept" if kept else "refused"
                    if set(fates.values()) == {"refused"}:
                        net[name] = 0
                        used[free.pop(name, "")] -= 1
                        if current.get(each.stream, ("",))[0] == name:
                            del current[each.stream]
    return net


# Five machines: in the long profile 100,000 operations together, else as many as take 20 seconds.
BUDGET = settings(
    max_examples=225 if LONG else 90,
    stateful_step_count=100 if LONG else 50,
    deadline=None,
)
for machine in (ByConversation, ByTemplate, ByMessage, ByAnyRule, ThroughAProvider):
    machine.TestCase.settings = BUDGET
TestByConversation = ByConversation.TestCase
TestByTemplate = ByTemplate.TestCase
TestByMessage = ByMessage.TestCase
TestByAnyRule = ByAnyRule.TestCase
TestThroughAProvider = ThroughAProvider.TestCase
