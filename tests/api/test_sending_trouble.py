"""What goes wrong between us and the platform, and what becomes of the messages (N3, N4)."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace as replace_fields
from typing import Any

import pytest
from msgspec.structs import replace

from adapters import dispatcher, outages
from adapters.fakes.behaviour import Behaviour, accepts_then_answers, accepts_then_drops, answers
from adapters.fakes.server import Answer
from adapters.postgres import connections
from adapters.whatsapp.fake_behaviour import fails, limits
from api import outbox
from api.main import core
from api.processes import dispatching
from domain.dispatch_ports import DueMessage
from tests.adapters.proxy import proxy_to
from tests.api.businesses import verification
from tests.api.conftest import TOKEN, Trunkline
from tests.api.deliveries import eventually
from tests.api.test_inbox import HOUR, Inbox, as_time
from tests.api.test_sending import accepted, fates, ready, report, sent_texts, statuses

# What nobody can know.


@pytest.mark.parametrize("behaviour", [accepts_then_drops(), accepts_then_answers(502)])
async def test_a_lost_answer_leaves_the_message_uncertain_and_it_is_not_sent_again(
    trunkline: Trunkline, behaviour: Behaviour
) -> None:
    """Spec N3. It does not hold up the next one (N4)."""
    inbox = await ready(trunkline)
    trunkline.fake.next_requests(behaviour)
    with statuses(trunkline):
        await inbox.org.reply("crm", inbox.chats["A"], "lost")
        await inbox.org.reply("crm", inbox.chats["A"], "next")
        await eventually(lambda: fates(inbox), [("uncertain", None), ("sent", None)])
    assert await sent_texts(inbox) == ["lost", "next"]


async def test_a_status_with_our_mark_settles_an_uncertain_message(trunkline: Trunkline) -> None:
    """Spec N3."""
    inbox = await ready(trunkline)
    trunkline.fake.next_requests(accepts_then_drops())
    with statuses(trunkline):
        await inbox.org.reply("crm", inbox.chats["A"], "lost")
        await eventually(lambda: fates(inbox), [("uncertain", None)])
    (sent,) = await accepted(inbox)
    await report(inbox, "sent", wamid=sent.platform_id, biz_opaque_callback_data=sent.mark)
    assert await fates(inbox) == [("sent", None)]
    await report(inbox, "read", wamid=sent.platform_id)
    assert await fates(inbox) == [("read", None)]


async def test_a_retry_is_a_new_message_that_names_the_old_one(trunkline: Trunkline) -> None:
    """Spec N3: of what is uncertain or failed, once."""
    inbox = await ready(trunkline)
    chat = f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    trunkline.fake.next_requests(accepts_then_drops())
    with statuses(trunkline):
        lost = await inbox.org.reply("crm", inbox.chats["A"], "lost")
        await eventually(lambda: fates(inbox), [("uncertain", None)])
        again = await inbox.org.post(f"{chat}/{lost['id']}/retry", expect=202)
        assert (again["retry_of"], again["content"]) == (lost["id"], {"text": "lost"})
        await eventually(lambda: fates(inbox), [("uncertain", None), ("sent", None)])
        for message in (lost, again):
            refused = await inbox.org.post(f"{chat}/{message['id']}/retry", expect=409)
            assert refused["code"] == "not_retryable"
        assert await sent_texts(inbox) == ["lost", "lost"]


async def test_a_discarded_message_ends_as_failed_for_that_reason(trunkline: Trunkline) -> None:
    """Spec C15. Doing it twice changes nothing; a message that was sent is not discarded."""
    inbox = await ready(trunkline)
    chat = f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    trunkline.fake.next_requests(accepts_then_drops())
    with statuses(trunkline):
        lost = await inbox.org.reply("crm", inbox.chats["A"], "lost")
        sent = await inbox.org.reply("crm", inbox.chats["A"], "sent")
        await eventually(lambda: fates(inbox), [("uncertain", None), ("sent", None)])
        for _ in range(2):
            discarded = await inbox.org.post(f"{chat}/{lost['id']}/discard")
            assert (discarded["status"], discarded["failure"]) == (
                "failed",
                {"reason": "discarded", "code": None},
            )
        refused = await inbox.org.post(f"{chat}/{sent['id']}/discard", expect=409)
    assert (refused["code"], refused["status"], refused["message_status"]) == (
        "not_retryable",
        409,
        "sent",
    )
    assert len(await inbox.org.events(type="chat.message_failed")) == 1


# Platforms that are down, limit us, or know us no more.


async def test_replies_wait_while_the_platform_is_down_and_leave_in_order_afterwards(
    trunkline: Trunkline,
) -> None:
    """Spec N3, N4."""
    inbox = await ready(trunkline)
    await trunkline.fake.go_down()
    try:
        for text in "abc":
            await inbox.org.reply("crm", inbox.chats["A"], text)
        await eventually(lambda: deferred(inbox, "not_reached"), True)
        assert await fates(inbox) == [("queued", None)] * 3
    finally:
        await trunkline.fake.come_back()
    await eventually(lambda: sent_texts(inbox), ["a", "b", "c"])
    await eventually(lambda: fates(inbox), [("read", None)] * 3)


async def deferred(inbox: Inbox, reason: str) -> bool:
    deferrals = await inbox.org.events(type="chat.send_deferred")
    return reason in [each["data"]["reason"] for each in deferrals]


async def test_what_could_not_be_looked_up_for_the_platform_is_sent_later_and_not_uncertain(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec N3: a dispatcher that has taken a message gets no connection."""
    inbox = await ready(trunkline)
    opened = outbox.ProjectedOutbox.open

    async def open_without_database(box: outbox.ProjectedOutbox, due: DueMessage) -> Any:
        monkeypatch.undo()
        connections = trunkline.parts.all_orgs
        async with AsyncExitStack() as taken:
            for _ in range(connections.max_size):
                await taken.enter_async_context(connections.connection())
            monkeypatch.setattr(connections, "timeout", 0.1)
            return await opened(box, due)

    monkeypatch.setattr(outbox.ProjectedOutbox, "open", open_without_database)
    await inbox.org.reply("crm", inbox.chats["A"], "a")
    await eventually(lambda: sent_texts(inbox), ["a"])
    await eventually(lambda: fates(inbox), [("read", None)])
    assert await deferred(inbox, "database_away")


