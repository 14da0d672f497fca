"""From a reply to a read message: statuses, windows, templates, order (N1, N2, N4, C15)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adapters.fakes.behaviour import accepts_until
from adapters.whatsapp.fake_behaviour import fails
from adapters.whatsapp.fake_webhooks import StatusPlan
from api.main import core
from api.processes import dispatching
from tests.api.businesses import connected
from tests.api.conftest import Trunkline
from tests.api.deliveries import (
    delivery,
    eventually,
    new_wamid,
    now,
    status_delivery,
    text_item,
)
from tests.api.test_inbox import Inbox

PHONE = "12025551065"  # Of the customer A.


async def ready(trunkline: Trunkline, *, hours_ago: float = 1) -> Inbox:
    """An org whose account is verified, and a chat with A."""
    org, account = await trunkline.organisation(), trunkline.account()
    inbox = Inbox(trunkline, org, account, await connected(org, account))
    await inbox.hear("A", hours_ago=hours_ago)
    return inbox


@contextmanager
def statuses(trunkline: Trunkline, *names: str, **plan: Any) -> Iterator[None]:
    """The platform reports these and no others."""
    before, trunkline.fake.plan = trunkline.fake.plan, StatusPlan(statuses=names, **plan)
    try:
        yield
    finally:
        trunkline.fake.plan = before


async def accepted(inbox: Inbox) -> list[Any]:
    """What the platform took from this account."""
    return [each for each in inbox.trunkline.fake.accepted if each.account_id == inbox.account]


async def sent_texts(inbox: Inbox) -> list[str | None]:
    return [each.text for each in await accepted(inbox)]


async def fates(inbox: Inbox) -> list[tuple[str, str | None]]:
    """Status and reason of every message to A."""
    await inbox.org.settled()
    messages = await inbox.org.messages("crm", inbox.chats["A"])
    return [
        (each["status"], each["failure"]["reason"] if each["failure"] else None)
        for each in messages
        if each["direction"] == "outbound"
    ]


async def report(inbox: Inbox, status: str, *, wamid: str, **more: Any) -> None:
    """The platform says what became of a message to A."""
    webhook = status_delivery(
        status, wamid=wamid, phone=PHONE, timestamp=now(), account_id=inbox.account, **more
    )
    await inbox.trunkline.deliver(webhook)


# What becomes of a message.


async def test_a_reply_is_queued_then_sent_delivered_and_read(trunkline: Trunkline) -> None:
    """Spec N3, C15. The answer shows it queued."""
    inbox = await ready(trunkline)
    reply = await inbox.org.reply("crm", inbox.chats["A"], "hi")
    assert {name: reply[name] for name in reply if name not in ("id", "at", "status")} == {
        "direction": "outbound",
        "kind": "text",
        "masked": False,
        "service": "crm",
        "author": {"id": inbox.org.user_id, "name": "Admin"},
        "content": {"text": "hi"},
        "reply_to": None,
        "retry_of": None,
        "failure": None,
        "edited_at": None,
        "unsent": False,
        "member": None,
        "reactions": [],
    }
    await eventually(lambda: fates(inbox), [("read", None)])
    (sent,) = await accepted(inbox)
    assert sent.body == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": f"+{PHONE}",
        "type": "text",
        "text": {"body": "hi", "preview_url": False},
        "biz_opaque_callback_data": f"{inbox.chats['A']}.{reply['id']}",
    }
    (chat,) = await inbox.org.chats("crm")
    assert chat["session"]["customer_last_read_at"] is not None


@pytest.mark.parametrize(
    ("reported", "shown"),
    [
        (["read", "sent", "delivered"], "read"),
        (["sent", "sent", "delivered", "delivered"], "delivered"),
        (["played", "read"], "played"),
        (["delivered", "deleted"], "delivered"),
        (["failed", "delivered", "read"], "failed"),
    ],
)
async def test_a_message_shows_the_greatest_status_however_they_come(
    trunkline: Trunkline, reported: list[str], shown: str
) -> None:
    """Spec C15. Every receipt is kept, once."""
    inbox = await ready(trunkline)
    with statuses(trunkline):
        await inbox.org.reply("crm", inbox.chats["A"], "hi")
        await eventually(lambda: fates(inbox), [("sent", None)])
    (sent,) = await accepted(inbox)
    for status in reported:
        await report(inbox, status, wamid=sent.platform_id)
    assert await fates(inbox) == [(shown, None)]
    kept = await inbox.org.events(type="chat.receipt_received")
    assert [each["data"]["status"] for each in kept] == list(dict.fromkeys(reported))


async def test_late_doubled_and_shuffled_statuses_all_end_as_read(trunkline: Trunkline) -> None:
    """Spec C15, with the platform's own bad manners."""
    inbox = await ready(trunkline)
    names = ("sent", "delivered", "read")
    with statuses(trunkline, *names, twice=1.0, out_of_order=1.0, delay_seconds=0.01):
        for number in range(5):
            await inbox.org.reply("crm", inbox.chats["A"], str(number))
        await eventually(lambda: fates(inbox), [("read", None)] * 5)
        await trunkline.fake.settled()
    assert await fates(inbox) == [("read", None)] * 5
    assert len(await inbox.org.events(type="chat.receipt_received")) == 15


