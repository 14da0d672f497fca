"""WhatsApp's webhook: real payloads, signatures, and what no payload should ever look like."""

import base64
import copy
import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.meta import handshake, verify
from adapters.tolerant import NESTING_MAX
from adapters.whatsapp.webhook import ACCOUNT_KINDS, parse
from domain.inbound import (
    AccountNoticed,
    Address,
    AddressesChanged,
    AnyOccurrence,
    Content,
    MessageChanged,
    MessageOccurred,
    NotUnderstood,
    Occurrence,
    Person,
    PreferenceChanged,
    ReceiptOccurred,
)
from domain.template import TemplateWord

PAYLOADS = Path(__file__).parent.parent / "payloads" / "whatsapp"
MANIFEST: list[dict[str, Any]] = json.loads((PAYLOADS / "manifest.json").read_text())["items"]
NAMES = [entry["file"] for entry in MANIFEST]
EXAMPLES = 2_000 if os.environ.get("TRUNKLINE_TEST_PROFILE") == "long" else 150

WABA = "418820007715532"
ACCOUNT = "527719004413008"
MARISOL = Person(
    addresses=(
        Address("phone", "12025550143"),
        Address(f"bsuid:{WABA}", "US.58201177349920416635"),
    ),
    name="Marisol Ortega",
)


