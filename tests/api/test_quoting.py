"""A reply quotes a message of the chat that its writer may read (`reply_to`; S4)."""

from typing import Any

import pytest

from adapters.fakes.behaviour import accepts_then_drops
from adapters.whatsapp.fake_behaviour import fails
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import delivery, eventually, new_wamid, now, text_item
from tests.api.operations import NOBODYS_ID
from tests.api.platforms import connect
from tests.api.problems import assert_problem
from tests.api.test_accounts_with_secrets import new_account, organisation, says
from tests.api.test_inbox import Inbox
from tests.api.test_sending import PHONE, accepted, fates, ready, statuses


async def timeline(inbox: Inbox, service: str = "crm") -> list[Any]:
    await inbox.org.settled()
    return await inbox.org.messages(service, inbox.chats["A"])


async def settled(inbox: Inbox, *, status: str = "read") -> Any:
    """The newest message, once the platform has it."""

    async def newest() -> Any:
        return (await timeline(inbox))[-1]["status"]

    await eventually(newest, status)
    return (await timeline(inbox))[-1]


async def contexts(inbox: Inbox) -> list[Any]:
    return [each.body.get("context") for each in await accepted(inbox)]


async def quote(inbox: Inbox, message_id: str, *, text: str = "that one", **more: Any) -> Any:
    return await inbox.org.reply("crm", inbox.chats["A"], text, reply_to=message_id, **more)


async def refused(client: Client, inbox: Inbox, message_id: str, service: str = "crm") -> Any:
    """The problem, without what differs from one request to another."""
    answer = await client.call(
        "POST",
        f"/v1/services/{service}/chats/{inbox.chats['A']}/messages",
        json={"kind": "text", "text": "that one", "reply_to": message_id},
    )
    return assert_problem(answer, 400, "invalid", field="reply_to")


async def test_a_reply_quotes_what_the_customer_wrote_and_what_we_did(trunkline: Trunkline) -> None:
    inbox = await ready(trunkline)
    heard = await inbox.trunkline.says("which?", account_id=inbox.account, phone=PHONE)
    asked = (await timeline(inbox))[-1]
    shown = await quote(inbox, asked["id"])
    assert shown["reply_to"] == asked["id"]
    ours = await settled(inbox)
    again = await quote(inbox, ours["id"])
    assert again["reply_to"] == ours["id"]
    await settled(inbox)
    first = (await accepted(inbox))[0].platform_id
    assert await contexts(inbox) == [{"message_id": heard}, {"message_id": first}]
    # And a customer quotes ours, after all of that: their times are whole seconds, ours are not.
    answer = text_item(
        "yes", wamid=new_wamid(), phone=PHONE, timestamp=now() + 1, context={"id": first}
    )
    await trunkline.deliver(delivery(account_id=inbox.account, messages=[answer]))
    newest = (await timeline(inbox))[-1]
    assert (newest["direction"], newest["reply_to"]) == ("inbound", ours["id"])


async def test_what_is_masked_cannot_be_quoted_and_looks_like_nothing(trunkline: Trunkline) -> None:
    """Spec S4."""
    inbox = await ready(trunkline)
    await inbox.org.services("desk")
    await inbox.org.connect("desk", inbox.account)
    await inbox.org.reply("crm", inbox.chats["A"], "of CRM")
    ours = await settled(inbox)
    masked = await refused(inbox.org, inbox, ours["id"], "desk")
    assert masked == await refused(inbox.org, inbox, NOBODYS_ID, "desk")
    assert await inbox.org.events(type="chat.reply_requested") != []
    # The service's policy decides it, as it does for what is shown.
    await inbox.org.put("/v1/services/desk", {"masking": "none"})
    path = f"/v1/services/desk/chats/{inbox.chats['A']}/messages"
    body = {"kind": "text", "text": "yes", "reply_to": ours["id"]}
    reply = await inbox.org.post(path, body, expect=202)
    assert reply["reply_to"] == ours["id"]


