"""WeChat's webhook: its handshake, its modes, its encryption, and what its fields say (P1, P2)."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from Crypto.Cipher import AES
from msgspec.structs import replace

from adapters.wechat.crypto import NotAuthentic, decrypt, is_signed, signature
from adapters.wechat.platform import WeChat
from domain.inbound import (
    AccountNoticed,
    ActivityOccurred,
    Address,
    AnyOccurrence,
    Content,
    FollowOccurred,
    MessageOccurred,
    NotUnderstood,
    Person,
    ReceiptOccurred,
)
from domain.webhook import Delivery
from tests.adapters.recorded import OFFICIAL_ACCOUNT, one, read, said, signed, with_parameter

SENDER = "oQk8R6Zl2mXv0sYtB4nPaE7wJcDg"
PERSON = Person(addresses=(Address(f"wechat:{OFFICIAL_ACCOUNT}", SENDER),))
AT = datetime.fromtimestamp(1795228801, UTC)

KEY = "9kSjhtwYeRJGFQ4j1VDnBhJ6ZQfmh0W8m2OCXB96EBu"
APP_ID = "wx7d1e4b90a2c85f36"
SECURE = {"token": "acme_token_2026", "encoding_aes_key": KEY, "app_id": APP_ID}


def fields(**more: Any) -> dict[str, Any]:
    """A text's fields, with other ones than usual; None leaves one out."""
    usual = {
        "ToUserName": OFFICIAL_ACCOUNT,
        "FromUserName": SENDER,
        "CreateTime": 1795228801,
        "MsgType": "text",
        "Content": "hello",
        "MsgId": 24700000000104729,
    }
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


def event(name: str, **more: Any) -> dict[str, Any]:
    return fields(MsgType="event", Event=name, Content=None, MsgId=None, **more)


def only(members: dict[str, Any]) -> AnyOccurrence:
    (occurrence,) = said("wechat", signed("wechat", members))
    return occurrence


def sealed(
    message: bytes,
    *,
    app_id: str = APP_ID,
    key: str = KEY,
    padding: bytes | None = None,
    length: int | None = None,
) -> str:
    """A message as WeChat encrypts it, or with something wrong about it."""
    opened = bytes(range(16)) + (len(message) if length is None else length).to_bytes(4, "big")
    opened += message + app_id.encode()
    size = 32 - len(opened) % 32
    opened += bytes([size]) * size if padding is None else padding
    raw = base64.b64decode(f"{key}=")
    return base64.b64encode(AES.new(raw, AES.MODE_CBC, raw[:16]).encrypt(opened)).decode()


def enveloped(encrypted: str, *, beside: str = "", **credentials: str) -> Delivery:
    """The delivery that carries it, well signed."""
    live = {**SECURE, **credentials}
    body = f"<xml>{beside}<Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()
    plain = signed("wechat", body, credentials=live)
    given = signature(live["token"], "1795228801", "55120", encrypted).decode()
    return replace(plain, query=[*plain.query, ("msg_signature", given)])


XML = (
    f"<xml><ToUserName>{OFFICIAL_ACCOUNT}</ToUserName><FromUserName>{SENDER}</FromUserName>"
    "<CreateTime>1795228801</CreateTime><MsgType>text</MsgType><Content>{}</Content>"
    "<MsgId>24700000000104729</MsgId></xml>"
)


# --- Signatures and the handshake ---


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("1714036504", "1514711492"), "f464b24fc39322e44b38aa78f5edd27bd1441696"),
        (("1714037059", "486452656"), "899cf89e464efb63f54ddac96b0a0a235f53aa78"),
        (("1714112445", "415670741"), "6c5c811b55cc85e0e1b54100749188c20beb3f5d"),
    ],
)
def test_known_signatures(parts: tuple[str, str], expected: str) -> None:
    assert is_signed(expected, "AAAAA", *parts)
    assert not is_signed(expected, "AAAAB", *parts)
    assert not is_signed(expected.upper(), "AAAAA", *parts)
    assert not is_signed("", "AAAAA", *parts)
    assert not is_signed(signature("", *parts).decode(), "", *parts)


