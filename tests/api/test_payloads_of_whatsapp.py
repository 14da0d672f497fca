"""Recorded WhatsApp webhooks, on their way into inboxes and the log (P1–P3, P5, C15, C17, C19)."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import without_fetching, words_of

# The accounts of the recorded webhooks, with the business accounts that they belong to.
ACCOUNTS = {
    "527719004413008": "418820007715532",
    "561204488930177": "418820007715532",
    "588130092276644": "433907712250461",
}
# Kinds that are no messages of their own.
CHANGES = {"message.edited", "message.deleted", "message.reaction"}


@pytest.fixture(scope="module")
def manifest(repository: Path) -> list[Any]:
    """Every recorded webhook with its bytes, and what it says."""
    folder = repository / "tests" / "payloads" / "whatsapp"
    items: list[Any] = json.loads((folder / "manifest.json").read_text())["items"]
    for item in items:
        item["body"] = (folder / item["file"]).read_bytes()
    return items


@pytest.fixture(scope="module")
def expected(manifest: list[Any]) -> list[Any]:
    """What all of them say, each thing once."""
    events = [event for item in manifest for event in item["expect"] or []]
    once = {json.dumps(event, sort_keys=True): event for event in events}
    return list(once.values())


async def connected(org: Client, accounts: dict[str, str]) -> None:
    """The org holds all the accounts, with a shared channel and a separate one each."""
    await org.services("crm", "desk")
    await org.services("bigin", subscription="standalone")
    for account_id, business_account_id in accounts.items():
        for service in ("crm", "desk", "bigin"):
            await org.connect(service, account_id, business_account_id=business_account_id)


async def post(trunkline: Trunkline, item: Any) -> httpx.Response:
    """Deliver a recorded webhook byte by byte, with the signature it came with."""
    return await trunkline.http.post(
        "/webhooks/whatsapp", content=item["body"], headers=item["headers"]
    )


@pytest.fixture(scope="module")
async def org(trunkline: Trunkline, manifest: list[Any]) -> Client:
    """An org that has received every recorded webhook once."""
    client = await trunkline.organisation()
    await connected(client, ACCOUNTS)
    answers = [(await post(trunkline, item)).status_code for item in manifest]
    assert answers == [200] * len(manifest)
    await client.settled()
    return client


async def shown(client: Client, service: str) -> list[tuple[Any, Any]]:
    """Every message of every chat, with its chat."""
    chats = await client.chats(service, limit=200)
    return [
        (chat, message) for chat in chats for message in await client.messages(service, chat["id"])
    ]


def in_the_manifests_words(account: str, chat: Any, message: Any) -> dict[str, Any]:
    """A message as the manifest would expect it; only what the manifest names."""
    content = message["content"]
    direction = "message" if message["direction"] == "inbound" else "echo"
    found = {
        "kind": f"{direction}.{message['kind']}",
        "account": account,
        "at": message["at"],
        "text": content.get("text"),
        "has_file": "state" in content.get("media", {}) or None,
        "voice": content.get("media", {}).get("voice"),
        "payload": content.get("payload"),
        "raw_type": content.get("raw_type"),
        "error": content.get("error", {}).get("code"),
        "forwarded": content.get("forwarded"),
        "n_contacts": len(content["contacts"]) if "contacts" in content else None,
        "n_items": len(content["order"]["product_items"]) if "order" in content else None,
        "group": chat["customer"]["address"] if message["member"] else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def as_shown(event: dict[str, Any], at: Any) -> dict[str, Any]:
    """What the manifest expects, as far as an inbox shows it."""
    unseen = ("id", "contact", "ts", "reply_to")
    named = {name: value for name, value in event.items() if name not in unseen}
    if named.pop("media_id", None) is not None:  # Which the platform alone has any use for.
        named["has_file"] = True
    return named | {"at": at(event["ts"])}


# What a manifest does not name of a kind that it expects.
UNNAMED = {
    "message.form_reply": ("text",),
    "message.order": ("text",),
    "message.unsupported": ("raw_type",),
    "message.unknown": ("raw_type", "error"),
}


def comparable(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> Counter[str]:
    """The found ones, without what the manifest leaves open."""
    named = {(each["kind"], each["at"], name) for each in wanted for name in each}
    kept = [
        {
            name: value
            for name, value in each.items()
            if name not in UNNAMED.get(each["kind"], ())
            or (each["kind"], each["at"], name) in named
        }
        for each in found
    ]
    return Counter(json.dumps(each, sort_keys=True, ensure_ascii=False) for each in kept)


@pytest.mark.parametrize("service", ["crm", "desk", "bigin"])
async def test_every_message_and_echo_is_shown_with_its_kind_and_content(
    org: Client, expected: list[Any], service: str
) -> None:
    """Spec P1, S3: in each service, whether it shares the channel or has its own."""
    channels = {each["id"]: each for each in (await org.get("/v1/channels"))["items"]}
    found = [
        in_the_manifests_words(channels[chat["channel_id"]]["account_id"], chat, message)
        for chat, message in await shown(org, service)
    ]
    wanted = [
        as_shown(event, _time)
        for event in expected
        if event["kind"].startswith(("message.", "echo.")) and event["kind"] not in CHANGES
    ]
    as_expected = Counter(json.dumps(each, sort_keys=True, ensure_ascii=False) for each in wanted)
    assert comparable(found, wanted) == as_expected


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


async def test_each_customer_is_found_by_any_of_their_addresses(org: Client) -> None:
    """Spec P5, C19: one chat per person and account, and one for the group."""
    chats = await org.chats("crm", limit=200)
    assert sorted(
        (each["customer"]["name"] or "", each["customer"]["address"]) for each in chats
    ) == [
        ("", "Y2FwaV9ncm91cDoxNTU1MDc4Mzg4MToxMjAzNjM0"),
        ("Marisol Ortega", "+12025550143"),
        ("נועה לוי", "+972545556677"),
        ("عبدالله الحربي", "+966501112233"),
        ("山田 花子🌸", "+819087654321"),
    ]


async def test_statuses_changes_and_notices_stand_in_the_right_streams(
    org: Client, expected: list[Any]
) -> None:
    """Spec C15, C17, P2: also those of messages that other programs sent."""
    events = await org.events()
    counted = Counter(
        (each["stream"].partition(":")[0], each["type"])
        for each in events
        if each["type"].endswith("_received")
    )
    receipts = sum(n for (_, kind), n in counted.items() if kind.endswith(".receipt_received"))
    kinds = Counter(event["kind"] for event in expected)
    assert receipts == sum(n for kind, n in kinds.items() if kind.startswith("status."))
    assert counted["chat", "chat.edit_received"] == kinds["message.edited"]
    assert counted["chat", "chat.unsend_received"] == kinds["message.deleted"]
    assert counted["chat", "chat.reaction_received"] == kinds["message.reaction"]
    assert counted["chat", "chat.echo_received"] == kinds["echo.text"]
    notices = [
        (each["stream"], each["data"]["kind"])
        for each in events
        if each["type"] == "account.notice_received"
    ]
    assert sorted(notices) == [
        ("account:whatsapp:418820007715532", "account.template_status"),
        ("account:whatsapp:418820007715532", "unknown"),
        ("account:whatsapp:433907712250461", "account.update"),
    ]


async def test_nothing_that_customers_wrote_stands_in_the_log_in_clear(
    org: Client, expected: list[Any]
) -> None:
    """Spec E4: what is sealed says only that it is."""
    log = (await org.call("GET", "/v1/events?limit=10000", expect=200)).text
    said = {
        json.dumps(event[name], ensure_ascii=False)
        for event in expected
        for name in ("text", "contact", "id", "media_id", "payload")
        if event.get(name)
    }
    words = [word.strip('"') for word in said if len(word) > 12]
    assert [word for word in words if word in log] == []


async def test_redelivery_in_parallel_changes_nothing(
    trunkline: Trunkline, org: Client, manifest: list[Any]
) -> None:
    """Spec P2: five times each, all at once."""
    before = without_fetching(await org.events()), await snapshot(org, "crm")
    deliveries = [post(trunkline, item) for item in manifest for _ in range(5)]
    answers = await asyncio.gather(*deliveries)
    assert {each.status_code for each in answers} == {200}
    assert (without_fetching(await org.events()), await snapshot(org, "crm")) == before


# Otherwise batched, in another order.


async def snapshot(client: Client, service: str) -> list[Any]:
    """Everything that people see, without ids of ours and the order of the same second."""
    channels = {each["id"]: each for each in (await client.get("/v1/channels"))["items"]}
    kinds = list(ACCOUNTS)
    chats = []
    for chat in await client.chats(service, limit=200):
        channel = channels[chat["channel_id"]]
        place = sorted(each["account_id"] for each in channels.values())
        messages = await client.messages(service, chat["id"])
        chats.append(
            {
                "account": kinds[sorted(set(place)).index(channel["account_id"])],
                "customer": (chat["customer"]["name"], chat["customer"]["address"]),
                "times": (chat["started_at"], chat["last_activity_at"]),
                "state": (chat["status"], chat["answered"], chat["unread"], chat["window"]),
                "messages": sorted(_said(each) for each in messages),
            }
        )
    return sorted(chats, key=lambda chat: json.dumps(chat, sort_keys=True))


def _said(message: dict[str, Any]) -> str:
    return json.dumps(words_of(message), sort_keys=True, ensure_ascii=False)


def single(manifest: list[Any]) -> Iterator[Any]:
    """Each message, echo and status in a webhook of its own."""
    for item in manifest:
        document = json.loads(item["body"])
        for entry in document["entry"]:
            for change in entry["changes"]:
                for part in _parts(change["value"]):
                    whole = deepcopy(document)
                    whole["entry"] = [{**entry, "changes": [{**change, "value": part}]}]
                    yield whole


def _parts(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    lists = [name for name in ("messages", "message_echoes", "statuses") if name in value]
    if not lists:
        yield value
    for name in lists:
        rest = {key: each for key, each in value.items() if key not in lists}
        for item in value[name]:
            yield {**rest, name: [item]}


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_split_and_shuffled_webhooks_give_the_same_inbox(
    trunkline: Trunkline, org: Client, manifest: list[Any], seed: int
) -> None:
    """Spec P2. Another org's accounts get the same deliveries one by one, in another order."""
    other = await trunkline.organisation(f"Shuffled {seed}")
    renamed = {account: trunkline.account() for account in ACCOUNTS}
    await connected(other, {renamed[account]: waba for account, waba in ACCOUNTS.items()})
    webhooks = [json.dumps(each, ensure_ascii=False) for each in single(manifest)]
    Random(seed).shuffle(webhooks)
    for webhook in webhooks:
        for account, name in renamed.items():
            webhook = webhook.replace(account, name)
        await trunkline.deliver(webhook.encode())
    await other.settled()
    await org.settled()
    for service in ("crm", "bigin"):
        assert await snapshot(other, service) == await snapshot(org, service)