def payload(name: str) -> bytes:
    return (PAYLOADS / name).read_bytes()


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def envelope(
    *items: Any, list_name: str = "messages", field: str = "messages", **value: Any
) -> bytes:
    """A body with these items in one list of one change."""
    content = {"metadata": {"phone_number_id": ACCOUNT}, list_name: list(items), **value}
    entry = {"id": WABA, "changes": [{"field": field, "value": content}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def message(**fields: Any) -> dict[str, Any]:
    """A text message, with other fields than usual; None leaves one out."""
    usual = {"id": "wamid.1", "from": "12025550143", "timestamp": "1795226401", "type": "text"}
    merged = {**usual, "text": {"body": "Hello"}, **fields}
    return {name: value for name, value in merged.items() if value is not None}


def only(body: bytes) -> AnyOccurrence:
    (occurrence,) = parse(body)
    return occurrence


# --- Every payload, as its manifest describes it ---


def test_the_manifest_names_every_payload() -> None:
    present = {path.name for path in PAYLOADS.iterdir()} - {"manifest.json"}
    assert present == set(NAMES)


@pytest.mark.parametrize("entry", MANIFEST, ids=NAMES)
def test_a_payload_says_what_its_manifest_says(entry: dict[str, Any]) -> None:
    body = payload(entry["file"])
    assert hashlib.sha256(body).hexdigest() == entry["sha256"]
    found = parse(body)
    assert len(found) == len(entry["expect"])
    for occurrence, expected in zip(found, entry["expect"], strict=True):
        assert {name: FACTS[name](occurrence) for name in expected} == expected


@pytest.mark.parametrize("entry", MANIFEST, ids=NAMES)
def test_a_payload_is_signed(entry: dict[str, Any]) -> None:
    body = payload(entry["file"])
    header = entry["headers"]["X-Hub-Signature-256"].encode()
    assert verify(body, [header], app_secrets=[entry["secret"].encode()])


def _content(occurrence: Occurrence) -> Content:
    assert isinstance(occurrence, MessageOccurred | MessageChanged)
    return occurrence.content or Content()


def _detail(occurrence: Occurrence, *path: str) -> Any:
    assert isinstance(occurrence, ReceiptOccurred)
    value = occurrence.detail
    for name in path:
        value = value[name]
    return value


def _person(occurrence: Occurrence) -> str | None:
    person: Person | None = getattr(occurrence, "person", None)
    return person.addresses[0].value if person else None


def _error(occurrence: Occurrence) -> int | None:
    if isinstance(occurrence, ReceiptOccurred):
        return occurrence.error_code
    error = _content(occurrence).error
    return error["code"] if error else None


def _group(occurrence: Occurrence) -> str | None:
    assert isinstance(occurrence, MessageOccurred | ReceiptOccurred)
    assert occurrence.group is not None
    assert occurrence.group.kind == f"group:{occurrence.account_id}"
    return occurrence.group.value


def _new_bsuid(occurrence: Occurrence) -> str:
    assert isinstance(occurrence, AddressesChanged)
    (added,) = occurrence.added
    assert added.kind == f"bsuid:{occurrence.business_account_id}"
    return added.value


# How a word of the manifest is found in an occurrence.
FACTS: dict[str, Any] = {
    "kind": lambda each: each.kind,
    "account": lambda each: each.account_id,
    "waba": lambda each: each.business_account_id,
    "id": lambda each: each.dedupe[1] if each.dedupe[0] in ("message", "status") else None,
    "contact": _person,
    "ts": lambda each: int(each.at.timestamp()),
    "event": lambda each: each.raw["value"]["event"],
    "text": lambda each: _content(each).text,
    "emoji": lambda each: _content(each).text,
    "payload": lambda each: _content(each).payload,
    "media_id": lambda each: (_content(each).media or {})["platform_id"],
    "voice": lambda each: (_content(each).media or {})["voice"],
    "forwarded": lambda each: _content(each).forwarded,
    "raw_type": lambda each: _content(each).raw_type,
    "n_contacts": lambda each: len(_content(each).contacts or []),
    "n_items": lambda each: len((_content(each).order or {})["product_items"]),
    "reply_to": lambda each: each.quotes,
    "target": lambda each: each.target,
    "group": _group,
    "error": _error,
    "billable": lambda each: _detail(each, "pricing", "billable"),
    "category": lambda each: _detail(each, "pricing", "category"),
    "model": lambda each: _detail(each, "pricing", "pricing_model"),
    "conversation": lambda each: _detail(each, "conversation", "id"),
    "new_bsuid": _new_bsuid,
}


# --- Whole values ---


def raw_item(name: str, list_name: str = "messages") -> Any:
    return json.loads(payload(name))["entry"][0]["changes"][0]["value"][list_name][0]


def test_a_text_message_as_a_whole() -> None:
    item = raw_item("whatsapp_text_reply_context.json")
    assert parse(payload("whatsapp_text_reply_context.json")) == [
        MessageOccurred(
            kind="message.text",
            account_id="588130092276644",
            business_account_id="433907712250461",
            at=moment(1795226550),
            dedupe=("message", item["id"]),
            platform_id=item["id"],
            person=Person(
                addresses=(
                    Address("phone", "972545556677"),
                    Address("bsuid:433907712250461", "IL.77120045581930017724"),
                ),
                name="נועה לוי",
            ),
            content=Content(text="כן, בדיוק זה ✅", platform_id=item["id"], raw=item),
            quotes="wamid.HBgMOTcyNTQ1NTU2Njc3FQIAERgUMDNCNkVBNDEzNTI1QTY1NjAwODgA",
        )
    ]


@pytest.mark.parametrize(
    ("referral", "is_referred"),
    [
        ({"source_type": "ad", "source_id": "1", "ctwa_clid": "ARAk"}, True),
        ({"source_type": "post"}, True),
        ({"source_type": "something new"}, True),
        ({}, True),
        (None, False),
        ("ad", False),
        ([], False),
    ],
)
def test_a_message_says_whether_the_customer_came_by_an_ad(
    referral: object, is_referred: bool
) -> None:
    """Wire 1.12: what opens a free entry point, whatever kind of message carries it."""
    for name in ("whatsapp_text.json", "whatsapp_image.json", "whatsapp_unsupported.json"):
        body = json.loads(payload(name))
        (item,) = body["entry"][0]["changes"][0]["value"]["messages"]
        item["referral"] = referral
        (occurred,) = parse(json.dumps(body).encode())
        assert isinstance(occurred, MessageOccurred)
        assert occurred.referred == is_referred


def test_an_echo_as_a_whole() -> None:
    item = raw_item("whatsapp_echo_app_reply.json", "message_echoes")
    assert parse(payload("whatsapp_echo_app_reply.json")) == [
        MessageOccurred(
            kind="echo.text",
            account_id=ACCOUNT,
            business_account_id=WABA,
            at=moment(1795226800),
            dedupe=("message", item["id"]),
            platform_id=item["id"],
            person=MARISOL,
            content=Content(
                text="Sure – I'll check in the app 📱", platform_id=item["id"], raw=item
            ),
            echo=True,
        )
    ]


def test_an_edit_as_a_whole() -> None:
    item = raw_item("whatsapp_edit.json")
    assert parse(payload("whatsapp_edit.json")) == [
        MessageChanged(
            kind="message.edited",
            account_id=ACCOUNT,
            business_account_id=WABA,
            at=moment(1795226620),
            dedupe=("message", item["id"]),
            target=item["edit"]["original_message_id"],
            person=MARISOL,
            content=Content(text="Café ☕️ at 6 – ok?", platform_id=item["id"], raw=item),
        )
    ]


def test_a_status_of_a_group_as_a_whole() -> None:
    item = raw_item("whatsapp_status_group_read.json", "statuses")
    assert parse(payload("whatsapp_status_group_read.json")) == [
        ReceiptOccurred(
            kind="status.read",
            account_id=ACCOUNT,
            business_account_id=WABA,
            at=moment(1795226760),
            dedupe=("status", item["id"], "read", "12025550143"),
            platform_id=item["id"],
            status="read",
            person=MARISOL,
            group=Address(f"group:{ACCOUNT}", "Y2FwaV9ncm91cDoxNTU1MDc4Mzg4MToxMjAzNjM0"),
        )
    ]


def test_a_failure_as_a_whole() -> None:
    item = raw_item("whatsapp_status_failed_131026.json", "statuses")
    assert parse(payload("whatsapp_status_failed_131026.json")) == [
        ReceiptOccurred(
            kind="status.failed",
            account_id=ACCOUNT,
            business_account_id=WABA,
            at=moment(1795226750),
            dedupe=("status", item["id"], "failed", ""),
            platform_id=item["id"],
            status="failed",
            person=Person(addresses=(Address("phone", "12025550143"),)),
            error_code=131026,
            reason="undeliverable",
            detail={"errors": item["errors"]},
        )
    ]


def test_a_change_of_address_as_a_whole() -> None:
    item = raw_item("whatsapp_system_bsuid_changed.json")
    assert parse(payload("whatsapp_system_bsuid_changed.json")) == [
        AddressesChanged(
            kind="contact.bsuid_changed",
            account_id=ACCOUNT,
            business_account_id=WABA,
            at=moment(1795226590),
            dedupe=("message", item["id"]),
            person=Person(addresses=(Address(f"bsuid:{WABA}", "SA.48120993100278845511"),)),
            added=(Address(f"bsuid:{WABA}", "SA.60000000000000000002"),),
            raw=item,
        )
    ]


def test_an_unknown_field_is_kept_as_a_whole() -> None:
    body = payload("whatsapp_unknown_field.json")
    change = json.loads(body)["entry"][0]["changes"][0]
    canonical = msgspec.json.encode([WABA, 1795226840, change], order="sorted")
    assert parse(body) == [
        NotUnderstood(
            kind="unknown",
            account_id=None,
            business_account_id=WABA,
            at=moment(1795226840),
            dedupe=("change", "brand_new_field_2027", hashlib.sha256(canonical).hexdigest()),
            raw=change,
        )
    ]


# --- What the payloads do not show ---


def test_a_changed_number_links_the_old_one_with_the_new() -> None:
    system = {
        "type": "user_changed_number",
        "wa_id": "12195555358",
        "user_id": "US.2",
        "previous_user_id": "US.1",
    }
    item = message(type="system", text=None, system=system, **{"from": "16505551234"})
    assert only(envelope(item)) == AddressesChanged(
        kind="contact.number_changed",
        account_id=ACCOUNT,
        business_account_id=WABA,
        at=moment(1795226401),
        dedupe=("message", "wamid.1"),
        person=Person(
            addresses=(Address("phone", "16505551234"), Address(f"bsuid:{WABA}", "US.1"))
        ),
        added=(Address("phone", "12195555358"), Address(f"bsuid:{WABA}", "US.2")),
        raw=item,
    )


def test_a_new_identity_key_changes_no_address() -> None:
    item = message(type="system", text=None, system={"type": "customer_identity_changed"})
    assert only(envelope(item)) == NotUnderstood(
        kind="unknown",
        account_id=ACCOUNT,
        business_account_id=WABA,
        at=moment(1795226401),
        dedupe=("message", "wamid.1"),
        raw=item,
        person=Person(addresses=(Address("phone", "12025550143"),)),
    )


@pytest.mark.parametrize(("value", "wants_marketing"), [("stop", False), ("resume", True)])
def test_a_preference(value: str, wants_marketing: bool) -> None:
    item = {
        "wa_id": "12025550143",
        "detail": f"User requested to {value} marketing messages",
        "category": "marketing_messages",
        "value": value,
        "timestamp": 1795226401,
    }
    body = envelope(item, list_name="user_preferences", field="user_preferences")
    canonical = msgspec.json.encode(
        [WABA, None, "user_preferences", ACCOUNT, "user_preferences", item], order="sorted"
    )
    assert only(body) == PreferenceChanged(
        kind="contact.preference",
        account_id=ACCOUNT,
        business_account_id=WABA,
        at=moment(1795226401),
        dedupe=("change", "user_preferences", hashlib.sha256(canonical).hexdigest()),
        person=Person(addresses=(Address("phone", "12025550143"),)),
        wants_marketing=wants_marketing,
        raw=item,
    )


@pytest.mark.parametrize(
    "change", [{"value": "maybe"}, {"category": "calls"}, {"wa_id": None}, {"value": []}]
)
def test_another_preference_is_kept(change: dict[str, Any]) -> None:
    known = {"wa_id": "12025550143", "category": "marketing_messages", "value": "stop"}
    occurrence = only(envelope(known | change, list_name="user_preferences"))
    assert isinstance(occurrence, NotUnderstood)
    assert occurrence.raw == known | change


def test_a_system_message_without_its_object_is_kept() -> None:
    for item in (message(type="system", system="x"), message(type="system", id=None)):
        assert isinstance(only(envelope(item)), NotUnderstood)


def test_errors_of_a_wrong_shape_are_kept() -> None:
    found = parse(envelope(message(), errors="x")) + parse(envelope("x", list_name="errors"))
    assert [type(each) for each in found] == [MessageOccurred, NotUnderstood, NotUnderstood]


@pytest.mark.parametrize(("field", "kind"), ACCOUNT_KINDS.items())
def test_news_of_an_account(field: str, kind: str) -> None:
    change = {"field": field, "value": {"event": "SOMETHING"}}
    body = json.dumps({"entry": [{"id": WABA, "time": 1795226401, "changes": [change]}]}).encode()
    occurrence = only(body)
    assert isinstance(occurrence, AccountNoticed)
    assert (occurrence.kind, occurrence.account_id, occurrence.raw) == (kind, None, change)


TEMPLATE = {"message_template_name": "shipped", "message_template_language": "en_US"}


@pytest.mark.parametrize(
    ("event", "reason", "state", "said"),
    [
        ("APPROVED", "NONE", "approved", None),
        ("REJECTED", "INVALID_FORMAT", "rejected", "invalid_format"),
        ("PAUSED", None, "paused", None),
        ("DISABLED", "NONE", "paused", "disabled"),
        ("PENDING_DELETION", None, "rejected", "pending_deletion"),
        ("IN_APPEAL", None, "pending", None),
        ("FLAGGED", None, None, None),
        ("SOMETHING", None, None, None),
        (7, None, None, None),
    ],
)
def test_c8_the_state_of_a_template(
    event: Any, reason: str | None, state: str | None, said: str | None
) -> None:
    value = {**TEMPLATE, "event": event, "reason": reason, "message_template_category": "UTILITY"}
    assert template_of("message_template_status_update", value) == TemplateWord(
        name="shipped",
        language="en_US",
        state=cast("Any", state),
        reason=said,
        category="utility",
    )


def test_c8_the_category_of_a_template() -> None:
    word = TemplateWord(name="shipped", language="en_US", category="marketing")
    value = {**TEMPLATE, "previous_category": "UTILITY", "new_category": "MARKETING"}
    assert template_of("template_category_update", value) == word
    # What is only announced does not hold yet.
    announced = {**TEMPLATE, "correct_category": "MARKETING"}
    assert template_of("template_category_update", announced) == TemplateWord(
        name="shipped", language="en_US"
    )


@pytest.mark.parametrize("missing", [*TEMPLATE, None])
def test_what_names_no_template_is_kept_and_says_nothing(missing: str | None) -> None:
    value = {name: each for name, each in TEMPLATE.items() if name != missing} if missing else None
    assert template_of("message_template_status_update", value) is None


def template_of(field: str, value: Any) -> TemplateWord | None:
    changes = [{"field": field, "value": value}]
    body = json.dumps({"entry": [{"id": WABA, "time": 1795226401, "changes": changes}]}).encode()
    occurrence = only(body)
    assert isinstance(occurrence, AccountNoticed)
    return occurrence.template


def test_an_error_without_a_message_is_news_of_the_account() -> None:
    error = {"code": 130429, "title": "Rate limit hit"}
    occurrence = only(envelope(error, list_name="errors"))
    assert isinstance(occurrence, AccountNoticed)
    assert (occurrence.kind, occurrence.account_id, occurrence.raw) == (
        "account.error",
        ACCOUNT,
        error,
    )


def test_an_error_beside_an_understood_message_stands_alone() -> None:
    found = parse(envelope(message(), errors=[{"code": 130429}]))
    assert [each.kind for each in found] == ["message.text", "account.error"]


CONTENTS: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("text", {"body": "a\0b"}, "text", {"text": "a\ufffdb"}),
    ("text", {"body": ""}, "text", {"text": ""}),
    ("text", {}, "unknown", {"raw_type": "text"}),
    ("image", {"id": 7, "caption": "c"}, "image", {"text": "c", "media": {"platform_id": "7"}}),
    ("image", {"caption": "no id"}, "unknown", {"raw_type": "image"}),
    (
        "document",
        {"id": "7", "filename": "a\0.pdf", "mime_type": "application/pdf", "sha256": "x"},
        "document",
        {
            "media": {
                "platform_id": "7",
                "mime_type": "application/pdf",
                "sha256": "x",
                "filename": "a\ufffd.pdf",
            }
        },
    ),
    (
        "document",
        {"id": "7", "mime_type": {"a": "b"}, "sha256": ["x"], "filename": 5},
        "document",
        {"media": {"platform_id": "7"}},
    ),
    ("audio", {"id": "7", "voice": "true"}, "audio", {"media": {"platform_id": "7"}}),
    ("sticker", {"id": "7", "animated": 1}, "sticker", {"media": {"platform_id": "7"}}),
    (
        "location",
        {"latitude": 35.6, "longitude": 139, "name": 5, "address": [], "url": {}},
        "location",
        {"location": {"latitude": 35.6, "longitude": 139}},
    ),
    (
        "sticker",
        {"id": "7", "animated": True},
        "sticker",
        {"media": {"platform_id": "7", "animated": True}},
    ),
    (
        "location",
        {"latitude": 35.6, "longitude": 139, "name": "渋谷", "other": 1},
        "location",
        {"text": "渋谷", "location": {"latitude": 35.6, "longitude": 139, "name": "渋谷"}},
    ),
    ("location", {"latitude": "35.6", "longitude": 139}, "unknown", {"raw_type": "location"}),
    (
        "interactive",
        {"type": "button_reply", "button_reply": {"id": "b1", "title": "Yes"}},
        "button_reply",
        {"text": "Yes", "payload": "b1"},
    ),
    (
        "interactive",
        {"type": "call_permission_reply", "call_permission_reply": {"response": "accept"}},
        "unknown",
        {"raw_type": "call_permission_reply"},
    ),
    (
        "interactive",
        {
            "type": "nfm_reply",
            "nfm_reply": {"name": "flow", "body": "Sent", "response_json": '{"a": 1}'},
        },
        "form_reply",
        {"text": "Sent", "form": {"name": "flow", "response": {"a": 1}}},
    ),
    (
        "interactive",
        {"type": "nfm_reply", "nfm_reply": {"response_json": "{broken"}},
        "form_reply",
        {"form": {"name": None, "response": "{broken"}},
    ),
    ("button", {"text": "Stop"}, "button_reply", {"text": "Stop"}),
    ("unsupported", {"type": "poll_creation"}, "unsupported", {"raw_type": "poll_creation"}),
    ("location", [], "unknown", {"raw_type": "location"}),
    ("order", "x", "unknown", {"raw_type": "order"}),
    ("contacts", {}, "unknown", {"raw_type": "contacts"}),
    ("button", {}, "unknown", {"raw_type": "button"}),
    ("button", "x", "unknown", {"raw_type": "button"}),
    ("interactive", {"type": ["list_reply"]}, "unknown", {"raw_type": "interactive"}),
    (
        "interactive",
        {"type": "list_reply", "list_reply": {"description": "only"}},
        "unknown",
        {"raw_type": "interactive"},
    ),
    (
        "interactive",
        {"type": "nfm_reply", "nfm_reply": {"response_json": {"not": "a string"}}},
        "form_reply",
        {"form": {"name": None, "response": {"not": "a string"}}},
    ),
    ("reaction", {"emoji": "👍"}, "unknown", {"raw_type": "reaction"}),
    ("reaction", {"message_id": "", "emoji": "👍"}, "unknown", {"raw_type": "reaction"}),
    ("reaction", {"message_id": "wamid.0", "emoji": 7}, "unknown", {"raw_type": "reaction"}),
    ("edit", {"original_message_id": [], "message": {}}, "unknown", {"raw_type": "edit"}),
    ("revoke", {"original_message_id": None}, "unknown", {"raw_type": "revoke"}),
    ("request_welcome", {}, "unknown", {"raw_type": "request_welcome"}),
]


@pytest.mark.parametrize(("type_name", "part", "kind", "fields"), CONTENTS)
def test_contents(type_name: str, part: Any, kind: str, fields: dict[str, Any]) -> None:
    item = {**message(type=type_name, text=None), type_name: part}
    occurrence = only(envelope(item))
    assert isinstance(occurrence, MessageOccurred)
    assert occurrence.kind == f"message.{kind}"
    assert occurrence.content == Content(**fields, platform_id="wamid.1", raw=item)


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [
        ("1795226401", moment(1795226401)),
        (1795226401, moment(1795226401)),
        (1795226401.5, datetime.fromtimestamp(1795226401.5, UTC)),
        ("1795226401000", None),
        (10**400, None),
        ("9" * 5_000, None),
        (-1, None),
        ("nan", None),
        ("yesterday", None),
        ("", None),
        (True, None),
        ([1795226401], None),
        ({}, None),
    ],
)
def test_times(timestamp: Any, at: datetime | None) -> None:
    occurrence = only(envelope(message(timestamp=timestamp)))
    assert (occurrence.kind, occurrence.at) == ("message.text", at)


