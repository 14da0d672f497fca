"""Messenger's webhook: what its events say (P1, C15, C17). The signature is Meta's."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.inbound import (
    AccountNoticed,
    ActivityOccurred,
    Address,
    AnyOccurrence,
    Content,
    MessageChanged,
    MessageOccurred,
    NotUnderstood,
    Person,
    WatermarkOccurred,
)
from tests.adapters.recorded import ACCOUNTS, said, signed

PAGE = ACCOUNTS["messenger"]
USER = "6473829104756123"
PERSON = Person(addresses=(Address(f"messenger:{PAGE}", USER),))
AT = datetime.fromtimestamp(1795227000, UTC).replace(microsecond=123_000)


def event(**member: Any) -> dict[str, Any]:
    """An event, with other members than usual; None leaves one out."""
    usual = {"sender": {"id": USER}, "recipient": {"id": PAGE}, "timestamp": 1795227000123}
    return {name: value for name, value in {**usual, **member}.items() if value is not None}


def entry(*events: Any, name: str = "messaging", **more: Any) -> dict[str, Any]:
    return {"id": PAGE, "time": 1795227000335, name: list(events), **more}


def body(*entries: Any) -> dict[str, Any]:
    return {"object": "page", "entry": list(entries)}


def only(*events: Any, name: str = "messaging") -> AnyOccurrence:
    (occurrence,) = said("messenger", signed("messenger", body(entry(*events, name=name))))
    return occurrence


def of_message(**message: Any) -> MessageOccurred:
    occurrence = only(event(message={"mid": "m_1", **message}))
    assert isinstance(occurrence, MessageOccurred)
    return occurrence


def test_a_text_as_a_whole() -> None:
    said_of_it = event(message={"mid": "m_1", "text": "hola", "reply_to": {"mid": "m_0"}})
    assert only(said_of_it) == MessageOccurred(
        kind="message.text",
        account_id=PAGE,
        business_account_id=None,
        at=AT,
        dedupe=("message", "m_1"),
        platform_id="m_1",
        person=PERSON,
        content=Content(text="hola", platform_id="m_1", read_token=USER, raw=said_of_it),
        quotes="m_0",
    )


def file(kind: str, **payload: Any) -> dict[str, Any]:
    return {"type": kind, "payload": payload}


LINK = {"url": "https://x", "title": "X"}

CONTENTS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"text": ""}, "text", {"text": ""}),
    ({}, "unknown", {}),
    (
        {"text": "see", "attachments": [file("image", url="https://x")]},
        "image",
        {"text": "see", "media": {"type": "image", "url": "https://x"}},
    ),
    (
        {"attachments": [file("image", url="https://x"), file("video", url="https://y")]},
        "image",
        {
            "media": {
                "type": "image",
                "url": "https://x",
                "others": [{"type": "video", "url": "https://y"}],
            }
        },
    ),
    (  # As it was until 2026-08-30.
        {"attachments": [file("image", sticker_id=5), file("sticker", sticker_id=5)]},
        "sticker",
        {"media": {"type": "sticker", "sticker_id": "5"}},
    ),
    ({"attachments": [file("fallback", **LINK)], "text": "t"}, "text", {"text": "t", "link": LINK}),
    ({"attachments": [file("post", **LINK)]}, "share", {"link": LINK}),
    (
        {"attachments": [file("ig_reel", url=[], title=5, reel_video_id=7, id="8")]},
        "share",
        {"link": {"video_id": "7", "id": "8"}},
    ),
    (
        {"attachments": [{"type": "fallback", "payload": None, **LINK}]},
        "share",
        {"link": LINK},
    ),
    (
        {"attachments": [file("location", coordinates={"lat": 1.5, "long": 2})]},
        "location",
        {"location": {"latitude": 1.5, "longitude": 2}},
    ),
    ({"attachments": [file("location")]}, "unknown", {"raw_type": "location"}),
    ({"attachments": [file("template")]}, "unknown", {"raw_type": "template"}),
    ({"attachments": [{"type": []}]}, "unknown", {}),
    (
        {"text": "はい", "quick_reply": {"payload": "P"}},
        "button_reply",
        {"text": "はい", "payload": "P"},
    ),
]


@pytest.mark.parametrize(("message", "kind", "content"), CONTENTS)
def test_a_content(message: dict[str, Any], kind: str, content: dict[str, Any]) -> None:
    occurrence = of_message(**message)
    raw = occurrence.content.raw
    expected = Content(platform_id="m_1", read_token=USER, raw=raw, **content)
    assert (occurrence.kind, occurrence.content) == (f"message.{kind}", expected)


def test_an_echo_belongs_to_its_recipient_and_is_another_thing_than_a_message() -> None:
    """Spec C17: both may have the same id."""
    echoed = event(
        sender={"id": PAGE},
        recipient={"id": USER},
        message={"mid": "m_1", "text": "x", "is_echo": True, "metadata": "chat.message"},
    )
    echo = only(echoed)
    assert isinstance(echo, MessageOccurred)
    assert (echo.kind, echo.person, echo.echo, echo.sent_by_us) == (
        "echo.text",
        PERSON,
        True,
        "chat.message",
    )
    assert echo.dedupe != of_message(text="x").dedupe


@pytest.mark.parametrize("mark", [{}, {"is_echo": "true"}, {"is_echo": False}])
def test_what_the_page_sends_is_an_echo_whether_it_says_so_or_not(mark: dict[str, Any]) -> None:
    """Else it would count as its recipient's message, and open the window."""
    by_page = event(
        sender={"id": PAGE}, recipient={"id": USER}, message={"mid": "m_1", "text": "x", **mark}
    )
    echo = only(by_page)
    assert isinstance(echo, MessageOccurred)
    assert (echo.kind, echo.person, echo.echo, echo.dedupe) == (
        "echo.text",
        PERSON,
        True,
        ("echo", "m_1"),
    )


