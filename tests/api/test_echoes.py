"""What was written elsewhere, changed, taken back or reacted to; groups (C17, C19)."""

import asyncio
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest

from adapters.fakes.behaviour import accepts_until
from domain.inbound import Address, Content, MessageChanged, MessageOccurred, Person
from tests.api.businesses import connected, texts
from tests.api.conftest import Trunkline
from tests.api.deliveries import (
    delivery,
    echo_delivery,
    edit_item,
    eventually,
    new_wamid,
    now,
    reaction_item,
    status_delivery,
    text_item,
    unsend_item,
)
from tests.api.test_inbox import Inbox, inbox_of

PHONE = "12025551065"  # Of the customer A.
GROUP = "Y2FwaV9ncm91cDoxNTU1MDc4Mzg4MToxMjAzNjM0"


async def deliver_items(inbox: Inbox, *items: dict[str, Any]) -> None:
    """Each in a webhook of its own."""
    for item in items:
        await inbox.trunkline.deliver(delivery(account_id=inbox.account, messages=[item]))
    await inbox.org.settled()


async def echo(inbox: Inbox, text: str, *, wamid: str | None = None, **more: Any) -> None:
    """The business writes to A on its phone."""
    await inbox.trunkline.deliver(
        echo_delivery(
            text,
            wamid=wamid or new_wamid("echo"),
            phone=PHONE,
            timestamp=now(),
            account_id=inbox.account,
            **more,
        )
    )
    await inbox.org.settled()


# Echoes.


async def test_what_the_business_wrote_on_its_phone_is_outbound_of_no_service_and_open_to_all(
    trunkline: Trunkline,
) -> None:
    """Spec C17, S4."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    await inbox.hear("A", hours_ago=1)
    await echo(inbox, "From the phone")
    for service in ("crm", "desk"):
        (chat,) = await inbox.org.chats(service)
        message = chat["last_message"]
        shown = {name: message[name] for name in message if name not in ("id", "at")}
        assert (shown, chat["answered"]) == (
            {
                "direction": "outbound",
                "kind": "text",
                "status": "sent",
                "masked": False,
                "service": None,
                "author": None,
                "content": {"text": "From the phone"},
                "reply_to": None,
                "retry_of": None,
                "failure": None,
                "edited_at": None,
                "unsent": False,
                "member": None,
                "reactions": [],
            },
            True,
        )


async def test_an_echo_to_somebody_new_begins_their_chat(trunkline: Trunkline) -> None:
    """Spec C17, C10. It opens no window: the customer has not written."""
    inbox = await inbox_of(trunkline)
    await echo(inbox, "Hello, this is Acme")
    (chat,) = await inbox.org.chats("crm")
    assert (chat["customer"]["address"], chat["unread"], chat["window"]) == (
        f"+{PHONE}",
        0,
        {"open": False, "closes_at": None},
    )


@pytest.mark.parametrize("with_mark", [True, False])
async def test_an_echo_after_the_answer_is_no_second_copy(
    trunkline: Trunkline, with_mark: bool
) -> None:
    """Spec C17."""
    org, account = await trunkline.organisation(), trunkline.account()
    inbox = Inbox(trunkline, org, account, await connected(org, account))
    await inbox.hear("A", hours_ago=1)
    await org.reply("crm", inbox.chats["A"], "hi")
    sent = await _answered(inbox)
    mark = {"biz_opaque_callback_data": sent.mark} if with_mark else {}
    await echo(inbox, "hi", wamid=sent.platform_id, **mark)
    assert await texts(org, "crm", inbox.chats["A"]) == ["hello", "hi"]


@pytest.mark.parametrize("with_mark", [True, False])
async def test_an_echo_before_the_answer_is_no_second_copy(
    trunkline: Trunkline, with_mark: bool
) -> None:
    """Spec C17. Nothing else may have told us the platform's id before."""
    org, account = await trunkline.organisation(), trunkline.account()
    inbox = Inbox(trunkline, org, account, await connected(org, account))
    await inbox.hear("A", hours_ago=1)
    is_echoed = asyncio.Event()
    trunkline.fake.next_requests(accepts_until(is_echoed))
    plan, trunkline.fake.plan = trunkline.fake.plan, type(trunkline.fake.plan)(statuses=())
    try:
        reply = await org.reply("crm", inbox.chats["A"], "hi")
        sent = await _accepted(inbox)
        mark = {"biz_opaque_callback_data": sent.mark} if with_mark else {}
        await echo(inbox, "hi", wamid=sent.platform_id, **mark)
        is_echoed.set()
    finally:
        trunkline.fake.plan = plan

    async def timeline() -> Any:
        await org.settled()
        messages = await org.messages("crm", inbox.chats["A"])
        return [(each["id"], each["status"]) for each in messages[1:]]

    await eventually(timeline, [(reply["id"], "sent")])
    read = status_delivery(
        "read", wamid=sent.platform_id, phone=PHONE, timestamp=now(), account_id=account
    )
    await trunkline.deliver(read)
    await eventually(timeline, [(reply["id"], "read")])