def test_both_numbers_of_a_person_are_kept() -> None:
    contact = {"wa_id": "5511987654321", "user_id": "BR.1", "profile": {"username": "ana"}}
    item = message(from_user_id="BR.1", **{"from": "+551187654321"})
    occurrence = only(envelope(item, contacts=[{"wa_id": "1"}, contact]))
    assert isinstance(occurrence, MessageOccurred)
    assert occurrence.person == Person(
        addresses=(
            Address("phone", "551187654321"),
            Address("phone", "5511987654321"),
            Address(f"bsuid:{WABA}", "BR.1"),
        ),
        name="ana",
    )


def test_our_mark_comes_back_with_a_status() -> None:
    item = {"id": "wamid.1", "status": "warmed_up", "biz_opaque_callback_data": "out:1"}
    occurrence = only(envelope(item, list_name="statuses"))
    assert isinstance(occurrence, ReceiptOccurred)
    assert occurrence.kind == "status.unknown"
    assert occurrence.status == "warmed_up"
    assert occurrence.sent_by_us == "out:1"
    assert occurrence.dedupe == ("status", "wamid.1", "warmed_up", "")


def test_what_became_of_a_payment_says_nothing_about_its_message() -> None:
    """The message that asked for the payment was delivered, whatever its customer pays."""
    payment = {
        "id": "wamid.1",
        "type": "payment",
        "recipient_id": "12025550143",
        "payment": {"reference_id": "r"},
    }
    statuses = [{**payment, "status": each} for each in ("pending", "captured", "failed")]
    found = parse(envelope(*statuses, list_name="statuses"))
    assert found == [
        NotUnderstood(
            kind="unknown",
            account_id=ACCOUNT,
            business_account_id=WABA,
            at=None,
            dedupe=each.dedupe,
            raw=status,
            person=Person(addresses=(Address("phone", "12025550143"),)),
        )
        for each, status in zip(found, statuses, strict=True)
    ]
    assert len({each.dedupe for each in found}) == 3
    usual = {"id": "wamid.1", "type": "message", "status": "failed"}
    assert only(envelope(usual, list_name="statuses")).kind == "status.failed"


