"""Accounts: whose they are, their credentials, services that are away (S11, S15, S16)."""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from adapters.fakes.server import Answer
from tests.api.businesses import connected, inbox, shared, texts, verification
from tests.api.conftest import TOKEN, Client, Trunkline
from tests.api.deliveries import eventually
from tests.api.test_sharing import problem

# Who holds an account.


async def test_an_account_belongs_to_one_organisation_and_nobody_is_named(
    trunkline: Trunkline,
) -> None:
    """Spec S15. Also while its channel is dormant."""
    acme, other, account = (
        await trunkline.organisation(),
        await trunkline.organisation("Other"),
        trunkline.account(),
    )
    channel_id = await connected(acme, account)
    await other.services("crm")
    taken = problem(
        "account_taken",
        409,
        "This account belongs to another organisation until its admin releases it.",
    )
    assert await other.connect("crm", account, expect=409) == taken
    await acme.delete(f"/v1/channels/{channel_id}/services/crm")
    assert await other.connect("crm", account, expect=409) == taken


async def test_of_two_organisations_that_connect_at_once_one_gets_the_account(
    trunkline: Trunkline,
) -> None:
    """Spec S15."""
    account = trunkline.account()
    orgs = [await trunkline.organisation(f"Org {number}") for number in range(4)]
    for org in orgs:
        await org.services("crm")
    body = {"service": "crm", "platform": "whatsapp", "account_id": account, "name": "Main"}
    answers = await asyncio.gather(*(org.call("POST", "/v1/channels", json=body) for org in orgs))
    assert sorted(each.status_code for each in answers) == [201, 409, 409, 409]


async def test_an_active_channel_is_not_released(trunkline: Trunkline) -> None:
    """Spec S15."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(org, account)
    refused = await org.delete(f"/v1/channels/{channel_id}", expect=409)
    assert (refused["code"], refused["services"]) == ("channel_active", ["crm"])


async def test_a_released_account_may_be_connected_by_another_organisation(
    trunkline: Trunkline,
) -> None:
    """Spec S15. Channel and history stay readable to the org that had it."""
    acme, other, account = (
        await trunkline.organisation(),
        await trunkline.organisation("Other"),
        trunkline.account(),
    )
    channel_id = await connected(acme, account)
    await trunkline.says("for Acme", account_id=account)
    await acme.delete(f"/v1/channels/{channel_id}/services/crm")
    released = await acme.delete(f"/v1/channels/{channel_id}")
    assert (released["state"], released["released"], released["parent"]) == ("dormant", True, None)
    await other.services("crm")
    theirs = await other.connect("crm", account)
    assert theirs["id"] != channel_id
    # Whoever asked a moment ago whose the account is must not be believed: not one message crosses.
    await trunkline.says("for Other", account_id=account, phone="819087654321")
    assert await inbox(other, "crm") == [["for Other"]]
    taken = await acme.connect("crm", account, expect=409)
    assert taken["code"] == "account_taken"
    still = await acme.get(f"/v1/channels/{channel_id}")
    assert (still["name"], still["released"]) == ("Main number", True)


async def test_the_same_organisation_revives_the_channel_it_released(trunkline: Trunkline) -> None:
    """Spec S10, S15."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(org, account)
    await trunkline.says("hello", account_id=account)
    await org.delete(f"/v1/channels/{channel_id}/services/crm")
    await org.delete(f"/v1/channels/{channel_id}")
    revived = await org.connect("crm", account)
    assert (revived["id"], revived["state"], revived["released"], revived["parent"]) == (
        channel_id,
        "active",
        False,
        "crm",
    )
    await eventually(lambda: verification(org, channel_id), ("verified", None))
    assert await inbox(org, "crm") == [["hello"]]