@pytest.mark.parametrize("with_mark", [True, False])
async def test_a_receipt_that_comes_before_the_answer_counts_once_the_answer_is_there(
    trunkline: Trunkline, with_mark: bool
) -> None:
    """Spec C15."""
    inbox = await ready(trunkline)
    is_told = asyncio.Event()
    trunkline.fake.next_requests(accepts_until(is_told))
    with statuses(trunkline):
        await inbox.org.reply("crm", inbox.chats["A"], "hi")
        await eventually(lambda: sent_texts(inbox), ["hi"])
        (sent,) = await accepted(inbox)
        mark = {"biz_opaque_callback_data": sent.mark} if with_mark else {}
        await report(inbox, "delivered", wamid=sent.platform_id, **mark)
        is_told.set()
        await eventually(lambda: fates(inbox), [("delivered", None)])


async def test_a_refusal_ends_a_message_as_failed_with_the_platforms_word(
    trunkline: Trunkline,
) -> None:
    """Spec N3, C15: at once, or by a status later."""
    inbox = await ready(trunkline)
    trunkline.fake.next_requests(fails(131026))
    with statuses(trunkline, "failed", failure_code=131047):
        for text in ("at once", "later"):
            await inbox.org.reply("crm", inbox.chats["A"], text)

        async def failures() -> list[Any]:
            await inbox.org.settled()
            messages = await inbox.org.messages("crm", inbox.chats["A"])
            return [(each["status"], each["failure"]) for each in messages[1:]]

        await eventually(
            failures,
            [
                ("failed", {"reason": "undeliverable", "code": 131026}),
                ("failed", {"reason": "window_closed", "code": 131047}),
            ],
        )


# Windows and templates.


async def test_a_reply_outside_the_window_is_refused_with_when_it_closed_and_what_is_possible(
    trunkline: Trunkline,
) -> None:
    """Spec N1, N2, C0: at exactly 24 hours it is closed."""
    inbox = await ready(trunkline, hours_ago=24)
    closed_at = (await inbox.org.chats("crm"))[0]["window"]["closes_at"]
    refused = await inbox.org.reply("crm", inbox.chats["A"], "too late", expect=409)
    facts = {name: refused[name] for name in ("code", "closed_at", "templates")}
    assert facts == {"code": "window_closed", "closed_at": closed_at, "templates": []}
    await define_template(inbox)
    refused = await inbox.org.reply("crm", inbox.chats["A"], "too late", expect=409)
    assert refused["templates"] == ["shipped"]
    assert await inbox.org.events(type="chat.reply_requested") == []
    await inbox.hear("A", "hello again", hours_ago=23.99)
    await inbox.org.reply("crm", inbox.chats["A"], "just in time")


async def define_template(inbox: Inbox, state: str = "approved") -> None:
    path = f"/v1/accounts/{inbox.account}/templates/shipped/en"
    body = {
        "category": "utility",
        "body": "Hello {{name}}, {{order}} is on its way.",
        "parameters": ["name", "order"],
        "state": state,
    }
    await inbox.org.put(path, body)


FILLED = {
    "kind": "template",
    "name": "shipped",
    "language": "en",
    "parameters": {"name": "Marisol", "order": "A-1029"},
}


async def test_an_approved_template_leaves_outside_the_window(trunkline: Trunkline) -> None:
    """Spec N1, C8: the text that was sent is the fact."""
    inbox = await ready(trunkline, hours_ago=30)
    await define_template(inbox)
    await inbox.org.post(
        "/v1/credits/purchases", {"account_id": inbox.account, "credits": 1}, expect=201
    )
    path = f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    reply = await inbox.org.post(path, FILLED, expect=202)
    text = "Hello Marisol, A-1029 is on its way."
    assert (reply["kind"], reply["content"]["text"]) == ("template", text)
    await eventually(lambda: fates(inbox), [("read", None)])
    (sent,) = await accepted(inbox)
    assert (sent.kind, sent.body["template"]["name"], sent.body["template"]["language"]) == (
        "template",
        "shipped",
        {"code": "en"},
    )


@pytest.mark.parametrize("state", ["draft", "pending", "rejected", "paused"])
async def test_only_approved_templates_are_sent(trunkline: Trunkline, state: str) -> None:
    """Spec C8."""
    inbox = await ready(trunkline)
    await define_template(inbox, state)
    path = f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    refused = await inbox.org.post(path, FILLED, expect=409)
    assert (refused["code"], refused["state"]) == ("template_not_approved", state)
    assert await inbox.org.events(type="chat.reply_requested") == []


