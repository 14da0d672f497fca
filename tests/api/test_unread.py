"""Unread counters per user, and customers nobody wants to hear (C6, C7)."""

from typing import Any

from tests.api.businesses import texts
from tests.api.conftest import Trunkline
from tests.api.deliveries import echo_delivery, eventually, now
from tests.api.test_inbox import Inbox, inbox_of

NOTHING: tuple[int, dict[str, int]] = (0, {})


async def test_each_user_has_counters_of_their_own(trunkline: Trunkline) -> None:
    """Spec C6. A visit of the service has seen everything, one of a chat that chat."""
    inbox = await inbox_of(trunkline)
    yui = await inbox.org.user("agent", {"crm": "reply"})
    ken = await inbox.org.user("agent", {"crm": "view"})
    for customer in "ABA":
        await inbox.hear(customer)
    everything = (3, {"A": 2, "B": 1})
    assert [await inbox.unread(each) for each in (inbox.org, yui, ken)] == [everything] * 3
    visited = await yui.post("/v1/services/crm/visit")
    assert visited == {"unread": 0, "chats": {}}
    await ken.post(f"/v1/services/crm/chats/{inbox.chats['A']}/visit")
    await inbox.org.settled()
    found = [await inbox.unread(each) for each in (inbox.org, yui, ken)]
    assert found == [everything, NOTHING, (1, {"B": 1})]
    await inbox.hear("A")
    found = [await inbox.unread(each) for each in (inbox.org, yui, ken)]
    assert found == [(4, {"A": 3, "B": 1}), (1, {"A": 1}), (2, {"A": 1, "B": 1})]


async def test_reading_is_no_visit_and_a_reply_visits_its_chat_for_its_author(
    trunkline: Trunkline,
) -> None:
    """Spec C6."""
    inbox = await inbox_of(trunkline)
    yui = await inbox.org.user("agent", {"crm": "reply"})
    for customer in "AB":
        await inbox.hear(customer, hours_ago=1)
    yui.position = inbox.org.position
    await yui.chats("crm")
    await yui.messages("crm", inbox.chats["A"])
    await yui.get(f"/v1/services/crm/chats/{inbox.chats['A']}")
    assert await inbox.unread(yui) == (2, {"A": 1, "B": 1})
    await yui.reply("crm", inbox.chats["A"], "hi")
    await inbox.org.settled()
    assert await inbox.unread(yui) == (1, {"B": 1})
    assert await inbox.unread() == (2, {"A": 1, "B": 1})


async def test_the_list_and_the_chat_show_the_same_counters(trunkline: Trunkline) -> None:
    """Spec C6."""
    inbox = await inbox_of(trunkline)
    for customer in "ABA":
        await inbox.hear(customer)
    listed = {chat["customer"]["name"]: chat["unread"] for chat in await inbox.org.chats("crm")}
    chat = await inbox.org.get(f"/v1/services/crm/chats/{inbox.chats['A']}")
    assert (listed, chat["unread"]) == ({"A": 2, "B": 1}, 2)
    visited = await inbox.act("A", "visit")
    assert visited["unread"] == 0


async def test_a_user_starts_where_they_got_access_to_the_service(trunkline: Trunkline) -> None:
    """Spec C6."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    late = await inbox.org.user("agent", {"desk": "reply"})
    await inbox.hear("A")
    newest = await inbox.org.user("agent", {"crm": "reply"})
    await inbox.org.patch(f"/v1/users/{late.user_id}", {"services": {"crm": "view"}})
    await inbox.org.settled()
    assert [await inbox.unread(each) for each in (late, newest)] == [NOTHING] * 2
    await inbox.hear("A")
    assert [await inbox.unread(each) for each in (late, newest)] == [(1, {"A": 1})] * 2
    assert await inbox.unread() == (2, {"A": 2})


async def test_services_count_for_themselves(trunkline: Trunkline) -> None:
    """Spec C6."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    await inbox.hear("A")
    await inbox.org.post("/v1/services/crm/visit")
    assert await inbox.unread(service="crm") == NOTHING
    assert await inbox.unread(service="desk") == (1, {"A": 1})