def test_a_reaction_an_edit_and_an_unsending_by_the_business() -> None:
    def echo(type_name: str, part: Any) -> dict[str, Any]:
        return {"id": "wamid.2", "to": "+12025550143", "type": type_name, type_name: part}

    items = [
        echo("reaction", {"message_id": "wamid.1", "emoji": "👍"}),
        echo(
            "edit",
            {"original_message_id": "wamid.1", "message": {"type": "text", "text": {"body": "b"}}},
        ),
        echo("revoke", {"original_message_id": "wamid.1"}),
    ]
    found = parse(envelope(*items, list_name="message_echoes", field="smb_message_echoes"))
    assert [
        (each.kind, each.echo, each.target, each.content and each.content.text)
        for each in found
        if isinstance(each, MessageChanged)
    ] == [
        ("echo.reaction", True, "wamid.1", "👍"),
        ("echo.edited", True, "wamid.1", "b"),
        ("echo.deleted", True, "wamid.1", None),
    ]


@pytest.mark.parametrize(
    ("edited", "text", "raw_type"),
    [
        ({"type": "image", "image": {"caption": "b"}}, "b", None),
        ({"type": "document", "document": {}}, None, None),
        ({"type": "hologram", "hologram": {"caption": "b"}}, "b", "hologram"),
        ({"type": "text"}, None, "text"),
    ],
)
def test_an_edit_may_name_the_words_beside_a_file_alone(
    edited: dict[str, Any], text: str | None, raw_type: str | None
) -> None:
    """It is of a kind that we know, although there is no file in it."""
    edit = {"original_message_id": "wamid.0", "message": edited}
    occurrence = only(envelope(message(type="edit", text=None, edit=edit)))
    assert isinstance(occurrence, MessageChanged)
    assert occurrence.content is not None
    assert (occurrence.content.text, occurrence.content.raw_type) == (text, raw_type)


