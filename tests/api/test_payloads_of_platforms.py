"""Recorded LINE, Telegram, Messenger and WeChat deliveries, on their way into inboxes and the log.

Spec P1–P3, C15, C17, C19; WhatsApp's are in test_payloads_of_whatsapp.py.
"""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from adapters.wechat.crypto import decrypt
from adapters.wechat.document import read_strictly
from tests.adapters.recorded import PLATFORMS, Recorded, recorded, signed
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import without_fetching, words_of
from tests.api.platforms import (
    RECORDED_ACCOUNTS,
    SECURE,
    connect,
    credentials,
    encrypted,
    parts,
    post,
)

SERVICES = ("crm", "desk", "bigin")

# Kinds that are no messages of their own, and what becomes of them.
CHANGES = {"message.edited": "chat.edit_received", "message.deleted": "chat.unsend_received"}
FOLLOWS = {"contact.follow", "contact.unfollow"}
IN_SECONDS = {"telegram", "wechat"}


@dataclass
class Office:
    """An org that holds all accounts of one platform's recorded deliveries."""

    trunkline: Trunkline
    platform: str
    client: Client
    accounts: dict[str, str]  # By channel.
    deliveries: list[Recorded]

    @property
    def expected(self) -> list[dict[str, Any]]:
        """What all of them say."""
        return [event for each in self.deliveries for event in each.expect or []]


async def holder_of(trunkline: Trunkline, platform: str, *accounts: str) -> Client:
    """An org with a shared channel and a separate one on each account."""
    client = await trunkline.organisation()
    await client.services("crm", "desk")
    await client.services("bigin", subscription="standalone")
    for account_id in accounts:
        for service in SERVICES:
            await connect(client, platform, account_id, service)
    return client


async def let_encrypt(client: Client) -> None:
    """From now on WeChat encrypts, and for a day may still not."""
    (channel,) = [each for each in (await client.get("/v1/channels"))["items"] if each["shared"]]
    await client.patch(f"/v1/services/crm/channels/{channel['id']}", {"credentials": SECURE})


async def accounts_of(client: Client) -> dict[str, str]:
    return {each["id"]: each["account_id"] for each in (await client.get("/v1/channels"))["items"]}


@pytest.fixture(scope="module", params=PLATFORMS)
async def office(trunkline: Trunkline, request: pytest.FixtureRequest) -> Office:
    """Every recorded delivery of a platform was delivered once."""
    platform = request.param
    client = await holder_of(trunkline, platform, *RECORDED_ACCOUNTS[platform])
    deliveries = sorted(recorded(platform), key=lambda each: "encrypted" in each.name)
    for each in deliveries:
        if "encrypted_bad" in each.name:
            await let_encrypt(client)
        response = await post(trunkline, platform, each.delivery)
        assert response.status_code == (401 if each.expect is None else 200), each.name
        if each.expect is not None:
            assert response.text == ("success" if platform == "wechat" else "")
    await client.settled()
    return Office(trunkline, platform, client, await accounts_of(client), deliveries)


# What is shown.


def found_in(office: Office, chat: Any, message: Any) -> dict[str, Any]:
    """A message in the manifest's words."""
    content = message["content"]
    media, group = content.get("media") or {}, message["member"] is not None
    prefix = "message" if message["direction"] == "inbound" else "echo"
    place = content.get("location") or {}
    return {
        "kind": f"{'standby' if content.get('standby') else prefix}.{message['kind']}",
        "account": office.accounts[chat["channel_id"]],
        "at": message["at"],
        "contact": None if group else chat["customer"]["address"],
        "group": chat["customer"]["address"] if group else None,
        "text": content.get("text"),
        "payload": content.get("payload"),
        "raw_type": content.get("raw_type"),
        "has_file": "state" in media,
        "filename": media.get("name"),
        "album": media.get("album"),
        "voice": media.get("voice"),
        "lat": place.get("latitude"),
        "lon": place.get("longitude"),
        "status": message["status"],
        "unsent": message["unsent"],
    }


def wanted(office: Office) -> list[dict[str, Any]]:
    """Each message that the manifest expects, as it reads after what was said of it later."""
    messages = [
        as_shown(office, event)
        for event in office.expected
        if event["kind"].partition(".")[0] in ("message", "echo", "standby")
        and event["kind"] not in CHANGES
    ]
    by_id = {str(each.pop("id")): each for each in messages}
    for event in office.expected:
        targets = event.get("targets") or [event.get("target")]
        for target in (by_id[str(each)] for each in targets if str(each) in by_id):
            if event["kind"] == "message.edited":
                target["text"] = event["text"]
            if event["kind"] == "message.deleted":
                target |= {"unsent": True, "text": None}
    return messages


SHOWN = (
    "kind",
    "text",
    "payload",
    "raw_type",
    "filename",
    "album",
    "voice",
    "lat",
    "lon",
)


def as_shown(office: Office, event: dict[str, Any]) -> dict[str, Any]:
    shown = {name: event[name] for name in SHOWN if name in event}
    if "media_id" in event:  # Which the platform alone has any use for.
        shown["has_file"] = True
    if event["ts"] is not None:
        shown["at"] = shown_time(office.platform, event["ts"])
    if event["account"] is not None:
        shown["account"] = event["account"]
    group = event.get("group") or (event["chat"] if event.get("chat", 0) < 0 else None)
    shown["group" if group else "contact"] = str(group or event["contact"])
    return {"id": event.get("message_id", event["id"]), "unsent": False, **shown}


def shown_time(platform: str, ts: int) -> str:
    seconds, rest = (ts, 0) if platform in IN_SECONDS else divmod(ts, 1000)
    at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)
    return at.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("service", SERVICES)