async def test_a_message_elsewhere_is_not_quoted(trunkline: Trunkline) -> None:
    inbox = await ready(trunkline)
    await inbox.hear("B")
    elsewhere = (await inbox.org.messages("crm", inbox.chats["B"]))[0]["id"]
    before = await inbox.org.events()
    nobodys = await refused(inbox.org, inbox, NOBODYS_ID)
    for message_id in (elsewhere, "x", "", inbox.chats["A"], "🤷"):
        assert await refused(inbox.org, inbox, message_id) == nobodys
    assert await inbox.org.events() == before


async def test_what_the_platform_cannot_name_is_not_quoted(trunkline: Trunkline) -> None:
    """Of a message that failed or is uncertain the platform has given us no id."""
    inbox = await ready(trunkline)
    trunkline.fake.next_requests(fails(131026))
    await inbox.org.reply("crm", inbox.chats["A"], "lost")
    await refused(inbox.org, inbox, (await settled(inbox, status="failed"))["id"])


async def test_what_was_unsent_is_not_quoted(trunkline: Trunkline) -> None:
    """Spec C17."""
    inbox = await ready(trunkline)
    wamid = await inbox.trunkline.says("oops", account_id=inbox.account, phone=PHONE)
    oops = (await timeline(inbox))[-1]["id"]
    revoke = {
        "from": PHONE,
        "id": new_wamid(),
        "timestamp": str(now()),
        "type": "revoke",
        "revoke": {"original_message_id": wamid},
    }
    await trunkline.deliver(delivery(account_id=inbox.account, messages=[revoke]))
    assert (await timeline(inbox))[-1]["unsent"]
    await refused(inbox.org, inbox, oops)


async def test_a_template_quotes_nothing(trunkline: Trunkline) -> None:
    inbox = await ready(trunkline)
    asked = (await timeline(inbox))[-1]["id"]
    body = {"kind": "template", "name": "x", "language": "en", "reply_to": asked}
    path = f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    answer = await inbox.org.call("POST", path, json=body)
    assert_problem(answer, 400, "invalid", field="reply_to")


async def test_who_may_not_write_is_told_so_first(trunkline: Trunkline) -> None:
    """Spec C5."""
    inbox = await ready(trunkline)
    viewer = await inbox.org.user("agent", {"crm": "view"})
    path = f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    body = {"kind": "text", "text": "x", "reply_to": NOBODYS_ID}
    assert_problem(await viewer.call("POST", path, json=body), 403, "view_only")


async def test_a_quote_is_kept_when_it_is_sent_again(trunkline: Trunkline) -> None:
    """Spec N3."""
    inbox = await ready(trunkline)
    heard = await inbox.trunkline.says("which?", account_id=inbox.account, phone=PHONE)
    asked = (await timeline(inbox))[-1]["id"]
    trunkline.fake.next_requests(accepts_then_drops())
    with statuses(trunkline):  # A receipt would tell that it arrived.
        lost = await quote(inbox, asked)
        await eventually(lambda: fates(inbox), [("uncertain", None)])
    path = f"/v1/services/crm/chats/{inbox.chats['A']}/messages/{lost['id']}/retry"
    again = await inbox.org.post(path, expect=202)
    assert (again["reply_to"], again["retry_of"]) == (asked, lost["id"])
    await settled(inbox)
    assert await contexts(inbox) == [{"message_id": heard}] * 2


@pytest.mark.parametrize("platform", ["wechat"])
async def test_where_nothing_can_be_quoted_nothing_is(trunkline: Trunkline, platform: str) -> None:
    """Our timeline would show a quote that the customer never saw."""
    client, account = await organisation(trunkline), new_account(platform)
    await connect(client, platform, account)
    await says(trunkline, platform, account, "hello")
    await client.settled()
    (chat,) = await client.chats("crm")
    (hello,) = await client.messages("crm", chat["id"])
    answer = await client.reply("crm", chat["id"], "hi", reply_to=hello["id"], expect=400)
    assert platform in answer["detail"]