# --- Wrong shapes ---

GOOD = message()
BROKEN_MESSAGES: list[tuple[str, Any]] = [
    ("a string", "x"),
    ("null", None),
    ("a list", [[]]),
    ("nothing inside", {}),
    ("no id", message(id=None)),
    ("an empty id", message(id="")),
    ("an endless id", message(id="w" * 600)),
    ("an id that is true", message(id=True)),
    ("no sender", {**message(), "from": None}),
    ("a sender that is no number", {**message(), "from": "١٢٣"}),
    ("a group without a name", message(group_id={})),
]


@pytest.mark.parametrize(
    "broken", [each for _, each in BROKEN_MESSAGES], ids=[n for n, _ in BROKEN_MESSAGES]
)
def test_a_broken_message_loses_only_itself(broken: Any) -> None:
    before, middle, after = parse(envelope(GOOD, broken, GOOD))
    assert isinstance(middle, NotUnderstood)
    assert (middle.kind, middle.raw, middle.account_id) == ("unknown", broken, ACCOUNT)
    assert before == after == only(envelope(GOOD))


def test_a_message_whose_type_is_broken_is_still_a_message() -> None:
    named: Any
    for named in (None, 7, ["text"], {}, "no such type"):
        occurrence = only(envelope({**message(), "type": named}))
        assert occurrence.kind == "message.unknown"