KNOWN_SECRET = (
    "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcv"
    "ZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3F"
    "n2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSe"
    "OBrebufAlr7F9mFUPAJGj04="
)


def test_the_known_secret_opens() -> None:
    given = "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3"
    assert is_signed(given, "AAAAA", "1714112445", "415670741", KNOWN_SECRET)
    opened = decrypt(KNOWN_SECRET, encoding_aes_key="A" * 43, app_id="wxba5fad812f8e6fb9")
    assert json.loads(opened) == {
        "ToUserName": "gh_97417a04a28d",
        "FromUserName": "o9AgO5Kd5ggOC-bXrbNODIiE3bGY",
        "CreateTime": 1714112445,
        "MsgType": "event",
        "Event": "debug_demo",
        "debug_str": "hello world",
    }


def handshake(tolerance: int = 0, **more: Any) -> str | None:
    plain = signed("wechat", b"")
    delivery = replace(plain, query=[*plain.query, ("echostr", "4375")], **more)
    return WeChat(clock_tolerance_seconds=tolerance).handshake(delivery)


def test_the_handshake_is_the_same_in_every_mode() -> None:
    assert handshake() == "4375"
    assert handshake(credentials=[SECURE]) == "4375"
    assert handshake(credentials=[{"token": "new"}, SECURE]) == "4375"
    assert handshake(credentials=[{"token": "new"}]) is None
    assert handshake(credentials=[]) is None


@pytest.mark.parametrize(
    ("seconds", "fresh"), [(0, True), (600, True), (-600, True), (601, False), (-601, False)]
)
def test_an_old_signature_and_one_of_tomorrow_are_refused(seconds: int, fresh: bool) -> None:
    """TRUNKLINE_WECHAT_CLOCK_TOLERANCE_SECONDS; a signature covers no plain body."""
    now = AT + timedelta(seconds=seconds)
    platform = WeChat(clock_tolerance_seconds=600)
    assert (handshake(600, now=now) is not None) is fresh
    for delivery in (signed("wechat", fields()), enveloped(sealed(XML.format("x").encode()))):
        assert (platform.read(replace(delivery, now=now)) is not None) is fresh


@pytest.mark.parametrize("timestamp", ["", "x", "-1", "1e9", "9" * 13, "٣"])
def test_a_time_that_is_none_is_not_fresh(timestamp: str) -> None:
    token = "acme_token_2026"
    delivery = with_parameter(signed("wechat", fields()), "timestamp", timestamp)
    given = signature(token, timestamp, "55120").decode()
    delivery = with_parameter(delivery, "signature", given)
    assert WeChat(clock_tolerance_seconds=600).read(delivery) is None


# --- Encryption ---


def test_what_is_encrypted_is_read_in_both_formats() -> None:
    for message in (XML.format("hello").encode(), json.dumps(fields()).encode()):
        (occurrence,) = said("wechat", enveloped(sealed(message)))
        assert isinstance(occurrence, MessageOccurred)
        assert occurrence.content.text == "hello"


def test_what_stands_beside_the_encrypted_part_is_not_looked_at() -> None:
    """`compatible` reads the encrypted part only."""
    beside = f"<FromUserName>{SENDER}</FromUserName><MsgType>text</MsgType><Content>lie</Content>"
    for mode in ("compatible", "secure"):
        delivery = enveloped(sealed(XML.format("truth").encode()), beside=beside, mode=mode)
        (occurrence,) = said("wechat", delivery)
        assert isinstance(occurrence, MessageOccurred)
        assert occurrence.content.text == "truth"


MESSAGE = XML.format("x").encode()
FULL = -(16 + 4 + len(MESSAGE) + len(APP_ID)) % 32 or 32


