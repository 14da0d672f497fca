"""A contact: a set of addresses, a name, and one chat on each account (P5, C10, C19)."""

from datetime import datetime

import pytest

from domain.contact import (
    AddressAdded,
    AddressRemoved,
    Contact,
    ContactChatStarted,
    ContactCreated,
    ContactNamed,
    FollowChanged,
    MarketingLimited,
    MarketingPreferenceChanged,
    note_limited_marketing,
    note_refused_marketing,
    stream_of,
)
from domain.event import Event, Sealed
from tests.domain.world import HOUR, NOON
from tests.scenario import fold, given

SEALED = Sealed("contact:kim", bytes(16), b"personal")
CREATED = ContactCreated(contact_id="kim")
PHONE = AddressAdded(kind="phone", key=b"81-90", address=SEALED)
USER_ID = AddressAdded(kind="bsuid:waba", key=b"JP.1", address=SEALED)


def test_the_stream_is_named_after_the_contact() -> None:
    assert stream_of("kim") == "contact:kim"


def test_p5_a_contact_is_found_by_every_address_that_was_added_and_not_removed() -> None:
    both = fold(Contact, CREATED, PHONE, USER_ID)
    assert both == Contact(contact_id="kim", addresses={b"81-90": "phone", b"JP.1": "bsuid:waba"})
    assert fold(Contact, CREATED, PHONE, USER_ID, AddressRemoved(key=b"81-90")) == Contact(
        contact_id="kim", addresses={b"JP.1": "bsuid:waba"}
    )


def test_an_address_that_was_never_there_can_be_removed() -> None:
    assert fold(Contact, CREATED, AddressRemoved(key=b"81-90")) == fold(Contact, CREATED)


def test_an_address_comes_back() -> None:
    assert fold(Contact, CREATED, PHONE, AddressRemoved(key=b"81-90"), PHONE).addresses == {
        b"81-90": "phone"
    }


def test_the_latest_name_holds() -> None:
    first = ContactNamed(key=b"Kim", profile=SEALED)
    second = ContactNamed(key=b"Kim Lee", profile=SEALED)
    assert fold(Contact, CREATED, first, second).name_key == b"Kim Lee"


def test_a_contact_has_one_chat_on_each_account() -> None:
    assert fold(
        Contact,
        CREATED,
        ContactChatStarted(account="whatsapp:1055", chat_id="one"),
        ContactChatStarted(account="whatsapp:2066", chat_id="two"),
    ).chats == {"whatsapp:1055": "one", "whatsapp:2066": "two"}


def test_c19_a_group_is_a_contact_of_its_own() -> None:
    assert fold(Contact, ContactCreated(contact_id="choir", group=True)) == Contact(
        contact_id="choir", group=True
    )


@pytest.mark.parametrize(
    "event",
    [FollowChanged(account="line:U1", follows=False, at=NOON, details=SEALED)],
)
def test_what_decisions_do_not_look_at_changes_nothing(event: Event) -> None:
    assert fold(Contact, CREATED, event) == fold(Contact, CREATED)


# N5: marketing.

SHOP, OTHER = "whatsapp:1055", "whatsapp:2066"


def wish(wants: bool, at: datetime) -> MarketingPreferenceChanged:
    return MarketingPreferenceChanged(account=SHOP, wants_marketing=wants, at=at)


NO, YES = wish(False, NOON), wish(True, NOON + HOUR)


@pytest.mark.parametrize(
    ("events", "takes"),
    [
        ((), True),
        ((NO,), False),
        ((NO, YES), True),
        ((YES, NO), True),  # What was said first was heard last.
        ((NO, YES, wish(False, NOON + 2 * HOUR)), False),
    ],
)
def test_n5_what_the_customer_said_last_holds(events: tuple[Event, ...], takes: bool) -> None:
    contact = fold(Contact, CREATED, *events)
    assert contact.takes_marketing(SHOP) is takes
    assert contact.takes_marketing(OTHER)


def test_n5_who_had_enough_marketing_gets_none_for_a_day_from_the_last_time() -> None:
    limited = MarketingLimited(account=SHOP, at=NOON)
    refused = {"account": SHOP, "at": NOON}
    given(CREATED).when(note_limited_marketing, **refused).then(limited).when(
        note_limited_marketing, **refused
    ).then_nothing()
    later = MarketingLimited(account=SHOP, at=NOON + HOUR)
    contact = fold(Contact, CREATED, later, limited)  # What was said first was heard last.
    assert contact.marketing_paused_until(SHOP) == NOON + 25 * HOUR
    assert contact.marketing_paused_until(OTHER) is None
    assert contact.takes_marketing(SHOP)


def test_n5_who_is_refused_for_it_is_recorded_as_opted_out_once() -> None:
    refused = {"account": SHOP, "at": NOON}
    given(CREATED).when(note_refused_marketing, **refused).then(NO).when(
        note_refused_marketing, **refused
    ).then_nothing()