def test_changes_and_entries_of_a_wrong_shape_lose_only_themselves() -> None:
    good = json.loads(envelope(GOOD))["entry"][0]
    broken: Any
    for broken in (None, "x", 7, [], {}, {"id": WABA}, {"id": WABA, "changes": {}}):
        found = parse(json.dumps({"entry": [good, broken, good]}).encode())
        assert [type(each) for each in found] == [MessageOccurred, NotUnderstood, MessageOccurred]
    change = good["changes"][0]
    for broken in (None, "x", {}, {"field": "messages"}, {"field": [], "value": {}}):
        entry = {"id": WABA, "changes": [change, broken, change]}
        found = parse(json.dumps({"entry": [entry]}).encode())
        assert [type(each) for each in found] == [MessageOccurred, NotUnderstood, MessageOccurred]


def test_a_value_without_an_account_reaches_nobody() -> None:
    body = envelope(GOOD, metadata={})
    assert isinstance(only(body), NotUnderstood)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\xff\xfe{}",
        b"not json",
        b'{"entry": [',
        b"<xml/>",
        b"\x1f\x8b\x08\x00",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'"' + b"\\" * 99_999,
    ],
)
def test_what_is_no_json_is_kept_as_base64(body: bytes) -> None:
    occurrence = only(body)
    assert isinstance(occurrence, NotUnderstood)
    assert base64.b64decode(occurrence.raw) == body
    assert occurrence.dedupe[0] == "change"


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"x"', b"{}", b'{"entry": {}}'])
def test_json_of_another_shape_is_kept_as_json(body: bytes) -> None:
    occurrence = only(body)
    assert isinstance(occurrence, NotUnderstood)
    assert occurrence.raw == json.loads(body)


