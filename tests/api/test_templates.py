"""Templates over HTTP: languages, and how the platform's word reaches them (C8, N5)."""

import time
from datetime import datetime
from typing import Any

import pytest

from adapters.whatsapp.fake_behaviour import fails, limits
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import delivery, eventually, now
from tests.api.problems import assert_problem
from tests.api.test_inbox import Inbox
from tests.api.test_sending import PHONE, accepted, fates, ready, report

BUSINESS = "700000000000000"


async def paying(trunkline: Trunkline) -> Inbox:
    """A chat with A, and credits: a template begins a conversation that costs something."""
    inbox = await ready(trunkline)
    bought = {"account_id": inbox.account, "credits": 1}
    await inbox.org.post("/v1/credits/purchases", bought, expect=201)
    return inbox


async def define(org: Client, account: str, language: str = "ja", **changes: Any) -> None:
    body = {"category": "utility", "body": "Hi {{name}}", "parameters": ["name"], **changes}
    await org.put(f"/v1/accounts/{account}/templates/hi/{language}", {"state": "approved", **body})


async def send(
    inbox: Inbox, language: str = "ja", *, customer: str = "A", expect: int = 202
) -> Any:
    path = f"/v1/services/crm/chats/{inbox.chats[customer]}/messages"
    parameters = {"name": "Kim"}
    body = {"kind": "template", "name": "hi", "language": language, "parameters": parameters}
    return await inbox.org.post(path, body, expect=expect)


async def state(org: Client, account: str, language: str = "ja") -> tuple[str, str | None]:
    template = await org.get(f"/v1/accounts/{account}/templates/hi/{language}")
    return template["state"], template["reason"]


async def told(
    trunkline: Trunkline,
    event: str,
    *,
    at: float,
    business: str = BUSINESS,
    field: str = "message_template_status_update",
    **value: Any,
) -> None:
    """The platform says something of a template."""
    named = {"message_template_name": "hi", "message_template_language": "ja", "event": event}
    body = delivery(business_account_id=business, field=field)
    body["entry"][0]["time"] = int(at)
    body["entry"][0]["changes"][0]["value"] = {**named, **value}
    await trunkline.deliver(body)


async def test_a_template_goes_in_the_nearest_language_and_says_in_which(
    trunkline: Trunkline,
) -> None:
    """Spec C8."""
    inbox = await paying(trunkline)
    await define(inbox.org, inbox.account, "ja", body="{{name}}様")
    await define(inbox.org, inbox.account, "en_US")
    for asked, taken, text in (("ja-JP", "ja", "Kim様"), ("en", "en_US", "Hi Kim")):
        reply = await send(inbox, asked)
        assert (reply["content"]["template"]["language"], reply["content"]["text"]) == (taken, text)
    await send(inbox, "fr", expect=404)

    async def languages() -> list[str]:
        sent = await accepted(inbox)
        return [each.body["template"]["language"]["code"] for each in sent]

    await eventually(languages, ["ja", "en_US"])


async def test_the_platforms_word_concerns_every_account_of_its_business(
    trunkline: Trunkline,
) -> None:
    """Spec C8: and no other, nor another organisation's of another business."""
    org, other = await trunkline.organisation(), await trunkline.organisation("Other")
    accounts = [trunkline.account() for _ in range(4)]
    for client in (org, other):
        await client.services("crm")
    for account, client, business in zip(
        accounts, (org, org, org, other), (BUSINESS, BUSINESS, "800", BUSINESS), strict=True
    ):
        await client.connect("crm", account, business_account_id=business)
        await define(client, account, state="pending")
    await told(trunkline, "REJECTED", at=now() + 60, reason="TAG_CONTENT_MISMATCH")
    rejected = ("rejected", "tag_content_mismatch")
    assert [await state(org, each) for each in accounts[:3]] == [
        rejected,
        rejected,
        ("pending", None),
    ]
    assert await state(other, accounts[3]) == rejected
    # What the platform said is kept as it came, once for each organisation.
    for client in (org, other):
        assert len(await client.events(stream=f"account:whatsapp:{BUSINESS}")) == 1


