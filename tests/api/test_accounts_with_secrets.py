"""Accounts with secrets of their own: what is shown once, what stays valid, what is refused.

Spec P2, P4, S10, S15, N2.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from domain.webhook import Delivery
from tests.adapters.recorded import one, signed, with_headers
from tests.api.businesses import texts, verification
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import eventually
from tests.api.operations import positions
from tests.api.platforms import SECURE, connect, credentials, encrypted, post
from tests.api.problems import assert_problem

BY_ACCOUNT = ("line", "telegram", "wechat")
by_account = pytest.mark.parametrize("platform", BY_ACCOUNT)
every_platform = pytest.mark.parametrize("platform", [*BY_ACCOUNT, "messenger"])

_numbers = itertools.count(1)


def new_account(platform: str) -> str:
    """An account that nobody has connected yet."""
    number = next(_numbers)
    return {
        "line": f"U{number:032x}",
        "telegram": f"70{number:08}",
        "wechat": f"gh_{number:012x}",
        "messenger": f"1019{number:011}",
    }[platform]


def text_delivery(
    platform: str, account_id: str, text: str, *, live: dict[str, str] | None = None
) -> Delivery:
    """A customer's text."""
    number = next(_numbers)
    body: Any
    match platform:
        case "line":
            event = {
                "type": "message",
                "mode": "active",
                "timestamp": 1795227600000 + number,
                "webhookEventId": f"01M{number:023}",
                "source": {"type": "user", "userId": "U19c8e7d6b5a493827160f5e4d3c2b1a0"},
                "message": {"type": "text", "id": str(number), "text": text},
            }
            body = {"destination": account_id, "events": [event]}
        case "telegram":
            chat = {"id": 5512345678, "type": "private", "first_name": "Nika"}
            message = {"message_id": number, "date": 1795228201, "chat": chat, "text": text}
            body = {"update_id": number, "message": message | {"from": chat}}
        case "messenger":
            event = {
                "sender": {"id": "6473829104756123"},
                "recipient": {"id": account_id},
                "timestamp": 1795227000000 + number,
                "message": {"mid": f"m_{number}", "text": text},
            }
            body = {"object": "page", "entry": [{"id": account_id, "messaging": [event]}]}
        case _:
            body = (
                f"<xml><ToUserName>{account_id}</ToUserName><FromUserName>oQk8</FromUserName>"
                f"<CreateTime>1795228801</CreateTime><MsgType>text</MsgType>"
                f"<Content>{text}</Content><MsgId>{number}</MsgId></xml>"
            ).encode()
    return signed(platform, body, account_id=account_id, credentials=live)


async def says(trunkline: Trunkline, platform: str, account_id: str, text: str, **more: Any) -> int:
    """How a customer's text is answered."""
    delivery = text_delivery(platform, account_id, text, **more)
    return (await post(trunkline, platform, delivery)).status_code


async def organisation(trunkline: Trunkline) -> Client:
    client = await trunkline.organisation()
    await client.services("crm", "desk")
    return client


async def heard(client: Client) -> list[str]:
    """All texts of the one chat."""
    await client.settled()
    return [
        text
        for chat in await client.chats("crm")
        for text in await texts(client, "crm", chat["id"])
    ]


# What is made, and shown once.