async def test_enabling_a_service_takes_a_released_account_back(trunkline: Trunkline) -> None:
    """Spec S15: a disabled service keeps its connection also when the account is released."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(org, account)
    await org.post(f"/v1/channels/{channel_id}/services/crm/disable")
    await org.delete(f"/v1/channels/{channel_id}")
    enabled = await org.post(f"/v1/channels/{channel_id}/services/crm/enable")
    assert (enabled["state"], enabled["released"], enabled["parent"]) == ("active", False, "crm")
    missing = ("failed", "access_token is missing")  # They were forgotten with the release.
    await eventually(lambda: verification(org, channel_id), missing)
    other = await trunkline.organisation("Other")
    await other.services("crm")
    await other.connect("crm", account, expect=409)
    new = {"credentials": {"access_token": TOKEN}}
    await org.patch(f"/v1/services/crm/channels/{channel_id}", new)
    await eventually(lambda: verification(org, channel_id), ("verified", None))


async def test_only_an_admin_takes_a_released_account_back(trunkline: Trunkline) -> None:
    """Spec S15. A refused request leaves the account free for others."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(org, account)
    viewer = await org.user("agent", {"crm": "view"})
    await org.post(f"/v1/channels/{channel_id}/services/crm/disable")
    await org.delete(f"/v1/channels/{channel_id}")
    await viewer.post(f"/v1/channels/{channel_id}/services/crm/enable", expect=403)
    await org.post(f"/v1/channels/{channel_id}/services/desk/enable", expect=404)
    other = await trunkline.organisation("Other")
    await other.services("crm")
    await other.connect("crm", account)
    taken = await org.post(f"/v1/channels/{channel_id}/services/crm/enable", expect=409)
    assert taken["code"] == "account_taken"


async def test_a_service_uses_an_account_through_one_channel_at_a_time(
    trunkline: Trunkline,
) -> None:
    """Spec S2, S16: a disabled connection waits while a later subscription's is there."""
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm", subscription="standalone")
    separate = (await org.connect("crm", account))["id"]
    await org.post(f"/v1/channels/{separate}/services/crm/disable")
    await org.services("crm")
    shared = (await org.connect("crm", account))["id"]
    assert shared != separate
    refused = await org.post(f"/v1/channels/{separate}/services/crm/enable", expect=409)
    assert refused["code"] == "used_elsewhere"
    await trunkline.says("hello", account_id=account)
    await org.settled()
    (chat,) = await org.chats("crm")
    assert chat["channel_id"] == shared
    path, headers = f"/v1/services/crm/chats/{chat['id']}/messages", {"Idempotency-Key": "hi"}
    body = {"kind": "text", "text": "Hi"}
    await org.post(path, body, expect=202, headers=headers)
    await org.delete(f"/v1/channels/{shared}/services/crm")
    await org.post(f"/v1/channels/{separate}/services/crm/enable")
    await org.settled()
    assert [each["channel_id"] for each in await org.chats("crm")] == [separate]
    # What was written through the other channel does not exist here, also not for who asks again.
    await trunkline.says("hello again", account_id=account)
    await org.post(path, body, expect=404, headers=headers)