async def test_late_and_repeated_words_undo_nothing(trunkline: Trunkline) -> None:
    """Spec C8: the platform's time decides, and neither the order nor the number of deliveries."""
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm")
    business = account  # Nobody else's.
    await org.connect("crm", account, business_account_id=business)
    await define(org, account, state="pending")
    start = now() + 10
    words = [("APPROVED", 0), ("PAUSED", 20), ("APPROVED", 10), ("PENDING", 5), ("APPROVED", 0)]
    for event, after in words:
        await told(trunkline, event, at=start + after, business=business)
    assert await state(org, account) == ("paused", None)
    await told(trunkline, "REINSTATED", at=start + 30, business=business)
    await told(trunkline, "FLAGGED", at=start + 40, business=business)
    assert await state(org, account) == ("approved", None)
    changes = await org.events(type="template.state_changed")
    assert [each["data"]["state"] for each in changes] == ["approved", "paused", "approved"]


async def test_the_platform_moves_a_template_into_another_category(trunkline: Trunkline) -> None:
    """Spec C8, L2: later answers are priced by it."""
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm")
    await org.connect("crm", account, business_account_id=account)
    await define(org, account)
    field = "template_category_update"
    moved: dict[str, Any] = {"new_category": "MARKETING", "event": None}
    await told(trunkline, at=now() + 5, business=account, field=field, **moved)
    template = await org.get(f"/v1/accounts/{account}/templates/hi/ja")
    assert (template["category"], template["state"]) == ("marketing", "approved")


@pytest.mark.parametrize("code", [132015, 132016])
async def test_a_template_that_is_refused_as_paused_is_not_sent_again(
    trunkline: Trunkline, code: int
) -> None:
    """Spec C8: what the platform says when it is asked to send is its word as well."""
    inbox = await paying(trunkline)
    await define(inbox.org, inbox.account)
    trunkline.fake.next_requests(fails(code))
    lost = await send(inbox)
    await eventually(lambda: fates(inbox), [("failed", "template_paused")])
    assert await state(inbox.org, inbox.account) == ("paused", None)
    refused = await send(inbox, expect=409)
    assert (refused["code"], refused["state"]) == ("template_not_approved", "paused")
    chat = f"/v1/services/crm/chats/{inbox.chats['A']}"
    retried = await inbox.org.call("POST", f"{chat}/messages/{lost['id']}/retry")
    assert_problem(retried, 409, "template_not_approved")
    await define(inbox.org, inbox.account)
    await send(inbox)


# N5: marketing.


async def wish(inbox: Inbox, wants: bool, *, at: int) -> None:
    item = {
        "wa_id": PHONE,
        "detail": "User requested it.",
        "category": "marketing_messages",
        "value": "resume" if wants else "stop",
        "timestamp": at,
    }
    webhook = delivery(account_id=inbox.account, field="user_preferences", user_preferences=[item])
    await inbox.trunkline.deliver(webhook)


async def opted_out(inbox: Inbox) -> bool:
    await inbox.org.settled()
    chat = await inbox.org.get(f"/v1/services/crm/chats/{inbox.chats['A']}")
    return bool(chat["marketing_opt_out"])


async def test_who_opted_out_gets_no_marketing_until_they_opt_in_again(
    trunkline: Trunkline,
) -> None:
    """Spec N5: and everything that is no marketing."""
    inbox = await paying(trunkline)
    await define(inbox.org, inbox.account, category="marketing")
    await define(inbox.org, inbox.account, "en")
    start = now()
    await wish(inbox, wants=False, at=start - 60)
    refused = await send(inbox, expect=409)
    assert refused["code"] == "opted_out"
    await send(inbox, "en")
    await inbox.org.reply("crm", inbox.chats["A"], "hi")
    await wish(inbox, wants=True, at=start - 120)  # Said before, heard after.
    await send(inbox, expect=409)
    await wish(inbox, wants=True, at=start - 30)
    assert not await opted_out(inbox)
    await send(inbox)


@pytest.mark.parametrize("told_by", ["answer", "status"])
async def test_one_who_is_refused_for_it_is_recorded_as_opted_out(
    trunkline: Trunkline, told_by: str
) -> None:
    """Spec N5: whether the platform says so at once or later."""
    inbox = await paying(trunkline)
    await define(inbox.org, inbox.account, category="marketing")
    if told_by == "answer":
        trunkline.fake.next_requests(fails(131050))
    lost = await send(inbox)
    if told_by == "status":
        mark = f"{inbox.chats['A']}.{lost['id']}"
        errors = [{"code": 131050, "title": "User has stopped marketing messages"}]
        wamid = f"wamid.{lost['id']}"
        await report(inbox, "failed", wamid=wamid, biz_opaque_callback_data=mark, errors=errors)
    await eventually(lambda: opted_out(inbox), expected=True)
    assert (await send(inbox, expect=409))["code"] == "opted_out"
    chat = f"/v1/services/crm/chats/{inbox.chats['A']}"
    retried = await inbox.org.call("POST", f"{chat}/messages/{lost['id']}/retry")
    assert_problem(retried, 409, "opted_out")
    await wish(inbox, wants=True, at=now() + 30)
    await send(inbox)