async def test_messages_that_came_while_the_service_was_away_count_on_its_return(
    trunkline: Trunkline,
) -> None:
    """Spec C6."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    await inbox.hear("A")
    await inbox.org.post("/v1/services/desk/visit")
    desk = f"/v1/channels/{inbox.channel_id}/services/desk"
    await inbox.org.post(f"{desk}/disable")
    await inbox.hear("A")
    await inbox.hear("B")
    assert await inbox.unread(service="desk") == NOTHING
    await inbox.org.post(f"{desk}/enable")
    assert await inbox.unread(service="desk") == (2, {"A": 1, "B": 1})


async def test_echoes_replies_and_receipts_are_not_counted(trunkline: Trunkline) -> None:
    """Spec C6: only what customers write."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    await inbox.hear("A", hours_ago=1)
    await inbox.org.post("/v1/services/crm/visit")
    await inbox.org.reply("desk", inbox.chats["A"], "hi")

    async def fate() -> str:
        return str((await inbox.org.messages("desk", inbox.chats["A"]))[-1]["status"])

    await eventually(fate, "read")
    echo: dict[str, Any] = {"account_id": inbox.account, "phone": "12025551065", "timestamp": now()}
    await trunkline.deliver(echo_delivery("from the phone", wamid="wamid.echo", **echo))
    assert await inbox.unread() == NOTHING


# Blocking.


async def test_a_blocked_customer_is_recorded_but_shown_only_under_blocked(
    trunkline: Trunkline,
) -> None:
    """Spec C7. Per service, like owner and status."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    await inbox.hear("A", hours_ago=1)
    await inbox.org.post("/v1/services/crm/visit")
    assert (await inbox.act("A", "block"))["blocked"] is True
    await inbox.hear("A", "please")
    views = ("all", "mine", "unassigned", "closed", "blocked")
    assert [await inbox.listed(view=view) for view in views] == ["", "", "", "", "A"]
    assert await inbox.listed("desk") == "A"
    assert await texts(inbox.org, "crm", inbox.chats["A"]) == ["hello", "please"]
    assert await inbox.unread() == NOTHING
    assert await inbox.unread(service="desk") == (2, {"A": 2})


async def test_what_a_blocked_customer_wrote_counts_neither_then_nor_later(
    trunkline: Trunkline,
) -> None:
    """Spec C6, C7."""
    inbox = await inbox_of(trunkline)
    await inbox.hear("A", hours_ago=3)
    await inbox.org.post("/v1/services/crm/visit")
    await inbox.act("A", "block")
    await inbox.hear("A", "please", hours_ago=2)
    assert (await inbox.act("A", "unblock"))["blocked"] is False
    assert await inbox.unread() == NOTHING
    assert await inbox.listed() == "A"
    await inbox.hear("A", "thank you", hours_ago=1)
    assert await inbox.unread() == (1, {"A": 1})


async def test_writing_to_a_customer_one_has_blocked_is_refused(trunkline: Trunkline) -> None:
    """Spec C7. Another service may write."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    await inbox.hear("A", hours_ago=1)
    await inbox.act("A", "block")
    refused = await inbox.org.reply("crm", inbox.chats["A"], "hi", expect=409)
    assert (refused["code"], len(await _requested(inbox))) == ("chat_blocked", 0)
    await inbox.org.reply("desk", inbox.chats["A"], "hi")
    await inbox.act("A", "unblock")
    await inbox.org.reply("crm", inbox.chats["A"], "hi")
    assert await _requested(inbox) == ["desk", "crm"]


async def _requested(inbox: Inbox) -> list[str]:
    requests = await inbox.org.events(type="chat.reply_requested")
    return [each["data"]["service"] for each in requests]