WRONG: dict[str, str] = {
    "another app": sealed(MESSAGE, app_id="wx0000000000000000"),
    "no app": sealed(MESSAGE, app_id=""),
    "a longer app": sealed(MESSAGE, app_id=f"{APP_ID}0"),
    "another key": sealed(MESSAGE, key="A" * 43),
    "padding of 0": sealed(MESSAGE, padding=bytes(FULL)),
    "padding of 33": sealed(MESSAGE, padding=bytes([33]) * (FULL + 32)),
    "padding too long by far": sealed(MESSAGE, padding=bytes([255]) * FULL),
    "one byte of padding wrong": sealed(
        MESSAGE,
        padding=b"\1" + bytes([FULL + 32]) * (FULL + 31)
        if FULL < 2
        else b"\1" + bytes([FULL]) * (FULL - 1),
    ),
    "a length beyond the end": sealed(MESSAGE, length=len(MESSAGE) + 10_000),
    "a length of all bits": sealed(MESSAGE, length=2**32 - 1),
    "a length that takes the app in": sealed(MESSAGE, length=len(MESSAGE) + len(APP_ID)),
    "a length too small": sealed(MESSAGE, length=len(MESSAGE) - 1),
    "nothing": "",
    "no base64": "!" * 64,
    "base64 with a space": sealed(MESSAGE)[:20] + " " + sealed(MESSAGE)[20:],
    "half a block": base64.b64encode(b"x" * 24).decode(),
    "one block": base64.b64encode(b"x" * 16).decode(),
    "not ASCII": "é" * 64,
}


@pytest.mark.parametrize("encrypted", WRONG.values(), ids=WRONG.keys())
def test_whatever_is_wrong_is_refused_alike(encrypted: str) -> None:
    """Spec P2. Each of them is signed well: the signature alone proves too little."""
    assert read("wechat", enveloped(encrypted)) is None
    with pytest.raises(NotAuthentic) as refused:
        decrypt(encrypted, encoding_aes_key=KEY, app_id=APP_ID)
    assert str(refused.value) == ""


def test_nothing_is_decrypted_before_the_signature_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("adapters.wechat.webhook.decrypt", lambda text, **_: asked.append(text))
    delivery = enveloped(sealed(MESSAGE))
    assert read("wechat", with_parameter(delivery, "msg_signature", "0" * 40)) is None
    assert read("wechat", with_parameter(delivery, "msg_signature")) is None
    assert asked == []


def test_every_flipped_bit_of_what_is_encrypted_is_noticed() -> None:
    encrypted = sealed(MESSAGE)
    given = dict(enveloped(encrypted).query)["msg_signature"]
    for index in range(len(encrypted)):
        changed = encrypted[:index] + chr(ord(encrypted[index]) ^ 1) + encrypted[index + 1 :]
        delivery = with_parameter(enveloped(changed), "msg_signature", given)
        assert read("wechat", delivery) is None


def test_each_mode_takes_its_own() -> None:
    clear, encrypted = signed("wechat", MESSAGE), enveloped(sealed(MESSAGE))
    for mode, of_clear, of_encrypted in (
        ("plain", True, False),
        ("compatible", False, True),
        ("secure", False, True),
    ):
        live = [{**SECURE, "mode": mode}]
        assert (read("wechat", replace(clear, credentials=live)) is not None) is of_clear
        assert (read("wechat", replace(encrypted, credentials=live)) is not None) is of_encrypted
    assert read("wechat", replace(clear, credentials=[SECURE])) is None


def test_the_key_before_opens_for_a_while() -> None:
    delivery = enveloped(sealed(MESSAGE))
    renewed = {**SECURE, "encoding_aes_key": "B" * 43}
    for live in ([renewed, SECURE], [SECURE, renewed], [{"token": "plain"}, SECURE]):
        assert read("wechat", replace(delivery, credentials=live)) is not None
    assert read("wechat", replace(delivery, credentials=[renewed])) is None


def test_a_message_for_another_account_is_refused() -> None:
    other = MESSAGE.replace(OFFICIAL_ACCOUNT.encode(), b"gh_other")
    assert read("wechat", enveloped(sealed(other))) is None
    assert read("wechat", signed("wechat", other)) is None


# --- Documents ---


