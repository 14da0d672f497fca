"""Messages for accounts that nobody holds, or whose channel is dormant (S10)."""

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.postgres.directory import SYSTEM
from api.main import core
from domain.account import Account, stream_of
from domain.inbound import Content
from domain.ports import Unavailable
from tests.api.businesses import connected, inbox, verification
from tests.api.conftest import TOKEN, Trunkline
from tests.api.deliveries import eventually


async def test_messages_for_an_account_nobody_holds_are_handed_over_after_the_check(
    trunkline: Trunkline,
) -> None:
    """Spec S10. Only to an org whose credentials the platform accepts."""
    account = trunkline.account()
    for number in range(3):
        await trunkline.says(f"early {number}", account_id=account, seconds_ago=60 - number)
    org = await trunkline.organisation()
    await org.services("crm")
    channel = await org.connect("crm", account, credentials={"access_token": "guessed"})
    await eventually(lambda: verification(org, channel["id"]), ("failed", "credentials"))
    assert await inbox(org, "crm") == []
    path = f"/v1/services/crm/channels/{channel['id']}"
    await org.patch(path, {"credentials": {"access_token": TOKEN}})
    early = [f"early {number}" for number in range(3)]
    await eventually(lambda: inbox(org, "crm"), [early])
    (chat,) = await org.chats("crm")
    assert chat["unread"] == 3
    assert len(await org.events(type="chat.message_received")) == 3


async def test_what_was_handed_over_changes_nothing_when_it_is_delivered_again(
    trunkline: Trunkline,
) -> None:
    """Spec S10, P2."""
    account = trunkline.account()
    await trunkline.says("early", account_id=account)
    body = trunkline.last_delivery
    org = await trunkline.organisation()
    await connected(org, account)
    await eventually(lambda: inbox(org, "crm"), [["early"]])
    await trunkline.deliver(body)
    assert await inbox(org, "crm") == [["early"]]


