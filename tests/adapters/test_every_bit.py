"""Every bit of a body and of its signature counts: with another one a delivery is refused (P2)."""

import json
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from adapters.meta import verify
from tests.adapters.recorded import PAYLOADS, one, read, with_headers, with_parameter


def flipped(value: bytes) -> Iterator[bytes]:
    """The value with one bit changed, for each bit of each byte."""
    for index in range(len(value)):
        for bit in range(8):
            changed = bytearray(value)
            changed[index] ^= 1 << bit
            yield bytes(changed)


@pytest.mark.parametrize("name", ["line_text", "messenger_text"])
def test_of_a_body_that_is_signed(name: str) -> None:
    each = one(f"{name}.json")
    assert read(each.platform, each.delivery) is not None
    for body in flipped(each.delivery.body):
        assert read(each.platform, replace(each.delivery, body=body)) is None


@pytest.mark.parametrize("name", ["line_text", "messenger_text", "telegram_text"])
def test_of_a_header(name: str) -> None:
    each = one(f"{name}.json")
    ((_, good),) = each.delivery.headers
    assert read(each.platform, each.delivery) is not None
    for header in flipped(good):
        assert read(each.platform, with_headers(each.delivery, header)) is None


def test_of_whatsapp() -> None:
    items = json.loads((PAYLOADS / "whatsapp" / "manifest.json").read_text())["items"]
    (item,) = [each for each in items if each["file"] == "whatsapp_text.json"]
    body = (PAYLOADS / "whatsapp" / item["file"]).read_bytes()
    good, secrets = item["headers"]["X-Hub-Signature-256"].encode(), [item["secret"].encode()]
    assert verify(body, [good], app_secrets=secrets)
    assert not any(verify(each, [good], app_secrets=secrets) for each in flipped(body))
    assert not any(verify(body, [each], app_secrets=secrets) for each in flipped(good))


def test_of_what_wechat_encrypts() -> None:
    """What stands around the encrypted part is not signed: it changes nothing, or is refused."""
    each = one("wechat_encrypted_secure.xml")
    said = read("wechat", each.delivery)
    assert said is not None
    begin = each.delivery.body.index(b"<Encrypt><![CDATA[") + len(b"<Encrypt><![CDATA[")
    end = each.delivery.body.index(b"]]></Encrypt>")
    for place, body in enumerate(flipped(each.delivery.body)):
        found = read("wechat", replace(each.delivery, body=body))
        is_inside = begin <= place // 8 < end
        assert found is None or (found == said and not is_inside)


@pytest.mark.parametrize("name", ["signature", "msg_signature", "timestamp", "nonce"])
def test_of_wechats_query(name: str) -> None:
    each = one("wechat_encrypted_secure.xml")
    good = dict(each.delivery.query)[name].encode()
    for value in flipped(good):
        changed = with_parameter(each.delivery, name, value.decode("latin-1"))
        assert read("wechat", changed) is None
