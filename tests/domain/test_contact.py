"""A contact: a set of addresses, a name, and one chat on each account (P5, C10, C19)."""

import pytest

from domain.contact import (
    AddressAdded,
    AddressRemoved,
    Contact,
    ContactChatStarted,
    ContactCreated,
    ContactNamed,
    MarketingPreferenceChanged,
    stream_of,
)
from domain.event import Event, Sealed
from tests.domain.world import NOON
from tests.scenario import fold

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
    [MarketingPreferenceChanged(account="whatsapp:1055", wants_marketing=False, at=NOON)],
)
def test_what_decisions_do_not_look_at_changes_nothing(event: Event) -> None:
    assert fold(Contact, CREATED, event) == fold(Contact, CREATED)
