"""The live stream: what is told to whom, in which order, and how it resumes (E1, S4, C7, S16)."""

import secrets
from typing import Any

import pytest

from tests.api.businesses import connected
from tests.api.conftest import Client, Trunkline
from tests.api.deliveries import (
    delivery,
    echo_delivery,
    edit_item,
    eventually,
    new_wamid,
    now,
    reaction_item,
    unsend_item,
)
from tests.api.live import Event, Live, live
from tests.api.problems import assert_problem

PHONE = "12025550143"


async def office(trunkline: Trunkline, *services: str) -> tuple[Client, str]:
    """An organisation whose services share an account, and nothing is on its way any more."""
    org, account = await trunkline.organisation(), trunkline.account()
    await connected(org, account, services[0])
    await org.services(*services[1:])
    for service in services[1:]:
        await org.connect(service, account)
    await org.settled()
    return org, account


async def told(stream: Live, client: Client, service: str) -> list[Event]:
    """All that a stream tells up to now, without the event that marks its end."""
    hours = await client.put(
        f"/v1/services/{service}", {"ticket_timer_hours": secrets.randbelow(8_000) + 1}
    )
    *events, marker = await stream.until(client.position)
    assert marker == Event(client.position, "service", {"service": hours})
    return events


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def texts_of(events: list[Event]) -> list[Any]:
    """What messages were told, None for those that are masked."""
    messages = [event.data["message"] for event in events if event.name == "message"]
    return [None if each["masked"] else each["content"].get("text") for each in messages]


async def test_a_message_is_told_as_the_lists_show_it(trunkline: Trunkline) -> None:
    """Spec E1. Who has an event's id can read at its position at once."""
    org, account = await office(trunkline, "crm")
    async with live(org, "crm") as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["cache-control"] == "no-store"
        await trunkline.says("Hello there", account_id=account)
        event = await stream.event()
        org.position = event.id
        (chat,) = await org.chats("crm")
        (message,) = await org.messages("crm", chat["id"])
    assert event == Event(event.id, "message", {"message": message, "chat": chat})
    assert (message["content"], chat["unread"]) == ({"text": "Hello there"}, 1)
    (received,) = await org.events(type="chat.message_received")
    assert event.id == received["position"]
    assert stream.retry == 2_000


async def test_everything_that_a_service_does_with_a_chat_is_told_in_order(
    trunkline: Trunkline,
) -> None:
    """Each event of the log at most once, by its position."""
    org, account = await office(trunkline, "crm")
    await trunkline.says("Hello", account_id=account)
    await org.settled()
    (chat,) = await org.chats("crm")
    path = f"/v1/services/crm/chats/{chat['id']}"
    async with live(org, "crm", after=org.position) as stream:
        for action in ("assign", "close", "open", "unassign", "visit", "block", "unblock"):
            await org.post(f"{path}/{action}")
        await org.post("/v1/services/crm/visit")
        events = await stream.until(org.position)
    chats = [event.data["chat"] for event in events if event.name == "chat"]
    assert names(events) == ["chat"] * 7 + ["unread"]
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))
    assert events[-1].data == {"unread": 0, "chats": {}}
    # Shown as it is when it is sent, so that the last one shows what all of them led to.
    assert chats[-1] == (await org.chats("crm"))[0]


async def test_a_reply_is_told_with_what_becomes_of_it(trunkline: Trunkline) -> None:
    """Spec C15."""
    org, account = await office(trunkline, "crm")
    await trunkline.says("Hello", account_id=account)
    await org.settled()
    (chat,) = await org.chats("crm")
    async with live(org, "crm", after=org.position) as stream:
        reply = await org.reply("crm", chat["id"], "Good morning")
        statuses: list[str] = []
        while not statuses or statuses[-1] != "read":
            event = await stream.event()
            assert (event.name, event.data["message"]["id"]) == ("message", reply["id"])
            statuses.append(event.data["message"]["status"])
    ranks = ["queued", "sent", "delivered", "read"]
    assert [ranks.index(status) for status in statuses] == sorted(map(ranks.index, statuses))


