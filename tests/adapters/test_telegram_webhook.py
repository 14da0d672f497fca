"""Telegram's webhook: what its updates say (P1, C17, C19). What all platforms do is tested once."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.inbound import (
    AccountNoticed,
    ActivityOccurred,
    Address,
    AddressesChanged,
    AnyOccurrence,
    Content,
    FollowOccurred,
    MessageChanged,
    MessageOccurred,
    NotUnderstood,
    Person,
)
from tests.adapters.recorded import BOT, one, read, said, signed

NIKA = {"id": 5512345678, "is_bot": False, "first_name": "Nika", "last_name": "Orlova"}
OMAR = {"id": 6999000111, "is_bot": False, "first_name": "Omar"}
PRIVATE = {"id": 5512345678, "type": "private", "first_name": "Nika", "last_name": "Orlova"}
GROUP = {"id": -1002345678901, "type": "supergroup", "title": "Club"}
AT = datetime.fromtimestamp(1795228201, UTC)

AS_NIKA = Person(addresses=(Address(f"telegram:{BOT}", "5512345678"),), name="Nika Orlova")
AS_OMAR = Person(addresses=(Address(f"telegram:{BOT}", "6999000111"),), name="Omar")
AS_GROUP = Address(f"group:{BOT}", "-1002345678901")


def update(**member: Any) -> dict[str, Any]:
    return {"update_id": 7, **member}


def message(**more: Any) -> dict[str, Any]:
    """A text, with other members than usual; None leaves one out."""
    usual = {"message_id": 101, "from": NIKA, "chat": PRIVATE, "date": 1795228201, "text": "hello"}
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


def only(document: dict[str, Any]) -> AnyOccurrence:
    (occurrence,) = said("telegram", signed("telegram", document))
    return occurrence


def of_message(**more: Any) -> AnyOccurrence:
    return only(update(message=message(**more)))


def test_a_text_as_a_whole() -> None:
    document = update(message=message(reply_to_message={"message_id": 99, "chat": PRIVATE}))
    assert only(document) == MessageOccurred(
        kind="message.text",
        account_id=BOT,
        business_account_id=None,
        at=AT,
        dedupe=("update", "7", "1795228201"),
        platform_id=":5512345678:101",
        person=AS_NIKA,
        content=Content(text="hello", platform_id=":5512345678:101", raw=document),
        quotes=":5512345678:99",
    )


def test_a_message_in_a_group_names_its_member_and_the_group() -> None:
    """Spec C19."""
    occurrence = of_message(chat=GROUP)
    assert isinstance(occurrence, MessageOccurred)
    assert (occurrence.person, occurrence.group, occurrence.group_name) == (
        AS_NIKA,
        AS_GROUP,
        "Club",
    )


def test_who_writes_for_the_group_is_nobody_and_who_writes_for_a_channel_is_the_channel() -> None:
    own = of_message(chat=GROUP, sender_chat=GROUP)
    linked = of_message(chat=GROUP, sender_chat={"id": -100777, "type": "channel", "title": "News"})
    assert isinstance(own, MessageOccurred)
    assert own.person == Person(addresses=())
    assert isinstance(linked, MessageOccurred)
    assert linked.person == Person(addresses=(Address(f"telegram:{BOT}", "-100777"),), name="News")


def test_a_start_is_a_text() -> None:
    """Spec P1."""
    occurrence = of_message(text="/start ref-42", entities=[{"type": "bot_command"}])
    assert isinstance(occurrence, MessageOccurred)
    assert (occurrence.kind, occurrence.content.text) == ("message.text", "/start ref-42")


def test_the_beginning_of_a_topic_is_nothing_that_is_answered() -> None:
    topic = {"message_id": 42, "chat": GROUP, "forum_topic_created": {"name": "Help"}}
    occurrence = of_message(chat=GROUP, message_thread_id=42, reply_to_message=topic)
    assert isinstance(occurrence, MessageOccurred)
    assert occurrence.quotes is None


def test_numbers_that_begin_anew_name_other_things() -> None:
    """They do after a week of silence, and what is known is known for ever."""
    names = {of_message(date=date).dedupe for date in (1795228201, 1795228202)}
    assert len(names) == 2


def test_messages_without_a_number_are_told_apart() -> None:
    ids = set()
    for number in (1, 2):
        occurrence = only({"update_id": number, "message": message(message_id=0)})
        assert isinstance(occurrence, MessageOccurred)
        ids.add(occurrence.platform_id)
    assert len(ids) == 2


FILE = {"file_id": "f", "file_unique_id": "u", "file_size": 5}
AS_FILE = {"platform_id": "f", "unique_id": "u", "size": 5}
SPOT = {"latitude": 55.7, "longitude": 37.6}

CONTENTS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"photo": [FILE | {"width": 9}, FILE | {"width": 90, "file_id": "g"}], "caption": "c"},
        "image",
        {"text": "c", "media": AS_FILE | {"platform_id": "g", "width": 90}},
    ),
    ({"photo": []}, "unknown", {"raw_type": "photo"}),
    ({"photo": "x"}, "unknown", {"raw_type": "photo"}),
    (
        {"animation": FILE, "document": FILE | {"file_id": "other"}},
        "video",
        {"media": AS_FILE},
    ),
    ({"video_note": FILE}, "video", {"media": AS_FILE}),
    (
        {"voice": FILE | {"duration": 3}},
        "audio",
        {"media": AS_FILE | {"duration_seconds": 3, "voice": True}},
    ),
    ({"audio": FILE}, "audio", {"media": AS_FILE}),
    ({"audio": FILE | {"duration": 3.5}}, "audio", {"media": AS_FILE | {"duration_seconds": 3.5}}),
    (
        {"document": {"file_id": 7, "file_size": "x", "mime_type": 5, "file_name": []}},
        "document",
        {"media": {"platform_id": "7"}},
    ),
    (
        {"video": FILE | {"width": True, "height": 1.5, "duration": "3"}},
        "video",
        {"media": AS_FILE},
    ),
    ({"document": {"file_name": "no id"}}, "unknown", {"raw_type": "document"}),
    (
        {"sticker": FILE | {"emoji": "🦆", "is_animated": True}},
        "sticker",
        {"media": AS_FILE | {"emoji": "🦆", "animated": True}},
    ),
    ({"location": SPOT}, "location", {"location": SPOT}),
    (
        {"venue": {"location": SPOT, "title": "ГУМ", "address": "3"}, "location": SPOT},
        "location",
        {"text": "ГУМ", "location": SPOT | {"name": "ГУМ", "address": "3"}},
    ),
    ({"venue": {"title": "nowhere"}, "location": SPOT}, "location", {"location": SPOT}),
    ({"location": {"latitude": True, "longitude": 1}}, "unknown", {"raw_type": "location"}),
    ({"contact": {"phone_number": "1"}}, "contacts", {"contacts": [{"phone_number": "1"}]}),
    (
        {"web_app_data": {"data": "{}", "button_text": "Order"}},
        "form_reply",
        {"text": "Order", "form": {"response": "{}"}},
    ),
    ({"poll": {"question": "?"}}, "unsupported", {"raw_type": "poll"}),
    ({"dice": {"emoji": "🎲"}}, "unsupported", {"raw_type": "dice"}),
    ({"text": 5}, "unknown", {"raw_type": "text"}),
    ({"forward_origin": {}, "text": "t"}, "text", {"text": "t", "forwarded": True}),
    ({"text": "a\0b"}, "text", {"text": "a\ufffdb"}),
]


@pytest.mark.parametrize(("members", "kind", "content"), CONTENTS)
def test_a_content(members: dict[str, Any], kind: str, content: dict[str, Any]) -> None:
    document = update(message=message(**({"text": None} | members)))
    occurrence = only(document)
    assert isinstance(occurrence, MessageOccurred)
    expected = Content(platform_id=":5512345678:101", raw=document, **content)
    assert (occurrence.kind, occurrence.content) == (f"message.{kind}", expected)


def test_an_edit_names_the_message_and_counts_from_its_own_time() -> None:
    """Spec C17."""
    document = update(edited_message=message(text="better", edit_date=1795228300))
    assert only(document) == MessageChanged(
        kind="message.edited",
        account_id=BOT,
        business_account_id=None,
        at=datetime.fromtimestamp(1795228300, UTC),
        dedupe=("update", "7", "1795228300"),
        target=":5512345678:101",
        person=AS_NIKA,
        content=Content(text="better", raw=document),
    )


@pytest.mark.parametrize(
    ("left", "text"),
    [
        ([{"type": "emoji", "emoji": "👍"}], "👍"),
        ([{"type": "emoji", "emoji": "👍"}, {"type": "emoji", "emoji": "🔥"}], "👍🔥"),
        ([{"type": "custom_emoji", "custom_emoji_id": "5"}], None),
    ],
)
def test_a_reaction(left: list[Any], text: str | None) -> None:
    reaction = {
        "chat": PRIVATE,
        "message_id": 99,
        "user": NIKA,
        "date": 1795228201,
        "old_reaction": [],
        "new_reaction": left,
    }
    occurrence = only(update(message_reaction=reaction))
    assert isinstance(occurrence, MessageChanged)
    assert (occurrence.kind, occurrence.target) == ("message.reaction", ":5512345678:99")
    assert occurrence.content is not None
    assert occurrence.content.text == text
    taken_back = only(update(message_reaction=reaction | {"new_reaction": []}))
    assert isinstance(taken_back, MessageChanged)
    assert taken_back.content is None


def test_a_reaction_in_a_group_is_its_members() -> None:
    reaction = {"chat": GROUP, "message_id": 9, "user": OMAR, "date": 1795228201}
    occurrence = only(update(message_reaction=reaction | {"new_reaction": [{"emoji": "👍"}]}))
    assert isinstance(occurrence, MessageChanged)
    assert (occurrence.person, occurrence.group) == (AS_OMAR, AS_GROUP)


def test_a_reaction_for_the_group_is_nobodys_and_one_for_a_channel_is_the_channels() -> None:
    """As with what they write: an anonymous administrator is no second customer."""
    channel = {"id": -100777, "type": "channel", "title": "News"}
    reaction = {"chat": GROUP, "message_id": 9, "date": 1795228201, "new_reaction": []}
    own = only(update(message_reaction=reaction | {"actor_chat": GROUP}))
    linked = only(update(message_reaction=reaction | {"actor_chat": channel}))
    assert isinstance(own, MessageChanged)
    assert (own.person, own.group) == (Person(addresses=()), AS_GROUP)
    assert isinstance(linked, MessageChanged)
    assert linked.person == Person(addresses=(Address(f"telegram:{BOT}", "-100777"),), name="News")


def test_a_button_of_a_group_is_its_members_and_one_of_elsewhere_is_no_message() -> None:
    pressed = {"id": "23", "from": OMAR, "data": "ok"}
    occurrence = only(update(callback_query=pressed | {"message": message(chat=GROUP)}))
    assert isinstance(occurrence, MessageOccurred)
    assert (occurrence.kind, occurrence.person, occurrence.group, occurrence.content.payload) == (
        "message.button_reply",
        AS_OMAR,
        AS_GROUP,
        "ok",
    )
    elsewhere = only(update(callback_query=pressed | {"inline_message_id": "x"}))
    assert isinstance(elsewhere, ActivityOccurred)


def test_the_words_of_a_button_are_those_it_had() -> None:
    (occurrence,) = said("telegram", one("telegram_callback_query.json").delivery)
    assert isinstance(occurrence, MessageOccurred)
    assert occurrence.content.text == "Да ✅"


@pytest.mark.parametrize(
    ("chat", "before", "after", "kind", "follows"),
    [
        (PRIVATE, "member", "kicked", "contact.unfollow", False),
        (PRIVATE, "kicked", "member", "contact.follow", True),
        (GROUP, "left", "member", "group.joined", True),
        (GROUP, "member", "left", "group.left", False),
        (GROUP, "administrator", "kicked", "group.left", False),
    ],
)
def test_who_lets_the_bot_write(
    chat: dict[str, Any], before: str, after: str, kind: str, follows: bool
) -> None:
    change = {
        "chat": chat,
        "from": NIKA,
        "date": 1795228201,
        "old_chat_member": {"status": before},
        "new_chat_member": {"status": after},
    }
    occurrence = only(update(my_chat_member=change))
    assert isinstance(occurrence, FollowOccurred)
    assert (occurrence.kind, occurrence.follows) == (kind, follows)
    assert (occurrence.group is None) is (chat is PRIVATE)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ({"status": "member"}, {"status": "restricted", "is_member": False}, "group.left"),
        ({"status": "restricted", "is_member": False}, {"status": "member"}, "group.joined"),
        (
            {"status": "restricted", "is_member": False},
            {"status": "restricted", "is_member": True},
            "group.joined",
        ),
        ({"status": "member"}, {"status": "restricted", "is_member": True}, "event.other"),
        ({"status": "member"}, {"status": "restricted"}, "event.other"),
    ],
)
def test_who_is_restricted_may_have_left(
    before: dict[str, Any], after: dict[str, Any], kind: str
) -> None:
    """And is still restricted on coming back."""
    change = {"chat": GROUP, "from": NIKA, "date": 1795228201}
    told = only(
        update(my_chat_member=change | {"old_chat_member": before, "new_chat_member": after})
    )
    assert told.kind == kind


def test_both_sides_of_a_move_say_the_same() -> None:
    old = {"id": -401, "type": "group", "title": "Club"}
    first = of_message(text=None, chat=old, migrate_to_chat_id=-1002345678901)
    second = of_message(text=None, chat=GROUP, migrate_from_chat_id=-401)
    for each in (first, second):
        assert isinstance(each, AddressesChanged)
        assert each.person == Person(addresses=(Address(f"group:{BOT}", "-401"),), name="Club")
        assert (each.added, each.group) == ((AS_GROUP,), True)


def test_what_the_owner_of_a_business_writes_is_an_echo() -> None:
    """Spec C17: its messages are counted apart from those with the bot itself."""
    connected = message(business_connection_id="k")
    customer = only(update(business_message=connected))
    owner = only(update(business_message=connected | {"from": OMAR}))
    bot = only(update(business_message=connected | {"sender_business_bot": {"id": 7}}))
    edited = only(update(edited_business_message=connected | {"from": OMAR}))
    assert [each.kind for each in (customer, owner, bot, edited)] == [
        "message.text",
        "echo.text",
        "echo.text",
        "echo.edited",
    ]
    assert isinstance(owner, MessageOccurred)
    assert owner.platform_id == "k:5512345678:101"
    by_connection = Address(f"connection:{BOT}", "k:5512345678")
    assert owner.person.addresses == (*AS_NIKA.addresses, by_connection)


@pytest.mark.parametrize("sender", [None, {}, OMAR])
def test_what_comes_to_the_bot_itself_is_never_by_the_business(sender: Any) -> None:
    """Only a connection shows a bot what another side of a chat than its customer writes."""
    written = message(**{"from": sender})
    found = [only(update(**{kind: written})) for kind in ("message", "edited_message")]
    assert [each.kind for each in found] == ["message.text", "message.edited"]
    nulls = only(update(message={**written, "from": None}))
    assert isinstance(nulls, MessageOccurred)
    assert (nulls.kind, nulls.person) == ("message.text", AS_NIKA)


@pytest.mark.parametrize(
    ("member", "body", "kind", "type_"),
    [
        (
            "channel_post",
            message(chat=GROUP | {"type": "channel"}),
            "event.other",
            ActivityOccurred,
        ),
        ("inline_query", {"id": "1", "from": NIKA}, "event.other", ActivityOccurred),
        ("poll_answer", {"poll_id": "1", "user": NIKA}, "event.other", ActivityOccurred),
        ("guest_message", message(chat=GROUP), "event.other", ActivityOccurred),
        ("subscription", {"user": NIKA}, "event.other", ActivityOccurred),
        ("subscription", {"who": NIKA}, "unknown", NotUnderstood),
        ("stopped_message_generation", {"chat": PRIVATE}, "event.other", ActivityOccurred),
        ("chat_member", {"chat": GROUP, "from": NIKA, "date": 1}, "event.other", ActivityOccurred),
        ("business_connection", {"id": "1"}, "account.business_connection", AccountNoticed),
        ("poll", {"id": "1"}, "account.poll", AccountNoticed),
        ("new_in_2027", {"x": 1}, "unknown", NotUnderstood),
        ("message", {"message_id": 5}, "unknown", NotUnderstood),
        ("message", 5, "unknown", NotUnderstood),
        ("message_reaction", {"chat": PRIVATE}, "unknown", NotUnderstood),
        (
            "deleted_business_messages",
            {"chat": PRIVATE, "message_ids": [{}]},
            "unknown",
            NotUnderstood,
        ),
    ],
)
def test_other_updates(member: str, body: Any, kind: str, type_: type) -> None:
    occurrence = only(update(**{member: body}))
    assert (occurrence.kind, type(occurrence)) == (kind, type_)


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"new_chat_members": [OMAR]}, "group.member_joined"),
        ({"left_chat_member": OMAR}, "group.member_left"),
        ({"new_chat_title": "x"}, "event.other"),
        ({"pinned_message": {}}, "event.other"),
    ],
)
def test_what_a_group_tells_of_itself_is_no_message(members: dict[str, Any], kind: str) -> None:
    occurrence = of_message(text=None, chat=GROUP, **members)
    assert isinstance(occurrence, ActivityOccurred)
    assert occurrence.kind == kind


@pytest.mark.parametrize(
    "name",
    [
        "community_chat_added",
        "community_chat_joined",
        "community_chat_removed",
        "gift_upgrade_sent",
        "managed_bot_created",
        "poll_option_added",
        "poll_option_deleted",
        "suggested_post_approval_failed",
        "suggested_post_approved",
        "suggested_post_declined",
        "suggested_post_paid",
        "suggested_post_refunded",
        "user_shared",
    ],
)
def test_what_telegram_tells_in_a_chat_is_no_message(name: str) -> None:
    """Bot API 10.3, and what it was called before that."""
    occurrence = of_message(text=None, **{name: {}})
    assert (occurrence.kind, type(occurrence)) == ("event.other", ActivityOccurred)


@pytest.mark.parametrize(
    "name",
    [
        "direct_messages_topic",
        "ephemeral_message_id",
        "guest_bot_caller_chat",
        "guest_bot_caller_user",
        "guest_query_id",
        "is_paid_post",
        "paid_star_count",
        "receiver_user",
        "reply_to_checklist_task_id",
        "reply_to_poll_option_id",
        "sender_tag",
        "suggested_post_info",
    ],
)
def test_what_stands_around_a_content_does_not_name_it(name: str) -> None:
    occurrence = of_message(text=None, **{name: {}, "hologram": {}})
    assert isinstance(occurrence, MessageOccurred)
    assert (occurrence.kind, occurrence.content.raw_type) == ("message.unknown", "hologram")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"x"',
        b'{"message": {}}',
        b'{"update_id": "7"}',
        b'{"update_id": -1}',
        b'{"update_id": true}',
        b'{"update_id": 1.5}',
        b'{"update_id": null}',
        b'{"update_id": 7} {}',
        b'{"update_id": 7, "update_id": 7}',
        b'{"update_id": 7, "poll": {"id" : "1", "id": "1"}}',
        b'{"update_id": 7, "poll": {"id": "1", "\\u0069d": ":"}}',
        b"update_id=7",
    ],
)
def test_what_no_program_of_telegrams_would_write_is_refused(body: bytes) -> None:
    """Spec P2: nobody has signed it."""
    assert read("telegram", signed("telegram", body)) is None


def test_an_update_that_says_nothing_is_kept() -> None:
    for more in ({}, {"later": {"id": ": :"}}, {"later": '"id": 1, "id": 1'}):
        assert isinstance(only({"update_id": 7, **more}), NotUnderstood)
