"""The story: a flower shop in Yokohama on the Saturday before Mother's Day."""

from typing import Any

from api.cli.demo import recorded
from api.cli.demo.answers import answer_side_by_side, count_unread, take_over
from api.cli.demo.bill import show_the_bill
from api.cli.demo.limits import close_the_window, misbehave
from api.cli.demo.parents import change_parents
from api.cli.demo.proof import prove
from api.cli.demo.scene import Day, show_inboxes
from api.cli.demo.screen import Screen, service
from api.cli.demo.stage import ACCESS_TOKEN, Stage, expect

START = "0508-1155"
MORNING = (
    "0508-1210",
    "0509-0703",
    "0509-0718",
    "0509-0731",
    "0509-0744",
    "0509-0756",
    "0509-0811",
)
CHATS = 7
SERVICES = ("crm", "desk", "salesiq")


async def play(stage: Stage, screen: Screen) -> None:
    """The whole day, section by section."""
    screen.opening(
        "Hanamizuki, a flower shop in Yokohama, on the Saturday before Mother's Day",
        "A recorded day on one WhatsApp number, played to a whole Trunkline at "
        f"{stage.http.base_url} with a database of its own and a stand-in for WhatsApp. What you "
        "see was asked for over HTTP, and everything that is said of it was checked.",
    )
    await stage.open("Hanamizuki Flowers")
    day = await connect(stage, screen)
    await receive_the_morning(day)
    await answer_side_by_side(day)
    await take_over(day)
    await count_unread(day)
    await close_the_window(day)
    await misbehave(day)
    await show_the_bill(day)
    await change_parents(day)
    await prove(day)


async def connect(stage: Stage, screen: Screen) -> Day:
    """One number, three services (S1, S2)."""
    screen.section(
        "One number, three services",
        "The first service that connects a number makes its channel and becomes the parent, who "
        "manages it. Every later one joins that same channel.",
    )
    rows = []
    channels = []
    for name in SERVICES:
        await stage.admin.put(f"/v1/services/{name}", {"subscription": "bundled"})
        channel = await stage.admin.post("/v1/channels", _connection(name), status=201)
        channels.append(channel)
        is_parent = channel["parent"] == name
        does = "makes the channel" if len(channels) == 1 else "joins the channel"
        rows.append((service(name), does, "parent" if is_parent else "child"))
    refused = await stage.admin.post("/v1/channels", _connection("books"), status=422)
    expect(refused["reason"] == "accounting_service", "an accounting service is refused as such")
    rows.append((service("books"), f"refused: {refused['code']}", "accounting stays outside"))
    screen.table("Service", f"Connects {recorded.NUMBER}", "Is", rows=rows)
    expect(len({each["id"] for each in channels}) == 1, "all three are on one channel")
    expect([each["parent"] for each in channels] == ["crm"] * 3, "CRM, the first, stays parent")
    channel_id = channels[0]["id"]
    await stage.until(
        lambda: stage.admin.get(f"/v1/channels/{channel_id}"),
        lambda channel: bool(channel["verification"] == "verified"),
        "WhatsApp accepts the credentials",
    )
    screen.checked("It is one channel, CRM is its parent, and WhatsApp accepts its credentials.")
    return Day(
        stage,
        screen,
        channel_id,
        aiko=await stage.hire("Aiko Mori", "agent", {"crm": "reply"}),
        ben=await stage.hire("Ben Carter", "agent", {"desk": "reply", "crm": "view"}),
        carmen=await stage.hire("Carmen Ruiz", "agent", {"desk": "reply", "salesiq": "reply"}),
    )


def _connection(name: str) -> dict[str, Any]:
    return {
        "service": name,
        "platform": "whatsapp",
        "account_id": recorded.ACCOUNT,
        "business_account_id": recorded.BUSINESS_ACCOUNT,
        "name": "Hanamizuki Flowers",
        "address": recorded.NUMBER,
        "credentials": {"access_token": ACCESS_TOKEN},
    }


async def receive_the_morning(day: Day) -> None:
    """What customers send is in every inbox (S3)."""
    stage, screen = day.stage, day.screen
    screen.section(
        "The morning's messages",
        "What a customer sends is written down once and appears in the inbox of every service.",
    )
    webhooks = sum([await stage.deliver(name) for name in MORNING])
    crm, desk = await show_inboxes(day)
    expect([_facts(chat) for chat in crm] == [_facts(chat) for chat in desk], "the inboxes agree")
    expect(len(crm) == CHATS, "there are seven chats")
    screen.say(
        "Among them: a photo, a voice note, a pressed button, an edit, an unsent message, a "
        "reaction, a group, a line from the shop's own phone, and a kind nobody knows yet."
    )
    screen.checked(
        f"{webhooks} webhooks in {len(MORNING)} signed deliveries make {len(crm)} chats, the same "
        "in both inboxes: the same ids, messages and numbers."
    )


def _facts(chat: dict[str, Any]) -> tuple[Any, ...]:
    return chat["id"], chat["last_activity_at"], chat["unread"], chat["last_message"]
