"""Recorded deliveries of LINE, Telegram, Messenger and WeChat, over HTTP, and accounts for them."""

import base64
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import httpx
from Crypto.Cipher import AES

from adapters.wechat.crypto import signature
from domain.credentials import missing_to_send
from domain.webhook import Delivery
from tests.adapters.recorded import ACCOUNTS, CREDENTIALS, Recorded, signed
from tests.api.businesses import verification
from tests.api.conftest import TOKEN, Client, Trunkline
from tests.api.deliveries import eventually

# The accounts of the recorded deliveries.
RECORDED_ACCOUNTS: Mapping[str, tuple[str, ...]] = {
    "line": (ACCOUNTS["line"], "Uaa11bb22cc33dd44ee55ff6677889900"),
    "telegram": (ACCOUNTS["telegram"],),
    "messenger": (ACCOUNTS["messenger"], "109663280017745"),
    "wechat": (ACCOUNTS["wechat"],),
}

# What the recorded encrypted deliveries were made with.
SECURE = {
    "app_id": "wx7d1e4b90a2c85f36",
    "encoding_aes_key": "9kSjhtwYeRJGFQ4j1VDnBhJ6ZQfmh0W8m2OCXB96EBu",
}


def credentials(platform: str) -> dict[str, str]:
    """What an account is connected with."""
    if platform == "messenger":
        return {"access_token": TOKEN}
    return dict(CREDENTIALS[platform])


async def connect(
    client: Client, platform: str, account_id: str, service: str = "crm", **more: Any
) -> Any:
    """Connect a service to an account of a platform.

    Credentials that cannot be checked for want of a part are known to be so afterwards: the log
    stands still then, until the test goes on.
    """
    body = {"platform": platform, "business_account_id": None, **more}
    given = body.setdefault("credentials", credentials(platform))
    channel = await client.connect(service, account_id, **body)
    if channel.get("verification") == "pending" and missing_to_send(platform, given or {}):
        await eventually(lambda: _is_checked(client, channel["id"]), True)
    return channel


async def _is_checked(client: Client, channel_id: str) -> bool:
    return (await verification(client, channel_id))[0] != "pending"


async def post(trunkline: Trunkline, platform: str, delivery: Delivery) -> httpx.Response:
    """Deliver it as the platform would."""
    path = f"/webhooks/{platform}"
    if platform != "messenger":
        path = f"{path}/{delivery.account_id}"
    return await trunkline.http.post(
        path, content=delivery.body, headers=list(delivery.headers), params=list(delivery.query)
    )


def encrypted(message: bytes, *, account_id: str, token: str) -> Delivery:
    """A message as WeChat would encrypt it."""
    key = base64.b64decode(f"{SECURE['encoding_aes_key']}=")
    opened = bytes(16) + len(message).to_bytes(4, "big") + message + SECURE["app_id"].encode()
    size = 32 - len(opened) % 32
    sealed = AES.new(key, AES.MODE_CBC, key[:16]).encrypt(opened + bytes([size]) * size)
    text = base64.b64encode(sealed).decode()
    body = f"<xml><ToUserName>{account_id}</ToUserName><Encrypt>{text}</Encrypt></xml>".encode()
    plain = signed("wechat", body, account_id=account_id, credentials={"token": token})
    given = signature(token, "1795228801", "55120", text).decode()
    return Delivery(
        account_id=account_id,
        body=body,
        headers=[],
        query=[*plain.query, ("msg_signature", given), ("encrypt_type", "aes")],
        credentials=[],
        now=plain.now,
    )


def parts(each: Recorded) -> Iterator[bytes]:
    """The body of a delivery, with each of its events in a body of its own."""
    if each.platform not in ("line", "messenger"):
        yield each.delivery.body
        return
    document = json.loads(each.delivery.body)
    name = "events" if each.platform == "line" else "entry"
    for event in document[name]:
        for part in _events_of(event) if name == "entry" else [event]:
            whole = deepcopy(document)
            whole[name] = [part]
            yield json.dumps(whole, ensure_ascii=False).encode()


def _events_of(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("messaging", "standby"):
        for event in entry.get(name, ()):
            yield {"id": entry["id"], "time": entry["time"], name: [event]}