def test_an_empty_delivery_says_nothing() -> None:
    assert parse(b'{"object":"whatsapp_business_account","entry":[]}') == []


def test_bytes_that_are_not_quite_json() -> None:
    body = envelope(GOOD, message(id="wamid.2", text={"body": "@"}), GOOD)
    first, _, third = parse(body)
    for written, read in [
        (b"\\ud83d", "\ufffd"),  # Half an emoji.
        (b"\xff", "\ufffd"),
        (b"a\nb", "a\nb"),
        (b"a\x00b", "a\ufffdb"),
    ]:
        found = parse(b"\xef\xbb\xbf" + body.replace(b"@", written))
        assert [found[0], found[2]] == [first, third]
        assert isinstance(found[1], MessageOccurred)
        assert found[1].content.text == read


def test_numbers_that_are_none() -> None:
    for written, kept in [(b"NaN", "NaN"), (b"-Infinity", "-Infinity"), (b"1e999", "1e999")]:
        body = envelope(message(type="future", future="@")).replace(b'"@"', written)
        occurrence = only(body)
        assert isinstance(occurrence, MessageOccurred)
        assert occurrence.content.raw["future"] == kept


def test_of_duplicate_keys_the_last_counts() -> None:
    body = envelope(message(text={"body": "@"})).replace(b'"@"', b'"first", "body": "second"')
    occurrence = only(body)
    assert isinstance(occurrence, MessageOccurred)
    assert occurrence.content.text == "second"


@pytest.mark.parametrize("depth", [NESTING_MAX, 900, 100_000])
def test_deep_nesting_in_one_message_loses_no_other(depth: int) -> None:
    bomb = b"[" * depth + b"]" * depth
    body = envelope(GOOD, message(id="wamid.2", type="future", future="@"), GOOD)
    first, second, third = parse(body.replace(b'"@"', bomb))
    assert [first, third] == [only(envelope(GOOD))] * 2
    assert second.kind == "message.unknown"
    assert b"".join(_base64_parts(second)).count(b"[") == depth - _depth_kept(second)


def _base64_parts(occurrence: Occurrence) -> Iterator[bytes]:
    assert isinstance(occurrence, MessageOccurred)
    value = occurrence.content.raw["future"]
    while isinstance(value, list):
        value = value[0]
    yield base64.b64decode(value)


def _depth_kept(occurrence: Occurrence) -> int:
    assert isinstance(occurrence, MessageOccurred)
    value, depth = occurrence.content.raw["future"], 0
    while isinstance(value, list):
        value, depth = value[0], depth + 1
    return depth


# --- Laws ---

