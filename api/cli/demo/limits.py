"""The messaging window, lost answers, and deliveries that come again."""

from random import Random
from typing import Any

import msgspec

from api.cli.demo import recorded
from api.cli.demo.answers import EMMA, text
from api.cli.demo.scene import Day
from api.cli.demo.screen import clock_time, number, ticks
from api.cli.demo.stage import expect
from api.cli.words import usd

DIEGO = "Diego Fernández"
TEMPLATE = "bouquet_offer"
TEMPLATE_BODY = "Hola {{name}}, sí: hacemos ramos de {{flower}} para mañana. ¿Le reservamos uno?"
PARAMETERS = {"name": "Diego", "flower": "tulipanes"}
SHUFFLE = 20260509


async def close_the_window(day: Day) -> None:
    """Free text within 24 hours, an approved template after that (N1, N2)."""
    stage, screen = day.stage, day.screen
    screen.section(
        "The window",
        "WhatsApp takes free text only within 24 hours of the customer's last message. What it "
        "would refuse is refused here, before anything is sent, with what is possible instead.",
    )
    for name, state in ((TEMPLATE, "approved"), ("spring_sale", "pending")):
        await stage.admin.put(f"/v1/accounts/{recorded.ACCOUNT}/templates/{name}/es", _set(state))
    day.move_to("0509-1310")
    asked = len(stage.platform.accepted)
    chat = await day.aiko.get(day.path("crm", DIEGO))
    messages = f"{day.path('crm', DIEGO)}/messages"
    refused = await day.aiko.post(messages, text("¡Sí, claro!"), status=409)
    expect(refused["code"] == "window_closed", "free text is refused")
    expect(refused["closed_at"] == chat["window"]["closes_at"], "it says since when")
    expect(refused["templates"] == [TEMPLATE], "it names the template that is approved")
    expect(len(stage.platform.accepted) == asked, "nothing was sent")
    body = {"kind": "template", "name": TEMPLATE, "language": "es", "parameters": PARAMETERS}
    short = await day.aiko.post(messages, body, status=402)
    expect(short["code"] == "insufficient_credits", "what the balance does not cover is refused")
    expect(len(stage.platform.accepted) == asked, "that was not sent either")
    purchase = {"account_id": recorded.ACCOUNT, "credits": 1}
    await stage.admin.post("/v1/credits/purchases", purchase, status=201)
    sent = await day.write(day.aiko, "crm", DIEGO, body)
    expect(sent["content"]["text"].startswith("Hola Diego"), "the text that was sent is kept")
    await day.status_of(day.aiko, "crm", DIEGO, sent, "sent")
    await stage.deliver("0509-1322")
    status = await day.status_of(day.aiko, "crm", DIEGO, sent, "delivered")
    closed = clock_time(refused["closed_at"], day=True)
    screen.table(
        "Time",
        "Aiko, in CRM",
        "is answered",
        rows=[
            (
                "13:10",
                f"“¡Sí, claro!” to Diego, who wrote on {clock_time(chat['started_at'], day=True)}",
                f"409 window_closed since {closed}; possible: {', '.join(refused['templates'])}",
            ),
            (
                "13:10",
                f"{TEMPLATE}, without credits",
                f"402 {short['code']}: it costs {usd(short['needed_micro_usd'])}, and there is "
                f"{usd(short['balance_micro_usd'])}",
            ),
            ("13:10", f"{TEMPLATE}: “{sent['content']['text']}”", ticks(status)),
        ],
    )
    screen.checked("WhatsApp was not asked for the first two, and took the third.")


def _set(state: str) -> dict[str, Any]:
    return {
        "category": "utility",
        "body": TEMPLATE_BODY,
        "parameters": list(PARAMETERS),
        "state": state,
    }


async def misbehave(day: Day) -> None:
    """A lost answer, and every webhook twice (N3, P2)."""
    day.screen.section(
        "The platform misbehaves",
        "Where nobody can know whether a message went out, Trunkline says so and does not send it "
        "again by itself. And what WhatsApp delivers twice, or in any order, counts once.",
    )
    await _lose_an_answer(day)
    await _deliver_again(day)


async def _lose_an_answer(day: Day) -> None:
    stage = day.stage
    day.move_to("0509-1420")
    taken = len(stage.platform.accepted)
    stage.platform.next_requests(_takes_it_and_hangs_up)
    sent = await day.write(day.ben, "desk", EMMA, text("The driver is at your door now."))
    uncertain = await day.status_of(day.ben, "desk", EMMA, sent, "uncertain")
    await stage.deliver("0509-1431")
    settled = await day.status_of(day.ben, "desk", EMMA, sent, "delivered")
    expect(len(stage.platform.accepted) == taken + 1, "WhatsApp was given the message once")
    day.screen.table(
        "Time",
        "What happens",
        "Ben sees",
        rows=[
            ("14:20", "Ben answers; WhatsApp takes it, and hangs up", ticks(uncertain)),
            ("14:31", "A webhook says what became of it", ticks(settled)),
        ],
    )


def _takes_it_and_hangs_up(usual: Any) -> Any:
    return msgspec.structs.replace(usual(), drops=True)


async def _deliver_again(day: Day) -> None:
    stage = day.stage
    before, events = await _everything(day), len(await stage.events())
    bodies = list(stage.delivered)
    Random(SHUFFLE).shuffle(bodies)  # noqa: S311 - The same order every time.
    for body in bodies:
        await stage.post_signed(body)
    webhooks = sum(recorded.webhook_count(body) for body in bodies)
    more = len(await stage.events()) - events
    same = await _everything(day) == before
    day.screen.table(
        "All of the day once more",
        number("New events"),
        "Inboxes, timelines, counters",
        rows=[
            (
                f"{webhooks} webhooks in {len(bodies)} deliveries, shuffled",
                number(more),
                "the same as before, to the letter" if same else "changed",
            )
        ],
    )
    expect(more == 0, "a second delivery writes no event")
    expect(same, "a second delivery changes no inbox, no timeline and no counter")
    day.screen.checked("The message went out once, and no delivery counted twice.")


async def _everything(day: Day) -> list[str]:
    """All that services are shown."""
    shown = []
    for viewer, service in day.viewers():
        shown.append((await viewer.request("GET", f"/v1/services/{service}/chats")).text)
        shown.append((await viewer.request("GET", f"/v1/services/{service}/unread")).text)
        for name in day.chats:
            path = f"{day.path(service, name)}/messages?limit=200"
            shown.append((await viewer.request("GET", path)).text)
    return shown