async def test_a_template_needs_every_parameter_and_must_exist(trunkline: Trunkline) -> None:
    """Spec C8."""
    inbox = await ready(trunkline)
    await define_template(inbox)
    path = f"/v1/services/crm/chats/{inbox.chats['A']}/messages"
    missing = await inbox.org.post(path, {**FILLED, "parameters": {"name": "Mari"}}, expect=422)
    assert (missing["code"], missing["errors"]) == (
        "parameter_missing",
        [{"field": "parameters.order", "message": "is missing"}],
    )
    unknown = await inbox.org.post(path, {**FILLED, "language": "ja"}, expect=404)
    assert unknown["code"] == "not_found"
    assert await inbox.org.events(type="chat.reply_requested") == []


# Order, and several senders.


async def test_twenty_quick_replies_leave_in_the_order_they_were_written(
    trunkline: Trunkline,
) -> None:
    """Spec N4."""
    inbox = await ready(trunkline)
    texts = [str(number) for number in range(20)]
    for text in texts:
        await inbox.org.reply("crm", inbox.chats["A"], text)
    await eventually(lambda: sent_texts(inbox), texts)


@pytest.fixture
async def other_dispatchers(trunkline: Trunkline) -> AsyncIterator[None]:
    """Two more beside the server's own: one in this process, one as in another process."""
    async with (
        dispatching(trunkline.parts),
        core(trunkline.settings, trunkline.database) as elsewhere,
        dispatching(elsewhere),
    ):
        yield


@pytest.mark.usefixtures("other_dispatchers")
async def test_several_dispatchers_send_each_message_once_and_in_order(
    trunkline: Trunkline,
) -> None:
    """Spec N3, N4."""
    inbox = await ready(trunkline)
    for customer in "BCDE":
        await inbox.hear(customer, hours_ago=1)
    written = {customer: [f"{customer}{n}" for n in range(6)] for customer in "ABCDE"}

    async def write(customer: str) -> None:
        for text in written[customer]:
            await inbox.org.reply("crm", inbox.chats[customer], text)

    await asyncio.gather(*(write(customer) for customer in written))

    async def by_customer() -> dict[str, list[str | None]]:
        texts = await sent_texts(inbox)
        return {name: [each for each in texts if each and each[0] == name] for name in written}

    await eventually(by_customer, written)
    started = await inbox.org.events(type="chat.send_started")
    assert len(started) == 30
    assert await inbox.org.events(type="chat.send_uncertain") == []


# Where a message goes.


async def test_a_reply_goes_to_the_number_that_the_customer_has_now(trunkline: Trunkline) -> None:
    """Spec P5. The old number is somebody else's one day, and then another customer."""
    inbox = await ready(trunkline)
    system = {"type": "user_changed_number", "wa_id": "819087654321"}
    await _system_message(inbox, system, **{"from": PHONE})
    await inbox.org.reply("crm", inbox.chats["A"], "hi")
    await eventually(lambda: sent_texts(inbox), ["hi"])
    (sent,) = await accepted(inbox)
    await inbox.hear("A", "I got this number", hours_ago=-1 / 60)
    addresses = [each["customer"]["address"] for each in await inbox.org.chats("crm")]
    assert (sent.body["to"], addresses) == ("+819087654321", [f"+{PHONE}", "+819087654321"])


@pytest.mark.parametrize("first", ["message", "change"])
async def test_a_reply_goes_to_the_newest_id_of_a_customer_without_a_number(
    trunkline: Trunkline, first: str
) -> None:
    """Spec P5, P2: in whatever order the change of the id and a message under the old one come."""
    org, account = await trunkline.organisation(), trunkline.account()
    inbox = Inbox(trunkline, org, account, await connected(org, account))
    old, new = "US.1000000000000001", "US.1000000000000002"
    item = text_item("hello", wamid=new_wamid(), phone="", timestamp=now() - 60)
    item = {name: value for name, value in item.items() if name != "from"} | {"from_user_id": old}

    async def write() -> None:
        await trunkline.deliver(delivery(account_id=account, messages=[item]))

    async def change() -> None:
        system = {"type": "user_changed_user_id", "previous_user_id": old, "user_id": new}
        await _system_message(inbox, system)

    for step in (write, change) if first == "message" else (change, write):
        await step()
    await org.settled()
    (chat,) = await org.chats("crm")
    await org.reply("crm", chat["id"], "hi")
    await eventually(lambda: sent_texts(inbox), ["hi"])
    (sent,) = await accepted(inbox)
    assert (sent.body["recipient"], chat["customer"]["address"]) == (new, new)


async def _system_message(inbox: Inbox, system: dict[str, str], **more: Any) -> None:
    item = {"id": new_wamid(), "timestamp": str(now()), "type": "system", "system": system}
    await inbox.trunkline.deliver(delivery(account_id=inbox.account, messages=[item | more]))
    await inbox.org.settled()
