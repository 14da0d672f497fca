"""Owners, notices, confirmation, answering twice, who may write (S6, S7, S14, C5, C18)."""

import asyncio
import re
from typing import Any

import pytest

from tests.api.businesses import verification
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import eventually
from tests.api.test_inbox import Inbox, inbox_of
from tests.api.test_sharing import problem

NAMED = (
    "This chat is assigned to Yui in another service."
    " You can still assign it to yourself in this service."
)
NAMELESS = (
    "This chat is assigned to another agent in another service."
    " You can still assign it to yourself in this service."
)
NAMED_JAPANESE = (
    "このチャットは、別のサービスでYuiに対して割り当てられています。"
    "なお、こちらのサービスで自分に割り当てることは可能です。"
)
NAMELESS_JAPANESE = (
    "このチャットは、別のサービスで別の担当者に対して割り当てられています。"
    "なお、こちらのサービスで自分に割り当てることは可能です。"
)


async def chat_of_yui(trunkline: Trunkline) -> tuple[Inbox, Client, str]:
    """A chat that Yui owns in CRM; the client of Yui, and the chat's path behind a service.

    Nothing is on its way any more: the log stands still.
    """
    inbox = await inbox_of(trunkline, "crm", "desk")
    await eventually(lambda: verification(inbox.org, inbox.channel_id), ("verified", None))
    await inbox.hear("A", hours_ago=1)
    yui = await inbox.org.user("agent", {"crm": "reply"}, name="Yui")
    chat = f"chats/{inbox.chats['A']}"
    await yui.post(f"/v1/services/crm/{chat}/assign")
    await inbox.org.settled()
    return inbox, yui, chat


@pytest.mark.parametrize(
    ("services", "language", "owner", "text"),
    [
        ({"desk": "reply", "crm": "view"}, None, {"name": "Yui"}, NAMED),
        ({"desk": "reply", "crm": "view"}, "ja", {"name": "Yui"}, NAMED_JAPANESE),
        ({"desk": "reply"}, "fr, en;q=0.5", None, NAMELESS),
        ({"desk": "reply"}, "ja-JP, en;q=0.7", None, NAMELESS_JAPANESE),
    ],
)
async def test_the_notice_names_the_owner_elsewhere_to_those_who_may_know(
    trunkline: Trunkline,
    services: dict[str, str],
    language: str | None,
    owner: Any,
    text: str,
) -> None:
    """Spec S6, S7: on opening the chat, and in the conflict that asks for confirmation."""
    inbox, yui, chat = await chat_of_yui(trunkline)
    ken = await inbox.org.user("agent", services, name="Ken")
    headers = {"Accept-Language": language} if language else {}
    notice = {"code": "owned_elsewhere", "owner": owner, "text": text}
    opened = await ken.call("GET", f"/v1/services/desk/{chat}", expect=200, headers=headers)
    assert opened.json()["notice"] == notice
    refused = await ken.call(
        "POST", f"/v1/services/desk/{chat}/assign", expect=409, headers=headers
    )
    assert refused.json()["notice"] == notice
    (assigned,) = await inbox.org.events(type="chat.assigned")
    assert refused.json()["since"] == assigned["data"]["at"]
    if owner is None:
        # As words: three letters may stand in any id.
        told = re.compile(rf"\b(Yui|crm|{yui.user_id})\b")
        assert [told.findall(each) for each in (opened.text, refused.text)] == [[], []]


async def test_nobody_is_told_of_an_owner_in_their_own_service_or_of_none(
    trunkline: Trunkline,
) -> None:
    """Spec S6."""
    inbox, yui, chat = await chat_of_yui(trunkline)
    assert (await yui.get(f"/v1/services/crm/{chat}"))["notice"] is None
    await yui.post(f"/v1/services/crm/{chat}/unassign")
    await inbox.org.settled()
    assert (await inbox.org.get(f"/v1/services/desk/{chat}"))["notice"] is None