def test_edits_are_told_apart_by_their_number() -> None:
    edits = [
        only(event(message_edit={"mid": "m_1", "text": text, "num_edit": number}))
        for number, text in ((1, "a"), ("2", "b"))
    ]
    changes = [each for each in edits if isinstance(each, MessageChanged)]
    assert [each.dedupe for each in edits] == [("edit", "m_1#1"), ("edit", "m_1#2")]
    assert [each.content and each.content.text for each in changes] == ["a", "b"]


def test_a_reaction_and_its_end() -> None:
    reacted = only(
        event(reaction={"mid": "m_1", "action": "react", "emoji": "❤", "reaction": "love"})
    )
    named = only(event(reaction={"mid": "m_1", "action": "react", "reaction": "other"}))
    ended = only(event(reaction={"mid": "m_1", "action": "unreact"}))
    assert isinstance(reacted, MessageChanged)
    assert isinstance(named, MessageChanged)
    assert isinstance(ended, MessageChanged)
    assert reacted.content is not None
    assert named.content is not None
    assert (reacted.content.text, named.content.text, ended.content) == ("❤", "other", None)


@pytest.mark.parametrize(
    "change",
    [
        {"reaction": {"mid": "m_1", "action": "react", "emoji": "❤"}},
        {"message_edit": {"mid": "m_1", "text": "better", "num_edit": 1}},
    ],
)
def test_what_the_page_does_is_no_act_of_the_customer(change: dict[str, Any]) -> None:
    found = only(event(sender={"id": PAGE}, recipient={"id": USER}, **change))
    assert isinstance(found, MessageChanged)
    assert (found.person, found.echo, found.kind.partition(".")[0]) == (PERSON, True, "echo")


@pytest.mark.parametrize("name", ["messaging", "changes"])
def test_a_postback_may_come_in_a_wrapper(name: str) -> None:
    """As one page of Meta's shows it."""
    pressed = event(timestamp="1795227000123", postback={"title": "Start", "payload": "GO"})
    found = only({"field": "messaging_postbacks", "value": pressed}, name=name)
    assert isinstance(found, MessageOccurred)
    assert (found.kind, found.person, found.at) == ("message.postback", PERSON, AT)
    assert (found.content.text, found.content.payload) == ("Start", "GO")
    nobodys = pressed | {"sender": {"user_ref": "checkbox-7"}}
    for value in (nobodys, "x", None):
        kept = only({"field": "messaging_postbacks", "value": value}, name=name)
        assert isinstance(kept, NotUnderstood)


