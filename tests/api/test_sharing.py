"""One account, several services: joining, masking, parents, leaving and coming back (S1–S16)."""

import asyncio
from typing import Any

import pytest

from domain.channel import ACCOUNTING_SERVICES
from tests.api.businesses import shared, texts
from tests.api.conftest import TOKEN, Trunkline
from tests.api.deliveries import eventually

WRITTEN = "What only CRM should read"


def problem(code: str, status: int, detail: str, **facts: Any) -> dict[str, Any]:
    """A refusal as clients get it."""
    return {
        "type": f"https://trunkline.dev/problems/{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        **facts,
    }


def sharing(channel: dict[str, Any]) -> list[str]:
    """Who shares a channel now, the parent first and marked, as in the table of S8."""
    active = [each for each in channel["services"] if each["state"] == "active"]
    parents = [f"{each['service']} (parent)" for each in active if each["parent"]]
    return parents + [each["service"] for each in active if not each["parent"]]


async def test_services_that_connect_at_once_share_one_channel_with_one_parent(
    trunkline: Trunkline,
) -> None:
    """Spec S1."""
    org, account = await trunkline.organisation(), trunkline.account()
    names = [f"service-{number}" for number in range(10)]
    await org.services(*names)
    made = await asyncio.gather(*(org.connect(name, account) for name in names))
    (channel,) = (await org.get("/v1/channels"))["items"]
    assert {each["id"] for each in made} == {channel["id"]}
    assert sorted(each["service"] for each in channel["services"]) == sorted(names)
    first = channel["services"][0]["service"]
    assert channel["parent"] == first
    assert [each["service"] for each in channel["services"] if each["parent"]] == [first]
    decisions = (await org.get(f"/v1/channels/{channel['id']}/decisions"))["items"]
    assert [(each["cause"], each["chosen"]) for each in decisions] == [("first_creation", first)]


async def test_the_first_service_is_the_parent_and_those_that_join_are_children(
    trunkline: Trunkline,
) -> None:
    """Spec S1. What a joining service says about the channel is ignored."""
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm", "desk")
    await org.connect("crm", account, name="Sales", address="+81 3-0000-0000")
    channel = await org.connect("desk", account, name="Help", credentials={"access_token": "no"})
    connected = [each.pop("connected_at") for each in channel["services"]]
    assert channel == {
        "id": channel["id"],
        "platform": "whatsapp",
        "account_id": account,
        "address": "+81 3-0000-0000",
        "name": "Sales",
        "icon_media_id": None,
        "shared": True,
        "state": "active",
        "parent": "crm",
        "verification": channel["verification"],
        "verification_reason": None,
        "health": channel["health"],
        "services": [
            {"service": "crm", "state": "active", "parent": True},
            {"service": "desk", "state": "active", "parent": False},
        ],
        "released": False,
        "setup": {"webhook_url": f"{trunkline.url}/webhooks/whatsapp"},
    }
    assert connected == sorted(connected)


async def test_connecting_a_connected_service_answers_with_its_channel_and_changes_nothing(
    trunkline: Trunkline,
) -> None:
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await shared(org, account, "crm")
    before = await org.events(type="channel.connection_created")
    again = await org.connect("crm", account, expect=200)
    assert again["id"] == channel_id
    assert await org.events(type="channel.connection_created") == before


