"""What the fake LINE says by webhook: signed, and marked where it says it again."""

import base64
import hmac
import json
from datetime import datetime
from random import Random

from adapters.line.fake_rules import FakeLineAccount, JsonObject

ULID_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID_RANDOM_LENGTH = 16


def signed(body: bytes, channel_secret: str) -> dict[str, str]:
    """The headers of a delivery."""
    digest = hmac.digest(channel_secret.encode(), body, "sha256")
    return {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "LineBotWebhook/2.0",
        "x-line-signature": base64.b64encode(digest).decode(),
    }


def redelivered(body: bytes) -> bytes:
    """The same delivery for a second time: LINE says so in each event."""
    document = json.loads(body)
    for event in document["events"]:
        event["deliveryContext"] = {"isRedelivery": True}
    return as_line_writes(document)


def as_line_writes(document: JsonObject) -> bytes:
    """LINE writes characters as they are."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def envelope(account: FakeLineAccount, *events: JsonObject) -> JsonObject:
    """One delivery to one account."""
    return {"destination": account.user_id, "events": list(events)}


def event(
    kind: str, *, source: JsonObject, at: datetime, random: Random, **more: JsonObject | str
) -> JsonObject:
    """Something that happened."""
    return {
        "type": kind,
        "mode": "active",
        "timestamp": _milliseconds(at),
        "source": source,
        "webhookEventId": new_ulid(random, at),
        "deliveryContext": {"isRedelivery": False},
        **more,
    }


def source(user_id: str | None, group_id: str | None) -> JsonObject:
    """Where something happened: in somebody's own chat, or in a group."""
    if group_id is None:
        return {"type": "user", "userId": user_id}
    return {"type": "group", "groupId": group_id, **({"userId": user_id} if user_id else {})}


def new_ulid(random: Random, at: datetime) -> str:
    """An id that begins with its time."""
    number, letters = _milliseconds(at), ""
    for _ in range(10):
        number, digit = divmod(number, 32)
        letters = ULID_ALPHABET[digit] + letters
    return letters + "".join(random.choices(ULID_ALPHABET, k=ULID_RANDOM_LENGTH))


def new_token(random: Random) -> str:
    """A reply token or a quote token."""
    return f"{random.getrandbits(128):032x}"


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