@pytest.mark.parametrize(
    "message",
    [
        b'<!DOCTYPE xml [<!ENTITY a "b">]>' + MESSAGE,
        b'<!DOCTYPE xml SYSTEM "file:///etc/passwd">' + MESSAGE,
        b"<!DOCTYPE xml>" + MESSAGE,
        b'<?xml version="1.0"?><!DOCTYPE xml [<!ENTITY a SYSTEM "http://x/">]>' + MESSAGE,
        b'<!DOCTYPE xml [<!ENTITY a "' + b"&a;" * 1_000 + b'">]>' + MESSAGE,
        b"<!DOCTYPE",
        b"<!DOCTYPE xml [",
    ],
)
def test_a_document_type_is_refused_whoever_wrote_it(message: bytes) -> None:
    """Spec P2: any DTD always, in clear, around what is encrypted, and in it."""
    assert read("wechat", signed("wechat", message)) is None
    whole = enveloped(sealed(MESSAGE))
    assert (
        read("wechat", replace(whole, body=message[: message.find(b"<xml>")] + whole.body)) is None
    )
    if b">" in message:
        assert read("wechat", enveloped(sealed(message))) is None


def test_a_text_that_looks_like_one_is_only_text() -> None:
    text = '<!DOCTYPE html [<!ENTITY a "b">]> &amp; ]] >'
    body = XML.format(f"<![CDATA[{text}]]>").encode()
    for delivery in (signed("wechat", body), enveloped(sealed(body))):
        (occurrence,) = said("wechat", delivery)
        assert isinstance(occurrence, MessageOccurred)
        assert occurrence.content.text == text


MALFORMED = {
    "no end": MESSAGE[:-6],
    "two roots": MESSAGE + MESSAGE,
    "another root": MESSAGE.replace(b"xml>", b"html>"),
    "an unknown entity": MESSAGE.replace(b"<Content>x", b"<Content>&x;"),
    "deep": MESSAGE.replace(b"<Content>x", b"<a>" * 70 + b"</a>" * 70 + b"<Content>x"),
    "a field twice": MESSAGE.replace(b"<Content>", b"<Content>y</Content><Content>"),
    "no sender": MESSAGE.replace(b"FromUserName", b"From"),
    "no kind": MESSAGE.replace(b"MsgType", b"Kind"),
    "nobody's": MESSAGE.replace(b"ToUserName", b"To"),
    "a text alone": b"<xml>text</xml>",
    "an array": b"[]",
    "Latin 1": MESSAGE.replace(b"<Content>x", b"<Content>\xe9"),
    "UTF-16": MESSAGE.decode().encode("utf-16"),
    "a NUL": MESSAGE.replace(b"<Content>x", b"<Content>\0"),
    "nothing": b"",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_is_refused_in_clear_and_kept_when_it_is_authentic(body: bytes) -> None:
    """Spec P2: in plain mode nobody has signed the body."""
    assert read("wechat", signed("wechat", body)) is None
    if b"xml" in body and b"ToUserName" in body:
        assert len(said("wechat", enveloped(sealed(body)))) == 1


REPLACED = "\ufffd"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("<![CDATA[a\bb]]>", f"a{REPLACED}b"),
        ("a\ufffeb\uffff", f"a{REPLACED}b{REPLACED}"),
        ("a\0b", f"a{REPLACED}b"),
        ("R&D &amp; &#20320;&x;", "R&D & 你&x;"),
        ("<![CDATA[R&D &amp;]]> \b R&D", f"R&D &amp; {REPLACED} R&D"),
        # What is taken out would let a customer's words end before they do.
        ("<![CDATA[]\b]><MsgId>1</MsgId>]]>", f"]{REPLACED}]><MsgId>1</MsgId>"),
    ],
)
def test_what_a_customer_can_type_and_xml_cannot_say_loses_no_message(
    written: str, text: str
) -> None:
    """Spec P2: in clear nobody has signed it, so there it is refused."""
    body = XML.format(written).encode()
    (occurrence,) = said("wechat", enveloped(sealed(body)))
    assert isinstance(occurrence, MessageOccurred)
    assert (occurrence.content.text, occurrence.platform_id) == (text, "24700000000104729")
    assert read("wechat", signed("wechat", body)) is None


