"""Checks a log against the laws of money (L1–L5), event by event, with nothing but its own sums."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from domain import ledger
from domain.chat_events import ReplyRequested
from domain.conversation import ConversationStarted
from domain.event import Event, Recorded
from domain.ledger import (
    AutoRechargeConfigured,
    BalanceAdjusted,
    Charged,
    ChargeRefunded,
)
from domain.purchase import (
    CREDIT_MICRO_USD,
    CreditsPurchased,
    PurchaseFailed,
    PurchaseRequested,
    RechargeLapsed,
)
from domain.rules import RULES
from tests.api.entry_point_oracle import EntryPointOracle

DAY = timedelta(hours=24)
# The first, and three more where each was certainly refused.
RECHARGES_PER_CROSSING_MAX = 4


class Audit:
    """What one ledger must look like after everything that was looked at."""

    def __init__(self, stream: str) -> None:
        self._ledger = stream
        self.sides: Counter[str] = Counter()
        self.charges: dict[str, Charged] = {}
        self.refunded: set[str] = set()
        self.paid: Counter[str] = Counter()  # How often each purchase was booked.
        self.started: dict[str, ConversationStarted] = {}
        self.messages: dict[str, str] = {}  # The conversation of each.
        # By chat.
        self.entry_points: defaultdict[str, EntryPointOracle] = defaultdict(EntryPointOracle)
        self._configured: AutoRechargeConfigured | None = None
        self._recharges = 0  # Since the balance was last enough.
        self._may_be_asked_anew = False

    @property
    def balance(self) -> int:
        return self.sides["balance"]

    @property
    def is_low(self) -> bool:
        """Whether the balance is at or under the threshold. Spec L5."""
        configured = self._configured
        return (
            configured is not None
            and self.balance <= configured.threshold_credits * CREDIT_MICRO_USD
        )

    @property
    def owes_a_recharge(self) -> bool:
        """Whether credits should have been bought by themselves, and were not."""
        configured = self._configured
        is_enabled = configured is not None and configured.enabled
        return is_enabled and self.is_low and not self._recharges

    def look(self, events: Sequence[Recorded]) -> None:
        """Take up what is new. Raises AssertionError at the first event that breaks a law."""
        for recorded in events:
            if recorded.stream == self._ledger:
                self._book(recorded.event)
            else:
                self._read(recorded)

    def _book(self, event: Event) -> None:
        before = self.balance
        postings = ledger.postings(event)
        assert sum(amount for _, amount in postings) == 0, "L3: both sides of a movement"
        self.sides.update(dict(postings))
        assert sum(self.sides.values()) == 0, "L3: the sum of all accounts"
        assert self.balance - before == self._moved(event), "L3: what the fact says"
        assert self.balance >= 0, "L3: never below zero"
        self._follow_recharges(before, event)

    def _moved(self, event: Event) -> int:
        """What an event does to the balance, read from its own fields."""
        match event:
            case CreditsPurchased():
                self.paid[event.purchase_id] += 1
                assert self.paid[event.purchase_id] == 1, "L5: charged once"
                return event.credits * CREDIT_MICRO_USD
            case Charged():
                return -self._charged(event)
            case ChargeRefunded():
                return self._refunded(event)
            case BalanceAdjusted():
                return event.micro_usd
            case _:
                return 0

    def _charged(self, event: Charged) -> int:
        assert event.charge_id not in self.charges, "I4: a charge is one"
        self.charges[event.charge_id] = event
        assert RULES[event.kind][event.rule](event.inputs) == event.price, "L6: the same cent"
        return event.price.micro_usd

    def _refunded(self, event: ChargeRefunded) -> int:
        assert event.charge_id not in self.refunded, "L4: refunded once"
        self.refunded.add(event.charge_id)
        return self.charges[event.charge_id].price.micro_usd

    def _read(self, recorded: Recorded) -> None:
        oracle = self.entry_points[recorded.stream]
        match event := recorded.event:
            case ConversationStarted():
                assert event.conversation_id not in self.started, "L1: started once"
                self.started[event.conversation_id] = event
                charge = self.charges.get(event.conversation_id)
                is_charged = charge is not None and charge.price.unit == "conversation"
                assert is_charged == (event.charge is not None), "L1: a charge for each paid one"
            case ReplyRequested(conversation=str() as conversation):
                assert event.message_id not in self.messages, "L1: one conversation for each"
                self.messages[event.message_id] = conversation
                began = self.started[conversation].at
                assert began <= event.at < began + DAY, "L1: within its 24 hours"
                is_free = oracle.is_free(event.at)
                assert event.in_entry_point == is_free, "L7: in a free entry point"
                charge = self.charges.get(event.message_id)
                assert not charge or charge.inputs.in_entry_point == is_free, "L7: as it was"
        oracle.look(recorded)

    def _follow_recharges(self, before: int, event: Event) -> None:
        """L5: one for each time that the balance falls so low; again only where it was refused."""
        match event:
            case AutoRechargeConfigured():
                self._configured = event
            case PurchaseFailed(retry_at=datetime()):
                self._may_be_asked_anew = True
            case RechargeLapsed():
                self._may_be_asked_anew = False
            case PurchaseRequested(recharge=True):
                self._recharged()
            case CreditsPurchased(recharge=True) if event.provider == "manual":
                self._recharged()
        # Asked for because of a price, it waits above the threshold until the balance rises.
        is_waiting = self.balance <= before and not isinstance(event, AutoRechargeConfigured)
        if self._configured is None or not (self.is_low or is_waiting):
            self._recharges = 0

    def _recharged(self) -> None:
        assert not self._recharges or self._may_be_asked_anew, "L5: one recharge per crossing"
        self._may_be_asked_anew = False
        self._recharges += 1
        assert self._recharges <= RECHARGES_PER_CROSSING_MAX, "L5: with limits"

    def net(self) -> dict[str, int]:
        """What each charge has cost in the end."""
        return {
            charge_id: 0 if charge_id in self.refunded else each.price.micro_usd
            for charge_id, each in self.charges.items()
        }

    def moments(self) -> dict[str, datetime]:
        """When each conversation began."""
        return {name: each.at for name, each in self.started.items()}
