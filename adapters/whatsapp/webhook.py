"""WhatsApp's webhook: what a call says. Bytes in, occurrences out, no I/O.

`parse` is only for bodies that `adapters.meta.verify` accepted. It raises for none of them: what
is not understood becomes `NotUnderstood`, and what stands beside it is read as if nothing had
happened.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from adapters import tolerant
from adapters.readers import digest, identifier, moment
from adapters.whatsapp.conditions import condition
from adapters.whatsapp.items import READERS, Item, Reader
from adapters.whatsapp.readers import contacts_by_id, first_error
from adapters.whatsapp.source import Source
from adapters.whatsapp.template_words import template_word
from domain.inbound import AccountNoticed, AnyOccurrence, MessageOccurred, NotUnderstood

# Fields whose values hold lists of messages, statuses and the like, each with its own account.
ITEM_FIELDS = frozenset({"messages", "smb_message_echoes", "user_preferences"})

LISTS = (*READERS, "errors")

# Fields that concern the business account. What else there is may speak of customers
# (`history`, `smb_app_state_sync`, `calls`, `group_participants_update`): it is kept as unknown,
# so that it is sealed and forgotten like everything whose person we cannot name.
ACCOUNT_KINDS: Mapping[str, str] = {
    "account_alerts": "account.alert",
    "account_review_update": "account.review",
    "account_settings_update": "account.settings",
    "account_update": "account.update",
    "business_capability_update": "account.capability",
    "business_status_update": "account.business_status",
    "business_username_update": "account.username",
    "flows": "account.flow_status",
    "message_template_components_update": "account.template_components",
    "message_template_quality_update": "account.template_quality",
    "message_template_status_update": "account.template_status",
    "partner_solutions": "account.partner_solution",
    "payment_configuration_update": "account.payment_configuration",
    "phone_number_name_update": "account.name",
    "phone_number_quality_update": "account.quality",
    "security": "account.security",
    "template_category_update": "account.template_category",
    "template_correct_category_detection": "account.template_category",
}


def parse(body: bytes) -> list[AnyOccurrence]:
    """Everything that a body tells, in its own order, before any removal of duplicates."""
    document, whole = tolerant.read(body)
    entries = document.get("entry") if isinstance(document, dict) else None
    if isinstance(entries, list):
        return [occurrence for entry in entries for occurrence in _read_entry(entry)]
    return [_not_understood(whole)]


def _read_entry(entry: Any) -> Iterable[AnyOccurrence]:
    if not isinstance(entry, dict) or not isinstance(entry.get("changes"), list):
        return [_not_understood(entry)]
    return chain.from_iterable(_read_change(entry, change) for change in entry["changes"])


def _read_change(entry: dict[str, Any], change: Any) -> Iterable[AnyOccurrence]:
    named, value = (
        (change.get("field"), change.get("value")) if isinstance(change, dict) else (None, None)
    )
    field = identifier(named) or ""
    if field in ITEM_FIELDS and isinstance(value, dict) and any(map(value.get, LISTS)):
        return _read_items(entry, field, value)
    kind = ACCOUNT_KINDS.get(field)
    if kind is None:
        return [_not_understood(change, entry=entry, field=field)]
    return [
        AccountNoticed(
            kind=kind,
            account_id=_account_id(value),
            business_account_id=identifier(entry.get("id")),
            at=moment(entry.get("time")),
            dedupe=_dedupe(entry, field, change),
            raw=change,
            condition=condition(field, value),
            template=template_word(field, value),
        )
    ]


def _read_items(entry: dict[str, Any], field: str, value: dict[str, Any]) -> list[AnyOccurrence]:
    source = Source(
        business_account_id=identifier(entry.get("id")),
        time=entry.get("time"),
        field=field,
        account_id=_account_id(value),
        contacts=contacts_by_id(value.get("contacts")),
        error=first_error(value.get("errors")),
    )
    found: list[AnyOccurrence] = []
    for name, items in value.items():
        reader = READERS.get(name)
        if reader is not None and items is not None:
            found += _read_list(source, name, items, reader)
    errors = value.get("errors")
    if errors is not None and not _is_taken(source.error, found):
        found += _read_list(source, "errors", errors, Source.account_error)
    return found


def _read_list(source: Source, name: str, items: Any, reader: Reader) -> list[AnyOccurrence]:
    if not isinstance(items, list):
        return [source.not_understood(name, items)]
    return [
        reader(source, item) if isinstance(item, dict) else source.not_understood(name, item)
        for item in items
    ]


def _is_taken(error: Item | None, found: Iterable[AnyOccurrence]) -> bool:
    """Whether a message that was not understood has the error of the whole value for its own."""
    return error is not None and any(
        isinstance(each, MessageOccurred) and each.content.error is error for each in found
    )


def _account_id(value: Any) -> str | None:
    metadata = value.get("metadata") if isinstance(value, dict) else None
    return identifier(metadata.get("phone_number_id")) if isinstance(metadata, dict) else None


def _dedupe(entry: dict[str, Any], field: str, change: Any) -> tuple[str, ...]:
    return ("change", field, digest(identifier(entry.get("id")), entry.get("time"), change))


def _not_understood(
    raw: Any, *, entry: dict[str, Any] | None = None, field: str = ""
) -> NotUnderstood:
    """Keep a change as it came; without `entry` the entry itself, or the whole body."""
    around = entry if entry is not None else raw if isinstance(raw, dict) else {}
    value = raw.get("value") if isinstance(raw, dict) else None
    return NotUnderstood(
        kind="unknown",
        account_id=_account_id(value),
        business_account_id=identifier(around.get("id")),
        at=moment(around.get("time")),
        dedupe=_dedupe(around, field, raw),
        raw=raw,
    )