def test_a_byte_order_mark_loses_no_message() -> None:
    for message in (XML.format("x").encode("utf-8-sig"), json.dumps(fields()).encode("utf-8-sig")):
        (occurrence,) = said("wechat", enveloped(sealed(message)))
        assert isinstance(occurrence, MessageOccurred)
        assert read("wechat", signed("wechat", message)) is None
    hidden = "\ufeff<!DOCTYPE xml>".encode() + MESSAGE
    assert read("wechat", enveloped(sealed(hidden))) is None


def test_bytes_that_are_no_text_lose_no_message() -> None:
    (occurrence,) = said("wechat", enveloped(sealed(MALFORMED["Latin 1"])))
    assert isinstance(occurrence, MessageOccurred)
    assert occurrence.content.text == REPLACED


def test_an_authentic_message_that_is_no_document_is_kept_whole() -> None:
    (occurrence,) = said("wechat", enveloped(sealed(b"\xff not a document")))
    assert isinstance(occurrence, NotUnderstood)
    assert base64.b64decode(occurrence.raw) == b"\xff not a document"


# --- What fields say ---


def test_a_text_as_a_whole() -> None:
    members = fields()
    assert only(members) == MessageOccurred(
        kind="message.text",
        account_id=OFFICIAL_ACCOUNT,
        business_account_id=None,
        at=AT,
        dedupe=("message", "24700000000104729"),
        platform_id="24700000000104729",
        person=PERSON,
        content=Content(text="hello", platform_id="24700000000104729", raw=members),
    )


def test_both_formats_name_a_message_alike() -> None:
    (written,) = said("wechat", signed("wechat", MESSAGE))
    assert written.dedupe == only(fields()).dedupe


CONTENTS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"Content": None}, "unknown", {"raw_type": "text"}),
    ({"bizmsgmenuid": "101"}, "button_reply", {"text": "hello", "payload": "101"}),
    ({"MsgType": "image"}, "unknown", {"raw_type": "image"}),
    (
        {"MsgType": "image", "MediaId": "m", "PicUrl": "http://x"},
        "image",
        {"media": {"platform_id": "m", "url": "http://x"}},
    ),
    (
        {"MsgType": "voice", "MediaId": "m", "Format": "speex", "Recognition": "你好"},
        "audio",
        {
            "media": {
                "platform_id": "m",
                "format": "speex",
                "recognition": "你好",
                "voice": True,
            }
        },
    ),
    (
        {"MsgType": "location", "Location_X": "23.13", "Location_Y": "113.35", "Label": "广州"},
        "location",
        {"text": "广州", "location": {"latitude": 23.13, "longitude": 113.35, "name": "广州"}},
    ),
    ({"MsgType": "location", "Location_X": "x"}, "unknown", {"raw_type": "location"}),
    (
        {"MsgType": "link", "Title": "t", "Description": "d", "Url": "https://x"},
        "link",
        {"text": "t", "link": {"url": "https://x", "title": "t", "description": "d"}},
    ),
]


@pytest.mark.parametrize(("more", "kind", "content"), CONTENTS)
def test_a_content(more: dict[str, Any], kind: str, content: dict[str, Any]) -> None:
    members = fields(**more)
    occurrence = only(members)
    assert isinstance(occurrence, MessageOccurred)
    expected = Content(platform_id="24700000000104729", raw=members, **content)
    assert (occurrence.kind, occurrence.content) == (f"message.{kind}", expected)


