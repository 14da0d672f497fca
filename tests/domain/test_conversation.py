"""The billing conversation: 24 hours from the first answer, half open (L0, L1, L4)."""

import pytest
from msgspec.structs import replace

from domain.chat import Chat
from domain.chat_events import MessageFailed, ReceiptReceived
from domain.conversation import (
    Billing,
    ChargeVoided,
    Conversation,
    ConversationStarted,
    MessageCharged,
    OpenCharge,
)
from domain.event import Event
from domain.ledger import Charge
from tests.domain.world import A_BIT, CHAT_EVENTS, DAY, HOUR, NOON, reply, sent, started, wrote
from tests.scenario import fold

CHARGE = Charge(business_account="waba", micro_usd=8_000)
STARTED = ConversationStarted(
    conversation_id="m1",
    business_account="waba",
    platform="whatsapp",
    account_id="5277",
    at=NOON,
    category="service",
    charge=CHARGE,
)


def billed(message_id: str = "m1", conversation: str | None = "m1") -> Event:
    return replace(reply(message_id), conversation=conversation)


def failed(message_id: str = "m1", reason: str = "undeliverable") -> Event:
    return MessageFailed(message_id=message_id, reason=reason)


def billing(*events: Event) -> Billing:
    return fold(Chat, *CHAT_EVENTS, *events).billing


def test_l1_it_is_open_for_24_hours_and_at_exactly_the_end_it_is_not() -> None:
    found = billing(STARTED, billed())
    expected = Conversation(conversation_id="m1", ends_at=NOON + DAY, is_charged=True)
    assert found.at(NOON) == found.at(NOON + DAY - A_BIT) == expected
    assert found.at(NOON + DAY) is None


def test_l1_a_clock_that_is_a_little_behind_begins_no_second_one() -> None:
    found = billing(STARTED, billed())
    expected = Conversation(conversation_id="m1", ends_at=NOON + DAY, is_charged=True)
    assert found.at(NOON - HOUR) == expected


def test_l0_what_the_customer_writes_moves_it_by_nothing() -> None:
    found = billing(STARTED, billed(), wrote(at=NOON + 20 * HOUR))
    assert found.at(NOON + DAY) is None


def test_l4_it_is_void_once_all_its_messages_are_refused() -> None:
    story = [STARTED, billed("m1"), billed("m2")]
    assert billing(*story, failed("m1")).void == []
    assert billing(*story, failed("m1"), failed("m2")).void == ["m1"]


@pytest.mark.parametrize(
    "keeping",
    [
        [],  # Queued.
        [started("m2"), sent("m2")],
        [failed("m2", "discarded")],
    ],
)
def test_l4_one_message_keeps_it(keeping: list[Event]) -> None:
    story = [STARTED, billed("m1"), billed("m2"), failed("m1"), *keeping]
    assert billing(*story).void == []


def test_l4_a_refusal_counts_once_also_when_it_is_told_in_two_ways() -> None:
    receipt = ReceiptReceived(key=b"key", status="failed", at=NOON, message_id="m1")
    story = [STARTED, billed("m1"), billed("m2"), failed("m1"), receipt, receipt]
    assert billing(*story).charges == {"m1": OpenCharge(charge=CHARGE, messages=2, refused=1)}


def test_l4_a_receipt_refuses_what_was_accepted() -> None:
    receipt = ReceiptReceived(key=b"key", status="failed", at=NOON)
    story = [STARTED, billed("m1"), started("m1"), sent("m1", key=b"key"), receipt]
    assert billing(*story).void == ["m1"]


def test_c15_what_was_discarded_is_refused_no_more() -> None:
    receipt = ReceiptReceived(key=b"key", status="failed", at=NOON, message_id="m1")
    assert billing(STARTED, billed("m1"), failed("m1", "discarded"), receipt).void == []


def test_l4_a_void_conversation_never_was() -> None:
    story = [STARTED, billed("m1"), failed("m1"), ChargeVoided(charge_id="m1")]
    assert billing(*story) == Billing()


def test_l4_an_old_conversation_can_be_void_while_a_new_one_is_open() -> None:
    second = replace(STARTED, conversation_id="m2", at=NOON + DAY)
    story = [STARTED, billed("m1"), second, billed("m2", "m2"), failed("m1")]
    assert billing(*story).void == ["m1"]
    after = billing(*story, ChargeVoided(charge_id="m1"))
    assert after.conversation is not None
    assert (after.conversation.conversation_id, list(after.charges)) == ("m2", ["m2"])


def test_l7_a_message_with_a_price_of_its_own_is_void_alone() -> None:
    story = [
        replace(STARTED, charge=None),
        MessageCharged(message_id="m1", charge=CHARGE),
        billed("m1"),
        MessageCharged(message_id="m2", charge=CHARGE),
        billed("m2"),
        failed("m2"),
    ]
    found = billing(*story)
    assert found.void == ["m2"]
    after = billing(*story, ChargeVoided(charge_id="m2"))
    assert after.conversation == Conversation(
        conversation_id="m1", ends_at=NOON + DAY, is_charged=False
    )


def priced_each(count: int) -> list[Event]:
    """So many messages, each with a price of its own, in the queue."""
    return [
        event
        for number in range(count)
        for event in (
            MessageCharged(message_id=f"m{number}", charge=CHARGE),
            billed(f"m{number}", "m0"),
        )
    ]


def test_l4_no_charge_is_forgotten_while_one_of_its_messages_may_be_refused() -> None:
    story = [replace(STARTED, conversation_id="m0", charge=None), *priced_each(350)]
    refused = [failed(f"m{number}") for number in range(350)]
    assert billing(*story, *refused).void == [f"m{number}" for number in range(350)]


def test_l4_the_charge_of_the_open_conversation_is_not_forgotten() -> None:
    story = [STARTED, billed(), started("m1"), sent("m1"), *priced_each(350), billed("last")]
    assert billing(*story).charges["m1"] == OpenCharge(charge=CHARGE, messages=2)


def test_a_chat_remembers_a_bounded_number_of_charges() -> None:
    accepted = [
        event for number in range(500) for event in (started(f"m{number}"), sent(f"m{number}"))
    ]
    found = billing(*priced_each(500), *accepted, *priced_each(501)[-2:])
    assert (len(found.charges), list(found.charges)[-1]) == (200, "m500")