async def _accepted(inbox: Inbox) -> Any:
    """The one message that the platform took from this account."""
    taken: list[Any] = []

    async def count() -> int:
        accepted = inbox.trunkline.fake.accepted
        taken[:] = [each for each in accepted if each.account_id == inbox.account]
        return len(taken)

    await eventually(count, 1)
    return taken[0]


async def _answered(inbox: Inbox) -> Any:
    """The same, once we know that it was taken and by which id."""

    async def is_known() -> bool:
        await inbox.org.settled()
        newest = (await inbox.org.messages("crm", inbox.chats["A"]))[-1]
        return bool(newest["status"] != "queued")

    await eventually(is_known, True)
    return await _accepted(inbox)


# Changes.


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_an_edit_shows_the_latest_text_in_whatever_order_everything_came(
    trunkline: Trunkline, order: tuple[int, ...]
) -> None:
    """Spec C17."""
    inbox = await inbox_of(trunkline)
    wamid = new_wamid()
    at = now() - 100
    items = [
        text_item("first", wamid=wamid, phone=PHONE, timestamp=at),
        edit_item("second", target=wamid, wamid=new_wamid(), phone=PHONE, timestamp=at + 10),
        edit_item("third", target=wamid, wamid=new_wamid(), phone=PHONE, timestamp=at + 20),
    ]
    await deliver_items(inbox, *(items[place] for place in order))
    (chat,) = await inbox.org.chats("crm")
    (message,) = await inbox.org.messages("crm", chat["id"])
    assert (message["content"], message["edited_at"] is not None, chat["unread"]) == (
        {"text": "third"},
        True,
        1,
    )
    assert chat["last_message"] == message


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_an_unsent_message_says_nothing_to_anybody_in_whatever_order_everything_came(
    trunkline: Trunkline, order: tuple[int, ...]
) -> None:
    """Spec C17, auditors included."""
    inbox = await inbox_of(trunkline)
    wamid = new_wamid()
    at = now() - 100
    items = [
        text_item("a secret", wamid=wamid, phone=PHONE, timestamp=at),
        edit_item("the secret", target=wamid, wamid=new_wamid(), phone=PHONE, timestamp=at + 10),
        unsend_item(target=wamid, wamid=new_wamid(), phone=PHONE, timestamp=at + 20),
    ]
    await deliver_items(inbox, *(items[place] for place in order))
    auditor = await inbox.org.user("auditor", {})
    (chat,) = await auditor.chats("crm")
    for reader in (inbox.org, auditor):
        path = f"/v1/services/crm/chats/{chat['id']}/messages"
        answer = await reader.call("GET", path, expect=200)
        (message,) = answer.json()["items"]
        assert (message["content"], message["unsent"]) == ({}, True)
        assert "secret" not in answer.text


@pytest.mark.parametrize("first", ["message", "reaction"])
async def test_a_reaction_stands_at_its_message_and_moves_nothing(
    trunkline: Trunkline, first: str
) -> None:
    """Spec C17, C1: also when it arrives first. A later one replaces it, and none takes it back."""
    inbox = await inbox_of(trunkline)
    wamid, at = new_wamid(), now() - 100

    def reaction(emoji: str | None, seconds: int) -> dict[str, Any]:
        return reaction_item(
            emoji, target=wamid, wamid=new_wamid(), phone=PHONE, timestamp=at + seconds
        )

    both = [text_item("hello", wamid=wamid, phone=PHONE, timestamp=at), reaction("👍", 10)]
    await deliver_items(inbox, *(both if first == "message" else reversed(both)))

    async def seen() -> Any:
        (chat,) = await inbox.org.chats("crm")
        (message,) = await inbox.org.messages("crm", chat["id"])
        reactions = [(each["author"], each["text"]) for each in message["reactions"]]
        return reactions, chat["unread"], chat["answered"], chat["last_activity_at"]

    moment = (await inbox.org.chats("crm"))[0]["started_at"]
    assert await seen() == ([("customer", "👍")], 1, False, moment)
    await deliver_items(inbox, reaction("❤️", 20), reaction("👎", 15))
    assert await seen() == ([("customer", "❤️")], 1, False, moment)
    await deliver_items(inbox, reaction(None, 30))
    assert await seen() == ([], 1, False, moment)