async def test_standalone_and_upgraded_services_get_channels_of_their_own(
    trunkline: Trunkline,
) -> None:
    """Spec S2."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await shared(org, account, "crm")
    await org.services("bigin", subscription="standalone")
    await org.services("salesiq", subscription="upgraded")
    bigin = await org.connect("bigin", account)
    salesiq = await org.connect("salesiq", account)
    await org.services("desk")
    await org.connect("desk", account)
    channels = (await org.get("/v1/channels"))["items"]
    assert {each["id"]: (each["shared"], sharing(each)) for each in channels} == {
        channel_id: (True, ["crm (parent)", "desk"]),
        bigin["id"]: (False, ["bigin (parent)"]),
        salesiq["id"]: (False, ["salesiq (parent)"]),
    }


async def test_a_separate_channel_begins_when_it_is_connected_and_nothing_is_synchronised(
    trunkline: Trunkline,
) -> None:
    """Spec S2, S3."""
    org, account = await trunkline.organisation(), trunkline.account()
    await shared(org, account, "crm")
    await trunkline.says("Before", account_id=account, seconds_ago=60)
    await org.services("bigin", subscription="standalone")
    await org.settled()
    await org.connect("bigin", account)
    assert await org.chats("bigin") == []
    (before,) = await org.chats("crm")
    path = f"/v1/services/bigin/chats/{before['id']}"
    await org.get(path, expect=404)
    position = (await org.events())[-1]["position"]
    for action in ("assign", "close", "block", "visit"):
        await org.post(f"{path}/{action}", expect=404)
    await org.post(f"{path}/messages", {"kind": "text", "text": "Hi"}, expect=404)
    assert (await org.events())[-1]["position"] == position
    await trunkline.says("After", account_id=account)
    await org.settled()
    (chat,) = await org.chats("bigin")
    assert await texts(org, "bigin", chat["id"]) == ["After"]
    assert await texts(org, "crm", chat["id"]) == ["Before", "After"]
    await org.post(f"/v1/services/bigin/chats/{chat['id']}/assign", {})
    await org.post(f"/v1/services/bigin/chats/{chat['id']}/close")
    await org.reply("bigin", chat["id"], "Hello from Bigin")
    await org.reply("crm", chat["id"], WRITTEN)
    assert await texts(org, "bigin", chat["id"]) == ["After", "Hello from Bigin"]
    assert await texts(org, "crm", chat["id"]) == ["Before", "After", WRITTEN]
    other = await org.get(f"/v1/services/crm/chats/{chat['id']}")
    assert (other["owner"], other["status"], other["notice"]) == (None, "open", None)


@pytest.mark.parametrize("service", sorted(ACCOUNTING_SERVICES))
async def test_an_accounting_service_is_refused_with_the_reason(
    trunkline: Trunkline, service: str
) -> None:
    """Spec S2."""
    org = await trunkline.organisation()
    await org.services(service)
    refused = await org.connect(service, trunkline.account(), expect=422)
    assert refused == problem(
        "service_not_eligible",
        422,
        f"{service} is an accounting service; those cannot use a messaging account.",
        reason="accounting_service",
    )
    assert (await org.get("/v1/channels"))["items"] == []


async def test_a_message_is_recorded_once_and_a_reply_sent_once(trunkline: Trunkline) -> None:
    """Spec S3."""
    org, account = await trunkline.organisation(), trunkline.account()
    await shared(org, account, "crm", "desk")
    await org.services("bigin", subscription="standalone")
    await org.connect("bigin", account)
    await trunkline.says("hello", account_id=account)
    await org.settled()
    (chat,) = await org.chats("crm")
    inboxes = [await texts(org, each, chat["id"]) for each in ("crm", "desk", "bigin")]
    assert inboxes == [["hello"], ["hello"], ["hello"]]
    assert len(await org.events(type="chat.message_received")) == 1
    await org.reply("crm", chat["id"], "hi")

    async def sent() -> list[str | None]:
        return [each.text for each in trunkline.fake.accepted if each.account_id == account]

    await eventually(sent, ["hi"])


async def test_another_services_reply_is_masked_and_its_content_is_nowhere_in_any_answer(
    trunkline: Trunkline,
) -> None:
    """Spec S4. Also where a customer quotes it, and in the list's last line."""
    org, account = await trunkline.organisation(), trunkline.account()
    await shared(org, account, "crm", "desk")
    await trunkline.says("hello", account_id=account, seconds_ago=5)
    await org.settled()
    (chat,) = await org.chats("desk")
    sent = await org.reply("crm", chat["id"], WRITTEN)
    masked = {
        "id": sent["id"],
        "direction": "outbound",
        "at": sent["at"],
        "status": "read",
        "masked": True,
        "service": "crm",
    }

    async def last_message() -> Any:
        await org.settled()
        return (await org.chats("desk"))[0]["last_message"]

    await eventually(last_message, masked)
    (accepted,) = [each for each in trunkline.fake.accepted if each.account_id == account]
    await trunkline.says(
        "Really?", account_id=account, seconds_ago=-5, context={"id": accepted.platform_id}
    )
    await org.settled()
    timeline = await org.messages("desk", chat["id"])
    assert timeline[1] == masked
    assert (timeline[2]["content"], timeline[2]["reply_to"]) == ({"text": "Really?"}, sent["id"])
    for path in (
        "/v1/services/desk/chats",
        f"/v1/services/desk/chats/{chat['id']}",
        f"/v1/services/desk/chats/{chat['id']}/messages",
        "/v1/services/desk/unread",
        "/v1/events?limit=10000",
    ):
        answer = await org.call("GET", path, expect=200)
        assert "CRM should read" not in answer.text, path