def test_a_deleted_message_names_itself() -> None:
    occurrence = only(event(message={"mid": "m_1", "is_deleted": True}))
    assert isinstance(occurrence, MessageChanged)
    assert (occurrence.kind, occurrence.target) == ("message.deleted", "m_1")


@pytest.mark.parametrize(("name", "status"), [("delivery", "delivered"), ("read", "read")])
def test_a_watermark_counts_from_the_moment_it_names(name: str, status: str) -> None:
    said_of_it = event(
        **{name: {"watermark": 1795227000123, "mids": ["m_1", None, "m_2"]}}, timestamp=None
    )
    occurrence = only(said_of_it)
    assert isinstance(occurrence, WatermarkOccurred)
    assert occurrence == WatermarkOccurred(
        kind=f"status.{status}",
        account_id=PAGE,
        business_account_id=None,
        at=AT,
        dedupe=occurrence.dedupe,
        status=status,
        person=PERSON,
        platform_ids=("m_1", "m_2"),
        detail=said_of_it,
    )


def test_in_standby_another_program_has_the_conversation() -> None:
    occurrence = only(event(message={"mid": "m_1", "text": "x"}), name="standby")
    assert isinstance(occurrence, MessageOccurred)
    assert (occurrence.kind, occurrence.content.standby) == ("standby.text", True)
    echo = only(
        event(
            sender={"id": PAGE},
            recipient={"id": USER},
            message={"mid": "m", "is_echo": True, "text": "y"},
        ),
        name="standby",
    )
    assert echo.kind == "echo.text"
    # A button that is seen there has no id.
    assert only(event(postback={"title": "Go"}), name="standby").kind == "standby.postback"


@pytest.mark.parametrize(
    ("member", "kind", "type_"),
    [
        ({"referral": {"ref": "x"}}, "contact.referral", ActivityOccurred),
        ({"optin": {"type": "x"}}, "contact.optin", ActivityOccurred),
        ({"take_thread_control": {}}, "contact.thread_control", ActivityOccurred),
        ({"account_linking": {"status": "linked"}}, "event.other", ActivityOccurred),
        (
            {"policy_enforcement": {"action": "block"}, "sender": None},
            "account.policy_enforcement",
            AccountNoticed,
        ),
        ({"app_roles": {"1": ["x"]}, "sender": None}, "account.app_roles", AccountNoticed),
        ({"wormhole": {}}, "unknown", NotUnderstood),
        ({"message": {"text": "no id"}}, "unknown", NotUnderstood),
        ({"message": {"mid": "m"}, "sender": {"user_ref": "x"}}, "unknown", NotUnderstood),
        ({"read": {"watermark": "soon"}}, "unknown", NotUnderstood),
        ({"reaction": {"mid": "m", "action": "x"}}, "unknown", NotUnderstood),
        ({"message_edit": {"mid": "m"}}, "unknown", NotUnderstood),
        ({"postback": {}}, "unknown", NotUnderstood),
    ],
)
def test_other_events(member: dict[str, Any], kind: str, type_: type) -> None:
    occurrence = only(event(**member))
    assert (occurrence.kind, type(occurrence), occurrence.account_id) == (kind, type_, PAGE)


@pytest.mark.parametrize(
    "document",
    [
        {"object": "page"},
        {"object": "instagram", "entry": [entry(event(message={"mid": "m", "text": "x"}))]},
        {"object": "page", "entry": {"id": PAGE}},
        body(5),
        body({"messaging": [event()]}),
        body({"id": PAGE}),
        body({"id": PAGE, "messaging": event()}),
        body({"id": PAGE, "changes": [{"field": "feed", "value": {}}]}),
    ],
)
def test_strange_bodies_are_kept(document: Any) -> None:
    (occurrence,) = said("messenger", signed("messenger", document))
    assert isinstance(occurrence, NotUnderstood)


def test_what_stands_beside_both_lists_is_read() -> None:
    whole = entry(
        event(message={"mid": "m_1", "text": "a"}),
        standby=[event(message={"mid": "m_2", "text": "b"})],
    )
    found = said("messenger", signed("messenger", body(whole)))
    assert [each.kind for each in found] == ["message.text", "standby.text"]