@pytest.mark.parametrize(
    ("platform", "given", "made"),
    [
        ("line", credentials("line"), {}),
        ("line", None, {}),
        ("telegram", credentials("telegram"), {}),
        ("telegram", {"bot_token": "70:AA"}, {"secret_token": 43}),
        ("telegram", None, {"secret_token": 43}),
        ("wechat", credentials("wechat"), {}),
        ("wechat", None, {"token": 32}),
        ("wechat", {"app_id": "wx1", "mode": "plain"}, {"token": 32}),
        ("wechat", {"app_id": "wx1", "mode": "secure"}, {"token": 32, "encoding_aes_key": 43}),
        ("wechat", {"app_id": "wx1", "token": "t", "mode": "compatible"}, {"encoding_aes_key": 43}),
        ("wechat", {**SECURE, "token": "t"}, {}),
    ],
)
async def test_what_a_platform_wants_pasted_is_made_and_shown_this_once(
    trunkline: Trunkline, platform: str, given: dict[str, str] | None, made: dict[str, int]
) -> None:
    client, account = await organisation(trunkline), new_account(platform)
    key = {"Idempotency-Key": f"once-{account}"}
    body = {
        "service": "crm",
        "platform": platform,
        "account_id": account,
        "name": "Shop",
        "credentials": given,
    }
    first = await client.post("/v1/channels", body, expect=201, headers=key)
    url = f"{trunkline.url}/webhooks/{platform}/{account}"
    assert first["setup"].pop("webhook_url") == url
    assert {name: len(value) for name, value in first["setup"].items()} == made
    again = await client.post("/v1/channels", body, expect=201, headers=key)
    joined = await client.post("/v1/channels", body | {"service": "desk"}, expect=201)
    assert joined["setup"] == {"webhook_url": url}
    assert again["setup"] == {"webhook_url": url, **dict.fromkeys(made)}
    shown = await client.get(f"/v1/channels/{first['id']}")
    log = (await client.call("GET", "/v1/events?limit=1000", expect=200)).text
    shown_later = json.dumps(shown) + log
    secrets = [*first["setup"].values(), *(given or {}).values()]
    assert [each for each in secrets if len(each) > 6 and each in shown_later] == []


@pytest.mark.parametrize("platform", ["telegram", "wechat"])
async def test_what_was_made_opens_the_door(trunkline: Trunkline, platform: str) -> None:
    client, account = await organisation(trunkline), new_account(platform)
    channel = await connect(client, platform, account, credentials=None)
    live = {name: channel["setup"][name] for name in channel["setup"] if name != "webhook_url"}
    assert await says(trunkline, platform, account, "hello", live=live) == 200
    assert await says(trunkline, platform, account, "forged") == 401
    assert await heard(client) == ["hello"]


