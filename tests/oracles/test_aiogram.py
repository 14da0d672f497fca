"""Telegram's updates as aiogram has them: it checks each field that Telegram documents."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters.telegram.content import ENVELOPE, READERS
from adapters.telegram.outgoing import method_for
from adapters.telegram.updates import SERVICE_MESSAGES
from domain.inbound import Address, Content, MessageChanged, MessageOccurred
from domain.outbound import OutboundMessage
from tests.adapters.recorded import Recorded, recorded, said, signed
from tests.oracles.conftest import EXAMPLES, oracle
from tests.oracles.outbound import messages

RECORDED = recorded("telegram")
every_recorded = pytest.mark.parametrize("each", RECORDED, ids=str)

# Said to be unknown by the payload itself: a content that no release of Telegram's has.
UNKNOWN = {"telegram_unknown_message_content.json"}


def update_of(body: bytes) -> Any:
    return oracle("aiogram.types").Update.model_validate_json(body)


@every_recorded
def test_what_we_hold_is_what_telegram_writes(each: Recorded) -> None:
    update = update_of(each.delivery.body)
    found = said("telegram", each.delivery)
    assert {occurrence.dedupe[1] for occurrence in found} == {str(update.update_id)}
    if each.name not in UNKNOWN:
        assert update.event_type in json.loads(each.delivery.body)


@every_recorded
def test_both_read_the_same_message(each: Recorded) -> None:
    update = update_of(each.delivery.body)
    message = update.message or update.business_message or update.edited_message
    found = said("telegram", each.delivery)
    if message is None:
        assert not update.event_type.endswith("message")
        return
    (ours,) = found
    if isinstance(ours, MessageOccurred | MessageChanged):
        assert_alike(message, ours)
    else:
        assert message.migrate_to_chat_id is not None


def assert_alike(message: Any, ours: MessageOccurred | MessageChanged) -> None:
    """The same message, of the same person, in the same chat, that says the same."""
    platform_id = ours.platform_id if isinstance(ours, MessageOccurred) else ours.target
    connection = message.business_connection_id or ""
    assert platform_id == f"{connection}:{message.chat.id}:{message.message_id}"
    assert ours.at == (
        datetime.fromtimestamp(message.edit_date, UTC) if message.edit_date else message.date
    )
    if message.chat.type == "private":
        person = str(message.chat.id)
        # A connection is one more address, through which the customer is answered.
        reached = [person, f"{connection}:{person}"] if connection else [person]
        assert [each.value for each in ours.person.addresses] == reached
        assert ours.group is None
    else:
        assert ours.group is not None
        assert ours.group.value == str(message.chat.id)
    if message.content_type in ("text", "photo", "video", "document", "audio", "voice"):
        assert ours.content is not None
        assert ours.content.text == (message.text or message.caption)


# What Telegram has not sent since Bot API 7.0, and what says that a group moved.
ELSEWHERE = {
    "forward_date",
    "forward_from",
    "forward_from_chat",
    "forward_from_message_id",
    "forward_sender_name",
    "forward_signature",
    "migrate_from_chat_id",
    "migrate_to_chat_id",
}


def test_every_member_of_a_message_has_its_place() -> None:
    """One without would make a message of what nobody wrote, or give its name to another's."""
    fields = oracle("aiogram.types").Message.model_fields
    members = {field.alias or name for name, field in fields.items()}
    assert members == ENVELOPE | SERVICE_MESSAGES | READERS.keys() | ELSEWHERE


# Updates that nobody recorded, as aiogram itself writes them.

NUMBERS = st.integers(1, 2**52)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
USERS = st.fixed_dictionaries(
    {"id": NUMBERS, "is_bot": st.just(False), "first_name": TEXTS},
    optional={"last_name": TEXTS, "username": TEXTS, "language_code": st.just("th")},
)
GROUPS = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**51), -1),
        "type": st.sampled_from(["group", "supergroup"]),
        "title": TEXTS,
    }
)
FILES = st.fixed_dictionaries({"file_id": TEXTS.filter(lambda text: len(text) < 500)})


def files(**members: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "file_id": st.text("abcXYZ019-_", min_size=20, max_size=60),
            "file_unique_id": st.text("abcXYZ019-_", min_size=8, max_size=20),
            **{name: st.just(value) for name, value in members.items()},
        }
    )


CONTENTS = st.one_of(
    st.fixed_dictionaries({"text": TEXTS}),
    st.fixed_dictionaries({"document": files(), "caption": TEXTS}),
    st.fixed_dictionaries({"voice": files(duration=3)}),
    st.fixed_dictionaries({"audio": files(duration=3)}),
    st.fixed_dictionaries({"video": files(duration=3, width=640, height=360)}),
    st.fixed_dictionaries(
        {"photo": st.lists(files(width=90, height=60), min_size=1, max_size=4), "caption": TEXTS}
    ),
    st.fixed_dictionaries(
        {
            "location": st.fixed_dictionaries(
                {"latitude": st.floats(-90, 90), "longitude": st.floats(-180, 180)}
            )
        }
    ),
)


@st.composite
def updates(draw: st.DrawFn) -> dict[str, Any]:
    """A message or an edit, from somebody, alone or in a group."""
    sender = draw(USERS)
    alone = {"id": sender["id"], "type": "private", "first_name": sender["first_name"]}
    message = {
        "message_id": draw(NUMBERS),
        "date": draw(st.integers(1_500_000_000, 4_000_000_000)),
        "from": sender,
        "chat": draw(st.one_of(st.just(alone), GROUPS)),
        **draw(CONTENTS),
    }
    kind = draw(st.sampled_from(["message", "edited_message"]))
    if kind == "edited_message":
        message["edit_date"] = message["date"] + draw(st.integers(0, 10**6))
    return {"update_id": draw(NUMBERS), kind: message}


@settings(max_examples=EXAMPLES)
@given(updates())
def test_both_read_the_same_of_updates_made_up(made: dict[str, Any]) -> None:
    update = update_of(json.dumps(made).encode())
    written = update.model_dump_json(exclude_none=True, exclude_unset=True, by_alias=True)
    (ours,) = said("telegram", signed("telegram", written.encode()))
    assert isinstance(ours, MessageOccurred | MessageChanged)
    assert_alike(update.message or update.edited_message, ours)


# What we send.

CHAT = "5512345678"
SENT = messages(
    Address("telegram:7012345678", CHAT),
    account_id="7012345678",
    captions=True,
    document=st.just(Content(text="a document")),
    sticker=st.just(Content(media={"sticker_id": "CAACAgIAAxkBAAE"})),
)


@settings(max_examples=EXAMPLES)
@given(SENT, st.none() | st.just(f":{CHAT}:77"))
def test_what_we_send_is_what_telegram_takes(message: OutboundMessage, quotes: str | None) -> None:
    method = method_for(replace(message, quotes=quotes), chat_id=CHAT)
    name = method.name[0].upper() + method.name[1:]
    model = getattr(oracle("aiogram.methods"), name)
    file = {method.file_name: "attach"} if method.file is not None else {}
    taken = model.model_validate({**method.arguments, **file})
    assert taken.__api_method__ == method.name
    assert not taken.model_extra
    assert set(method.arguments) <= set(model.model_fields)
    if quotes is not None:
        assert taken.reply_parameters.message_id == 77