async def test_the_latest_owner_that_the_viewer_may_know_is_named(trunkline: Trunkline) -> None:
    """Spec S6, with owners in two other services."""
    inbox, _, chat = await chat_of_yui(trunkline)
    await inbox.org.services("salesiq")
    await inbox.org.connect("salesiq", inbox.account)
    rin = await inbox.org.user("agent", {"salesiq": "reply"}, name="Rin")
    await rin.post(f"/v1/services/salesiq/{chat}/assign", {"confirm": True})
    of_all = await inbox.org.user("agent", {"desk": "view", "crm": "view", "salesiq": "view"})
    of_crm = await inbox.org.user("agent", {"desk": "view", "crm": "view"})
    names = [
        (await each.get(f"/v1/services/desk/{chat}"))["notice"]["owner"]
        for each in (of_all, of_crm)
    ]
    assert names == [{"name": "Rin"}, {"name": "Yui"}]


async def test_a_chat_owned_elsewhere_is_taken_with_confirmation_in_this_service_only(
    trunkline: Trunkline,
) -> None:
    """Spec S7."""
    inbox, yui, chat = await chat_of_yui(trunkline)
    ken = await inbox.org.user("agent", {"desk": "reply"}, name="Ken")
    await ken.post(f"/v1/services/desk/{chat}/assign", expect=409)
    taken = await ken.post(f"/v1/services/desk/{chat}/assign", {"confirm": True})
    await inbox.org.settled()
    crm = await inbox.org.get(f"/v1/services/crm/{chat}")
    assert (taken["owner"], crm["owner"]) == (
        {"id": ken.user_id, "name": "Ken"},
        {"id": yui.user_id, "name": "Yui"},
    )


# Twenty at once.


async def test_of_twenty_agents_who_take_a_chat_at_once_one_gets_it(trunkline: Trunkline) -> None:
    """Spec C18: one winner, nineteen conflicts that name the winner, one event."""
    inbox = await inbox_of(trunkline)
    await inbox.hear("A")
    agents = await asyncio.gather(
        *(inbox.org.user("agent", {"crm": "reply"}, name=f"Agent {n}") for n in range(20))
    )
    path = f"/v1/services/crm/chats/{inbox.chats['A']}/assign"
    answers = await asyncio.gather(*(agent.call("POST", path) for agent in agents))
    winners = [
        agent for agent, answer in zip(agents, answers, strict=True) if answer.status_code == 200
    ]
    (assigned,) = await inbox.org.events(type="chat.assigned")
    winner = {
        "id": winners[0].user_id,
        "name": answers[agents.index(winners[0])].json()["owner"]["name"],
    }
    conflict = problem(
        "owned_here",
        409,
        "The chat already has an owner in this service; repeat with confirm to replace them.",
        owner=winner,
        since=assigned["data"]["at"],
    )
    refused = [answer.json() for answer in answers if answer.status_code != 200]
    assert (len(winners), refused) == (1, [conflict] * 19)
    assert assigned["data"]["owner"] == winners[0].user_id


async def test_assigning_to_the_present_owner_changes_nothing(trunkline: Trunkline) -> None:
    """Spec C18."""
    inbox, yui, chat = await chat_of_yui(trunkline)
    before = await inbox.org.events()
    again = await yui.post(f"/v1/services/crm/{chat}/assign")
    assert again["owner"] == {"id": yui.user_id, "name": "Yui"}
    assert await inbox.org.events() == before


async def test_an_owner_is_replaced_with_confirmation_and_others_are_assigned_by_supervisors(
    trunkline: Trunkline,
) -> None:
    """Spec C18, C5."""
    inbox, yui, chat = await chat_of_yui(trunkline)
    ken = await inbox.org.user("agent", {"crm": "reply"}, name="Ken")
    boss = await inbox.org.user("supervisor", {"crm": "reply"}, name="Boss")
    assign = f"/v1/services/crm/{chat}/assign"
    for_ken = {"user_id": ken.user_id, "confirm": True}
    assert (await yui.post(assign, for_ken, expect=403))["code"] == "forbidden"
    nobody = await boss.post(assign, {"user_id": "", "confirm": True}, expect=404)
    assert nobody["errors"][0]["field"] == "user_id"
    assigned = await boss.post(assign, for_ken)
    assert assigned["owner"] == {"id": ken.user_id, "name": "Ken"}
    taken = await yui.post(assign, {"confirm": True})
    assert taken["owner"] == {"id": yui.user_id, "name": "Yui"}
    assert [
        (each["data"]["owner"], each["data"].get("previous"))
        for each in await inbox.org.events(type="chat.assigned")
    ] == [(yui.user_id, None), (ken.user_id, yui.user_id), (yui.user_id, ken.user_id)]


