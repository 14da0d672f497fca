"""LINE's signatures and events, as LINE's own library has them.

A known event with an unknown message in it is an unknown event to it as a whole.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.line.outgoing import request_body
from adapters.line.webhook import verify
from domain.inbound import Address, AnyOccurrence, Content, MessageOccurred
from domain.outbound import OutboundMessage
from tests.adapters.recorded import ACCOUNTS, CREDENTIALS, Recorded, recorded, said, signed
from tests.oracles.conftest import EXAMPLES, oracle
from tests.oracles.outbound import messages as outbound_messages

RECORDED = recorded("line")
every_recorded = pytest.mark.parametrize("each", RECORDED, ids=str)


def theirs(body: bytes, signature: bytes, secret: str) -> list[Any]:
    """What LINE's library makes of a delivery."""
    parser = oracle("linebot.v3").WebhookParser(secret)
    events: list[Any] = parser.parse(body.decode(), signature.decode())
    return events


def assert_alike(event: Any, occurrence: AnyOccurrence) -> None:
    """Both say the same of whatever both have a word for."""
    assert occurrence.dedupe == ("event", event.webhook_event_id)
    assert occurrence.at is not None
    assert round(occurrence.at.timestamp() * 1000) == event.timestamp
    source = event.source
    person = getattr(occurrence, "person", None)
    if person is not None:
        user_id = getattr(source, "user_id", None)
        assert [each.value for each in person.addresses] == ([user_id] if user_id else [])
    group = getattr(occurrence, "group", None)
    group_id = getattr(source, "group_id", None) or getattr(source, "room_id", None)
    assert (group.value if group is not None else None) == group_id
    if event.type == "message":
        assert isinstance(occurrence, MessageOccurred)
        message = event.message
        assert occurrence.platform_id == message.id
        assert occurrence.kind in (f"message.{message.type}", f"standby.{message.type}")
        if message.type == "text":
            assert occurrence.content.text == message.text
            assert occurrence.quotes == message.quoted_message_id
    if event.type == "unsend":
        assert getattr(occurrence, "target", None) == event.unsend.message_id
    if event.type == "postback":
        assert isinstance(occurrence, MessageOccurred)
        assert occurrence.content.payload == event.postback.data


def is_known(event: Any) -> bool:
    return type(event).__name__ not in ("UnknownEvent", "Event")


@every_recorded
def test_both_read_the_same_events(each: Recorded) -> None:
    (live,) = each.delivery.credentials
    ((_, signature),) = each.delivery.headers
    events = theirs(each.delivery.body, signature, live["channel_secret"])
    found = said("line", each.delivery)
    assert len(found) == len(events)
    for event, occurrence in zip(events, found, strict=True):
        if is_known(event):
            assert_alike(event, occurrence)


def test_most_recorded_events_are_known_to_it() -> None:
    """Else the test above would compare nothing."""
    known = sum(
        is_known(event)
        for each in RECORDED
        for event in theirs(
            each.delivery.body,
            each.delivery.headers[0][1],
            each.delivery.credentials[0]["channel_secret"],
        )
    )
    assert known >= 20


@settings(max_examples=EXAMPLES)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
)
def test_both_accept_the_same_signatures(body: str, secret: str, other: str) -> None:
    validator = oracle("linebot.v3").SignatureValidator(secret)
    ((_, good),) = signed("line", body.encode(), credentials={"channel_secret": secret}).headers
    for given_signature in (good.decode(), other, good.decode().swapcase(), f"{good.decode()}="):
        ours = verify(body.encode(), given_signature.encode(), channel_secrets=[secret.encode()])
        assert ours == validator.validate(body, given_signature)


# Events that nobody recorded.