@pytest.mark.parametrize(
    ("name", "kind", "type_"),
    [
        ("subscribe", "contact.follow", FollowOccurred),
        ("unsubscribe", "contact.unfollow", FollowOccurred),
        ("SCAN", "event.scan", ActivityOccurred),
        ("VIEW", "event.view", ActivityOccurred),
        ("LOCATION", "event.location", ActivityOccurred),
        ("scancode_waitmsg", "event.other", ActivityOccurred),
        ("MASSSENDJOBFINISH", "account.mass_send", AccountNoticed),
        ("new_in_2027", "unknown", NotUnderstood),
    ],
)
def test_an_event(name: str, kind: str, type_: type) -> None:
    occurrence = only(event(name))
    assert (occurrence.kind, type(occurrence)) == (kind, type_)
    assert occurrence.dedupe[:2] == ("event", f"{SENDER}:1795228801:{name}:")


@pytest.mark.parametrize("name", ["CLICK", "SCAN", "subscribe", "unsubscribe", "VIEW"])
def test_an_event_that_its_key_tells_apart_has_no_other_name(name: str) -> None:
    """So it stands in logs, and one of them more would be a second message."""
    names = {only(event(name, EventKey="k", **more)).dedupe for more in ({}, {"MenuId": "7"})}
    assert names == {("event", f"{SENDER}:1795228801:{name}:k")}


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("MASSSENDJOBFINISH", {"MsgID": 1}, {"MsgID": 2}),
        ("TEMPLATESENDJOBFINISH", {"MsgID": 0, "c": "a"}, {"MsgID": 0, "c": "b"}),
        ("kf_switch_session", {"ToKfAccount": "a@gh"}, {"ToKfAccount": "b@gh"}),
        ("user_get_card", {"UserCardCode": "1"}, {"UserCardCode": "2"}),
        ("subscribe_msg_sent_event", {"List": {"MsgID": "1"}}, {"List": {"MsgID": "2"}}),
        ("scancode_push", {"EventKey": "k", "c": "a"}, {"EventKey": "k", "c": "b"}),
        ("LOCATION", {"Latitude": "23.1"}, {"Latitude": "23.2"}),
        ("new_in_2027", {"c": "a"}, {"c": "b"}),
    ],
)
def test_an_event_that_no_key_tells_apart_is_told_by_all_it_says(
    name: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    names = [only(event(name, **more)).dedupe for more in (first, second, first)]
    assert names[0] == names[2]
    assert names[0] != names[1]


def test_a_key_may_be_written_as_a_number() -> None:
    """As JSON writes it, if the account's owner chose that."""
    five, six = only(event("SCAN", EventKey=5)), only(event("SCAN", EventKey=6))
    assert five.dedupe == ("event", f"{SENDER}:1795228801:SCAN:5")
    assert five.dedupe != six.dedupe
    pressed = only(event("CLICK", EventKey=7))
    assert isinstance(pressed, MessageOccurred)
    assert pressed.content.payload == "7"
    address = f"https://shop.example.cn/?{'p' * 600}"
    assert only(event("VIEW", EventKey=address)).dedupe[1].endswith(address)


def test_two_events_of_the_same_second_are_two() -> None:
    first = one("wechat_event_two_same_second_a.xml").delivery
    second = replace(first, body=first.body.replace(b"[A]", b"[B]"))
    (a,), (b,) = said("wechat", first), said("wechat", second)
    assert a.dedupe != b.dedupe


@pytest.mark.parametrize(
    ("said_of_it", "status", "reason"),
    [
        ("success", "delivered", None),
        ("failed:user block", "failed", "blocked"),
        ("failed: system failed", "failed", "platform_failed"),
        ("failed: by the weather", "failed", "unknown"),
    ],
)
def test_what_became_of_a_template(said_of_it: str, status: str, reason: str | None) -> None:
    members = event("TEMPLATESENDJOBFINISH", MsgID=3390112845, Status=said_of_it)
    assert only(members) == ReceiptOccurred(
        kind=f"status.{status}",
        account_id=OFFICIAL_ACCOUNT,
        business_account_id=None,
        at=AT,
        dedupe=("status", "3390112845", status),
        platform_id="3390112845",
        status=status,
        person=PERSON,
        reason=reason,
        detail=members,
    )
    nameless = event("TEMPLATESENDJOBFINISH", MsgID=0, Status=said_of_it)
    assert isinstance(only(nameless), NotUnderstood)