# Answering twice.


async def test_a_reply_written_without_seeing_another_one_is_a_conflict_that_shows_it(
    trunkline: Trunkline,
) -> None:
    """Spec S14: masked for another service, open for the same; `confirm` sends it all the same."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    await inbox.hear("A", hours_ago=1)
    chat_id = inbox.chats["A"]
    seen = {"seen_position": inbox.org.position}
    sent = await inbox.org.reply("crm", chat_id, "We ship today")
    conflicts = [
        await inbox.org.reply(service, chat_id, "We ship tomorrow", expect=409, **seen)
        for service in ("crm", "desk")
    ]
    assert [each["code"] for each in conflicts] == ["answered_meanwhile"] * 2
    shown, masked = (each["message"] for each in conflicts)
    assert (shown["id"], shown["content"]) == (sent["id"], {"text": "We ship today"})
    assert masked == {
        "id": sent["id"],
        "direction": "outbound",
        "at": sent["at"],
        "status": masked["status"],
        "masked": True,
        "service": "crm",
    }
    assert len(await inbox.org.events(type="chat.reply_requested")) == 1
    await inbox.org.reply("desk", chat_id, "We ship tomorrow", confirm=True, **seen)
    await inbox.org.settled()
    await inbox.org.reply("crm", chat_id, "Both", seen_position=inbox.org.position)
    assert len(await inbox.org.events(type="chat.reply_requested")) == 3


async def test_nobody_has_seen_what_is_not_written_yet(trunkline: Trunkline) -> None:
    """Spec S14, and the last paragraph: nothing is written."""
    inbox = await inbox_of(trunkline)
    await inbox.hear("A", hours_ago=1)
    await inbox.org.settled()
    newest = inbox.org.position
    problem = await inbox.org.reply(
        "crm", inbox.chats["A"], "hi", seen_position=newest + 1, expect=400
    )
    assert problem["errors"] == [{"field": "seen_position", "message": "lies ahead of the log"}]
    assert await inbox.org.events(after=newest) == []
    await inbox.org.reply("crm", inbox.chats["A"], "hi", seen_position=newest)


async def test_of_two_replies_at_once_that_saw_the_same_one_is_sent(trunkline: Trunkline) -> None:
    """Spec S14."""
    inbox = await inbox_of(trunkline)
    await inbox.hear("A", hours_ago=1)
    path = f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    body = {"kind": "text", "text": "hi", "seen_position": inbox.org.position}
    answers = await asyncio.gather(*(inbox.org.call("POST", path, json=body) for _ in range(5)))
    assert sorted(each.status_code for each in answers) == [202, 409, 409, 409, 409]
    assert len(await inbox.org.events(type="chat.reply_requested")) == 1


async def test_a_reply_through_a_separate_channel_does_not_exist_for_the_shared_one(
    trunkline: Trunkline,
) -> None:
    """Spec S2, S14."""
    inbox = await inbox_of(trunkline)
    await inbox.org.services("bigin", subscription="standalone")
    await inbox.org.connect("bigin", inbox.account)
    await inbox.hear("A", hours_ago=1)
    seen = inbox.org.position
    await inbox.org.reply("bigin", inbox.chats["A"], "hi")
    await inbox.org.reply("crm", inbox.chats["A"], "hello", seen_position=seen)


# Who may write.


async def test_a_user_who_may_only_view_sends_nothing(trunkline: Trunkline) -> None:
    """Spec C5."""
    inbox, _, chat = await chat_of_yui(trunkline)
    viewer = await inbox.org.user("agent", {"crm": "view"})
    auditor = await inbox.org.user("auditor", {})
    supervisor = await inbox.org.user("supervisor", {"crm": "view"})
    before = await inbox.org.events()
    codes = [
        (await each.reply("crm", inbox.chats["A"], "hi", expect=403))["code"]
        for each in (viewer, auditor, supervisor)
    ]
    assert codes == ["view_only", "forbidden", "view_only"]
    stranger = await inbox.org.user("agent", {"desk": "reply"})
    refused = await stranger.get(f"/v1/services/crm/{chat}", expect=403)
    assert refused["code"] == "forbidden"
    after = [each for each in await inbox.org.events() if each["position"] > len(before)]
    assert {each["type"].partition(".")[0] for each in after} == {"organisation"}


async def test_where_only_owners_reply_others_are_told_who_the_owner_is(
    trunkline: Trunkline,
) -> None:
    """Spec C5: on for Desk unless changed, off elsewhere."""
    inbox = await inbox_of(trunkline, "crm")
    await inbox.org.put("/v1/services/desk", {"subscription": "bundled"})
    await inbox.org.connect("desk", inbox.account)
    await inbox.hear("A", hours_ago=1)
    chat_id = inbox.chats["A"]
    yui = await inbox.org.user("agent", {"desk": "reply"}, name="Yui")
    owners = [(await inbox.org.reply("desk", chat_id, "hi", expect=403))["owner"]]
    await yui.post(f"/v1/services/desk/chats/{chat_id}/assign")
    refused = await inbox.org.reply("desk", chat_id, "hi", expect=403)
    owners.append(refused["owner"])
    assert (refused["code"], owners) == (
        "not_owner",
        [None, {"id": yui.user_id, "name": "Yui"}],
    )
    await yui.reply("desk", chat_id, "It is mine")
    await inbox.org.put("/v1/services/desk", {"reply_requires_ownership": False})
    await inbox.org.reply("desk", chat_id, "Now I may too")


async def test_ids_of_other_organisations_look_like_unknown_ones(trunkline: Trunkline) -> None:
    """Spec R2."""
    _, _, chat = await chat_of_yui(trunkline)
    other = await trunkline.organisation("Other")
    await other.services("crm")
    unknown = f"chats/{'2' * 26}"
    answers = []
    for path in (chat, unknown, "chats/no-id-at-all", "chats/%00"):
        found = await other.call("GET", f"/v1/services/crm/{path}")
        written = await other.call(
            "POST", f"/v1/services/crm/{path}/messages", json={"kind": "text", "text": "hi"}
        )
        answers.append((found.status_code, found.json()["code"], written.status_code))
    assert answers == [(404, "not_found", 404)] * 4


async def test_who_writes_first_takes_no_chat_that_is_owned_elsewhere(
    trunkline: Trunkline,
) -> None:
    """Spec S7, C2: who starts a chat owns it; one that Yui owns in CRM is not taken by that."""
    inbox, _, chat = await chat_of_yui(trunkline)
    customer = (await inbox.org.get(f"/v1/services/desk/{chat}"))["customer"]["address"]
    template = {"category": "utility", "body": "hi", "parameters": [], "state": "approved"}
    await inbox.org.put(f"/v1/accounts/{inbox.account}/templates/hi/en", template)
    bought = {"account_id": inbox.account, "credits": 1}
    await inbox.org.post("/v1/credits/purchases", bought, expect=201)
    message = {"kind": "template", "name": "hi", "language": "en", "parameters": {}}
    start = {"channel_id": inbox.channel_id, "message": message}
    path = "/v1/services/desk/chats"
    await inbox.org.post(path, start | {"address": customer}, expect=202)
    assert (await inbox.org.get(f"/v1/services/desk/{chat}"))["owner"] is None
    await inbox.org.post(path, start | {"address": "+12025550188"}, expect=202)
    await inbox.org.settled()
    (new,) = [each for each in await inbox.org.chats("desk") if each["id"] not in chat]
    assert new["owner"]["id"] == inbox.org.user_id
