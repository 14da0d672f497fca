"""The tables of a statement, the same in the terminal and on paper."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.cli.words import usd_column
from api.statements import StatementView, Total

MOVEMENTS = {
    "purchase": "Credits bought",
    "recharge": "Credits bought by themselves",
    "charge": "Conversations and messages",
    "refund": "Given back",
    "adjustment": "Corrections",
}

FREE = {
    "allowance": "Within the month's allowance",
    "entry_point": "After an ad or a Page's button",
}


@dataclass(frozen=True)
class StatementTable:
    """A title, heads of columns, and rows of texts; the first column is words, the rest numbers."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    has_total: bool = False  # The last row is the sum of those above.


def tables_of(bill: StatementView) -> list[StatementTable]:
    """The balance, and what was charged by everything it is shown by; none that is empty."""
    totals = {
        "Charged": [
            each for each in (bill.conversations, bill.messages) if each.count or each.refunded
        ],
        "By category": bill.by_category,
        "By country": bill.by_country,
        "By service": bill.by_service,
        "By who answered first": _agents(bill),
    }
    charged = [_charged(title, rows) for title, rows in totals.items() if rows]
    free = [(FREE[each.name], f"{each.count:,}") for each in bill.free]
    why_free = [StatementTable("What was free", ("Count",), free)] if free else []
    return [_balance(bill), *charged[:1], *why_free, *charged[1:]]


def _agents(bill: StatementView) -> list[Total]:
    return [
        Total(
            name=each.agent.name or each.agent.id,
            count=each.count,
            free=each.free,
            paid=each.paid,
            refunded=each.refunded,
            micro_usd=each.micro_usd,
        )
        for each in bill.by_agent
    ]


def _balance(bill: StatementView) -> StatementTable:
    names = ("At the beginning", *(MOVEMENTS[each.kind] for each in bill.movements), "At the end")
    counts = ("", *(f"{each.count:,}" for each in bill.movements), "")
    opening, closing = bill.opening_balance_micro_usd, bill.closing_balance_micro_usd
    amounts = usd_column([opening, *(each.micro_usd for each in bill.movements), closing])
    rows = list(zip(names, counts, amounts, strict=True))
    return StatementTable("Balance", ("Count", "Amount"), rows, has_total=True)


def _charged(title: str, totals: Sequence[Total]) -> StatementTable:
    amounts = usd_column([each.micro_usd for each in totals])
    rows = [
        (
            plain(each.name),
            *(f"{count:,}" for count in (each.count, each.free, each.paid, each.refunded)),
            amount,
        )
        for each, amount in zip(totals, amounts, strict=True)
    ]
    return StatementTable(title, ("Count", "Free", "Paid", "Given back", "Amount"), rows)


def plain(text: str) -> str:
    """What people named things, without what a terminal would obey."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
