"""Recorded deliveries of every platform, what they say, and how others like them are signed."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from adapters.line.platform import Line
from adapters.messenger.platform import Messenger
from adapters.telegram.platform import Telegram
from adapters.wechat.crypto import signature
from adapters.wechat.platform import WeChat
from domain.inbound import AnyOccurrence, Content
from domain.webhook import Delivery

PAYLOADS = Path(__file__).parent.parent / "payloads"
PLATFORMS = ("line", "telegram", "messenger", "wechat")

BOT = "7012345678"
OFFICIAL_ACCOUNT = "gh_3b9c51e0d7a2"
META_SECRET = "acme_meta_app_secret"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

HEADERS = {
    "line": b"x-line-signature",
    "telegram": b"x-telegram-bot-api-secret-token",
    "messenger": b"x-hub-signature-256",
}


@dataclass(frozen=True)
class Recorded:
    """A delivery as it was received, and what the manifest says of it."""

    platform: str
    name: str
    expect: list[dict[str, Any]] | None
    sha256: str
    delivery: Delivery

    def __str__(self) -> str:
        return self.name


def read(platform: str, delivery: Delivery) -> list[AnyOccurrence] | None:
    """What the platform's adapter makes of a delivery; None if it is not authentic."""
    match platform:
        case "line":
            return Line().read(delivery)
        case "telegram":
            return Telegram().read(delivery)
        case "wechat":
            return WeChat(clock_tolerance_seconds=0).read(delivery)
    secrets = [each.get("app_secret", "") for each in delivery.credentials]
    messenger = Messenger(app_secrets=secrets, verify_token=None)
    name = HEADERS["messenger"]
    signatures = [value for each, value in delivery.headers if each == name]
    return messenger.parse(delivery.body) if messenger.verify(delivery.body, signatures) else None


def said(platform: str, delivery: Delivery) -> list[AnyOccurrence]:
    """What an authentic delivery says."""
    found = read(platform, delivery)
    assert found is not None
    return found


def signed(
    platform: str,
    body: bytes | Any,
    *,
    account_id: str | None = None,
    credentials: Mapping[str, str] | None = None,
) -> Delivery:
    """A delivery as the platform would sign it; a body that is no bytes is written as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    live = credentials or CREDENTIALS[platform]
    query: list[tuple[str, str]] = []
    header = b""
    match platform:
        case "line":
            header = base64.b64encode(hmac.digest(live["channel_secret"].encode(), body, "sha256"))
        case "telegram":
            header = live["secret_token"].encode()
        case "messenger":
            digest = hmac.new(live["app_secret"].encode(), body, hashlib.sha256).hexdigest()
            header = f"sha256={digest}".encode()
        case "wechat":
            digest = signature(live["token"], "1795228801", "55120").decode()
            query = [("signature", digest), ("timestamp", "1795228801"), ("nonce", "55120")]
    return Delivery(
        account_id=account_id or ACCOUNTS[platform],
        body=body,
        headers=[(HEADERS[platform], header)] if platform in HEADERS else [],
        query=query,
        credentials=[live],
        now=NOW,
    )


ACCOUNTS = {
    "line": "U8e742f61d673b39c7fff3cecb7536ef0",
    "telegram": BOT,
    "messenger": "101917755308264",
    "wechat": OFFICIAL_ACCOUNT,
}
CREDENTIALS: Mapping[str, Mapping[str, str]] = {
    "line": {"channel_secret": "8c570fa6dd201bb328f1c1eac23a96d8"},
    "telegram": {"secret_token": "acme-telegram-secret_token-01"},
    "messenger": {"app_secret": META_SECRET},
    "wechat": {"token": "acme_token_2026"},
}


def recorded(*platforms: str) -> list[Recorded]:
    """Every recorded delivery of these platforms."""
    return [each for platform in platforms or PLATFORMS for each in _recorded(platform)]


def one(name: str) -> Recorded:
    """The recorded delivery of this name."""
    platform = name.partition("_")[0]
    return next(each for each in _recorded(platform) if each.name == name)


def _recorded(platform: str) -> list[Recorded]:
    folder = PAYLOADS / platform
    items = json.loads((folder / "manifest.json").read_text())["items"]
    return [
        Recorded(
            platform,
            item["file"],
            item["expect"],
            item["sha256"],
            _delivery(platform, item, (folder / item["file"]).read_bytes()),
        )
        for item in items
    ]


def _delivery(platform: str, item: dict[str, Any], body: bytes) -> Delivery:
    headers = [
        (name.lower().encode(), value.encode()) for name, value in item.get("headers", {}).items()
    ]
    account_id = ACCOUNTS[platform]
    if platform == "line":
        account_id = json.loads(body)["destination"]
    return Delivery(
        account_id=account_id,
        body=body,
        headers=headers,
        query=list(item.get("query", {}).items()),
        credentials=[credentials_of(platform, item)],
        now=NOW,
    )


def credentials_of(platform: str, item: dict[str, Any]) -> dict[str, str]:
    """What an account must be connected with to take a recorded delivery."""
    if platform == "wechat":
        names = {"token": "token", "encoding_aes_key": "encoding_aes_key", "appid": "app_id"}
        return {
            ours: item["config"][name] for name, ours in names.items() if name in item["config"]
        }
    (name,) = CREDENTIALS[platform]
    return {name: item["secret"]}


def with_headers(delivery: Delivery, *values: bytes) -> Delivery:
    """The same with other values of its one header."""
    (name, _), *_ = delivery.headers
    return replace(delivery, headers=[(name, value) for value in values])


def with_parameter(delivery: Delivery, name: str, *values: str) -> Delivery:
    """The same with other values of a query parameter."""
    others = [each for each in delivery.query if each[0] != name]
    return replace(delivery, query=[*others, *((name, value) for value in values)])


# What the manifest names, as it is found in occurrences.


def facts(found: Sequence[Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest names of one thing that happened; deletions of several are several."""
    return {name: FACTS[name](found) for name in expected}