async def test_a_limit_is_waited_for_and_nothing_overtakes(trunkline: Trunkline) -> None:
    """Spec N3, N4."""
    inbox = await ready(trunkline)
    trunkline.fake.next_requests(limits(1))
    for text in "abc":
        await inbox.org.reply("crm", inbox.chats["A"], text)
    await eventually(lambda: sent_texts(inbox), ["a", "b", "c"])
    (deferral,) = await inbox.org.events(type="chat.send_deferred")
    (first, *_) = await accepted(inbox)
    assert deferral["data"]["reason"] == "rate_limited"
    assert as_time(first.at.timestamp()) >= deferral["data"]["retry_at"]


async def test_a_dead_token_stops_the_account_until_there_is_a_new_one(
    trunkline: Trunkline,
) -> None:
    """Spec N3: what is queued waits, and leaves with the new credentials."""
    inbox = await ready(trunkline)
    trunkline.fake.next_requests(fails(190))
    await inbox.org.reply("crm", inbox.chats["A"], "a")

    async def health() -> Any:
        channel = await inbox.org.get(f"/v1/channels/{inbox.channel_id}")
        return channel["health"]["state"], channel["health"]["reason"]

    await eventually(health, ("stopped", "credentials"))
    await inbox.org.reply("crm", inbox.chats["A"], "b")
    assert await fates(inbox) == [("queued", None)] * 2
    new = {"credentials": {"access_token": TOKEN}}
    await inbox.org.patch(f"/v1/services/crm/channels/{inbox.channel_id}", new)
    await eventually(lambda: sent_texts(inbox), ["a", "b"])
    await eventually(health, ("ok", None))


async def test_a_token_that_died_on_the_way_does_not_stop_the_account_under_its_new_one(
    trunkline: Trunkline,
) -> None:
    """Spec N3: what the platform says of old credentials is not held against the new ones."""
    org, account = await trunkline.organisation(), trunkline.account()
    await org.services("crm")
    about = json.dumps({"id": account, "verified_name": "Acme"}).encode()
    said = answers(200, about, ("Content-Type", "application/json"))
    trunkline.fake.next_requests(said, to=account)
    channel = await org.connect("crm", account, credentials={"access_token": "the-old-one"})
    await eventually(lambda: verification(org, channel["id"]), ("verified", None))
    inbox = Inbox(trunkline, org, account, channel["id"])
    await inbox.hear("A", hours_ago=1)
    asked, is_replaced = asyncio.Event(), asyncio.Event()

    def dies(usual: Callable[[], Answer]) -> Answer:
        asked.set()
        return replace(fails(190)(usual), held=is_replaced)

    trunkline.fake.next_requests(dies)
    await org.reply("crm", inbox.chats["A"], "hi")
    await asked.wait()
    new = {"credentials": {"access_token": TOKEN}}
    await org.patch(f"/v1/services/crm/channels/{channel['id']}", new)
    is_replaced.set()
    await eventually(lambda: sent_texts(inbox), ["hi"])
    assert await org.events(type="account.stopped") == []


async def test_what_waits_when_its_window_closes_fails_for_that_reason(
    trunkline: Trunkline,
) -> None:
    """Spec N3."""
    inbox = await ready(trunkline, hours_ago=30)
    await trunkline.fake.go_down()
    try:
        await inbox.hear("A", hours_ago=24 - 3 / HOUR)
        await inbox.org.reply("crm", inbox.chats["A"], "in time, but")
        await eventually(lambda: fates(inbox), [("failed", "window_closed")])
    finally:
        await trunkline.fake.come_back()
    assert await sent_texts(inbox) == []


