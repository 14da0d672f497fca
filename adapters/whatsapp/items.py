"""One message, echo, status or preference of a webhook as an occurrence."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from adapters.meta_errors import error_code
from adapters.readers import identifier, part, text
from adapters.whatsapp.content import FILES, describe, quoted
from adapters.whatsapp.errors import condition_of, reason_of
from adapters.whatsapp.readers import NOBODY, first_error, phone_number
from adapters.whatsapp.source import Source
from domain.inbound import (
    Address,
    AddressesChanged,
    AnyOccurrence,
    Content,
    MessageChanged,
    MessageOccurred,
    Person,
    PreferenceChanged,
    ReceiptOccurred,
)

Item = dict[str, Any]
Reader = Callable[[Source, Item], AnyOccurrence]

# The name of a change, the message it is about, and what that now says; None: not understood.
Change = tuple[str, str, Content | None] | None

# Types of messages that say something of another one.
CHANGES = ("reaction", "edit", "revoke")

STATUSES = frozenset({"sent", "delivered", "read", "played", "failed"})

# What of a status has a place of its own in `ReceiptOccurred`; all else goes into its detail.
STATUS_FIELDS = frozenset({"id", "status", "timestamp", "biz_opaque_callback_data"})

# `customer_changed_number` is the older name of `user_changed_number`.
ADDRESS_CHANGES: Mapping[str, str] = {
    "user_changed_number": "contact.number_changed",
    "customer_changed_number": "contact.number_changed",
    "user_changed_user_id": "contact.bsuid_changed",
}


def read_message(source: Source, item: Item) -> AnyOccurrence:
    """One of `messages`."""
    if item.get("type") == "system":
        return _read_system(source, item)
    sender = source.person(item.get("from"), item.get("from_user_id"))
    return _read_message(source, item, customer=sender, echo=False)


def read_echo(source: Source, item: Item) -> AnyOccurrence:
    """One of `message_echoes`: what the business wrote in another of its programs."""
    recipient = source.person(item.get("to"), item.get("to_user_id"))
    return _read_message(source, item, customer=recipient, echo=True)


def read_status(source: Source, item: Item) -> AnyOccurrence:
    """One of `statuses`: what became of a message of ours."""
    platform_id, status = identifier(item.get("id")), identifier(item.get("status"))
    if platform_id is None or status is None or source.account_id is None:
        return source.not_understood("statuses", item)
    group, recipient, participant = _recipient(source, item)
    # What became of a payment has the same words, beside the id of the message that asked for it.
    if item.get("type") not in (None, "message"):
        return source.not_understood("statuses", item, person=recipient)
    code = error_code(first_error(item.get("errors")))
    return ReceiptOccurred(
        kind=f"status.{status}" if status in STATUSES else "status.unknown",
        account_id=source.account_id,
        business_account_id=source.business_account_id,
        at=source.at(item),
        # A group answers with one status for each of its members.
        dedupe=("status", platform_id, status, participant),
        platform_id=platform_id,
        status=status,
        person=recipient,
        group=group,
        sent_by_us=text(item.get("biz_opaque_callback_data")),
        error_code=code,
        reason=reason_of(code),
        detail=_detail(item),
        condition=condition_of(code),
    )


def read_preference(source: Source, item: Item) -> AnyOccurrence:
    """One of `user_preferences`: marketing is unwanted from now on, or wanted again."""
    customer = source.person(item.get("wa_id"), item.get("user_id"))
    wish = item.get("value")
    is_known = item.get("category") == "marketing_messages" and wish in ("stop", "resume")
    if not is_known or source.account_id is None or not customer.addresses:
        return source.not_understood("user_preferences", item, person=customer)
    return PreferenceChanged(
        kind="contact.preference",
        account_id=source.account_id,
        business_account_id=source.business_account_id,
        at=source.at(item),
        dedupe=source.dedupe("user_preferences", item),
        person=customer,
        wants_marketing=wish == "resume",
        raw=item,
    )


# The lists of a value. `errors` is read last: its meaning depends on what the others say.
READERS: Mapping[str, Reader] = {
    "messages": read_message,
    "message_echoes": read_echo,
    "statuses": read_status,
    "user_preferences": read_preference,
}


def _read_message(source: Source, item: Item, *, customer: Person, echo: bool) -> AnyOccurrence:
    list_name, prefix = ("message_echoes", "echo") if echo else ("messages", "message")
    platform_id = identifier(item.get("id"))
    if platform_id is None:
        return source.not_understood(list_name, item, person=customer)
    group = source.group(item.get("group_id"))
    # A message to a group must not end up in its member's own chat (C19).
    is_lost = group is None and item.get("group_id") is not None
    # What the business writes to a group names no member; all else needs somebody to belong to.
    is_placed = bool(customer.addresses) or (echo and group is not None)
    if source.account_id is None or is_lost or not is_placed:
        dedupe = ("message", platform_id)
        return source.not_understood(list_name, item, person=customer, dedupe=dedupe)
    change = _change(item, platform_id)
    if change is not None:
        name, target, changed = change
        return MessageChanged(
            kind=f"{prefix}.{name}",
            account_id=source.account_id,
            business_account_id=source.business_account_id,
            at=source.at(item),
            dedupe=("message", platform_id),
            target=target,
            person=customer,
            content=changed,
            group=group,
            echo=echo,
        )
    name, content = describe(item, platform_id=platform_id, raw=item, error_beside=source.error)
    return MessageOccurred(
        kind=f"{prefix}.{name}",
        account_id=source.account_id,
        business_account_id=source.business_account_id,
        at=source.at(item),
        dedupe=("message", platform_id),
        platform_id=platform_id,
        person=customer,
        content=content,
        group=group,
        quotes=quoted(item),
        echo=echo,
        sent_by_us=text(item.get("biz_opaque_callback_data")),
        # An ad, or a button on a Page: what it shows stays in the raw message.
        referred=isinstance(item.get("referral"), dict) and not echo,
    )


def _change(item: Item, platform_id: str) -> Change:
    """What a message says of another one, if that is all it does."""
    if item.get("type") not in CHANGES:
        return None
    match item:
        case {"type": "reaction", "reaction": {"message_id": target, **reaction}}:
            return _reaction(item, platform_id, identifier(target), reaction.get("emoji"))
        case {"type": "edit", "edit": {"original_message_id": target, "message": dict(message)}}:
            return _edit(item, platform_id, identifier(target), message)
        case {"type": "revoke", "revoke": {"original_message_id": target}}:
            original = identifier(target)
            return None if original is None else ("deleted", original, None)
        case _:
            return None


def _reaction(item: Item, platform_id: str, target: str | None, emoji: Any) -> Change:
    """A reaction is taken back by leaving the emoji out, or (until 2025) by an empty one."""
    if target is None or not isinstance(emoji, str | None):
        return None
    content = Content(text=text(emoji), platform_id=platform_id, raw=item) if emoji else None
    return "reaction", target, content


def _edit(item: Item, platform_id: str, target: str | None, message: Item) -> Change:
    if target is None:
        return None
    kind, content = describe(message, platform_id=platform_id, raw=item)
    if kind == "unknown":
        # An edit may give the words beside a file alone: a file is no kind that we do not know.
        raw_type = None if message.get("type") in FILES else content.raw_type
        content = replace(content, text=_caption(message), raw_type=raw_type)
    return "edited", target, content


def _caption(message: Item) -> str | None:
    """The words beside a file, which an edit may give without the file."""
    return text(part(message, text(message.get("type")) or "").get("caption"))


def _read_system(source: Source, item: Item) -> AnyOccurrence:
    """A person's address changed. These messages have no `contacts`, and often no `from`."""
    platform_id = identifier(item.get("id"))
    system = item.get("system")
    if platform_id is None or not isinstance(system, dict):
        return source.not_understood("messages", item)
    change = system.get("type")
    kind = ADDRESS_CHANGES.get(change) if isinstance(change, str) else None
    before = (*_phone(item.get("from")), *source.bsuid(system.get("previous_user_id")))
    after = (
        *_phone(system.get("wa_id") or system.get("new_wa_id")),
        *source.bsuid(system.get("user_id")),
        *source.bsuid(item.get("from_user_id")),
    )
    added = tuple(each for each in dict.fromkeys(after) if each not in before)
    dedupe = ("message", platform_id)
    if kind is None or not added or source.account_id is None:
        known = Person(addresses=(*before, *added))
        return source.not_understood("messages", item, person=known, dedupe=dedupe)
    return AddressesChanged(
        kind=kind,
        account_id=source.account_id,
        business_account_id=source.business_account_id,
        at=source.at(item),
        dedupe=dedupe,
        person=Person(addresses=before),
        added=added,
        raw=item,
    )


def _phone(value: Any) -> tuple[Address, ...]:
    number = phone_number(value)
    return () if number is None else (Address("phone", number),)


def _recipient(source: Source, item: Item) -> tuple[Address | None, Person, str]:
    """The group if there is one, the person, and the name of the person for deduplication."""
    if item.get("recipient_type") != "group":
        recipient = source.person(item.get("recipient_id"), item.get("recipient_user_id"))
        return None, recipient, ""
    phone = item.get("recipient_participant_id")
    user_id = item.get("recipient_participant_user_id")
    participant = identifier(phone) or identifier(user_id) or ""
    member = source.person(phone, user_id) if participant else NOBODY
    return source.group(item.get("recipient_id")), member, participant


def _detail(item: Item) -> Item | None:
    """Pricing, conversation, errors and what may come; the addresses stand in the person."""
    detail = {
        name: value
        for name, value in item.items()
        if name not in STATUS_FIELDS and not name.startswith("recipient_")
    }
    return detail or None