async def test_the_account_of_two_dormant_channels_is_taken_back_by_either(
    trunkline: Trunkline,
) -> None:
    """Spec S15: it is released with one of them, and each must then claim it again."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await connected(org, account)
    await org.services("bigin", subscription="standalone")
    separate = await org.connect("bigin", account)
    await org.post(f"/v1/channels/{channel_id}/services/crm/disable")
    await org.post(f"/v1/channels/{separate['id']}/services/bigin/disable")
    await org.delete(f"/v1/channels/{channel_id}")
    other = await trunkline.organisation("Other")
    await other.services("crm")
    theirs = await other.connect("crm", account)
    enable = f"/v1/channels/{separate['id']}/services/bigin/enable"
    assert (await org.post(enable, expect=409))["code"] == "account_taken"
    await other.delete(f"/v1/channels/{theirs['id']}/services/crm")
    await other.delete(f"/v1/channels/{theirs['id']}")
    assert (await org.post(enable))["state"] == "active"
    refused = await other.connect("crm", account, expect=409)
    assert refused["code"] == "account_taken"


# The check of credentials.


async def test_credentials_are_checked_after_connecting(trunkline: Trunkline) -> None:
    """Spec S15. Connecting does not wait for the platform."""
    org, account = await trunkline.organisation(), trunkline.account()
    await trunkline.fake.go_down()
    try:
        channel_id = await shared(org, account, "crm")
        assert await verification(org, channel_id) == ("pending", None)
    finally:
        await trunkline.fake.come_back()
    await eventually(lambda: verification(org, channel_id), ("verified", None))


async def test_a_failed_check_says_what_is_missing_and_new_credentials_are_checked_again(
    trunkline: Trunkline,
) -> None:
    """Spec S15."""
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm")
    wrong = {"access_token": "not-theirs"}
    channel = await org.connect("crm", account, credentials=wrong)
    path = f"/v1/services/crm/channels/{channel['id']}"
    await eventually(lambda: verification(org, channel["id"]), ("failed", "credentials"))
    await org.patch(path, {"credentials": {"access_token": TOKEN}})
    await eventually(lambda: verification(org, channel["id"]), ("verified", None))


async def test_what_is_said_of_old_credentials_is_not_held_against_new_ones(
    trunkline: Trunkline,
) -> None:
    """Spec S15: they were replaced while the platform still looked at the old ones."""
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm")
    asked, is_replaced = asyncio.Event(), asyncio.Event()

    def slowly(usual: Callable[[], Answer]) -> Answer:
        asked.set()
        return replace(usual(), held=is_replaced)

    trunkline.fake.next_requests(slowly, to=account)
    channel = await org.connect("crm", account, credentials={"access_token": "not-theirs"})
    await asked.wait()
    path = f"/v1/services/crm/channels/{channel['id']}"
    await org.patch(path, {"credentials": {"access_token": TOKEN}})
    is_replaced.set()
    await eventually(lambda: verification(org, channel["id"]), ("verified", None))
    assert await org.events(type="account.verification_failed") == []


async def test_without_credentials_the_check_names_the_access_token(trunkline: Trunkline) -> None:
    """Spec S15."""
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm")
    channel = await org.connect("crm", account, credentials=None)
    expected = ("failed", "access_token is missing")
    await eventually(lambda: verification(org, channel["id"]), expected)


async def test_a_token_of_another_account_is_no_proof(trunkline: Trunkline) -> None:
    """Spec S15."""
    org = await trunkline.organisation()
    await org.services("crm")
    channel = await org.connect("crm", "999000111222333")
    expected = ("failed", "account_unknown")
    await eventually(lambda: verification(org, channel["id"]), expected)


# Services that are away.


async def test_a_service_that_is_away_gets_404_for_its_chats_and_loses_nothing(
    trunkline: Trunkline,
) -> None:
    """Spec S11, S16."""
    org, account = await trunkline.organisation(), trunkline.account()
    channel_id = await shared(org, account, "crm", "desk")
    await trunkline.says("hello", account_id=account, seconds_ago=60)
    await org.settled()
    (chat,) = await org.chats("desk")
    await org.reply("desk", chat["id"], "hi")
    events_before = await org.events()
    path = f"/v1/services/desk/chats/{chat['id']}"
    answers = []
    for leave in (("POST", "/disable"), ("DELETE", "")):
        await org.call(leave[0], f"/v1/channels/{channel_id}/services/desk{leave[1]}", expect=200)
        answers.append(await _answers_while_away(org, path))
    not_connected = (404, "not_connected")
    assert answers == [([], [not_connected] * 5)] * 2
    await trunkline.says("are you there?", account_id=account, seconds_ago=-5)
    await org.connect("desk", account)
    await org.settled()
    assert await texts(org, "desk", chat["id"]) == ["hello", "hi", "are you there?"]
    assert (await org.events())[: len(events_before)] == events_before


async def _answers_while_away(org: Client, path: str) -> tuple[list[Any], list[tuple[int, str]]]:
    listed = await org.chats("desk")
    headers = {"Trunkline-Min-Position": str(org.position)}
    answers = [
        await org.call("GET", path, headers=headers),
        await org.call("GET", f"{path}/messages", headers=headers),
        await org.call("POST", f"{path}/messages", json={"kind": "text", "text": "no"}),
        await org.call("POST", f"{path}/assign", json={}),
        await org.call("POST", f"{path}/close"),
    ]
    return listed, [(each.status_code, each.json()["code"]) for each in answers]


async def test_a_changed_subscription_holds_for_later_connections_only(
    trunkline: Trunkline,
) -> None:
    """Spec S16."""
    org = await trunkline.organisation()
    account, later = trunkline.account(), trunkline.account()
    shared_id = await shared(org, account, "crm", "desk")
    await org.put("/v1/services/desk", {"subscription": "standalone"})
    await trunkline.says("hello", account_id=account)
    assert await inbox(org, "desk") == [["hello"]]
    again = await org.connect("desk", account, expect=200)
    separate = await org.connect("desk", later)
    assert (again["id"], separate["shared"]) == (shared_id, False)
