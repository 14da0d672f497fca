"""What is wrong with an account shows at once: in the channel and as an event, once (N3)."""

import time
from typing import Any

import pytest

from adapters import pacing
from adapters.whatsapp.fake_behaviour import fails, limits
from tests.adapters.recorded import ACCOUNTS, signed
from tests.api.businesses import shared
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import eventually, now, status_delivery
from tests.api.platforms import connect, post
from tests.api.test_inbox import Inbox
from tests.api.test_sending import PHONE, accepted, fates, ready, report, sent_texts, statuses


async def health(org: Client, channel_id: str) -> tuple[str, str | None]:
    await org.settled()
    found = (await org.get(f"/v1/channels/{channel_id}"))["health"]
    return found["state"], found["reason"]


async def told(org: Client) -> list[tuple[Any, ...]]:
    """What the log says of accounts' health."""
    found = [
        (each["type"], each["data"].get("state"), each["data"].get("reason"))
        for each in await org.events()
    ]
    kinds = ("account.stopped", "account.impaired", "account.resumed")
    return [each for each in found if each[0] in kinds]


# What it answers.


async def test_a_platform_that_is_away_shows_as_unreachable_until_it_takes_a_message(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried several times, shown once; what is queued is never silent."""
    monkeypatch.setattr(pacing, "NEWS_AFTER_TIMES", 2)
    inbox = await ready(trunkline)
    await trunkline.fake.go_down()
    try:
        await inbox.org.reply("crm", inbox.chats["A"], "a")
        shown = ("unreachable", "not_reached")
        await eventually(lambda: health(inbox.org, inbox.channel_id), shown)
        await inbox.org.reply("crm", inbox.chats["A"], "b")
        await eventually(lambda: tries(inbox), 3)
        assert await fates(inbox) == [("queued", None)] * 2
        assert await told(inbox.org) == [("account.impaired", *shown)]
    finally:
        await trunkline.fake.come_back()
    await eventually(lambda: sent_texts(inbox), ["a", "b"])
    await eventually(lambda: health(inbox.org, inbox.channel_id), ("ok", None))
    assert await told(inbox.org) == [
        ("account.impaired", *shown),
        ("account.resumed", None, None),
    ]


async def test_a_platform_that_refuses_one_message_for_itself_is_reached_again(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "NEWS_AFTER_TIMES", 1)
    inbox = await ready(trunkline)
    trunkline.fake.next_requests(limits(1), fails(131026))
    await inbox.org.reply("crm", inbox.chats["A"], "a")
    await eventually(lambda: fates(inbox), [("failed", "undeliverable")])
    assert await told(inbox.org) == [
        ("account.impaired", "limited", "rate_limited"),
        ("account.resumed", None, None),
    ]
    assert await health(inbox.org, inbox.channel_id) == ("ok", None)


async def test_a_number_that_may_not_write_to_a_country_goes_on_with_the_others(
    trunkline: Trunkline,
) -> None:
    """Wire 1.9: 130497 is said out loud, and stops only its message."""
    inbox = await ready(trunkline)
    trunkline.fake.next_requests(fails(130497))
    for text in "ab":
        await inbox.org.reply("crm", inbox.chats["A"], text)
    failed = ("failed", "restricted_country")
    await eventually(lambda: fates(inbox), [failed, ("read", None)])
    shown = ("restricted", "restricted_country")
    assert await health(inbox.org, inbox.channel_id) == shown
    assert await told(inbox.org) == [("account.impaired", *shown)]


async def tries(inbox: Inbox) -> int:
    return min(3, len(await inbox.org.events(type="chat.send_deferred")))


async def test_a_platform_that_limits_us_for_long_shows_at_once(trunkline: Trunkline) -> None:
    inbox = await ready(trunkline)
    trunkline.fake.next_requests(limits(40))
    await inbox.org.reply("crm", inbox.chats["A"], "a")
    await eventually(lambda: health(inbox.org, inbox.channel_id), ("limited", "rate_limited"))


async def test_a_short_limit_is_no_news(trunkline: Trunkline) -> None:
    inbox = await ready(trunkline)
    trunkline.fake.next_requests(limits(1))
    await inbox.org.reply("crm", inbox.chats["A"], "a")
    await eventually(lambda: sent_texts(inbox), ["a"])
    assert await told(inbox.org) == []


# What it tells of its own accord.

BUSINESS = "900000000000001"


def account_update(business_account_id: str, **value: Any) -> dict[str, Any]:
    change = {"field": "account_update", "value": value}
    entry = {"id": business_account_id, "time": int(time.time()), "changes": [change]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


async def test_news_of_a_business_account_concern_all_its_numbers_and_no_others(
    trunkline: Trunkline,
) -> None:
    orgs = [await trunkline.organisation() for _ in range(3)]
    accounts = [BUSINESS, BUSINESS, "900000000000002"]
    channels = []
    for org, business in zip(orgs, accounts, strict=True):
        await org.services("crm")
        connected = await org.connect("crm", trunkline.account(), business_account_id=business)
        channels.append(connected["id"])

    async def states() -> list[tuple[str, str | None]]:
        return [await health(*each) for each in zip(orgs, channels, strict=True)]

    restriction = {
        "restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING",
        "expiration": int(time.time()) + 3600,
    }
    restricted = ("restricted", "restricted_biz_initiated_messaging")
    stopped, well = ("stopped", "disabled"), ("ok", None)
    for told_of, expected in (
        ({"event": "ACCOUNT_RESTRICTION", "restriction_info": [restriction]}, restricted),
        ({"event": "VERIFIED_ACCOUNT"}, restricted),
        ({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}}, stopped),
        ({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}}, well),
        ({"event": "DISABLED_UPDATE", "ban_info": "strange"}, stopped),
    ):
        for _ in range(2):  # As deliveries are repeated.
            await trunkline.deliver(account_update(BUSINESS, **told_of))
        assert await states() == [expected, expected, well]
    assert [kind for kind, *_ in await told(orgs[0])] == [
        "account.impaired",
        "account.stopped",
        "account.resumed",
        "account.stopped",
    ]


async def test_a_restriction_outlasts_accepted_messages_and_ends_when_the_platform_said(
    trunkline: Trunkline,
) -> None:
    """It may concern templates alone; nobody tells us when it is over."""
    org, account = await trunkline.organisation(), trunkline.account()
    business = "900000000000003"
    await org.services("crm")
    channel = await org.connect("crm", account, business_account_id=business)
    inbox = Inbox(trunkline, org, account, channel["id"])
    await inbox.hear("A")
    for seconds, expected in ((3600, "restricted"), (-3600, "ok")):
        info = [{"restriction_type": "X", "expiration": int(time.time()) + seconds}]
        notice = account_update(business, event="ACCOUNT_RESTRICTION", restriction_info=info)
        await trunkline.deliver(notice)
        await inbox.org.reply("crm", inbox.chats["A"], str(seconds))
        await eventually(lambda: last_sent(inbox), str(seconds))
        assert (await health(org, channel["id"]))[0] == expected


async def last_sent(inbox: Inbox) -> str | None:
    return (await sent_texts(inbox) or [None])[-1]


async def test_what_a_stopped_account_has_queued_leaves_when_the_platform_lets_it(
    trunkline: Trunkline,
) -> None:
    org, account = await trunkline.organisation(), trunkline.account()
    business = "900000000000004"
    await org.services("crm")
    channel = await org.connect("crm", account, business_account_id=business)
    inbox = Inbox(trunkline, org, account, channel["id"])
    await inbox.hear("A")
    await trunkline.deliver(account_update(business, event="DISABLED_UPDATE"))
    await inbox.org.reply("crm", inbox.chats["A"], "waits")
    assert await fates(inbox) == [("queued", None)]
    assert await health(org, channel["id"]) == ("stopped", "disabled")
    ban = {"waba_ban_state": "REINSTATE"}
    await trunkline.deliver(account_update(business, event="DISABLED_UPDATE", ban_info=ban))
    await eventually(lambda: sent_texts(inbox), ["waits"])


async def test_an_unpaid_bill_that_a_status_tells_of_stops_the_account(
    trunkline: Trunkline,
) -> None:
    """WhatsApp takes such a message, and says afterwards that it will not deliver it."""
    inbox = await ready(trunkline)
    with statuses(trunkline):
        await inbox.org.reply("crm", inbox.chats["A"], "unpaid")
        await eventually(lambda: fates(inbox), [("sent", None)])
    (sent,) = await accepted(inbox)
    unpaid = {"wamid": sent.platform_id, "errors": [{"code": 131042, "title": "Payment issue"}]}
    for _ in range(2):  # As deliveries are repeated.
        await report(inbox, "failed", **unpaid)
    assert await health(inbox.org, inbox.channel_id) == ("stopped", "payment")
    assert await told(inbox.org) == [("account.stopped", None, "payment")]
    await inbox.org.reply("crm", inbox.chats["A"], "waits")
    assert await fates(inbox) == [("failed", "payment"), ("queued", None)]


@pytest.mark.parametrize(("code", "minutes_ago"), [(131042, 30), (131026, 0)])
async def test_neither_late_news_nor_one_customers_trouble_stops_an_account(
    trunkline: Trunkline, code: int, minutes_ago: int
) -> None:
    """The bill may have been paid while we could not be told of it."""
    inbox = await ready(trunkline)
    with statuses(trunkline):
        await inbox.org.reply("crm", inbox.chats["A"], "refused")
        await eventually(lambda: fates(inbox), [("sent", None)])
    (sent,) = await accepted(inbox)
    failed = status_delivery(
        "failed",
        wamid=sent.platform_id,
        phone=PHONE,
        timestamp=now() - minutes_ago * 60,
        account_id=inbox.account,
        errors=[{"code": code}],
    )
    await trunkline.deliver(failed)
    await eventually(lambda: statuses_of(inbox), ["failed"])
    assert await health(inbox.org, inbox.channel_id) == ("ok", None)


async def statuses_of(inbox: Inbox) -> list[str]:
    return [status for status, _ in await fates(inbox)]


async def test_a_line_bot_is_suspended_and_resumed(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    await org.services("crm")
    channel = await connect(org, "line", ACCOUNTS["line"])
    for number, (kind, expected) in enumerate(
        (("botSuspended", ("stopped", "suspended")), ("botResumed", ("ok", None)))
    ):
        event = {"type": kind, "mode": "active", "timestamp": 1, "webhookEventId": f"e{number}"}
        delivery = signed("line", {"destination": ACCOUNTS["line"], "events": [event]})
        assert (await post(trunkline, "line", delivery)).status_code == 200
        assert await health(org, channel["id"]) == expected


async def test_a_page_is_blocked_warned_and_unblocked(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    await org.services("crm")
    page = ACCOUNTS["messenger"]
    channel = await connect(org, "messenger", page)
    for number, (action, expected) in enumerate(
        (("warning", ("ok", None)), ("block", ("stopped", "blocked")), ("unblock", ("ok", None)))
    ):
        event = {
            "recipient": {"id": page},
            "timestamp": 1_795_000_000_000 + number,
            "policy_enforcement": {"action": action, "reason": "spam"},
        }
        body = {"object": "page", "entry": [{"id": page, "time": 1, "messaging": [event]}]}
        delivery = signed("messenger", body, credentials={"app_secret": "acme_meta_app_secret"})
        assert (await post(trunkline, "messenger", delivery)).status_code == 200
        assert await health(org, channel["id"]) == expected


async def test_a_notice_for_an_account_that_nobody_holds_changes_nothing(
    trunkline: Trunkline,
) -> None:
    org, account = await trunkline.organisation(), trunkline.account()
    await trunkline.deliver(account_update("900000000000009", event="DISABLED_UPDATE"))
    channel_id = await shared(org, account, "crm")
    assert await health(org, channel_id) == ("ok", None)
