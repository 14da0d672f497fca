"""LINE's webhook: its signature, and what its events say (P1, C17, C19)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.line.webhook import verify
from domain.inbound import (
    AccountNoticed,
    ActivityOccurred,
    Address,
    AnyOccurrence,
    Content,
    FollowOccurred,
    MessageChanged,
    MessageOccurred,
    NotUnderstood,
    Person,
)
from tests.adapters.recorded import ACCOUNTS, one, read, said, signed

ACCOUNT = ACCOUNTS["line"]
USER = "U19c8e7d6b5a493827160f5e4d3c2b1a0"
PERSON = Person(addresses=(Address(f"line:{ACCOUNT}", USER),))
GROUP = Address(f"group:{ACCOUNT}", "C5d0e9f81726354a3b2c1d0e9f8a7b6c5")
AT = datetime.fromtimestamp(1795227600, UTC).replace(microsecond=1000)

IN_A_GROUP = {"type": "group", "groupId": GROUP.value, "userId": USER}


def event(kind: str = "message", **more: Any) -> dict[str, Any]:
    """An event, with other members than usual; None leaves one out."""
    usual = {
        "type": kind,
        "mode": "active",
        "timestamp": 1795227600001,
        "webhookEventId": "01M7XYEH414PYGS00AYPPWZP2Q",
        "deliveryContext": {"isRedelivery": False},
        "source": {"type": "user", "userId": USER},
    }
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


def text(**more: Any) -> dict[str, Any]:
    return {"type": "text", "id": "582", "text": "hello", **more}


def only(*events: Any) -> AnyOccurrence:
    body = {"destination": ACCOUNT, "events": list(events)}
    (occurrence,) = said("line", signed("line", body))
    return occurrence


@pytest.mark.parametrize(
    ("secret", "body", "expected"),
    [
        (
            b"8c570fa6dd201bb328f1c1eac23a96d8",
            b'{"destination":"U8e742f61d673b39c7fff3cecb7536ef0","events":[]}',
            b"GhRKmvmHys4Pi8DxkF4+EayaH0OqtJtaZxgTD9fMDLs=",
        ),
        (b"channel_secret", b"bodybodybodybody", b"/gg9a+LvFevTH1sd7XCQycD7tsWclCsInj7MhBHxN7k="),
    ],
)
def test_known_signatures(secret: bytes, body: bytes, expected: bytes) -> None:
    assert verify(body, expected, channel_secrets=[b"other", secret])
    assert not verify(body, expected, channel_secrets=[b"other"])
    assert not verify(body, expected[:-1], channel_secrets=[secret])


def test_a_text_as_a_whole() -> None:
    said_of_it = event(message=text(quotedMessageId="581", markAsReadToken="r", quoteToken="q"))
    assert only(said_of_it) == MessageOccurred(
        kind="message.text",
        account_id=ACCOUNT,
        business_account_id=None,
        at=AT,
        dedupe=("event", "01M7XYEH414PYGS00AYPPWZP2Q"),
        platform_id="582",
        person=PERSON,
        content=Content(
            text="hello", platform_id="582", quote_token="q", read_token="r", raw=said_of_it
        ),
        quotes="581",
    )


@pytest.mark.parametrize(
    ("source", "group", "person"),
    [
        (IN_A_GROUP, GROUP, PERSON),
        ({"type": "room", "roomId": GROUP.value, "userId": USER}, GROUP, PERSON),
        ({"type": "group", "groupId": GROUP.value}, GROUP, Person(addresses=())),
    ],
)
def test_a_message_in_a_group(source: Any, group: Address, person: Person) -> None:
    """Spec C19. Who has not agreed to be named in a group is not."""
    occurrence = only(event(message=text(), source=source))
    assert isinstance(occurrence, MessageOccurred)
    assert (occurrence.group, occurrence.person) == (group, person)


@pytest.mark.parametrize(
    "source", [{"type": "group", "userId": USER}, {"type": "club", "userId": USER}, None, "x", {}]
)
def test_what_a_member_says_never_ends_up_in_their_own_chat(source: Any) -> None:
    assert isinstance(only(event(message=text(), source=source)), NotUnderstood)


CONTENTS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"type": "text"}, "unknown", {"raw_type": "text"}),
    (
        {"type": "video", "duration": 4312, "contentProvider": {"type": "line"}},
        "video",
        {"media": {"platform_id": "582", "duration_seconds": 4.312}},
    ),
    (
        {
            "type": "image",
            "contentProvider": {"type": "external", "originalContentUrl": "https://x/o"},
            "imageSet": {"id": "set", "index": 1},
        },
        "image",
        {"media": {"platform_id": "582", "url": "https://x/o", "album": "set"}},
    ),
    (
        {"type": "file", "fileName": "見積書.xlsx", "fileSize": 20481},
        "file",
        {"media": {"platform_id": "582", "filename": "見積書.xlsx", "size": 20481}},
    ),
    (
        {"type": "file", "fileName": 5, "fileSize": "x"},
        "file",
        {"media": {"platform_id": "582"}},
    ),
    (
        {"type": "sticker", "packageId": 8515, "stickerId": {}, "keywords": ["a\0", 5, "b"]},
        "sticker",
        {"media": {"package_id": "8515", "keywords": ["a\ufffd", "b"]}},
    ),
    (
        {"type": "sticker", "packageId": "8515", "stickerId": "165", "text": "hi"},
        "sticker",
        {"text": "hi", "media": {"package_id": "8515", "sticker_id": "165"}},
    ),
    (
        {"type": "location", "title": "t", "latitude": 35.6, "longitude": 139.7},
        "location",
        {"text": "t", "location": {"latitude": 35.6, "longitude": 139.7, "name": "t"}},
    ),
    ({"type": "location", "latitude": "x"}, "unknown", {"raw_type": "location"}),
    ({"type": ["x"]}, "unknown", {}),
]


@pytest.mark.parametrize(("message", "kind", "content"), CONTENTS)
def test_a_content(message: dict[str, Any], kind: str, content: dict[str, Any]) -> None:
    whole = event(message={"id": "582", **message})
    occurrence = only(whole)
    assert isinstance(occurrence, MessageOccurred)
    expected = Content(platform_id="582", raw=whole, **content)
    assert (occurrence.kind, occurrence.content) == (f"message.{kind}", expected)


def test_an_edit_and_an_unsending_name_the_message() -> None:
    """Spec C17."""
    edit = event("messageEdited", message=text(text="better"), source=IN_A_GROUP)
    changed = only(edit)
    assert changed == MessageChanged(
        kind="message.edited",
        account_id=ACCOUNT,
        business_account_id=None,
        at=AT,
        dedupe=("event", "01M7XYEH414PYGS00AYPPWZP2Q"),
        target="582",
        person=PERSON,
        content=Content(text="better", raw=edit),
        group=GROUP,
    )
    unsent = only(event("unsend", unsend={"messageId": "582"}))
    assert isinstance(unsent, MessageChanged)
    assert (unsent.kind, unsent.target, unsent.content) == ("message.deleted", "582", None)


def test_a_postback_carries_what_was_chosen() -> None:
    (occurrence,) = said("line", one("line_postback_datetime.json").delivery)
    assert isinstance(occurrence, MessageOccurred)
    assert occurrence.content.form == {"response": {"datetime": "2026-12-25T01:00"}}


def test_while_another_program_has_the_conversation_it_is_said_so() -> None:
    occurrence = only(event(message=text(), mode="standby"))
    assert isinstance(occurrence, MessageOccurred)
    assert (occurrence.kind, occurrence.content.standby) == ("standby.text", True)


@pytest.mark.parametrize(
    ("kind", "source", "name", "type_"),
    [
        ("follow", None, "contact.follow", FollowOccurred),
        ("unfollow", None, "contact.unfollow", FollowOccurred),
        ("join", IN_A_GROUP, "group.joined", FollowOccurred),
        ("leave", IN_A_GROUP, "group.left", FollowOccurred),
        ("memberJoined", IN_A_GROUP, "group.member_joined", ActivityOccurred),
        ("beacon", None, "event.other", ActivityOccurred),
        ("botResumed", None, "account.resumed", AccountNoticed),
        ("delivery", None, "account.notification_delivered", AccountNoticed),
        ("newIn2027", None, "unknown", NotUnderstood),
        ("unsend", None, "unknown", NotUnderstood),
        ("message", None, "unknown", NotUnderstood),
    ],
)
def test_other_events(kind: str, source: Any, name: str, type_: type) -> None:
    said_of_it = event(kind, **({"source": source} if source else {}))
    occurrence = only(said_of_it)
    assert (occurrence.kind, type(occurrence)) == (name, type_)


def test_a_redelivery_is_the_same_event_also_without_an_id() -> None:
    """Spec P2."""
    names = {
        only(
            event(message=text(), webhookEventId=event_id, deliveryContext={"isRedelivery": again})
        ).dedupe
        for event_id in (None, "01M")
        for again in (False, True)
    }
    assert len(names) == 2


def test_a_delivery_for_another_account_is_refused_and_one_for_nobody_is_kept() -> None:
    delivery = one("line_text.json").delivery
    assert read("line", replace(delivery, account_id="Uaa11bb22cc33dd44ee55ff6677889900")) is None
    (occurrence,) = said("line", signed("line", {"events": [event(message=text())]}))
    assert occurrence.account_id == ACCOUNT