@pytest.mark.parametrize("behaviour", [limits(3600), fails(190)])
async def test_a_window_closes_also_for_an_account_that_is_left_in_peace_or_stopped(
    trunkline: Trunkline, behaviour: Behaviour
) -> None:
    """Spec N3: then, and not when the account may send again. So does what comes behind it."""
    inbox = await ready(trunkline, hours_ago=24 - 3 / HOUR)
    trunkline.fake.next_requests(behaviour)
    for text in "ab":
        await inbox.org.reply("crm", inbox.chats["A"], text)
    await eventually(lambda: fates(inbox), [("failed", "window_closed")] * 2)
    assert await sent_texts(inbox) == []


async def test_what_waits_in_time_hides_no_message_whose_window_closes(
    trunkline: Trunkline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec N3: however much waits, all of it is looked over."""
    monkeypatch.setattr(outbox, "AT_ONCE_MAX", 1)
    # What other tests left waiting is looked over, too.
    monkeypatch.setattr(dispatcher, "PAGE_PAUSE_SECONDS", 0.0)
    inbox = await ready(trunkline, hours_ago=24 - 5 / HOUR)
    for customer in "BCD":
        await inbox.hear(customer, hours_ago=1)
    trunkline.fake.next_requests(fails(190))
    await inbox.org.reply("crm", inbox.chats["A"], "hi")
    await eventually(lambda: deferred(inbox, "credentials"), True)
    for customer in "BCD":
        await inbox.org.reply("crm", inbox.chats[customer], "hi")
    await eventually(lambda: failures(inbox), ["window_closed"])


async def test_a_service_leaves_also_an_account_that_is_left_in_peace(trunkline: Trunkline) -> None:
    """Spec N3."""
    inbox = await ready(trunkline)
    await inbox.org.services("desk")
    await inbox.org.connect("desk", inbox.account)
    trunkline.fake.next_requests(limits(3600))
    for text in "ab":
        await inbox.org.reply("crm", inbox.chats["A"], text)
    await eventually(lambda: deferred(inbox, "rate_limited"), True)
    await inbox.org.post(f"/v1/channels/{inbox.channel_id}/services/crm/disable")
    await eventually(lambda: failures(inbox), ["service_left"] * 2)


async def failures(inbox: Inbox) -> list[str]:
    failed = await inbox.org.events(type="chat.message_failed")
    return [each["data"]["reason"] for each in failed]


async def test_what_waits_when_its_service_leaves_fails_for_that_reason(
    trunkline: Trunkline,
) -> None:
    """Spec N3. Another service's reply in the same chat goes on."""
    inbox = await ready(trunkline)
    await inbox.org.services("desk")
    await inbox.org.connect("desk", inbox.account)
    await trunkline.fake.go_down()
    try:
        await inbox.org.reply("desk", inbox.chats["A"], "from Desk")
        await inbox.org.reply("crm", inbox.chats["A"], "from CRM")
        await eventually(lambda: deferred(inbox, "not_reached"), True)
        await inbox.org.post(f"/v1/channels/{inbox.channel_id}/services/desk/disable")
        await inbox.org.put("/v1/services/crm", {"masking": "none"})
        await eventually(lambda: fates(inbox), [("failed", "service_left"), ("queued", None)])
    finally:
        await trunkline.fake.come_back()
    await eventually(lambda: sent_texts(inbox), ["from CRM"])


# A database that is away.

LOOPS = (
    "Checking credentials",
    "Fetching files",
    "Looking over what waits",
    "Marking messages as read",
    "Paying",
    "Sending",
)


async def test_every_loop_says_of_an_outage_that_it_began_and_that_it_is_over(
    trunkline: Trunkline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec R3: once each, without a traceback, however often it asked meanwhile."""
    monkeypatch.setattr(connections, "POOL_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(outages, "PAUSE_MAX_SECONDS", 0.1)
    monkeypatch.setattr(dispatcher, "LOOK_OVER_PAUSE_SECONDS", 0.1)

    async def said(text: str) -> list[str]:
        told = [each.getMessage() for each in caplog.records if each.name == outages.__name__]
        return sorted(each for each in LOOPS for line in told if line.startswith(f"{each} {text}"))

    async with (
        proxy_to(trunkline.database.url) as proxy,
        core(trunkline.settings, replace_fields(trunkline.database, url=proxy.url)) as parts,
        dispatching(parts),
    ):
        await proxy.shut()
        await eventually(lambda: said("waits for the database"), list(LOOPS))
        await asyncio.sleep(1.5)  # More rounds of each.
        await proxy.open()
        await eventually(lambda: said("goes on: the database is back"), list(LOOPS))
        assert await said("waits for the database") == list(LOOPS)
    assert [each.getMessage() for each in caplog.records if each.exc_info] == []