async def test_edits_reactions_and_unsendings_are_told_on_their_message(
    trunkline: Trunkline,
) -> None:
    """Spec C17."""
    org, account = await office(trunkline, "crm")
    wamid = await trunkline.says("Helo", account_id=account)
    await org.settled()

    def change(item: Any) -> Any:
        person = {"profile": {"name": "Marisol Ortega"}, "wa_id": PHONE}
        return delivery(account_id=account, messages=[item], contacts=[person])

    named: dict[str, Any] = {"target": wamid, "phone": PHONE, "timestamp": now()}
    async with live(org, "crm", after=org.position) as stream:
        await trunkline.deliver(change(edit_item("Hello", wamid=new_wamid(), **named)))
        edited = await stream.event()
        await trunkline.deliver(change(reaction_item("👍", wamid=new_wamid(), **named)))
        reacted = await stream.event()
        await trunkline.deliver(change(unsend_item(wamid=new_wamid(), **named)))
        unsent = await stream.event()
    assert edited.data["message"]["content"] == {"text": "Hello"}
    assert [each["text"] for each in reacted.data["message"]["reactions"]] == ["👍"]
    assert unsent.data["message"]["unsent"] is True
    assert unsent.data["message"]["content"] == {}


async def test_a_stream_resumes_behind_the_last_event_that_was_seen(trunkline: Trunkline) -> None:
    """No gap, no double, whatever the position; and the same as if it had never been cut."""
    org, account = await office(trunkline, "crm", "desk")
    await org.settled()
    before = org.position
    for number in range(12):
        phone = f"1202555{number % 3:04}"
        await trunkline.says(f"Message {number}", account_id=account, phone=phone)
    await org.settled()
    await org.chats("crm")  # All is there now, and nothing will look different later.
    async with live(org, "crm", after=before) as stream:
        whole = await stream.events(12)
    assert [event.data["message"]["content"]["text"] for event in whole] == [
        f"Message {number}" for number in range(12)
    ]
    for cut in (0, 1, 5, 11):
        async with live(org, "crm", after=whole[cut].id) as stream:
            rest = await stream.events(len(whole) - cut - 1)
            await stream.silence(0.1)
        assert rest == whole[cut + 1 :]
    between = whole[3].id + 1
    async with live(org, "crm", after=between) as stream:
        later = [event for event in whole if event.id > between]
        assert await stream.events(len(later)) == later


async def test_a_stream_from_the_beginning_tells_all_of_the_past(trunkline: Trunkline) -> None:
    """More than a window holds, in batches: in order, and each once."""
    org, account = await office(trunkline, "crm")
    for number in range(120):
        await trunkline.says(f"{number}", account_id=account, phone=f"1202555{number % 7:04}")
    await org.settled()
    async with live(org, "crm", after=0) as stream:
        events = await stream.until(
            (await org.events(type="chat.message_received"))[-1]["position"]
        )
        await trunkline.says("And on", account_id=account)
        last = await stream.event()
    messages = [event for event in events if event.name == "message"]
    assert [event.data["message"]["content"]["text"] for event in messages] == [
        str(number) for number in range(120)
    ]
    assert last.data["message"]["content"] == {"text": "And on"}
    ids = [event.id for event in [*events, last]]
    assert ids == sorted(set(ids))


async def test_a_list_and_a_stream_from_its_position_leave_no_gap(trunkline: Trunkline) -> None:
    org, account = await office(trunkline, "crm")
    await trunkline.says("Listed", account_id=account)
    headers = {"Trunkline-Min-Position": str((await org.events())[-1]["position"])}
    page = await org.call("GET", "/v1/services/crm/chats", headers=headers, expect=200)
    await trunkline.says("Streamed", account_id=account)
    async with live(org, "crm", after=page.headers["trunkline-position"]) as stream:
        event = await stream.event()
    assert event.data["message"]["content"] == {"text": "Streamed"}


