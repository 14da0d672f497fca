"""Which window holds for an account is the organisation's choice, with a date (N1)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.adapters.recorded import signed
from tests.api.conftest import APP_SECRET, Client, Trunkline
from tests.api.live import live
from tests.api.platforms import connect, post
from tests.api.problems import assert_problem
from tests.api.test_accounts_with_secrets import new_account, organisation, says
from tests.api.test_inbox import as_time

WINDOW = "/v1/rules/window"
HUMAN = "messenger/human-agent"


async def choose(org: Client, rule: str = HUMAN, **more: Any) -> Any:
    return await org.put(WINDOW, {"rule": rule, **more})


async def days_open(org: Client) -> list[int]:
    """For how many days after the customer's message each chat can be written to."""
    await org.settled()
    chats = await org.chats("crm")
    return [
        round((_time(chat["window"]["closes_at"]) - _time(chat["last_activity_at"])).days)
        for chat in chats
    ]


def _time(written: str) -> datetime:
    return datetime.fromisoformat(written)


async def messenger(trunkline: Trunkline) -> tuple[Client, list[str]]:
    """An organisation with a customer on each of two pages."""
    org, pages = await organisation(trunkline), [new_account("messenger") for _ in range(2)]
    for page in pages:
        await connect(org, "messenger", page)
        await says(trunkline, "messenger", page, "hello")
    return org, pages


async def test_a_chats_window_follows_the_chosen_rule(trunkline: Trunkline) -> None:
    """Spec N1, N2: for one account, or for all of a platform; what was chosen is an event."""
    org, pages = await messenger(trunkline)
    assert await days_open(org) == [1, 1]
    chosen = await choose(org, account_id=pages[0])
    assert (chosen["rule"], chosen["account_id"], chosen["card"]) == (HUMAN, pages[0], None)
    assert sorted(await days_open(org)) == [1, 7]
    await choose(org)
    assert await days_open(org) == [7, 7]
    await choose(org, "messenger/1", account_id=pages[0])
    assert sorted(await days_open(org)) == [1, 7]
    rules = [each["data"]["rule"] for each in await org.events(type="rules.window_chosen")]
    assert rules == [HUMAN, HUMAN, "messenger/1"]


async def test_a_rule_holds_from_its_date_on(trunkline: Trunkline) -> None:
    """Spec N1."""
    org, _ = await messenger(trunkline)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    await choose(org, effective_from=as_time(tomorrow))
    assert await days_open(org) == [1, 1]
    await choose(org, effective_from="2026-01-01T00:00:00Z")
    assert await days_open(org) == [7, 7]


# What opens it.


# What customers do an hour ago, who wrote thirty hours ago, and whether it opens the window.
DONE: dict[str, tuple[dict[str, Any], bool]] = {
    "reacts": ({"reaction": {"action": "react", "emoji": "👍", "mid": "m_any"}}, True),
    "follows a link": ({"referral": {"ref": "spring", "source": "SHORTLINK"}}, True),
    "presses": ({"postback": {"mid": "m_pressed", "title": "Start", "payload": "start"}}, True),
    "takes it back": ({"reaction": {"action": "unreact", "mid": "m_any"}}, False),
    "opts in": ({"optin": {"type": "notification_messages", "payload": "p"}}, False),
    "reads": ({"read": {"watermark": 1}}, False),
}


async def test_what_a_customer_does_opens_messengers_window(trunkline: Trunkline) -> None:
    """Wire 2.5: a message, postback, reaction or referral."""
    org, page = await organisation(trunkline), new_account("messenger")
    await connect(org, "messenger", page)
    now, written = datetime.now(UTC), {}
    for number, (name, (what, _)) in enumerate(DONE.items()):
        hello = {"message": {"mid": f"m_{page}{number}", "text": name}}
        for hours, done in ((30, hello), (1, what)):
            await does(trunkline, page, now - timedelta(hours=hours), done, customer=str(number))
    await org.settled()
    for chat in await org.chats("crm"):
        (first, *_) = await org.messages("crm", chat["id"])
        closes_at = _time(chat["window"]["closes_at"])
        hours_left = round((closes_at - now).total_seconds() / 3600)
        written[first["content"]["text"]] = (chat["window"]["open"], hours_left)
        expect = 202 if chat["window"]["open"] else 409
        await org.reply("crm", chat["id"], "hi", expect=expect)
    assert written == {
        name: (True, 23) if opens else (False, -6) for name, (_, opens) in DONE.items()
    }


