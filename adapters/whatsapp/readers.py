"""Reads single values of a webhook. None of these functions raises, whatever the value is."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.inbound import Address, Person

# A platform's ids are shorter by far; a database index takes no key of more than 2,700 bytes.
IDENTIFIER_LENGTH_MAX = 512

ERROR_CODE_LENGTH_MAX = 9  # Meta's have up to seven digits.

# Seconds since 1970. WhatsApp began in 2009, so an earlier time is a fault, and so is one that
# leaves no room for adding days to it, or that was given in milliseconds.
TIMESTAMP_MIN = 1_230_768_000  # 2009-01-01
TIMESTAMP_MAX = 4_102_444_800  # 2100-01-01

NOBODY = Person(addresses=())

_TIMESTAMP_TYPES = (str, int, float)

_canonical = msgspec.json.Encoder(order="sorted")


def text(value: Any) -> str | None:
    """A string as it can be kept in a database, which takes no NUL."""
    if not isinstance(value, str):
        return None
    return value.replace("\0", "\ufffd") if "\0" in value else value


def identifier(value: Any) -> str | None:
    """An id, which may be written as a number. What is empty or far too long is none."""
    if isinstance(value, str):
        return text(value) if 0 < len(value) <= IDENTIFIER_LENGTH_MAX else None
    if isinstance(value, int) and not isinstance(value, bool):
        return identifier(str(value))
    return None


def moment(value: Any) -> datetime | None:
    """A time in seconds since 1970, which Meta writes as a string or as an integer."""
    try:
        seconds = float(value) if isinstance(value, _TIMESTAMP_TYPES) else 0.0
    except (ValueError, OverflowError):
        return None
    if TIMESTAMP_MIN <= seconds < TIMESTAMP_MAX:
        return datetime.fromtimestamp(seconds, UTC)
    return None


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of what should be a list of objects."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def first_error(value: Any) -> dict[str, Any] | None:
    """The first of an `errors` array."""
    return next(iter(objects(value)), None)


def error_code(error: dict[str, Any] | None) -> int | None:
    """The number of an error."""
    code = identifier(error.get("code")) if error else None
    if code is None or len(code) > ERROR_CODE_LENGTH_MAX or not code.isascii():
        return None
    return int(code) if code.isdigit() else None


def digest(*parts: Any) -> str:
    """A name for what has no id of its own: the same for the same content, however batched."""
    return hashlib.sha256(_canonical.encode(parts)).hexdigest()


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