@pytest.mark.parametrize(
    "position", ["", "five", "-1", "+1", "1.0", "1e3", "0x10", "٣", "1 2", "9" * 19, "9" * 400]
)
async def test_a_position_that_is_none_is_refused_by_its_name(
    trunkline: Trunkline, position: str
) -> None:
    """Spec R1. One that lies ahead of the log is none either: waiting would hide a gap."""
    org = await trunkline.organisation()
    await org.services("crm")
    headers = {"Last-Event-ID": position.encode()}
    response = await org.call("GET", "/v1/services/crm/stream", headers=headers)
    assert_problem(response, 400, "invalid", field="Last-Event-ID")


async def test_a_position_ahead_of_the_log_is_refused(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    await org.services("crm")
    await org.settled()
    for ahead, status in ((0, 200), (1, 400), (10**18, 400)):
        headers = {"Last-Event-ID": str(org.position + ahead)}
        response = await org.call("GET", "/v1/services/crm/stream", headers=headers)
        assert response.status_code == status


# Who is told what.

CANARY = "Qx7canary"


async def replied(
    trunkline: Trunkline, client: Client, chat_id: str, text: str, *, by: Client | None = None
) -> str:
    """A reply of CRM's that was sent and read, all of which is in the log; returns its id."""
    reply = await (by or client).reply("crm", chat_id, text)

    async def status() -> Any:
        await client.settled()
        timeline = await client.messages("crm", chat_id)
        return next(each["status"] for each in timeline if each["id"] == reply["id"])

    await eventually(status, "read")
    await trunkline.fake.settled()
    await client.settled()
    return str(reply["id"])


# What changes the status of a message, so that everybody is told.
STATUS_TYPES = ("chat.reply_requested", "chat.message_sent", "chat.receipt_received")


async def test_nothing_of_what_is_masked_is_in_the_bytes_of_a_stream(trunkline: Trunkline) -> None:
    """Spec S4: no content, reaction, edit, author, owner; nor that there was any of it."""
    org, account = await office(trunkline, "crm", "desk")
    writer = await org.user("agent", {"crm": "reply"}, name=f"{CANARY} Writer")
    desk = await org.user("agent", {"desk": "reply"}, name="Ren")
    await trunkline.says("Hello", account_id=account)
    await org.settled()
    (chat,) = await org.chats("desk")
    async with (
        live(desk, "desk", after=org.position) as stream,
        live(org, "crm", after=org.position) as own,
    ):
        await writer.post(f"/v1/services/crm/chats/{chat['id']}/assign")
        reply_id = await replied(trunkline, org, chat["id"], f"{CANARY} text", by=writer)
        wamid = next(
            each.platform_id for each in trunkline.fake.accepted if reply_id in str(each.mark)
        )
        about: dict[str, Any] = {"target": wamid, "phone": PHONE, "timestamp": now()}
        for item in (
            reaction_item("🦩", wamid=new_wamid(), **about),
            edit_item(f"{CANARY} edit", wamid=new_wamid(), **about),
            unsend_item(wamid=new_wamid(), **about),
        ):
            await trunkline.deliver(delivery(account_id=account, messages=[item]))
        await trunkline.says("An answer", account_id=account, context={"id": wamid})
        await writer.post(f"/v1/services/crm/chats/{chat['id']}/close")
        events = await told(stream, org, "desk")
        seen = await told(own, org, "crm")
    for secret in (CANARY, "🦩", "\\ud83e", writer.user_id):
        assert secret.encode() not in stream.raw
    *settled, answer = events
    for event in settled:
        shown = ("id", "direction", "at", "status", "masked", "service")
        assert sorted(event.data["message"]) == sorted(shown)
        assert event.data["message"]["id"] == reply_id
    # Whether there was a reaction or an edit cannot be told from how many events there are.
    log = await org.events(stream=f"chat:{chat['id']}")
    statuses = [each["position"] for each in log if each["type"] in STATUS_TYPES]
    assert [event.id for event in settled] == statuses
    assert texts_of([answer]) == ["An answer"]
    assert answer.data["message"]["reply_to"] == reply_id
    assert (answer.data["chat"]["owner"], answer.data["chat"]["status"]) == (None, "open")
    # The control: all of it was told to whom it was not masked for.
    for secret in (CANARY, writer.user_id):
        assert secret.encode() in own.raw
    assert len(seen) == len(events) + 5  # Assigned and closed; reaction, edit, unsending.


async def test_a_policy_holds_for_everything_that_is_told_from_then_on(
    trunkline: Trunkline,
) -> None:
    """Spec S4: also for what an open stream tells of the past."""
    org, account = await office(trunkline, "crm", "desk")
    await trunkline.says("Hello", account_id=account)
    await org.settled()
    (chat,) = await org.chats("crm")
    async with live(org, "desk", after=org.position) as stream:
        await replied(trunkline, org, chat["id"], "For CRM")
        assert set(texts_of(await told(stream, org, "desk"))) == {None}
        changed = await org.put("/v1/services/desk", {"masking": "none"})
        event = await stream.event()
        assert (event.name, event.data) == ("service", {"service": changed})
        await replied(trunkline, org, chat["id"], "For all")
        assert set(texts_of(await told(stream, org, "desk"))) == {"For all"}
        await org.put("/v1/services/desk", {"masking": "full"})
        await replied(trunkline, org, chat["id"], f"{CANARY} again")
        await told(stream, org, "desk")
        async with live(org, "desk", after=event.id) as later:
            await told(later, org, "desk")
    assert b"For all" not in later.raw
    assert CANARY.encode() not in stream.raw + later.raw


async def test_unread_counters_are_each_users_own(trunkline: Trunkline) -> None:
    """Spec C6. Looked up for all who look on at once."""
    org, account = await office(trunkline, "crm")
    ren = await org.user("agent", {"crm": "reply"}, name="Ren")
    await org.settled()
    async with live(org, "crm") as mine, live(ren, "crm") as hers:
        counts: list[tuple[int, int]] = []
        for number in range(3):
            await trunkline.says(f"{number}", account_id=account)
            events = await mine.event(), await hers.event()
            counts.append((events[0].data["chat"]["unread"], events[1].data["chat"]["unread"]))
            if number == 1:
                await ren.post(f"/v1/services/crm/chats/{events[1].data['chat']['id']}/visit")
                seen = await hers.event()
                assert (seen.name, seen.data["chat"]["unread"]) == ("chat", 0)
        await ren.post("/v1/services/crm/visit")
        assert (await hers.event()).data == {"unread": 0, "chats": {}}
        assert await told(mine, org, "crm") == []  # Others' visits are nobody's business.
    assert counts == [(1, 1), (2, 2), (3, 1)]


async def test_what_a_blocked_customer_writes_is_told_to_nobody_who_blocked_them(
    trunkline: Trunkline,
) -> None:
    """Spec C7."""
    org, account = await office(trunkline, "crm", "desk")
    await trunkline.says("Hello", account_id=account)
    await org.settled()
    (chat,) = await org.chats("crm")
    await org.post(f"/v1/services/crm/chats/{chat['id']}/block")
    async with (
        live(org, "crm", after=org.position) as crm,
        live(org, "desk", after=org.position) as desk,
    ):
        await trunkline.says("Listen!", account_id=account)
        assert texts_of([await desk.event()]) == ["Listen!"]
        assert await told(crm, org, "crm") == []
        await org.post(f"/v1/services/crm/chats/{chat['id']}/unblock")
        await trunkline.says("At last", account_id=account)
        events = await told(crm, org, "crm")
    assert (names(events), texts_of(events)) == (["chat", "message"], ["At last"])


async def test_a_service_that_leaves_is_told_so_and_then_nothing_of_the_channel(
    trunkline: Trunkline,
) -> None:
    """Spec S16."""
    org, account = await office(trunkline, "crm", "desk")
    (channel,) = (await org.get("/v1/channels"))["items"]
    path = f"/v1/channels/{channel['id']}/services/desk"
    await trunkline.says("Hello", account_id=account)
    await org.settled()
    (chat,) = await org.chats("crm")
    async with (
        live(org, "desk", after=org.position) as desk,
        live(org, "crm", after=org.position) as crm,
    ):
        await org.post(f"{path}/disable")
        left = await desk.event()
        assert left == await crm.event()
        shown = {each["service"]: each["state"] for each in left.data["channel"]["services"]}
        assert (left.name, shown) == ("channel", {"crm": "active", "desk": "disabled"})
        await trunkline.says("While away", account_id=account)
        await org.post(f"/v1/services/crm/chats/{chat['id']}/assign")
        await org.patch(f"/v1/services/crm/channels/{channel['id']}", {"name": "Renamed"})
        assert await told(desk, org, "desk") == []
        assert names(await told(crm, org, "crm")) == ["message", "chat", "channel"]
        await org.post(f"{path}/enable")
        await trunkline.says("Back again", account_id=account)
        events = await told(desk, org, "desk")
    assert names(events) == ["channel", "message"]
    assert events[0].data["channel"]["name"] == "Renamed"
    assert texts_of(events) == ["Back again"]


async def test_who_becomes_parent_is_told_to_those_who_share(trunkline: Trunkline) -> None:
    """Spec S8."""
    org, _ = await office(trunkline, "crm", "desk")
    (channel,) = (await org.get("/v1/channels"))["items"]
    async with live(org, "desk", after=org.position) as stream:
        await org.delete(f"/v1/channels/{channel['id']}/services/crm")
        events = await told(stream, org, "desk")
    assert names(events) == ["channel", "channel"]
    assert {event.data["channel"]["parent"] for event in events} == {"desk"}


async def test_a_separate_channel_hears_nothing_of_others_replies(trunkline: Trunkline) -> None:
    """Spec S2, S3: for it they do not exist. An echo is everybody's."""
    org, account = await office(trunkline, "crm")
    await org.services("bigin", subscription="standalone")
    await org.connect("bigin", account)
    async with live(org, "bigin", after=org.position) as stream:
        await trunkline.says("Hello", account_id=account)
        first = await stream.event()
        await replied(trunkline, org, first.data["chat"]["id"], "Of CRM alone")
        await trunkline.deliver(
            echo_delivery(
                "By phone", wamid=new_wamid(), phone=PHONE, timestamp=now(), account_id=account
            )
        )
        events = await told(stream, org, "bigin")
    assert texts_of([first, *events]) == ["Hello", "By phone"]


async def test_a_customers_new_wish_is_told_with_their_chat(trunkline: Trunkline) -> None:
    """Spec N5: nothing was written, so no message shows it."""
    org, account = await office(trunkline, "crm")
    await trunkline.says("Hello", account_id=account)
    await org.settled()
    async with live(org, "crm", after=org.position) as stream:
        wish = {
            "wa_id": PHONE,
            "detail": "User requested to stop marketing messages",
            "category": "marketing_messages",
            "value": "stop",
            "timestamp": now(),
        }
        await trunkline.deliver(
            delivery(
                account_id=account,
                field="user_preferences",
                contacts=[{"wa_id": PHONE}],
                user_preferences=[wish],
            )
        )
        event = await stream.event()
    assert (event.name, event.data["chat"]["marketing_opt_out"]) == ("chat", True)


async def test_a_stream_holds_nothing_of_another_organisation(trunkline: Trunkline) -> None:
    """I7."""
    acme, account = await office(trunkline, "crm")
    other, _ = await office(trunkline, "crm")
    await trunkline.says(CANARY, account_id=account)
    async with live(acme, "crm", after=0) as mine, live(other, "crm", after=0) as theirs:
        await told(mine, acme, "crm")
        await told(theirs, other, "crm")
    assert CANARY.encode() in mine.raw
    assert CANARY.encode() not in theirs.raw


async def test_what_the_document_says_of_a_stream_is_true(trunkline: Trunkline) -> None:
    document = (await trunkline.http.get("/openapi.json")).json()
    operation = document["paths"]["/v1/services/{service}/stream"]["get"]
    assert set(operation["responses"]["200"]["content"]) == {"text/event-stream"}
    (header,) = [each for each in operation["parameters"] if each["name"] == "Last-Event-ID"]
    assert (header["in"], header["required"]) == ("header", False)