async def test_a_window_that_opens_is_told_unless_the_customer_is_blocked(
    trunkline: Trunkline,
) -> None:
    """Spec C7; a live stream's `chat` event."""
    org, page = await organisation(trunkline), new_account("messenger")
    await connect(org, "messenger", page)
    long_ago, link = datetime.now(UTC) - timedelta(hours=30), {"referral": {"ref": "spring"}}
    await does(trunkline, page, long_ago, {"message": {"mid": f"m_{page}", "text": "hello"}})
    await org.settled()
    (chat,) = await org.chats("crm")
    async with live(org, "crm", after=org.position) as stream:
        await does(trunkline, page, datetime.now(UTC), link)
        event = await stream.event()
        assert (event.name, event.data["chat"]["window"]["open"]) == ("chat", True)
        await org.post(f"/v1/services/crm/chats/{chat['id']}/block")
        assert (await stream.event()).data["chat"]["blocked"]
        await does(trunkline, page, datetime.now(UTC) + timedelta(seconds=1), link)
        await org.post(f"/v1/services/crm/chats/{chat['id']}/unblock")
        assert not (await stream.event()).data["chat"]["blocked"]


async def test_no_chat_begins_with_a_link(trunkline: Trunkline) -> None:
    org, page = await organisation(trunkline), new_account("messenger")
    await connect(org, "messenger", page)
    await does(trunkline, page, datetime.now(UTC), {"referral": {"ref": "spring"}})
    await org.settled()
    assert await org.events(type="chat.window_opened") == []


async def does(
    trunkline: Trunkline,
    page: str,
    at: datetime,
    what: dict[str, Any],
    *,
    customer: str = "6473829104756123",
) -> None:
    """A customer of a page does something."""
    event = {
        "sender": {"id": customer},
        "recipient": {"id": page},
        "timestamp": int(at.timestamp() * 1000),
        **what,
    }
    body = {"object": "page", "entry": [{"id": page, "time": 1, "messaging": [event]}]}
    delivery = signed("messenger", body, credentials={"app_secret": APP_SECRET})
    assert (await post(trunkline, "messenger", delivery)).status_code == 200


async def test_what_can_be_chosen_and_what_was(trunkline: Trunkline) -> None:
    org = await organisation(trunkline)
    page = new_account("messenger")
    await connect(org, "messenger", page)
    since = "2026-01-01T00:00:00Z"
    for _ in range(2):  # The same again is no event.
        await choose(org, account_id=page, effective_from=since)
    shown = await org.get(WINDOW)
    assert (shown["default"], shown["cards"]) == (None, [])
    assert shown["defaults"]["wechat"] == "wechat/1"
    assert {"wechat/2023-06", HUMAN} <= set(shown["rules"])
    assert [(each["rule"], each["account_id"]) for each in shown["chosen"]] == [(HUMAN, page)]
    assert len(await org.events(stream="rules")) == 1


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"rule": "messenger/2"}, 400, "rule"),
        ({"rule": "conversation/1"}, 400, "rule"),
        ({"rule": HUMAN, "card": "default/1"}, 400, "card"),
        ({"rule": HUMAN, "time_zone": "Asia/Tokyo"}, 400, "time_zone"),
        ({"rule": HUMAN, "rates": []}, 400, "rates"),
        ({"rule": HUMAN, "effective_from": "2026-01-01T00:00:00"}, 400, "effective_from"),
        ({"rule": HUMAN, "account_id": "101900000000000"}, 404, None),
        ({"rule": "wechat/2023-06", "account_id": "PAGE"}, 404, None),  # Of another platform.
    ],
)
async def test_a_wrong_choice_is_refused(
    trunkline: Trunkline, body: dict[str, Any], status: int, field: str | None
) -> None:
    org, page = await organisation(trunkline), new_account("messenger")
    await connect(org, "messenger", page)
    body = {name: page if value == "PAGE" else value for name, value in body.items()}
    assert_problem(await org.call("PUT", WINDOW, json=body), status, field=field)
    assert await org.events(stream="rules") == []


async def test_only_an_admin_chooses(trunkline: Trunkline) -> None:
    org = await organisation(trunkline)
    for role in ("supervisor", "agent", "auditor"):
        user = await org.user(role, {"crm": "reply"})
        await user.put(WINDOW, {"rule": HUMAN}, expect=403)