IDS = st.text("0123456789abcdef", min_size=32, max_size=32)
USER_IDS = IDS.map(lambda text: f"U{text}")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)
SOURCES = st.one_of(
    st.fixed_dictionaries({"type": st.just("user"), "userId": USER_IDS}),
    st.fixed_dictionaries(
        {"type": st.just("group"), "groupId": IDS.map(lambda text: f"C{text}")},
        optional={"userId": USER_IDS},
    ),
    st.fixed_dictionaries(
        {"type": st.just("room"), "roomId": IDS.map(lambda text: f"R{text}")},
        optional={"userId": USER_IDS},
    ),
)
MESSAGE_IDS = st.integers(10**17, 10**18).map(str)
PROVIDER = st.just({"type": "line"})


def messages(kind: str, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind), "id": MESSAGE_IDS, **members})


MESSAGES = st.one_of(
    messages("text", text=TEXTS, quoteToken=st.just("q")),
    messages("text", text=TEXTS, quoteToken=st.just("q"), quotedMessageId=MESSAGE_IDS),
    messages("image", contentProvider=PROVIDER, quoteToken=st.just("q")),
    messages(
        "video", contentProvider=PROVIDER, duration=st.integers(0, 10**6), quoteToken=st.just("q")
    ),
    messages("audio", contentProvider=PROVIDER, duration=st.integers(0, 10**6)),
    messages("file", fileName=TEXTS, fileSize=st.integers(0, 10**9)),
    messages(
        "location",
        title=TEXTS,
        address=TEXTS,
        latitude=st.floats(-90, 90),
        longitude=st.floats(-180, 180),
    ),
    messages(
        "sticker",
        packageId=MESSAGE_IDS,
        stickerId=MESSAGE_IDS,
        stickerResourceType=st.sampled_from(["STATIC", "ANIMATION", "POPUP"]),
        quoteToken=st.just("q"),
    ),
)


def events(kind: str, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "type": st.just(kind),
            "mode": st.sampled_from(["active", "standby"]),
            "timestamp": st.integers(1_500_000_000_000, 4_000_000_000_000),
            "source": SOURCES,
            "webhookEventId": st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26),
            "deliveryContext": st.booleans().map(lambda again: {"isRedelivery": again}),
            **members,
        }
    )


EVENTS = st.one_of(
    events("message", message=MESSAGES, replyToken=st.just("r")),
    events("unsend", unsend=MESSAGE_IDS.map(lambda number: {"messageId": number})),
    events("postback", postback=TEXTS.map(lambda data: {"data": data}), replyToken=st.just("r")),
    events("follow", follow=st.just({"isUnblocked": False}), replyToken=st.just("r")),
    events("unfollow"),
    events("join", replyToken=st.just("r")),
    events("leave"),
)


@settings(max_examples=EXAMPLES)
@given(st.lists(EVENTS, max_size=8))
def test_both_read_the_same_of_events_made_up(made: list[dict[str, Any]]) -> None:
    delivery = signed("line", {"destination": ACCOUNTS["line"], "events": made})
    ((_, signature),) = delivery.headers
    known = theirs(delivery.body, signature, CREDENTIALS["line"]["channel_secret"])
    found = said("line", delivery)
    assert len(found) == len(known)
    for event, occurrence in zip(known, found, strict=True):
        assert is_known(event)
        if event.type not in ("message", "unsend", "postback", "follow") or (
            getattr(event.source, "user_id", None) or event.source.type != "user"
        ):
            assert_alike(event, occurrence)


# What we send.

SENT = outbound_messages(
    Address(f"line:{ACCOUNTS['line']}", "U19c8e7d6b5a493827160f5e4d3c2b1a0"),
    account_id=ACCOUNTS["line"],
    captions=False,
    sticker=st.just(Content(media={"package_id": "446", "sticker_id": "1988"})),
)


@settings(max_examples=EXAMPLES)
@given(SENT)
def test_what_we_send_is_what_line_takes(message: OutboundMessage) -> None:
    body = request_body(message)
    taken = oracle("linebot.v3.messaging").PushMessageRequest.from_dict(body)
    written = taken.to_dict()
    assert {name: written[name] for name in body} == body
    assert [type(each).__name__ for each in taken.messages] == [f"{message.kind.title()}Message"]
