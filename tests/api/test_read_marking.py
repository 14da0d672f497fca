"""Customers are shown that their messages were read, where a service wants that."""

from typing import Any

import pytest

from adapters.whatsapp.fake_behaviour import fails
from tests.api.conftest import Trunkline
from tests.api.deliveries import eventually
from tests.api.test_inbox import Inbox
from tests.api.test_sending import PHONE, ready

DESK = {"subscription": "bundled", "reply_requires_ownership": False}


async def marked(inbox: Inbox) -> list[str]:
    """The platform's ids of what was marked on this account."""
    return [name for account, name in inbox.trunkline.fake.read if account == inbox.account]


async def outcomes(inbox: Inbox) -> list[str]:
    ended = await inbox.org.events(type="marking.ended")
    return [each["data"]["outcome"] for each in ended]


async def says(inbox: Inbox, text: str) -> str:
    wamid = await inbox.trunkline.says(text, account_id=inbox.account, phone=PHONE)
    await inbox.org.settled()
    return wamid


async def marking(trunkline: Trunkline, *, enabled: bool = True) -> Inbox:
    inbox = await ready(trunkline)
    service = await inbox.org.put("/v1/services/crm", {"mark_read": enabled})
    assert service["mark_read"] is enabled
    return inbox


async def test_a_visit_marks_the_newest_message_once(trunkline: Trunkline) -> None:
    inbox = await marking(trunkline)
    await says(inbox, "one")
    newest = await says(inbox, "two")
    for _ in range(2):
        await inbox.act("A", "visit")
    await eventually(lambda: outcomes(inbox), ["marked"])
    assert await marked(inbox) == [newest]
    newest = await says(inbox, "three")
    await inbox.act("A", "visit")
    await eventually(lambda: outcomes(inbox), ["marked", "marked"])
    assert (await marked(inbox))[1:] == [newest]


async def test_a_reply_marks_what_it_answers(trunkline: Trunkline) -> None:
    inbox = await marking(trunkline)
    newest = await says(inbox, "one")
    await inbox.org.reply("crm", inbox.chats["A"], "hello")
    await eventually(lambda: marked(inbox), [newest])


async def test_a_service_that_does_not_want_it_marks_nothing(trunkline: Trunkline) -> None:
    """The default. Each service decides for its own users."""
    inbox = await marking(trunkline, enabled=False)
    await inbox.org.put("/v1/services/desk", DESK | {"mark_read": True})
    await inbox.org.connect("desk", inbox.account)
    newest = await says(inbox, "one")
    await inbox.act("A", "visit")
    assert await inbox.org.events(type="marking.requested") == []
    await inbox.act("A", "visit", service="desk")
    await eventually(lambda: marked(inbox), [newest])


@pytest.mark.parametrize(
    ("code", "expected"), [(131016, ["marked"]), (131056, ["marked"]), (131009, ["refused"])]
)
async def test_what_the_platform_does_not_take_now_is_repeated_and_what_it_refuses_is_not(
    trunkline: Trunkline, code: int, expected: list[str]
) -> None:
    inbox = await marking(trunkline)
    newest = await says(inbox, "one")
    trunkline.fake.next_requests(fails(code))
    await inbox.act("A", "visit")
    await eventually(lambda: outcomes(inbox), expected)
    assert await marked(inbox) == ([newest] if expected == ["marked"] else [])


async def test_a_setting_is_an_event_and_stands_where_it_is_shown(trunkline: Trunkline) -> None:
    org = await trunkline.organisation()
    await org.services("crm")

    async def shown() -> Any:
        (service,) = (await org.get("/v1/services"))["items"]
        return service["mark_read"]

    assert await shown() is False
    for _ in range(2):
        await org.put("/v1/services/crm", {"mark_read": True})
    assert await shown() is True
    await org.put("/v1/services/crm", {"masking": "none"})  # What is left out keeps its value.
    assert await shown() is True
    changes = await org.events(type="organisation.read_marking_changed")
    assert [each["data"]["enabled"] for each in changes] == [True]
