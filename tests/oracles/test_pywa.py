"""Meta's signatures as pywa checks them, and single messages as it reads them.

It reads the first item of a body only, and fails on statuses as Meta writes them.
"""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.meta import verify
from adapters.whatsapp.webhook import parse
from domain.inbound import MessageOccurred
from tests.adapters.recorded import PAYLOADS
from tests.oracles.conftest import EXAMPLES, oracle

ITEMS: list[tuple[str, dict[str, Any]]] = [
    (platform, item)
    for platform in ("whatsapp", "messenger")
    for item in json.loads((PAYLOADS / platform / "manifest.json").read_text())["items"]
]
every_recorded = pytest.mark.parametrize(
    ("platform", "item"), ITEMS, ids=[item["file"] for _, item in ITEMS]
)

# pywa compares texts, which fails for others than these.
ASCII = st.text(st.characters(max_codepoint=127), max_size=80)


def validates(secret: str, body: bytes, header: str) -> bool:
    return bool(oracle("pywa.utils").webhook_updates_validator(secret, body, header))


@every_recorded
def test_both_accept_the_same_signatures(platform: str, item: dict[str, Any]) -> None:
    body = (PAYLOADS / platform / item["file"]).read_bytes()
    header, secret = item["headers"]["X-Hub-Signature-256"], item["secret"]
    changed = bytes([body[0] ^ 1]) + body[1:]
    for tried, key in ((body, secret), (body, f"{secret}x"), (changed, secret), (b"", secret)):
        ours = verify(tried, [header.encode()], app_secrets=[key.encode()])
        assert ours == validates(key, tried, header) == ((tried, key) == (body, secret))


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=300), ASCII.filter(bool), ASCII)
def test_both_accept_the_same_signatures_of_anything(body: bytes, secret: str, other: str) -> None:
    good = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
    for header in (good, f"sha256={other}", good.upper(), f"{good} ", good[:-1]):
        ours = verify(body, [header.encode()], app_secrets=[secret.encode()])
        assert ours == validates(secret, body, header)


SINGLE = (
    "whatsapp_audio_voice",
    "whatsapp_contacts",
    "whatsapp_image",
    "whatsapp_order",
    "whatsapp_sticker",
    "whatsapp_text",
    "whatsapp_text_reply_context",
    "whatsapp_video_forwarded",
)


@pytest.mark.parametrize("name", SINGLE)
def test_both_read_the_same_message(name: str) -> None:
    body = (PAYLOADS / "whatsapp" / f"{name}.json").read_bytes()
    client = oracle("pywa").WhatsApp(phone_id="527719004413008", token="x")
    theirs = oracle("pywa.types").Message.from_update(client=client, update=json.loads(body))
    (ours,) = parse(body)
    assert isinstance(ours, MessageOccurred)
    assert ours.platform_id == theirs.id
    assert ours.kind == f"message.{theirs.type.value}"
    assert ours.at is not None
    assert ours.at.timestamp() == theirs.timestamp.timestamp()
    assert ours.person.addresses[0].value == theirs.from_user.wa_id
    assert ours.person.name == theirs.from_user.name
    assert ours.content.forwarded == (theirs.forwarded or theirs.forwarded_many_times)
    if theirs.type.value != "order":
        assert ours.content.text == (theirs.text or theirs.caption)
    replied = theirs.reply_to_message
    assert ours.quotes == (replied.id if replied is not None else None)
