"""The audit itself: it would see what it is there to see."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from domain.conversation import ConversationStarted
from domain.event import Event, Recorded
from domain.ledger import BalanceAdjusted, Charge, ChargeRefunded
from domain.pricing import Price
from domain.purchase import PurchaseRequested
from tests.api.billing_audit import Audit
from tests.domain.test_ledger import AT, WHEN, bought, charged, configured
from tests.domain.world import DAY, reply

LEDGER, CHAT = "credits:waba", "chat:c"
PAID = replace(charged(), inputs=replace(charged().inputs, used_by_business=1_000))
STARTED = ConversationStarted(
    conversation_id="m",
    business_account="waba",
    platform="whatsapp",
    account_id="5277",
    at=AT,
    category="service",
    charge=Charge(business_account="waba", micro_usd=8_000),
)
ANSWER = replace(reply("m", at=AT), conversation="m")
BACK = ChargeRefunded(charge_id="m", chat_id="c", micro_usd=8_000, **WHEN)
RECHARGE = bought(recharge=True, purchase_id="r")
A_CREDIT = BalanceAdjusted(micro_usd=-2_000_000, reason="Spent elsewhere", **WHEN)
ASKED = PurchaseRequested(
    purchase_id="q", credits=1, micro_usd=2_000_000, provider="stripe", at=AT, recharge=True
)
GOOD: tuple[Event, ...] = (bought(), PAID, STARTED, ANSWER, BACK)


def look(events: Sequence[Event]) -> Audit:
    """The audit of these events, each in the stream that its kind belongs to."""
    audit = Audit(LEDGER)
    for position, event in enumerate(events, start=1):
        stream = LEDGER if event.stored_type.startswith("credits.") else CHAT
        audit.look([Recorded(position, stream, position, AT, event)])
    return audit


def test_a_lawful_log_passes_and_is_added_up() -> None:
    audit = look([*GOOD, configured(1, 1), ASKED])
    assert audit.balance == 2_000_000
    assert audit.net() == {"m": 0}
    assert not audit.owes_a_recharge
    assert look([bought(), configured(1, 1)]).owes_a_recharge


@pytest.mark.parametrize(
    ("law", "events"),
    [
        ("below zero", [PAID]),
        ("a charge is one", [bought(), PAID, PAID]),
        ("the same cent", [bought(), replace(PAID, price=Price("conversation", 7_999))]),
        ("the same cent", [bought(), replace(PAID, rule="per-message/2025-07")]),
        ("refunded once", [bought(), PAID, BACK, BACK]),
        ("what the fact says", [bought(), PAID, replace(BACK, micro_usd=8_001)]),
        ("what the fact says", [replace(bought(), credits=2)]),
        ("charged once", [bought(), bought()]),
        ("a charge for each paid one", [STARTED]),
        ("a charge for each paid one", [bought(), PAID, replace(STARTED, charge=None)]),
        ("started once", [bought(), PAID, STARTED, STARTED]),
        ("one conversation for each", [*GOOD, ANSWER]),
        ("within its 24 hours", [*GOOD, replace(ANSWER, message_id="n", at=AT + DAY)]),
        ("one recharge per crossing", [configured(9, 1), RECHARGE, ASKED]),
        ("one recharge per crossing", [bought(2), configured(0, 1), ASKED, A_CREDIT, ASKED]),
    ],
)
def test_a_log_that_breaks_a_law_is_seen(law: str, events: list[Event]) -> None:
    with pytest.raises(AssertionError, match=law):
        look(events)