async def test_one_who_had_enough_marketing_gets_none_for_a_day(trunkline: Trunkline) -> None:
    """Wire 1.9: 131049, not before 24 hours. All else goes out."""
    inbox = await paying(trunkline)
    await define(inbox.org, inbox.account, category="marketing")
    await define(inbox.org, inbox.account, "en")
    lost = await send(inbox)
    mark, wamid = f"{inbox.chats['A']}.{lost['id']}", f"wamid.{lost['id']}"
    errors = [{"code": 131049, "title": "In order to maintain healthy engagement"}]
    await report(inbox, "failed", wamid=wamid, biz_opaque_callback_data=mark, errors=errors)
    await eventually(lambda: types(inbox, "contact.marketing_limited"), 1)
    refused = await send(inbox, expect=409)
    assert refused["code"] == "marketing_limited"
    until = datetime.fromisoformat(refused["until"]).timestamp()
    assert 23 * 3600 < until - time.time() <= 24 * 3600 + 1
    assert not await opted_out(inbox)
    await send(inbox, "en")


async def test_what_is_sent_again_is_marketing_once_the_platform_says_so(
    trunkline: Trunkline,
) -> None:
    """Spec N5, L2: the category is the template's present one, for the wish as for the price."""
    inbox = await paying(trunkline)
    await define(inbox.org, inbox.account)
    trunkline.fake.next_requests(fails(131026), fails(131026))
    lost = [await send(inbox), await send(inbox)]
    await eventually(lambda: fates(inbox), [("failed", "undeliverable")] * 2)
    await define(inbox.org, inbox.account, category="marketing")
    messages = f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    await inbox.org.post(f"{messages}/{lost[0]['id']}/retry", expect=202)
    asked = await inbox.org.events(type="chat.reply_requested")
    assert [each["data"]["category"] for each in asked] == ["utility", "utility", "marketing"]
    await wish(inbox, wants=False, at=now())
    refused = await inbox.org.call("POST", f"{messages}/{lost[1]['id']}/retry")
    assert_problem(refused, 409, "opted_out")


async def test_who_opts_out_is_not_sent_the_marketing_that_waits(trunkline: Trunkline) -> None:
    """Spec N5: it fails before it is sent, and what was charged for it is given back (L4)."""
    inbox = await paying(trunkline)
    await define(inbox.org, inbox.account, category="marketing")
    trunkline.fake.next_requests(limits(2))
    await send(inbox)
    await inbox.org.settled()
    await eventually(lambda: types(inbox, "chat.send_deferred"), 1)
    await wish(inbox, wants=False, at=now())
    await eventually(lambda: fates(inbox), [("failed", "opted_out")])
    assert await accepted(inbox) == []
    assert await types(inbox, "credits.refunded") == 1


async def types(inbox: Inbox, stored_type: str) -> int:
    """How many events of a type there are."""
    return len(await inbox.org.events(type=stored_type))


# The list.


async def test_an_accounts_templates_are_listed_page_by_page(trunkline: Trunkline) -> None:
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm")
    await org.connect("crm", account)
    languages = ["de", "en_GB", "en_US", "ja"]
    for language in reversed(languages):
        await define(org, account, language)
    path = f"/v1/accounts/{account}/templates"
    first = await org.get(path, params={"limit": 3})
    rest = await org.get(path, params={"limit": 3, "cursor": first["next_cursor"]})
    assert [each["language"] for each in first["items"]] == languages[:3]
    assert ([each["language"] for each in rest["items"]], rest["next_cursor"]) == (["ja"], None)
    assert rest["items"][0] == await org.get(f"{path}/hi/ja")


async def test_what_a_put_leaves_out_keeps_its_value(trunkline: Trunkline) -> None:
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm")
    await org.connect("crm", account)
    path = f"/v1/accounts/{account}/templates/hi/ja"
    first = await org.put(path, {"category": "utility", "body": "Hi"})
    assert (first["state"], first["parameters"]) == ("draft", [])
    await define(org, account)
    kept = await org.put(path, {"category": "utility", "body": "Hello {{name}}"})
    assert (kept["state"], kept["parameters"]) == ("approved", ["name"])
    assert await org.get(path) == kept
    cleared = await org.put(path, {"category": "utility", "body": "Hello", "parameters": []})
    assert (cleared["state"], cleared["parameters"]) == ("approved", [])
