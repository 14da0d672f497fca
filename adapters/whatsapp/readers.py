"""Reads what only WhatsApp's webhooks have: errors, telephone numbers, `contacts`."""

from typing import Any

from adapters.readers import identifier, objects, text
from domain.inbound import Address, Person

NOBODY = Person(addresses=())


def first_error(value: Any) -> dict[str, Any] | None:
    """The first of an `errors` array."""
    return next(iter(objects(value)), None)


def phone_number(value: Any) -> str | None:
    """The digits of a telephone number, as addresses hold them."""
    written = identifier(value)
    if written is None:
        return None
    digits = written.removeprefix("+")
    return digits if digits.isascii() and digits.isdigit() else None


def contacts_by_id(value: Any) -> dict[str, dict[str, Any]]:
    """The `contacts` array by telephone number and by user id; its order means nothing."""
    found: dict[str, dict[str, Any]] = {}
    for contact in objects(value):
        for key in (phone_number(contact.get("wa_id")), identifier(contact.get("user_id"))):
            if key is not None:
                found.setdefault(key, contact)
    return found


def person(
    *,
    phone: Any,
    user_id: Any,
    business_account_id: str | None,
    contacts: dict[str, dict[str, Any]],
) -> Person:
    """Somebody with all addresses that a webhook gives, the telephone number first (P5).

    `wa_id` may differ from the number a message came from: both are theirs.
    """
    number, user = phone_number(phone), identifier(user_id)
    contact = contacts.get(user or "") or contacts.get(number or "") or {}
    numbers = (number, phone_number(contact.get("wa_id")))
    found = [Address("phone", each) for each in dict.fromkeys(numbers) if each is not None]
    user = user or identifier(contact.get("user_id"))
    if user is not None and business_account_id is not None:
        found.append(Address(f"bsuid:{business_account_id}", user))
    return Person(addresses=tuple(found), name=_name(contact.get("profile")))


def _name(profile: Any) -> str | None:
    if not isinstance(profile, dict):
        return None
    return text(profile.get("name")) or text(profile.get("username")) or None