async def test_every_message_is_shown_with_its_kind_and_content(
    office: Office, service: str
) -> None:
    """Spec P1, S3: in each service, whether it shares the channel or has its own."""
    client = office.client
    rest = [
        found_in(office, chat, message)
        for chat in await client.chats(service, limit=200)
        for message in await client.messages(service, chat["id"])
    ]
    for expected in wanted(office):
        matching = [each for each in rest if {name: each[name] for name in expected} == expected]
        assert matching, (expected, rest)
        rest.remove(matching[0])
    assert rest == []


async def test_everything_else_is_an_event_in_the_right_stream(office: Office) -> None:
    """Spec C15, C17, P2."""
    events = await office.client.events()
    counted = Counter(each["type"] for each in events)
    kinds = Counter(event["kind"] for event in office.expected)
    deleted = sum(
        len(event.get("targets", [0]))
        for event in office.expected
        if event["kind"] == "message.deleted"
    )
    assert counted["chat.edit_received"] == kinds["message.edited"]
    assert counted["chat.unsend_received"] == deleted
    assert counted["contact.follow_changed"] == sum(kinds[kind] for kind in FOLLOWS)
    activities = Counter(
        each["data"]["kind"] for each in events if each["type"] == "contact.activity_received"
    )
    assert activities == Counter(
        {
            kind: count
            for kind, count in kinds.items()
            if kind.startswith("event.") or kind in ("contact.referral", "contact.thread_control")
        }
    )
    notices = Counter(
        each["data"]["kind"] for each in events if each["type"] == "account.notice_received"
    )
    assert notices == Counter(
        {k: n for k, n in kinds.items() if k == "unknown" or k.startswith("account.")}
    )


async def test_nothing_that_customers_wrote_stands_in_the_log_in_clear(office: Office) -> None:
    """Spec E4: what is sealed says only that it is."""
    log = (await office.client.call("GET", "/v1/events?limit=10000", expect=200)).text
    said = {
        str(event[name])
        for event in office.expected
        for name in ("text", "contact", "id", "media_id", "payload", "chat", "filename")
        if event.get(name)
    }
    assert [word for word in said if len(word) > 5 and word in log] == []


async def test_redelivery_in_parallel_changes_nothing(office: Office) -> None:
    """Spec P2: five times each, all at once."""
    before = without_fetching(await office.client.events()), await snapshot(office, office.client)
    accepted = [each for each in office.deliveries if each.expect is not None]
    answers = await asyncio.gather(
        *(post(office.trunkline, office.platform, each.delivery) for each in accepted * 5)
    )
    assert {each.status_code for each in answers} == {200}
    after = without_fetching(await office.client.events()), await snapshot(office, office.client)
    assert after == before


# Otherwise batched, in another order.


async def snapshot(office: Office, client: Client) -> list[Any]:
    """Everything that people see, without ids of ours and times that are our own."""
    accounts = await accounts_of(client)
    order = sorted(set(accounts.values()))
    chats = []
    for service in ("crm", "bigin"):
        for chat in await client.chats(service, limit=200):
            messages = await client.messages(service, chat["id"])
            timed = all(message["kind"] != "button_reply" for message in messages)
            chats.append(
                {
                    "account": order.index(accounts[chat["channel_id"]]),
                    "service": service,
                    "customer": (chat["customer"]["name"], chat["customer"]["address"]),
                    "times": (chat["started_at"], chat["last_activity_at"]) if timed else None,
                    "state": (chat["status"], chat["answered"] if timed else None, chat["unread"]),
                    "read": chat["session"]["customer_last_read_at"],
                    "messages": sorted(_said(each) for each in messages),
                }
            )
    return sorted(chats, key=lambda chat: json.dumps(chat, sort_keys=True))


def _said(message: dict[str, Any]) -> str:
    said = words_of(message)
    if said["kind"] == "button_reply":
        said.pop("at")
    return json.dumps(said, sort_keys=True, ensure_ascii=False)


def renamed(office: Office, accounts: dict[str, str]) -> list[tuple[str, bytes, bool]]:
    """Every part of every delivery for other accounts: whose, what, and whether it is encrypted."""
    found = []
    for each in office.deliveries:
        if each.expect is None:
            continue
        bodies = list(parts(each))
        is_encrypted = "encrypted" in each.name
        if is_encrypted:
            sealed = read_strictly(each.delivery.body)["Encrypt"]
            key, app_id = SECURE["encoding_aes_key"], SECURE["app_id"]
            bodies = [decrypt(sealed, encoding_aes_key=key, app_id=app_id)]
        for body in bodies:
            for account, name in accounts.items():
                body = body.replace(account.encode(), name.encode())
            found.append((accounts.get(each.delivery.account_id, ""), body, is_encrypted))
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_split_and_shuffled_deliveries_give_the_same_inbox(office: Office, seed: int) -> None:
    """Spec P2. Another org's accounts get the same deliveries one by one, in another order."""
    platform, trunkline = office.platform, office.trunkline
    # Of the same order as the recorded ones.
    accounts = {account: f"{account}{seed}" for account in RECORDED_ACCOUNTS[platform]}
    client = await holder_of(trunkline, platform, *accounts.values())
    if platform == "wechat":
        await let_encrypt(client)
    deliveries = renamed(office, accounts)
    Random(seed).shuffle(deliveries)
    for account_id, body, is_encrypted in deliveries:
        delivery = (
            encrypted(body, account_id=account_id, token=credentials("wechat")["token"])
            if is_encrypted
            else signed(platform, body, account_id=account_id)
        )
        assert (await post(trunkline, platform, delivery)).status_code == 200
    await client.settled()
    assert await snapshot(office, client) == await snapshot(office, office.client)
