"""WeChat's signatures, encryption and documents, as wechatpy has them.

It does not look at the padding, so a wrong one says nothing about us here.
"""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters.wechat.crypto import decrypt, is_signed, signature
from adapters.wechat.fake_rules import FakeOfficialAccount
from adapters.wechat.fake_webhooks import query as query_of
from adapters.wechat.fake_webhooks import written
from domain.inbound import MessageOccurred
from domain.webhook import Delivery
from tests.adapters.recorded import NOW, OFFICIAL_ACCOUNT, Recorded, read, recorded, said, signed
from tests.adapters.test_wechat_webhook import APP_ID, KEY, SECURE, XML, sealed
from tests.oracles.conftest import EXAMPLES, oracle

TIMESTAMP, NONCE = "1795228801", "55120"
RECORDED = recorded("wechat")
ENCRYPTED = [each for each in RECORDED if "encrypted" in each.name]
WRITTEN = [each for each in RECORDED if each not in ENCRYPTED and each.name.endswith(".xml")]

# What XML can hold at all, less what a reader may change: a carriage return is read as a line feed.
LETTERS = st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t")
TEXTS = st.text(LETTERS, min_size=1, max_size=300).filter(lambda text: text.strip() == text)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def accepts(token: str, given: str, timestamp: str, nonce: str) -> bool:
    try:
        oracle("wechatpy.utils").check_signature(token, given, timestamp, nonce)
    except oracle("wechatpy.exceptions").InvalidSignatureException:
        return False
    return True


def crypto(*, app_id: str = APP_ID) -> Any:
    return oracle("wechatpy.crypto").WeChatCrypto(SECURE["token"], KEY, app_id)


def member(body: bytes | str, name: str) -> str:
    text = body.decode() if isinstance(body, bytes) else body
    found = re.search(rf"<{name}>(?:<!\[CDATA\[)?(.*?)(?:\]\]>)?</{name}>", text, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("each", RECORDED, ids=str)
def test_both_find_the_same_signatures_good(each: Recorded) -> None:
    query, (live,) = dict(each.delivery.query), each.delivery.credentials
    timestamp, nonce, given = query["timestamp"], query["nonce"], query["signature"]
    for token in (live["token"], f"{live['token']}x"):
        ours = is_signed(given, token, timestamp, nonce)
        assert ours == accepts(token, given, timestamp, nonce)
        assert ours == (token == live["token"])


@settings(max_examples=EXAMPLES)
@given(WORDS, WORDS, WORDS)
def test_both_sign_alike(token: str, timestamp: str, nonce: str) -> None:
    assert accepts(token, signature(token, timestamp, nonce).decode(), timestamp, nonce)


@pytest.mark.parametrize("each", ENCRYPTED, ids=str)
def test_both_open_the_same_messages(each: Recorded) -> None:
    query, (live,) = dict(each.delivery.query), each.delivery.credentials
    encrypted = member(each.delivery.body, "Encrypt")
    theirs = oracle("wechatpy.crypto").WeChatCrypto(
        live["token"], live["encoding_aes_key"], live["app_id"]
    )
    arguments = (each.delivery.body, query["msg_signature"], query["timestamp"], query["nonce"])
    if each.expect is None:
        assert read("wechat", each.delivery) is None
        return
    opened = decrypt(
        encrypted, encoding_aes_key=live["encoding_aes_key"], app_id=live["app_id"]
    ).decode()
    assert opened == theirs.decrypt_message(*arguments)
    assert read("wechat", each.delivery) is not None


def delivery_of(envelope: str) -> Delivery:
    """What wechatpy wrote as a request of WeChat's."""
    plain = signed("wechat", envelope.encode(), credentials=SECURE)
    msg_signature = member(envelope, "MsgSignature")
    return replace(plain, query=[*plain.query, ("msg_signature", msg_signature)])


@settings(max_examples=EXAMPLES)
@given(TEXTS)
def test_we_read_what_it_encrypts(text: str) -> None:
    message = document(text)
    envelope = crypto().encrypt_message(message, NONCE, TIMESTAMP)
    (occurrence,) = said("wechat", delivery_of(envelope))
    assert isinstance(occurrence, MessageOccurred)
    assert occurrence.content.text == text
    encrypted = member(envelope, "Encrypt")
    assert decrypt(encrypted, encoding_aes_key=KEY, app_id=APP_ID).decode() == message


@settings(max_examples=EXAMPLES)
@given(TEXTS)
def test_it_reads_what_we_encrypt(text: str) -> None:
    message = document(text)
    encrypted = sealed(message.encode())
    given = signature(SECURE["token"], TIMESTAMP, NONCE, encrypted).decode()
    body = f"<xml><Encrypt>{encrypted}</Encrypt></xml>"
    assert crypto().decrypt_message(body, given, TIMESTAMP, NONCE) == message


@settings(max_examples=EXAMPLES)
@given(TEXTS)
def test_it_reads_what_our_fake_sends(text: str) -> None:
    account = FakeOfficialAccount(
        app_id=APP_ID, token=SECURE["token"], encoding_aes_key=KEY, mode="secure"
    )
    fields: dict[str, str | int] = {
        "ToUserName": account.account_id,
        "FromUserName": "oQk8R6Zl2mXv0sYtB4nPaE7wJcDg",
        "CreateTime": 1795228801,
        "MsgType": "text",
        "Content": text,
        "MsgId": 24700000000104729,
    }
    body = written(account, fields)
    given_query = query_of(account, body, at=NOW)
    signed_by = (given_query["msg_signature"], given_query["timestamp"], given_query["nonce"])
    message = oracle("wechatpy").parse_message(crypto().decrypt_message(body, *signed_by))
    assert (message.content, message.id) == (text, fields["MsgId"])


def test_both_refuse_another_accounts_message() -> None:
    envelope = crypto(app_id="wx0000000000000000").encrypt_message(document("x"), NONCE, TIMESTAMP)
    given = member(envelope, "MsgSignature")
    with pytest.raises(oracle("wechatpy.exceptions").InvalidAppIdException):
        crypto().decrypt_message(envelope, given, TIMESTAMP, NONCE)
    assert read("wechat", delivery_of(envelope)) is None


def document(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return XML.format(escaped)


@settings(max_examples=EXAMPLES)
@given(TEXTS)
def test_both_read_the_same_text(text: str) -> None:
    message = document(text)
    theirs = oracle("wechatpy").parse_message(message)
    (ours,) = said("wechat", signed("wechat", message.encode()))
    assert isinstance(ours, MessageOccurred)
    assert (ours.content.text, ours.platform_id) == (theirs.content, str(theirs.id))


@pytest.mark.parametrize("each", WRITTEN, ids=str)
def test_both_read_the_same_document(each: Recorded) -> None:
    theirs = oracle("wechatpy").parse_message(each.delivery.body)
    found = read("wechat", each.delivery)
    assert found is not None
    (ours,) = found
    assert theirs.target == ours.account_id == OFFICIAL_ACCOUNT
    assert ours.at is not None
    assert int(theirs._data["CreateTime"]) == ours.at.timestamp()
    person = getattr(ours, "person", None)
    if person is not None:
        assert [each.value for each in person.addresses] == [theirs.source]
    if isinstance(ours, MessageOccurred) and theirs.type != "event":
        assert ours.platform_id == str(theirs.id)
        assert ours.content.text == getattr(theirs, "content", None) or theirs.type != "text"
        media_id = getattr(theirs, "media_id", None)
        assert media_id is None or (ours.content.media or {})["platform_id"] == media_id