async def test_a_hand_over_that_ends_half_way_is_done_again(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec S10."""
    account = trunkline.account()
    for text in ("a", "b", "c"):
        await trunkline.says(text, account_id=account)
    inbound = trunkline.parts.inbound
    receive_for, calls = inbound.receive_for, itertools.count()

    async def failing_once(*arguments: Any) -> None:
        if next(calls) == 1:
            raise Unavailable("The database went away.")
        await receive_for(*arguments)

    monkeypatch.setattr(inbound, "receive_for", failing_once)
    org = await trunkline.organisation()
    await connected(org, account)
    assert await inbox(org, "crm") == [["a", "b", "c"]]


async def test_what_comes_in_the_middle_of_a_hand_over_is_handed_over_too(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec S10: it was on its way to where such messages wait when the account was connected."""
    account = trunkline.account()
    await trunkline.says("early", account_id=account)
    org = await trunkline.organisation()
    inbound = trunkline.parts.inbound
    receive_for, calls = inbound.receive_for, itertools.count()

    async def with_another(keys: Any, platform: str, occurrence: Any) -> None:
        if next(calls) == 0:
            nobody = await trunkline.parts.directory.create_organisation(SYSTEM)
            late = replace(
                occurrence,
                platform_id="wamid.late",
                dedupe=("message", "wamid.late"),
                content=Content(text="late"),
            )
            system = await trunkline.parts.directory.keys(nobody.number)
            await receive_for(system, platform, late)
        await receive_for(keys, platform, occurrence)

    monkeypatch.setattr(inbound, "receive_for", with_another)
    await connected(org, account)
    assert await inbox(org, "crm") == [["early", "late"]]


async def test_the_process_that_checks_need_not_have_seen_that_the_account_was_connected(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec S10: nothing is handed over twice, so nothing may be left out."""
    account = trunkline.account()
    await trunkline.says("early", account_id=account)
    org = await trunkline.organisation()
    async with core(trunkline.settings, trunkline.database) as elsewhere:
        known = await elsewhere.directory.organisation(org.organization_id)
        assert known is not None
        stream = stream_of("whatsapp", account)
        await elsewhere.context.executor.look(known, lambda unit: unit.state(stream, Account))
        checks = itertools.count()

        async def record_once(*arguments: Any) -> None:
            if next(checks) == 0:
                await elsewhere.verifying.record_verification(*arguments)

        monkeypatch.setattr(trunkline.parts.verifying, "record_verification", record_once)
        await connected(org, account)
    assert await inbox(org, "crm") == [["early"]]


async def test_messages_for_a_released_account_go_to_the_organisation_that_held_it_last(
    trunkline: Trunkline,
) -> None:
    """Spec S10."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(org, account)
    await org.delete(f"/v1/channels/{channel_id}/services/crm")
    await org.delete(f"/v1/channels/{channel_id}")
    await trunkline.says("still there?", account_id=account)
    assert len(await org.events(type="chat.message_received")) == 1
    await org.connect("crm", account)
    assert await inbox(org, "crm") == [["still there?"]]


async def test_messages_that_arrive_while_a_channel_is_dormant_are_there_on_return(
    trunkline: Trunkline,
) -> None:
    """Spec S10, S11. Nothing that was there before is lost either."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(org, account)
    await trunkline.says("before", account_id=account, seconds_ago=60)
    await org.delete(f"/v1/channels/{channel_id}/services/crm")
    dormant = await org.get(f"/v1/channels/{channel_id}")
    assert (dormant["state"], dormant["parent"], dormant["services"]) == ("dormant", None, [])
    await trunkline.says("meanwhile", account_id=account, seconds_ago=30)
    await trunkline.says("somebody new", account_id=account, phone="819087654321")
    revived = await org.connect("crm", account)
    assert (revived["id"], revived["parent"]) == (channel_id, "crm")
    assert await inbox(org, "crm") == [["somebody new"], ["before", "meanwhile"]]
    assert (await org.get("/v1/services/crm/unread"))["unread"] == 3


async def test_a_dormant_channel_is_revived_by_any_service_with_its_history(
    trunkline: Trunkline,
) -> None:
    """Spec S10: the channel is the account's, not the service's."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(org, account)
    await trunkline.says("before", account_id=account)
    await org.delete(f"/v1/channels/{channel_id}/services/crm")
    await org.services("desk")
    revived = await org.connect("desk", account)
    assert (revived["id"], revived["parent"]) == (channel_id, "desk")
    assert await inbox(org, "desk") == [["before"]]


async def test_a_dormant_channel_says_that_it_is_one(trunkline: Trunkline) -> None:
    """Spec S10: nothing can be sent; S16 for its chats."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(org, account)
    await trunkline.says("before", account_id=account)
    (chat,) = await org.chats("crm")
    await org.post(f"/v1/channels/{channel_id}/services/crm/disable")
    before = await org.events()
    template = {"kind": "template", "name": "shipped", "language": "en_US", "parameters": {}}
    start = {"channel_id": channel_id, "address": "+12025550199", "message": template}
    for method, path, body in (
        ("PATCH", f"/v1/services/crm/channels/{channel_id}", {"name": "Other"}),
        ("POST", "/v1/services/crm/chats", start),
    ):
        refused = await org.call(method, path, expect=409, json=body)
        assert refused.json()["code"] == "channel_dormant"
    await org.reply("crm", chat["id"], "hi", expect=404)
    assert await org.events() == before
    await org.post(f"/v1/channels/{channel_id}/services/crm/enable")
    await org.patch(f"/v1/services/crm/channels/{channel_id}", {"name": "Other"})


async def test_a_message_on_its_way_while_its_account_is_connected_is_not_left_behind(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec S10: it was nobody's when looked at, and kept after what waited was handed over."""
    org, account = await trunkline.organisation(), trunkline.account()
    await connected(org, account)
    directory = trunkline.parts.directory
    asked, too_early = directory.account, [account]

    async def account_of(platform: str, account_id: str) -> Any:
        if account_id in too_early:
            too_early.remove(account_id)
            return None
        return await asked(platform, account_id)

    monkeypatch.setattr(directory, "account", account_of)
    await trunkline.says("just in time", account_id=account)
    assert await inbox(org, "crm") == [["just in time"]]