async def test_a_masking_policy_holds_for_everything_shown_from_then_on(
    trunkline: Trunkline,
) -> None:
    """Spec S4. Each service has its own policy; it is an event."""
    org, account = await trunkline.organisation(), trunkline.account()
    await shared(org, account, "crm", "desk", "salesiq")
    await trunkline.says("hello", account_id=account, seconds_ago=5)
    await org.settled()
    (chat,) = await org.chats("crm")
    await org.reply("crm", chat["id"], WRITTEN)
    assert await texts(org, "desk", chat["id"]) == ["hello", None]
    await org.put("/v1/services/desk", {"masking": "none"})
    assert await texts(org, "desk", chat["id"]) == ["hello", WRITTEN]
    assert await texts(org, "salesiq", chat["id"]) == ["hello", None]
    await org.put("/v1/services/desk", {"masking": "full"})
    assert await texts(org, "desk", chat["id"]) == ["hello", None]
    changes = await org.events(type="organisation.masking_changed")
    assert [each["data"]["masking"] for each in changes] == ["none", "full"]


async def test_a_chat_has_an_owner_in_each_service_and_each_changes_only_its_own(
    trunkline: Trunkline,
) -> None:
    """Spec S5."""
    org, account = await trunkline.organisation(), trunkline.account()
    await shared(org, account, "crm", "desk")
    yui = await org.user("agent", {"crm": "reply"}, name="Yui")
    ken = await org.user("agent", {"desk": "reply"}, name="Ken")
    await trunkline.says("hello", account_id=account)
    await org.settled()
    (chat,) = await org.chats("crm")
    path = f"chats/{chat['id']}"
    await yui.post(f"/v1/services/crm/{path}/assign", {})
    await ken.post(f"/v1/services/desk/{path}/assign", {"confirm": True})
    await org.settled()

    async def owners() -> list[Any]:
        return [(await org.get(f"/v1/services/{s}/{path}"))["owner"] for s in ("crm", "desk")]

    crm, desk = {"id": yui.user_id, "name": "Yui"}, {"id": ken.user_id, "name": "Ken"}
    assert await owners() == [crm, desk]
    await ken.post(f"/v1/services/desk/{path}/unassign")
    await org.settled()
    assert await owners() == [crm, None]


async def test_the_five_steps_of_the_table_leave_the_parents_they_say(trunkline: Trunkline) -> None:
    """Spec S8."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await shared(org, account, "crm", "desk", "salesiq")
    channel = f"/v1/channels/{channel_id}"
    steps = [sharing(await org.get(channel))]
    steps.append(sharing(await org.post(f"{channel}/services/desk/disable")))
    steps.append(sharing(await org.delete(f"{channel}/services/crm")))
    steps.append(sharing(await org.post(f"{channel}/services/desk/enable")))
    steps.append(sharing(await org.connect("crm", account)))
    assert steps == [
        ["crm (parent)", "desk", "salesiq"],
        ["crm (parent)", "salesiq"],
        ["salesiq (parent)"],
        ["salesiq (parent)", "desk"],
        ["salesiq (parent)", "desk", "crm"],
    ]


async def test_every_choice_of_a_parent_is_recorded_with_all_its_candidates(
    trunkline: Trunkline,
) -> None:
    """Spec S9: first creation, succession, nobody left, revival."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await shared(org, account, "crm", "desk")
    channel = f"/v1/channels/{channel_id}"
    await org.delete(f"{channel}/services/crm")
    await org.post(f"{channel}/services/desk/disable")
    await org.connect("crm", account)
    made = await org.events(type="channel.connection_created", stream=f"channel:{channel_id}")
    crm, desk, crm_again = [each["position"] for each in made]
    decisions = (await org.get(f"{channel}/decisions"))["items"]
    short = [
        (each["cause"], each["chosen"], each["previous"], each["candidates"]) for each in decisions
    ]

    def candidate(service: str, position: int) -> dict[str, Any]:
        return {
            "service": service,
            "created_position": position,
            "joined_position": position,
        }

    assert short == [
        ("first_creation", "crm", None, [candidate("crm", crm)]),
        ("succession", "desk", "crm", [candidate("desk", desk)]),
        ("nobody_left", None, "desk", []),
        ("revival", "crm", None, [candidate("crm", crm_again)]),
    ]
    assert {(each["kind"], each["rule"]) for each in decisions} == {
        ("parent", "earliest-created/1")
    }