def _content(found: Sequence[Any]) -> Content:
    return getattr(found[0], "content", None) or Content()


def _media(found: Sequence[Any]) -> dict[str, Any]:
    return _content(found).media or {}


def _id(found: Sequence[Any]) -> Any:
    kind, *rest = found[0].dedupe
    match kind:
        case "digest":
            return None
        case "update":
            return int(rest[0])
    return rest[0]


def _contact(found: Sequence[Any]) -> Any:
    occurrence = found[0]
    if occurrence.kind == "contact.chat_migrated":
        return occurrence.raw["message"]["from"]["id"]
    person = getattr(occurrence, "person", None)
    if person is None or not person.addresses:
        return None
    value = person.addresses[0].value
    return int(value) if occurrence.account_id == BOT else value


def _ts(found: Sequence[Any]) -> int | None:
    at = found[0].at
    if at is None:
        return None
    in_milliseconds = found[0].account_id in _IN_MILLISECONDS
    return round(at.timestamp() * 1000) if in_milliseconds else int(at.timestamp())


_IN_MILLISECONDS = {
    "U8e742f61d673b39c7fff3cecb7536ef0",
    "Uaa11bb22cc33dd44ee55ff6677889900",
    "101917755308264",
    "109663280017745",
}


def _number_of_message(found: Sequence[Any]) -> Any:
    occurrence = found[0]
    if occurrence.kind == "contact.chat_migrated":
        return occurrence.raw["message"]["message_id"]
    last = occurrence.platform_id.rpartition(":")[2]
    return int(last) if occurrence.account_id == BOT else last


def _chat(found: Sequence[Any]) -> int:
    occurrence = found[0]
    if occurrence.kind == "contact.chat_migrated":
        return int(occurrence.person.addresses[0].value)
    group = occurrence.group
    return int(group.value if group else occurrence.person.addresses[0].value)


FACTS: dict[str, Any] = {
    "kind": lambda found: found[0].kind,
    "account": lambda found: None if found[0].account_id == BOT else found[0].account_id,
    "id": _id,
    "contact": _contact,
    "ts": _ts,
    "text": lambda found: _content(found).text,
    "payload": lambda found: _content(found).payload,
    "raw_type": lambda found: _content(found).raw_type,
    "media_id": lambda found: _media(found).get("platform_id"),
    "voice": lambda found: _media(found).get("voice"),
    "filename": lambda found: _media(found).get("filename"),
    "album": lambda found: _media(found).get("album"),
    "n_attachments": lambda found: len(
        [each for each in (_media(found), _content(found).link) if each]
    ),
    "lat": lambda found: (_content(found).location or {})["latitude"],
    "lon": lambda found: (_content(found).location or {})["longitude"],
    "message_id": _number_of_message,
    "reply_to": lambda found: (
        int(found[0].quotes.rpartition(":")[2]) if found[0].account_id == BOT else found[0].quotes
    ),
    "reply_token": lambda found: _content(found).raw["replyToken"],
    "group": lambda found: found[0].group.value,
    "unblocked": lambda found: found[0].raw["follow"]["isUnblocked"],
    "target": lambda found: found[0].target,
    "targets": lambda found: [int(each.target.rpartition(":")[2]) for each in found],
    "chat": _chat,
    "new": lambda found: int(found[0].added[0].value),
    "watermark": lambda found: round(found[0].at.timestamp() * 1000),
    "mids": lambda found: list(found[0].platform_ids),
    "own": lambda found: found[0].sent_by_us is not None,
    "opaque": lambda found: found[0].sent_by_us,
}
