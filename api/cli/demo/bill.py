"""The day's bill: what was free, what was paid, why, and what another rule would have cost."""

from datetime import datetime
from typing import Any

from api.cli.demo import recorded
from api.cli.demo.scene import Day
from api.cli.demo.screen import clock_time, number
from api.cli.demo.stage import expect
from api.cli.words import usd
from domain.pricing import Inputs
from domain.rules import RULES

# A card of the shop's own, in which a utility template is dearer.
RATES = [
    {"country": "any", "category": "any", "micro_usd": 8_000},
    {"country": "any", "category": "utility", "micro_usd": 21_500},
]
OWN_CARD = {"pricing": "conversation/1", "card": "flowers/1", "rates": RATES}
WHAT_IFS: tuple[tuple[str, dict[str, Any]], ...] = (
    *((rule, {"pricing": rule}) for rule in sorted(RULES["pricing"])),
    ("conversation/1, card flowers/1", OWN_CARD),
)
MOVEMENTS = {"purchase": "One credit bought", "charge": "Conversations"}


async def show_the_bill(day: Day) -> None:
    """Conversations, balances, the proof of each charge, and what if (L1, L2, L6, L7)."""
    day.screen.section(
        "The bill",
        "The first answer to a customer begins a conversation of 24 hours; all that is said in it, "
        "by whichever service, is one charge. A thousand a month about service are free, the rest "
        "is paid in advance. An answer and its charge are one entry in the log.",
    )
    admin, path = day.stage.admin, _path(day)
    statement = await admin.get(path)
    lines = (await admin.get(f"{path}/lines?limit=200"))["items"]
    charges = [each for each in lines if each["kind"] == "charge"]
    names = {chat_id: name for name, chat_id in day.chats.items()}
    day.screen.table(
        "Began",
        "With",
        "Country",
        "Category",
        number("Rate"),
        number("Charged"),
        rows=[_row(each, names) for each in charges],
    )
    _show_balances(day, statement)
    expect(statement["conversations"]["count"] == len(charges), "each conversation is one line")
    expect(sum(each["micro_usd"] for each in lines) == _closing(statement), "the lines add up")
    credits_ = await admin.get(f"/v1/credits?account_id={recorded.ACCOUNT}")
    expect(credits_["balance_micro_usd"] == _closing(statement), "the balance is what is left")
    for each in charges:
        again = RULES["pricing"][each["proof"]["rule"]](_inputs(each))
        expect(again.micro_usd == -each["micro_usd"], "a replayed charge is the same to the cent")
    day.screen.checked(
        "Every line adds up to the balance, and each charge was decided again from what its event "
        "holds, with the same result."
    )
    await _ask_what_if(day, path)


def _path(day: Day) -> str:
    return f"/v1/statements/{recorded.ACCOUNT}/{day.stage.clock.now():%Y-%m}"


def _closing(statement: dict[str, Any]) -> int:
    closing: int = statement["closing_balance_micro_usd"]
    return closing


def _row(charge: dict[str, Any], names: dict[str, str]) -> tuple[Any, ...]:
    proof = charge["proof"]
    price = "free" if charge["free"] else usd(-charge["micro_usd"])
    return (
        clock_time(datetime.fromisoformat(charge["at"])),
        names[charge["chat_id"]],
        charge["country"],
        charge["category"],
        number(usd(proof["inputs"]["rate_micro_usd"])),
        number(price),
    )


def _inputs(charge: dict[str, Any]) -> Any:
    return Inputs(**charge["proof"]["inputs"])


def _show_balances(day: Day, statement: dict[str, Any]) -> None:
    day.screen.table(
        "Balance",
        number("USD"),
        rows=[
            ("At the beginning of the month", number(usd(statement["opening_balance_micro_usd"]))),
            *(
                (MOVEMENTS[each["kind"]], number(usd(each["micro_usd"])))
                for each in statement["movements"]
            ),
            ("Now", number(usd(_closing(statement)))),
        ],
    )


async def _ask_what_if(day: Day, path: str) -> None:
    before = len(await day.stage.events())
    rows = []
    for name, pricing in WHAT_IFS:
        found = await day.stage.admin.post(f"{path}/replay", pricing)
        rows.append(
            (
                name,
                number(found["answers"]),
                number(usd(found["replayed_micro_usd"])),
                number(found["differing"]),
            )
        )
    day.screen.table(
        "The same day under", number("Answers"), number("Costs"), number("Differ"), rows=rows
    )
    expect(rows[0][2].plain == usd(8_000), "the rule in force gives the bill again")
    expect(len(await day.stage.events()) == before, "asking what if writes nothing")
    day.screen.checked("A new rule never touches an old charge, and asking writes nothing.")