async def test_replaying_a_decision_answers_the_same_and_another_rule_answers_what_if(
    trunkline: Trunkline,
) -> None:
    """Spec S9. Desk was created first of those who remain, but SalesIQ joined before it."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await shared(org, account, "crm", "desk", "salesiq")
    channel = f"/v1/channels/{channel_id}"

    async def is_checked() -> bool:  # Nothing else is written then but what is asked for.
        return bool((await org.get(channel))["verification"] == "verified")

    await eventually(is_checked, True)
    await org.post(f"{channel}/services/desk/disable")
    await org.post(f"{channel}/services/desk/enable")
    parent = await org.delete(f"{channel}/services/crm")
    assert sharing(parent) == ["desk (parent)", "salesiq"]
    before = len(await org.events())
    replay = f"{channel}/decisions/replay"

    async def replayed(body: Any) -> list[Any]:
        items = (await org.post(replay, body))["items"]
        return [(each["recorded"], each["replayed"], each["same"]) for each in items]

    same = [("crm", "crm", True), ("desk", "desk", True)]
    assert await replayed(None) == same
    assert await replayed({"rule": "earliest-created/1"}) == same
    assert await replayed({"rule": "earliest-joined/1"}) == [
        ("crm", "crm", True),
        ("desk", "salesiq", False),
    ]
    assert len(await org.events()) == before
    unknown = await org.post(replay, {"rule": "loudest/1"}, expect=400)
    assert unknown["errors"] == [
        {"field": "rule", "message": "must be one of earliest-created/1, earliest-joined/1"}
    ]


async def test_a_service_that_joins_late_sees_everything_with_old_replies_masked(
    trunkline: Trunkline,
) -> None:
    """Spec S13. Taking the chat over unmasks nothing."""
    org, account = await trunkline.organisation(), trunkline.account()
    await shared(org, account, "crm")
    await trunkline.says("hello", account_id=account, seconds_ago=5)
    await org.settled()
    (chat,) = await org.chats("crm")
    await org.reply("crm", chat["id"], WRITTEN)
    await org.post(f"/v1/services/crm/chats/{chat['id']}/assign", {})
    await shared(org, account, "salesiq")
    (seen,) = await org.chats("salesiq")
    assert (seen["id"], await texts(org, "salesiq", chat["id"])) == (chat["id"], ["hello", None])
    taken = {"confirm": True}
    await org.post(f"/v1/services/salesiq/chats/{chat['id']}/assign", taken)
    assert await texts(org, "salesiq", chat["id"]) == ["hello", None]
    assert await texts(org, "crm", chat["id"]) == ["hello", WRITTEN]


async def test_only_the_parent_manages_the_channel_and_each_service_its_own_connection(
    trunkline: Trunkline,
) -> None:
    """Spec S12."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await shared(org, account, "crm", "desk")
    refusal = problem(
        "not_parent", 403, "Only the parent service manages the channel itself.", parent="crm"
    )
    for body in ({"name": "Help"}, {"credentials": {"access_token": "theirs"}}):
        path = f"/v1/services/desk/channels/{channel_id}"
        assert await org.patch(path, body, expect=403) == refusal
    renamed = await org.patch(f"/v1/services/crm/channels/{channel_id}", {"name": "Main"})
    assert (renamed["name"], renamed["parent"]) == ("Main", "crm")
    await org.put(f"/v1/services/desk/channels/{channel_id}/connection", {"department": "Returns"})
    await org.put(f"/v1/channels/{channel_id}/services/desk/agents", {"user_ids": [org.user_id]})


async def test_credentials_belong_to_the_shared_parent_or_else_to_the_earliest_separate_channel(
    trunkline: Trunkline,
) -> None:
    """Spec S2, S12."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await shared(org, account, "crm")
    await org.services("bigin", "salesiq", subscription="standalone")
    bigin = await org.connect("bigin", account)
    salesiq = await org.connect("salesiq", account)
    new = {"credentials": {"access_token": TOKEN}}

    async def answers() -> list[Any]:
        found = []
        for service, channel in (("bigin", bigin), ("salesiq", salesiq)):
            path = f"/v1/services/{service}/channels/{channel['id']}"
            response = await org.call("PATCH", path, json=new)
            found.append((response.status_code, response.json().get("parent")))
        return found

    assert await answers() == [(403, "crm"), (403, "crm")]
    await org.patch(f"/v1/services/bigin/channels/{bigin['id']}", {"name": "Bigin's own"})
    await org.delete(f"/v1/channels/{channel_id}/services/crm")
    assert await answers() == [(200, "bigin"), (403, "bigin")]
