"""Answers, masking, owners and unread counters."""

from typing import Any

from rich.text import Text

from api.cli.demo.scene import Day, show_inboxes
from api.cli.demo.screen import SERVICES, clock_time, message, number, service, ticks
from api.cli.demo.stage import Person, expect

MISAKI = "佐藤 美咲"
EMMA = "Emma Clarke"
LUCIA = "Lucía Morales"
TO_MISAKI = "はい、明日の夕方6時にご用意します。ピンクのシャクヤクはいかがでしょうか？"
TO_EMMA = "Sorry, Emma! The driver had the wrong door. It is with you by ten."
SALES_TO_EMMA = "Emma, the vase is on us. Happy Mother's Day!"
TO_LUCIA = "¡Claro! Tenemos macetas de barro y de cerámica."

# What a masked message is: these and nothing else (S4).
MASKED_FIELDS = {"id", "direction", "at", "status", "masked", "service"}

# Long enough for an agent to be shown the message before it has left.
ANSWER_AFTER_SECONDS = 0.4


async def answer_side_by_side(day: Day) -> None:
    """A reply is seen in its own service and masked in the others (S4)."""
    day.screen.section(
        "Answers, side by side",
        "A reply is sent once. The service that wrote it reads it; the others see that there is "
        "one, from whom and how far it got, and not a word of it.",
    )
    await _two_answers(day)
    day.move_to("0509-0952")
    third = await day.write(day.aiko, "crm", EMMA, text(SALES_TO_EMMA))
    await day.status_of(day.aiko, "crm", EMMA, third, "sent")
    day.screen.say(Text.assemble("The chat with ", (EMMA, "bold"), " as both services have it:"))
    crm = await day.timeline(day.aiko, "crm", EMMA)
    desk = await day.timeline(day.ben, "desk", EMMA)
    day.screen.comparison(
        "Time",
        "From",
        service("crm").append(" sees"),
        service("desk").append(" sees"),
        rows=[
            (clock_time(left["at"]), _sender(left), message(left), message(right))
            for left, right in zip(crm, desk, strict=True)
        ],
        wide=(2, 3),
    )
    await _expect_masked(day, day.ben, "desk", by="crm", texts=(TO_MISAKI, SALES_TO_EMMA))
    await _expect_masked(day, day.aiko, "crm", by="desk", texts=(TO_EMMA,))
    day.screen.checked(
        "A masked message has six fields: id, direction, at, status, masked, service. What it "
        "says is nowhere in the answers for the other service. Both are shown the same statuses."
    )


async def _two_answers(day: Day) -> None:
    stage = day.stage
    day.move_to("0509-0930")
    await day.aiko.post(f"{day.path('crm', MISAKI)}/assign")
    await day.ben.post(f"{day.path('desk', EMMA)}/assign")
    stage.platform.next_requests(*[_answers_late] * 2)
    first = await day.write(day.aiko, "crm", MISAKI, text(TO_MISAKI))
    second = await day.write(day.ben, "desk", EMMA, text(TO_EMMA))
    rows = [("09:30", "Both answer", ticks(first["status"]), ticks(second["status"]))]

    async def note(time: str, what: str, *heard: str, then: tuple[str, str]) -> None:
        to_misaki = await day.status_of(day.aiko, "crm", MISAKI, first, then[0])
        to_emma = await day.status_of(day.ben, "desk", EMMA, second, then[1])
        told = [Text(f"{each} → ", style="dim") for each in heard] or [Text(), Text()]
        left, right = told[0].append_text(ticks(to_misaki)), told[1].append_text(ticks(to_emma))
        rows.append((time, what, left, right))

    await note("09:30", "WhatsApp has them", then=("sent", "sent"))
    await stage.deliver("0509-0935")
    heard = ("sent, delivered", "read, before all else")
    await note("09:35", "A webhook says", *heard, then=("delivered", "read"))
    await stage.deliver("0509-0948")
    heard = ("read", "delivered, sent, delivered")
    await note("09:48", "Another says", *heard, then=("read", "read"))
    day.screen.table(
        "Time",
        "What happens",
        service("crm").append(f" to {MISAKI}"),
        service("desk").append(f" to {EMMA}"),
        rows=rows,
    )


def _answers_late(usual: Any) -> Any:
    """The platform takes its time, so that one sees a message wait."""
    answer = usual()
    return type(answer)(status=answer.status, body=answer.body, wait_seconds=ANSWER_AFTER_SECONDS)


def _sender(shown: dict[str, Any]) -> Text:
    if shown["service"]:
        return service(shown["service"])
    return Text("Phone" if shown["direction"] == "outbound" else "Customer", style="dim")


async def _expect_masked(
    day: Day, viewer: Person, viewing: str, *, by: str, texts: tuple[str, ...]
) -> None:
    here, there = SERVICES[viewing], SERVICES[by]
    masked = 0
    for name in day.chats:
        for shown in await day.timeline(viewer, viewing, name):
            if shown["service"] == by:
                masked += 1
                expect(shown["masked"] is True, f"{here} is shown {there}'s answers masked")
                expect(set(shown) == MASKED_FIELDS, "a masked message has these fields and no more")
            else:
                expect(not shown["masked"], f"{here} reads everything else")
        for read in (day.path(viewing, name), f"{day.path(viewing, name)}/messages"):
            body = (await viewer.request("GET", read)).text
            expect(not any(text in body for text in texts), f"{here} reads no word of {there}'s")
    inbox = (await viewer.request("GET", f"/v1/services/{viewing}/chats")).text
    expect(not any(text in inbox for text in texts), f"no word of {there}'s is in {here}'s inbox")
    expect(masked == len(texts), f"each of {there}'s answers is there")