async def test_a_key_that_was_made_decrypts(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, account = await organisation(trunkline), new_account("wechat")
    given = {"app_id": SECURE["app_id"], "token": "t", "mode": "secure"}
    channel = await connect(client, "wechat", account, credentials=given)
    monkeypatch.setitem(SECURE, "encoding_aes_key", channel["setup"]["encoding_aes_key"])
    message = text_delivery("wechat", account, "sealed").body
    response = await post(trunkline, "wechat", encrypted(message, account_id=account, token="t"))
    assert (response.status_code, response.text) == (200, "success")
    plain = text_delivery("wechat", account, "clear", live={"token": "t"})
    assert (await post(trunkline, "wechat", plain)).status_code == 401
    assert await heard(client) == ["sealed"]


async def test_who_connects_at_once_is_shown_what_holds(trunkline: Trunkline) -> None:
    """Spec S1. However many try, one is first, and what it is shown opens the door."""
    client, account = await organisation(trunkline), new_account("telegram")
    names = [f"service{number}" for number in range(8)]
    await client.services(*names)
    channels = await asyncio.gather(
        *(connect(client, "telegram", account, name, credentials=None) for name in names)
    )
    shown = [each["setup"]["secret_token"] for each in channels if "secret_token" in each["setup"]]
    assert len(shown) == 1
    live = {"secret_token": shown[0]}
    assert await says(trunkline, "telegram", account, "hello", live=live) == 200


async def test_messenger_is_shown_the_installations_token(trunkline: Trunkline) -> None:
    client = await organisation(trunkline)
    channel = await connect(client, "messenger", new_account("messenger"))
    assert channel["setup"] == {
        "webhook_url": f"{trunkline.url}/webhooks/messenger",
        "verify_token": "acme_verify_token",
    }


# Their form.


@pytest.mark.parametrize(
    ("platform", "given", "field"),
    [
        ("messenger", {"app_secret": "x"}, "app_secret"),
        ("line", {"channel_secret": "a b"}, "channel_secret"),
        ("line", {"channel_secret": "é"}, "channel_secret"),
        ("line", {"token": "x"}, "token"),
        ("telegram", {"secret_token": "a.b"}, "secret_token"),
        ("telegram", {"secret_token": "x" * 257}, "secret_token"),
        ("telegram", {"bot_token": "1:a/../b"}, "bot_token"),
        ("telegram", {"access_token": "x"}, "access_token"),
        ("wechat", {"encoding_aes_key": "x" * 42}, "encoding_aes_key"),
        ("wechat", {"encoding_aes_key": "-" * 43}, "encoding_aes_key"),
        ("wechat", {"mode": "open"}, "mode"),
        ("wechat", {"mode": "secure"}, "app_id"),
        ("wechat", {"encoding_aes_key": "x" * 43}, "app_id"),
    ],
)
async def test_credentials_have_the_form_that_the_platform_gives_them(
    trunkline: Trunkline, platform: str, given: dict[str, str], field: str
) -> None:
    client, account = await organisation(trunkline), new_account(platform)
    answer = await client.connect(
        "crm",
        account,
        platform=platform,
        business_account_id=None,
        credentials=given,
        expect=400,
    )
    assert [each["field"] for each in answer["errors"]] == [f"credentials.{field}"]
    channel = await connect(client, platform, account)
    path = f"/v1/services/crm/channels/{channel['id']}"
    answer = await client.patch(path, {"credentials": given}, expect=400)
    assert [each["field"] for each in answer["errors"]] == [f"credentials.{field}"]


# While they are changed.


CHANGES = {
    "line": {"channel_secret": "0123456789abcdef0123456789abcdef"},
    "telegram": {"secret_token": "another-secret_token"},
    "wechat": {"token": "another_token"},
}


@by_account
async def test_replaced_secrets_stay_valid_for_a_day(
    trunkline: Trunkline, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a PATCH both are good at once, and after 24 hours only the new one is."""
    client, account = await organisation(trunkline), new_account(platform)
    channel = await connect(client, platform, account)
    old, new = credentials(platform), CHANGES[platform]
    assert await says(trunkline, platform, account, "a", live=new) == 401
    path = f"/v1/services/crm/channels/{channel['id']}"
    await client.patch(path, {"credentials": new})
    assert await says(trunkline, platform, account, "b", live=old) == 200
    assert await says(trunkline, platform, account, "c", live=new) == 200

    class Later:
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(hours=24)

    monkeypatch.setattr(trunkline.parts.context.credentials, "_clock", Later())
    assert await says(trunkline, platform, account, "d", live=old) == 401
    assert await says(trunkline, platform, account, "e", live=new) == 200
    assert sorted(await heard(client)) == ["b", "c", "e"]


async def test_what_is_not_given_keeps_its_value(trunkline: Trunkline) -> None:
    client, account = await organisation(trunkline), new_account("line")
    channel = await connect(client, "line", account)
    path = f"/v1/services/crm/channels/{channel['id']}"
    for number in range(10):
        await client.patch(path, {"credentials": {"access_token": f"token {number}"}})
    assert await says(trunkline, "line", account, "hello") == 200


async def test_changes_at_once_lose_none(trunkline: Trunkline) -> None:
    """Of several that replace different secrets, each is found afterwards."""
    client, account = await organisation(trunkline), new_account("wechat")
    channel = await connect(client, "wechat", account)
    path = f"/v1/services/crm/channels/{channel['id']}"
    changes = [{"app_id": "wx1"}, {"app_secret": "s"}, {"token": "t"}]
    await asyncio.gather(*(client.patch(path, {"credentials": each}) for each in changes))
    held = await trunkline.parts.directory.account("wechat", account)
    assert held is not None
    stored = await trunkline.parts.context.credentials.current(held.org, "wechat", account)
    assert stored == {"app_id": "wx1", "app_secret": "s", "token": "t"}


# Whose they are.


@by_account
async def test_an_account_that_nobody_holds_is_refused_and_a_dormant_one_is_kept(
    trunkline: Trunkline, platform: str
) -> None:
    """Spec S10: the secret belongs to the account, so without it nothing can be verified."""
    client, account = await organisation(trunkline), new_account(platform)
    assert await says(trunkline, platform, account, "nobody") == 401
    channel = await connect(client, platform, account)
    assert await says(trunkline, platform, account, "one") == 200
    await client.delete(f"/v1/channels/{channel['id']}/services/crm")
    assert await says(trunkline, platform, account, "two") == 200
    await connect(client, platform, account)
    assert await heard(client) == ["one", "two"]
    await client.delete(f"/v1/channels/{channel['id']}/services/crm")
    await client.delete(f"/v1/channels/{channel['id']}")
    assert await says(trunkline, platform, account, "released") == 401
    other = await organisation(trunkline)
    await connect(other, platform, account, credentials=CHANGES[platform])
    assert await says(trunkline, platform, account, "old secret") == 401
    assert await says(trunkline, platform, account, "three", live=CHANGES[platform]) == 200
    assert (await heard(client), await heard(other)) == ([], ["three"])


@by_account
async def test_one_accounts_secret_opens_no_other(trunkline: Trunkline, platform: str) -> None:
    first, second = await organisation(trunkline), await organisation(trunkline)
    ours, theirs = new_account(platform), new_account(platform)
    await connect(first, platform, ours)
    await connect(second, platform, theirs, credentials=CHANGES[platform])
    assert await says(trunkline, platform, theirs, "ours") == 401
    assert await says(trunkline, platform, ours, "theirs", live=CHANGES[platform]) == 401
    # Not with a body for ours either.
    if platform != "telegram":
        delivery = replace(text_delivery(platform, ours, "moved"), account_id=theirs)
        assert (await post(trunkline, platform, delivery)).status_code == 401


async def test_of_one_secret_for_two_accounts_each_takes_its_own(trunkline: Trunkline) -> None:
    """A body that names another account than its address does is no delivery for either."""
    client = await organisation(trunkline)
    accounts = new_account("line"), new_account("line")
    for account in accounts:
        await connect(client, "line", account)
    delivery = text_delivery("line", accounts[0], "moved")
    moved = replace(delivery, account_id=accounts[1])
    assert (await post(trunkline, "line", moved)).status_code == 401
    assert (await post(trunkline, "line", delivery)).status_code == 200


# Nothing but a counter.


async def refusals(trunkline: Trunkline, platform: str) -> int:
    metrics = (await trunkline.http.get("/metrics")).text
    name = f'trunkline_webhooks_refused_total{{platform="{platform}"}} '
    counted = next((line for line in metrics.splitlines() if name in line), "0").split()[-1]
    return int(float(counted))


@by_account
async def test_whatever_is_not_authentic_gets_the_same_answer_and_leaves_no_trace(
    trunkline: Trunkline, platform: str
) -> None:
    """Spec P2."""
    client, account = await organisation(trunkline), new_account(platform)
    await connect(client, platform, account)
    good = text_delivery(platform, account, "forged")
    forged: list[Delivery] = [
        text_delivery(platform, new_account(platform), "nobody's"),
        *(replace(good, account_id=name) for name in ("x", "%00", "é", "x" * 3_000)),
        text_delivery(platform, account, "forged", live=CHANGES[platform]),
        replace(good, headers=[], query=[]),
        replace(good, body=good.body[:-3], account_id=new_account(platform)),
    ]
    if good.headers:
        ((_, value),) = good.headers
        forged += [
            with_headers(good, *values)
            for values in ([b""], [value, value], [b"\xff"], ["é".encode()], [value + b"0"])
        ]
    else:
        document = b'<!DOCTYPE xml [<!ENTITY a "b">]>' + good.body
        forged += [replace(good, body=document), replace(good, query=[*good.query, *good.query])]
    before = await positions(trunkline), await refusals(trunkline, platform)
    answers = set()
    for delivery in forged:
        response = await post(trunkline, platform, delivery)
        assert_problem(response, 401, "webhook_refused")
        answers.add((response.content, tuple(sorted(set(response.headers) - {"date"}))))
    assert len(answers) == 1
    after = await positions(trunkline), await refusals(trunkline, platform)
    assert after == (before[0], before[1] + len(forged))
    assert (await post(trunkline, platform, good)).status_code == 200


@every_platform
async def test_a_body_that_is_too_large_is_refused(trunkline: Trunkline, platform: str) -> None:
    """Spec P2: 413, whether its length is declared or not."""
    limits = {"messenger": 4096, "wechat": 64}
    size = limits.get(platform, 1024) * 1024
    client, account = await organisation(trunkline), new_account(platform)
    await connect(client, platform, account)
    good = text_delivery(platform, account, "large")
    largest = signed(platform, good.body.ljust(size), account_id=account)
    assert (await post(trunkline, platform, largest)).status_code == 200
    larger = signed(platform, good.body.ljust(size + 1), account_id=account)
    assert_problem(await post(trunkline, platform, larger), 413, "too_large")

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(larger.body), 64 * 1024):
            yield larger.body[start : start + 64 * 1024]

    path = f"/webhooks/{platform}" + ("" if platform == "messenger" else f"/{account}")
    response = await trunkline.http.post(
        path, content=chunks(), headers=list(larger.headers), params=list(larger.query)
    )
    assert_problem(response, 413, "too_large")
    assert await heard(client) == ["large"]


# Handshakes.


async def test_wechats_handshake_gives_its_text_back(trunkline: Trunkline) -> None:
    """The plain signature in every mode, with the token that is or was the account's."""
    client, account = await organisation(trunkline), new_account("wechat")
    channel = await connect(client, "wechat", account, credentials={**SECURE, "token": "AAAAA"})
    query = {
        "signature": "f464b24fc39322e44b38aa78f5edd27bd1441696",
        "timestamp": "1714036504",
        "nonce": "1514711492",
        "echostr": "4375120948345356249",
    }
    path = f"/webhooks/wechat/{account}"
    await client.patch(
        f"/v1/services/crm/channels/{channel['id']}", {"credentials": {"token": "BBBBB"}}
    )
    response = await trunkline.http.get(path, params=query)
    assert (response.status_code, response.text) == (200, query["echostr"])
    assert response.headers["content-type"].startswith("text/plain")
    for change in (
        {"signature": query["signature"][:-1] + "7"},
        {"nonce": "1"},
        {"timestamp": ""},
        {"echostr": ""},
    ):
        response = await trunkline.http.get(path, params=query | change)
        assert_problem(response, 401, "webhook_refused")
    response = await trunkline.http.get(f"{path}0", params=query)
    assert_problem(response, 401, "webhook_refused")


async def test_messengers_handshake(trunkline: Trunkline) -> None:
    query = {"hub.mode": "subscribe", "hub.verify_token": "acme_verify_token", "hub.challenge": "7"}
    response = await trunkline.http.get("/webhooks/messenger", params=query)
    assert (response.status_code, response.text) == (200, "7")
    response = await trunkline.http.get(
        "/webhooks/messenger", params=query | {"hub.verify_token": "guessed"}
    )
    assert_problem(response, 403, "forbidden")


async def test_lines_console_may_look_whether_somebody_is_there(trunkline: Trunkline) -> None:
    client, recorded = await organisation(trunkline), one("line_verify_empty.json").delivery
    await connect(client, "line", recorded.account_id)
    assert (await post(trunkline, "line", recorded)).status_code == 200


# Answers.


@every_platform
async def test_only_a_customer_can_start(trunkline: Trunkline, platform: str) -> None:
    """Spec N1: of all platforms only WhatsApp lets a business begin."""
    client = await organisation(trunkline)
    channel = await connect(client, platform, new_account(platform))
    start = {"channel_id": channel["id"], "address": "+12025550199"}
    template = {"kind": "template", "name": "x", "language": "en", "parameters": {}}
    answer = await client.post("/v1/services/crm/chats", start | {"message": template}, expect=409)
    assert answer["code"] == "cannot_start"
    assert await client.events(type="chat.reply_requested") == []


async def test_a_platform_that_does_not_answer_says_nothing_of_credentials(
    trunkline: Trunkline,
) -> None:
    """Spec S15: they are checked again, and nobody waits for it."""
    client = await organisation(trunkline)
    channel = await connect(client, "messenger", new_account("messenger"))
    assert channel["verification"] == "pending"
    whatsapp = await client.connect("crm", trunkline.account())
    await eventually(lambda: verification(client, whatsapp["id"]), ("verified", None))
    assert await verification(client, channel["id"]) == ("pending", None)