async def test_a_reaction_to_another_services_reply_is_not_shown_with_it(
    trunkline: Trunkline,
) -> None:
    """Spec S4: a masked message shows that it is there, and nothing else."""
    inbox = await inbox_of(trunkline, "crm", "desk")
    await inbox.hear("A", hours_ago=1)
    reply = await inbox.org.reply("crm", inbox.chats["A"], "hi")
    sent = await _answered(inbox)
    reaction = reaction_item(
        "👍", target=sent.platform_id, wamid=new_wamid(), phone=PHONE, timestamp=now()
    )
    await deliver_items(inbox, reaction)
    crm, desk = [(await inbox.org.messages(each, inbox.chats["A"]))[1] for each in ("crm", "desk")]
    assert [(each["author"], each["text"]) for each in crm["reactions"]] == [("customer", "👍")]
    assert desk == {
        "id": reply["id"],
        "direction": "outbound",
        "at": reply["at"],
        "status": desk["status"],
        "masked": True,
        "service": "crm",
    }


# Groups.


async def test_a_group_is_a_customer_whose_messages_name_their_members(
    trunkline: Trunkline,
) -> None:
    """Spec C19."""
    inbox = await inbox_of(trunkline)
    await inbox.hear("A", "to you alone", hours_ago=2)
    for phone, name, text in ((PHONE, "A", "to all"), ("819087654321", "Hana", "me too")):
        item = text_item(text, wamid=new_wamid(), phone=phone, timestamp=now() - 60, group_id=GROUP)
        contacts = [{"profile": {"name": name}, "wa_id": phone}]
        await trunkline.deliver(
            delivery(account_id=inbox.account, contacts=contacts, messages=[item])
        )
    await inbox.org.settled()
    group, alone = await inbox.org.chats("crm")
    messages = await inbox.org.messages("crm", group["id"])
    assert [(each["member"]["name"], each["content"]["text"]) for each in messages] == [
        ("A", "to all"),
        ("Hana", "me too"),
    ]
    assert messages[0]["member"]["contact_id"] == alone["customer"]["contact_id"]
    assert (group["customer"]["address"], group["unread"], group["window"]["open"]) == (
        GROUP,
        2,
        True,
    )
    assert await texts(inbox.org, "crm", alone["id"]) == ["to you alone"]
    assert len({each["customer"]["contact_id"] for each in (group, alone)}) == 2


async def test_who_is_not_named_in_a_group_is_not_the_group(trunkline: Trunkline) -> None:
    """Spec C19: LINE's members may keep their names, Telegram's administrators write in its own."""
    inbox = await inbox_of(trunkline)
    about: dict[str, Any] = {
        "account_id": inbox.account,
        "business_account_id": None,
        "at": datetime.now(UTC),
        "person": Person(addresses=()),
        "content": Content(text="+"),
        "group": Address(f"group:{inbox.account}", GROUP),
    }
    said = MessageOccurred(kind="message.text", dedupe=("message", "1"), platform_id="1", **about)
    reacted = MessageChanged(kind="message.reaction", dedupe=("message", "2"), target="1", **about)
    await trunkline.parts.inbound.receive("whatsapp", [said, reacted])
    await inbox.org.settled()
    (group,) = await inbox.org.chats("crm")
    (message,) = await inbox.org.messages("crm", group["id"])
    assert (message["member"], group["unread"]) == (None, 1)
    assert [(each["author"], each["text"]) for each in message["reactions"]] == [("customer", "+")]


async def test_a_reply_to_a_group_goes_to_the_group_and_each_member_may_read_it(
    trunkline: Trunkline,
) -> None:
    """Spec C19, C15."""
    org, account = await trunkline.organisation(), trunkline.account()
    inbox = Inbox(trunkline, org, account, await connected(org, account))
    item = text_item("hi all", wamid=new_wamid(), phone=PHONE, timestamp=now() - 9, group_id=GROUP)
    await deliver_items(inbox, item)
    trunkline.fake.groups[GROUP] = (PHONE, "819087654321")
    (chat,) = await org.chats("crm")
    await org.reply("crm", chat["id"], "Welcome")
    sent = await _accepted(inbox)
    assert (sent.to, sent.body["recipient_type"]) == (GROUP, "group")

    async def fate() -> Any:
        await org.settled()
        return (await org.messages("crm", chat["id"]))[-1]["status"]

    await eventually(fate, "read")

    async def receipts() -> int:
        return len(await org.events(type="chat.receipt_received"))

    await eventually(receipts, 6)