CHARACTERS = st.characters(exclude_categories=[])  # Halves of surrogate pairs too.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 10**30, -1, "wamid.1", "text", "system", "\0", "12025550143"])
    | st.floats()
    | st.text(CHARACTERS, max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(CHARACTERS, max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)


def storable(found: list[AnyOccurrence]) -> list[AnyOccurrence]:
    """Assert that all of it can be written down, and what no database text can hold is gone."""
    for each in found:
        assert msgspec.json.decode(msgspec.json.encode(each), type=AnyOccurrence) == each
        assert "\0" not in "".join(
            (each.account_id or "", each.business_account_id or "", *each.dedupe)
        )
    return found


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    assert len(storable(parse(body))) == 1


@settings(max_examples=EXAMPLES)
@given(JSON)
def test_no_json_makes_it_raise(value: Any) -> None:
    storable(parse(json.dumps(value).encode()))


@settings(max_examples=EXAMPLES)
@given(
    st.lists(JSON, max_size=3),
    st.sampled_from(["messages", "statuses", "errors", "message_echoes"]),
)
def test_no_item_makes_it_raise(items: list[Any], list_name: str) -> None:
    assert len(storable(parse(envelope(*items, list_name=list_name)))) >= len(items)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in pairs:
        yield from _paths(inner, (*path, key))


def _mutated(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy in which the value at a path is another one."""
    if not path:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


DOCUMENTS = {name: json.loads(payload(name)) for name in NAMES}
PATHS = {name: list(_paths(document)) for name, document in DOCUMENTS.items()}
MUTATIONS = st.sampled_from(NAMES).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(PATHS[name]))
)


@settings(max_examples=EXAMPLES * 4)
@given(MUTATIONS, JSON)
def test_no_mutation_of_a_real_payload_makes_it_raise(
    mutation: tuple[str, tuple[Any, ...]], value: Any
) -> None:
    name, path = mutation
    storable(parse(json.dumps(_mutated(DOCUMENTS[name], path, value)).encode()))


@settings(max_examples=EXAMPLES * 4)
@given(MUTATIONS, JSON)
def test_what_is_mutated_in_one_item_changes_no_other(
    mutation: tuple[str, tuple[Any, ...]], value: Any
) -> None:
    """Two copies of a change beside each other: whatever happens to one, the other stays."""
    name, path = mutation
    document = copy.deepcopy(DOCUMENTS[name])
    document["entry"].append(copy.deepcopy(document["entry"][0]))
    untouched = parse(json.dumps({"entry": [DOCUMENTS[name]["entry"][0]]}).encode())
    if path[:2] == ("entry", 0):
        found = parse(json.dumps(_mutated(document, path, value)).encode())
        assert found[-len(untouched) :] == untouched


BATCH = DOCUMENTS["whatsapp_batch_multi_numbers.json"]
ITEM_PATHS = [
    path
    for path in PATHS["whatsapp_batch_multi_numbers.json"]
    if len(path) > 6 and path[5] in ("messages", "statuses")
]


@settings(max_examples=EXAMPLES * 2)
@given(st.sampled_from(ITEM_PATHS), JSON)
def test_the_siblings_of_a_broken_item_survive(path: tuple[Any, ...], value: Any) -> None:
    whole = parse(json.dumps(BATCH).encode())
    broken = parse(json.dumps(_mutated(BATCH, path, value)).encode())
    assert len(broken) == len(whole)
    assert sum(left != right for left, right in zip(whole, broken, strict=True)) <= 1


def test_however_it_is_batched_it_says_the_same() -> None:
    alone = []
    for entry in BATCH["entry"]:
        for change in entry["changes"]:
            name = "messages" if "messages" in change["value"] else "statuses"
            for item in change["value"][name]:
                part = {**change, "value": {**change["value"], name: [item]}}
                alone += parse(json.dumps({"entry": [{**entry, "changes": [part]}]}).encode())
    assert alone == parse(payload("whatsapp_batch_multi_numbers.json"))


# --- Who may call ---

SECRET = b"test_app_secret"
VECTORS = [
    (
        b'{"object":"whatsapp_business_account","entry":[]}',
        b"dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756",
    ),
    (
        b'{"object": "whatsapp_business_account", "entry": []}',
        b"56cbbaf4961c6cfdae48b7f116c047e5eb513d2c931baae63a2bc1afd26f803a",
    ),
]


@pytest.mark.parametrize(("body", "digest"), VECTORS)
def test_known_signatures(body: bytes, digest: bytes) -> None:
    assert verify(body, [b"sha256=" + digest], app_secrets=[SECRET])


BODY, DIGEST = VECTORS[0]
HEADER = b"sha256=" + DIGEST


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b""],
        [HEADER, HEADER],
        [b"sha256="],
        [DIGEST],
        [b"sha1=" + hmac.new(SECRET, BODY, "sha1").hexdigest().encode()],
        [HEADER.upper()],
        [b"sha256=" + DIGEST.upper()],
        [HEADER[:-1]],
        [HEADER + b"0"],
        [HEADER + b" "],
        [b" " + HEADER],
        ["sha256=é".encode()],
        [b"\xff\xfe\x00"],
        [b"sha256=" + base64.b64encode(bytes.fromhex(DIGEST.decode()))],
    ],
)
def test_other_headers_are_refused(headers: list[bytes]) -> None:
    assert verify(BODY, headers, app_secrets=[SECRET, b"another"]) is False


def test_every_flipped_byte_is_noticed() -> None:
    for index in range(len(BODY)):
        changed = bytearray(BODY)
        changed[index] ^= 1
        assert not verify(bytes(changed), [HEADER], app_secrets=[SECRET])
    for index in range(len(HEADER)):
        changed = bytearray(HEADER)
        changed[index] ^= 1
        assert not verify(BODY, [bytes(changed)], app_secrets=[SECRET])


def test_two_secrets_are_live_while_they_are_changed() -> None:
    assert verify(BODY, [HEADER], app_secrets=[b"new", SECRET])
    assert verify(BODY, [HEADER], app_secrets=[SECRET, b"new"])
    assert not verify(BODY, [HEADER], app_secrets=[b"new"])
    assert not verify(BODY, [HEADER], app_secrets=[])


def test_an_empty_secret_lets_nobody_in() -> None:
    forged = b"sha256=" + hmac.new(b"", BODY, "sha256").hexdigest().encode()
    assert not verify(BODY, [forged], app_secrets=[b""])


def test_the_handshake() -> None:
    asked = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "tokén"}
    assert handshake(asked, verify_token="tokén") == "1158201444"
    assert handshake(asked, verify_token="other") is None
    assert handshake(asked | {"hub.mode": "unsubscribe"}, verify_token="tokén") is None
    assert handshake(asked | {"hub.verify_token": "\ud800"}, verify_token="tokén") is None
    assert (
        handshake({"hub.mode": "subscribe", "hub.verify_token": "tokén"}, verify_token="tokén")
        is None
    )
    assert handshake(asked | {"hub.verify_token": ""}, verify_token="") is None
    assert handshake({}, verify_token="tokén") is None