async def take_over(day: Day) -> None:
    """Owners are per service, and nobody is locked out (S5-S7)."""
    day.screen.section(
        "Two people, one chat",
        f"Aiko owns the chat with {MISAKI} in CRM. Others may open it, and are told. Who takes it "
        "in another service is asked once more, and then both own it, each in their service.",
    )
    chat = day.path("desk", MISAKI)
    in_crm = await day.aiko.get(day.path("crm", MISAKI))
    notices = {}
    for person, who in (
        (day.ben, "Ben opens it in Desk. He may look into CRM, so he is told her name:"),
        (day.carmen, "Carmen opens it in Desk. She may not, so she is told no name:"),
    ):
        day.screen.say(who)
        for language in ("en", "ja"):
            opened = await person.get(chat, language=language)
            notices[person.name, language] = opened["notice"]
            expect(opened["owner"] is None, "nobody owns the chat in Desk yet")
            day.screen.quote(language, opened["notice"]["text"])
    ben, carmen = notices[day.ben.name, "en"], notices[day.carmen.name, "en"]
    expect(ben["owner"] == {"name": day.aiko.name}, "Ben is told who owns the chat")
    expect(carmen["owner"] is None, "Carmen is not told who owns the chat")
    expect(day.aiko.name not in str(carmen), "no name is in Carmen's notice")
    expect(day.aiko.name in notices[day.ben.name, "ja"]["text"], "the Japanese text has the name")
    await _take(day, chat, ben)
    now = await day.aiko.get(day.path("crm", MISAKI))
    expect(now["notice"]["owner"] is None, "Aiko, who may not look into Desk, is told no name")
    expect(now == in_crm | {"notice": now["notice"]}, "nothing else has changed in CRM")
    day.screen.checked("In CRM the chat is as it was, but now Aiko is told of an owner elsewhere.")


async def _take(day: Day, chat: str, notice: dict[str, Any]) -> None:
    refused = await day.ben.post(f"{chat}/assign", status=409)
    expect(refused["code"] == "owned_elsewhere", "taking it needs a confirmation")
    expect(refused["notice"] == notice, "the conflict carries the same notice")
    taken = await day.ben.post(f"{chat}/assign", {"confirm": True})
    in_crm = await day.aiko.get(day.path("crm", MISAKI))
    owners = [each["owner"]["name"] for each in (in_crm, taken)]
    expect(owners == [day.aiko.name, day.ben.name], "each service has its own owner")
    day.screen.table(
        "Ben",
        "is answered",
        service("crm").append(" owner"),
        service("desk").append(" owner"),
        rows=[
            ("takes the chat", f"409 {refused['code']}, with the notice", owners[0], "nobody"),
            ("takes it and confirms", "200", *owners),
        ],
    )


async def count_unread(day: Day) -> None:
    """What is new is counted for each person (C6)."""
    day.screen.section(
        "New for whom?",
        "Unread messages are counted per person and service. Who visits a service has seen all of "
        "it; who answers a chat has seen that chat. Nobody else's counter moves.",
    )
    await day.stage.deliver("0509-1126")
    day.move_to("0509-1130")
    before = await _counters(day)
    came = [
        each["direction"] == "inbound"
        for name in day.chats
        for each in await day.timeline(day.carmen, "desk", name)
    ]
    new = before[day.carmen.name, "desk"]
    expect(new == sum(came), "all that customers wrote is new to who has seen nothing")
    await day.carmen.post("/v1/services/desk/visit")
    visited = await _counters(day)
    of_lucia = (await day.ben.get("/v1/services/desk/unread"))["chats"][day.chats[LUCIA]]
    await day.ben.post(f"{day.path('desk', LUCIA)}/assign")
    sent = await day.write(day.ben, "desk", LUCIA, text(TO_LUCIA))
    await day.status_of(day.ben, "desk", LUCIA, sent, "sent")
    after = await _counters(day)
    steps = (
        ("Three messages have come", before, before),
        ("Carmen visits Desk", before, visited),
        ("Ben answers Lucía in Desk", visited, after),
    )
    columns = list(before)
    day.screen.table(
        "",
        *(_header(name, of) for name, of in columns),
        rows=[
            (what, *(_moved(earlier[column], now[column]) for column in columns))
            for what, earlier, now in steps
        ],
    )
    carmen, ben = (day.carmen.name, "desk"), (day.ben.name, "desk")
    expect(visited == {**before, carmen: 0}, "a visit clears one person's counter in one service")
    expect(of_lucia > 0, "Lucía's messages are new to Ben")
    expect(after == {**visited, ben: visited[ben] - of_lucia}, "an answer clears its chat")
    day.screen.say("The inboxes now, Aiko's in CRM and Carmen's in Desk:")
    crm, desk = await show_inboxes(day)
    masked = [sum(chat["last_message"]["masked"] for chat in each) for each in (crm, desk)]
    expect(masked == [1, 1], "each inbox masks the other service's last answer")
    day.screen.checked("Each step moved exactly one counter. What is masked is so in lists, too.")


def _header(name: str, of: str) -> Text:
    return Text(f"{name.split()[0]}\n", justify="right").append_text(service(of))


def _moved(earlier: int, now: int) -> Text:
    return number(now, style="dim") if now == earlier else number(f"{earlier} → {now}")


async def _counters(day: Day) -> dict[tuple[str, str], int]:
    seen = {}
    for person, services in (
        (day.aiko, ("crm",)),
        (day.ben, ("crm", "desk")),
        (day.carmen, ("desk", "salesiq")),
    ):
        for name in services:
            counted = await person.get(f"/v1/services/{name}/unread")
            seen[person.name, name] = counted["unread"]
    return seen


def text(words: str) -> dict[str, str]:
    """A free-form message."""
    return {"kind": "text", "text": words}
