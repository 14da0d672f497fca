"""Who manages the channel: parents, and the decisions that chose them."""

from typing import Any

from rich.text import Text

from api.cli.demo import recorded
from api.cli.demo.answers import EMMA
from api.cli.demo.scene import Day
from api.cli.demo.screen import SERVICES, number, service, sharing
from api.cli.demo.stage import expect

RULE = "earliest-created/1"
OTHER_RULE = "earliest-joined/1"

_AFTER_FIVE = ["salesiq", "desk", "crm"]

# The services that share after each step, the parent first.
Steps = list[tuple[str, tuple[str, ...], list[str]]]


async def change_parents(day: Day) -> None:
    """Succession by order of creation; every choice can be replayed (S8, S9)."""
    day.screen.section(
        "The parent leaves",
        "When the parent leaves, the remaining service that was connected earliest takes over by "
        "itself. Each choice is an event that holds its rule and all it was made from.",
    )
    day.move_to("0509-1700")
    before = await day.timeline(day.aiko, "crm", EMMA)
    await _seed_table(day)
    expect(await day.timeline(day.aiko, "crm", EMMA) == before, "CRM is back with all its history")
    day.screen.say("A little further, so that two rules can disagree:")
    await _steps(
        day,
        [
            ("Desk leaves and returns", ("disable desk", "enable desk"), _AFTER_FIVE),
            ("SalesIQ deletes", ("delete salesiq",), ["desk", "crm"]),
        ],
    )
    await _replay(day)


async def _seed_table(day: Day) -> None:
    await _steps(
        day,
        [
            ("All three connect", (), ["crm", "desk", "salesiq"]),
            ("Desk disables", ("disable desk",), ["crm", "salesiq"]),
            ("CRM deletes", ("delete crm",), ["salesiq"]),
            ("Desk enables again", ("enable desk",), ["salesiq", "desk"]),
            ("CRM connects anew", ("connect crm",), _AFTER_FIVE),
        ],
    )


async def _steps(day: Day, steps: Steps) -> None:
    rows = []
    for label, actions, expected in steps:
        decided = await _decisions(day) if actions else []
        for action in actions:
            await _act(day, *action.split())
        channel = await day.stage.admin.get(f"/v1/channels/{day.channel_id}")
        active = [each["service"] for each in channel["services"] if each["state"] == "active"]
        parent = SERVICES[expected[0]]
        expect(channel["parent"] == expected[0], f"{parent} is parent after “{label}”")
        expect(
            sorted(active, key=lambda name: name != channel["parent"]) == expected,
            f"{', '.join(map(SERVICES.__getitem__, expected))} share after “{label}”",
        )
        new = (await _decisions(day))[len(decided) :]
        rows.append((label, sharing(channel), *_decided(new)))
    columns = ("Step", "Then share", "Decision", "Candidates", "Chosen")
    day.screen.table(*columns, rows=rows)


async def _act(day: Day, verb: str, name: str) -> None:
    admin, base = day.stage.admin, f"/v1/channels/{day.channel_id}/services/{name}"
    match verb:
        case "delete":
            await admin.delete(base)
            gone = await admin.get(day.path(name, EMMA), status=404)
            expect(
                gone["code"] == "not_connected",
                f"without a connection {SERVICES[name]} has no chats",
            )
        case "connect":
            body = {
                "service": name,
                "platform": "whatsapp",
                "account_id": recorded.ACCOUNT,
                "name": "-",
            }
            channel = await admin.post("/v1/channels", body, status=201)
            expect(
                channel["id"] == day.channel_id, f"{SERVICES[name]} joins the same channel again"
            )
        case _:
            await admin.post(f"{base}/{verb}")


async def _decisions(day: Day) -> list[dict[str, Any]]:
    page = await day.stage.admin.get(f"/v1/channels/{day.channel_id}/decisions?limit=200")
    items: list[dict[str, Any]] = page["items"]
    return items


def _decided(decisions: list[dict[str, Any]]) -> tuple[Text, Text, Text]:
    """The cause of a step's decision, its candidates and the chosen one."""
    if not decisions:
        return Text("none needed", style="dim"), Text(), Text()
    (decision,) = decisions
    candidates = Text(", ").join(service(each["service"]) for each in decision["candidates"])
    return Text(decision["cause"].replace("_", " ")), candidates, service(decision["chosen"])


async def _replay(day: Day) -> None:
    """What another rule would have chosen; nothing is written (S9)."""
    stage = day.stage
    before = len(await stage.events())
    path = f"/v1/channels/{day.channel_id}/decisions/replay"
    same = (await stage.admin.post(path))["items"]
    other = (await stage.admin.post(path, {"rule": OTHER_RULE}))["items"]
    decisions = await _decisions(day)
    expect(all(each["same"] for each in same), "replaying a decision gives the same choice")
    expect(len(await stage.events()) == before, "replaying writes nothing")
    expect({each["rule"] for each in decisions} == {RULE}, "each decision names its rule")
    causes = [each["cause"] for each in decisions]
    expect(causes == ["first_creation", "succession", "succession"], "there were three decisions")
    last = decisions[-1]
    ranks = {each["service"]: each for each in last["candidates"]}
    expect(last["chosen"] == "desk", "Desk's connection was created first")
    expect(other[-1]["replayed"] == "crm", "CRM joined before Desk came back")
    expect(
        ranks["desk"]["created_position"] < ranks["crm"]["created_position"]
        and ranks["crm"]["joined_position"] < ranks["desk"]["joined_position"],
        "the recorded positions say so",
    )
    day.screen.table(
        number("At"),
        "Candidates (created, last joined at)",
        f"{RULE} chose",
        f"{OTHER_RULE} would",
        rows=[
            (
                number(decision["position"]),
                _ranks(decision),
                service(decision["chosen"]),
                _answer(replayed),
            )
            for decision, replayed in zip(decisions, other, strict=True)
        ],
    )
    day.screen.checked(
        "Replayed under its own rule each choice is the same; another rule was asked and nothing "
        "was written. CRM is back with its whole history, Desk's answers masked in it."
    )


def _ranks(decision: dict[str, Any]) -> Text:
    return Text(", ").join(
        service(each["service"]).append(
            f" ({each['created_position']}, {each['joined_position']})", style="dim"
        )
        for each in decision["candidates"]
    )


def _answer(replayed: dict[str, Any]) -> Text:
    said = service(replayed["replayed"])
    return said.append(" too", style="dim") if replayed["same"] else said
