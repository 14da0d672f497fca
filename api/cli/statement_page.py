"""A statement as one HTML page: no script, nothing from elsewhere, made to be printed."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from api.cli.words import usd
from api.statements import StatementView, Total

_STYLE = """
@page { size: A4; margin: 20mm 18mm; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2329; max-width: 46rem; margin: 3rem auto;
       padding: 0 1.5rem; }
header { display: flex; justify-content: space-between; align-items: baseline;
         border-bottom: 2px solid #1d2329; padding-bottom: .75rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1rem; margin: 2rem 0 .4rem; }
p { margin: .2rem 0; color: #59636e; }
table { border-collapse: collapse; width: 100%; break-inside: avoid; }
th, td { padding: .35rem 0 .35rem 1.2rem; text-align: right; font-variant-numeric: tabular-nums;
         border-bottom: 1px solid #e3e6e9; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { font-weight: 600; color: #59636e; }
tr.total td { font-weight: 700; border-bottom: 0; border-top: 1px solid #1d2329; }
footer { margin-top: 2.5rem; font-size: .85rem; color: #59636e; }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 11pt; } }
"""


def page(
    organisation: str,
    bill: StatementView,
    *,
    movements: Mapping[str, str],
    parts: Sequence[tuple[str, Sequence[Total]]],
) -> str:
    """The whole page; `movements` names the kinds, `parts` are the tables below the balance."""
    title = f"Statement {bill.month}"
    balances = [("At the beginning", "", usd(bill.opening_balance_micro_usd))]
    balances += [
        (movements[each.kind], f"{each.count:,}", usd(each.micro_usd)) for each in bill.movements
    ]
    closing = ("At the end", "", usd(bill.closing_balance_micro_usd))
    tables = [_table("Balance", ("", "Count", "Amount"), balances, total=closing)]
    head = ("", "Count", "Free", "Paid", "Given back", "Amount")
    tables += [_table(name, head, map(_row, totals)) for name, totals in parts]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(organisation)}: {escape(title)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<header><h1>{escape(organisation)}</h1><strong>{escape(title)}</strong></header>\n"
        f"<p>Business account {escape(bill.business_account_id)}</p>\n"
        + "\n".join(tables)
        + "\n<footer>Amounts in US dollars, exact to the micro-dollar. Every line can be replayed "
        "from the log: see the lines of this statement.</footer>\n</body>\n</html>\n"
    )


def _row(total: Total) -> tuple[str, ...]:
    counts = (total.count, total.free, total.paid, total.refunded)
    return total.name, *(f"{each:,}" for each in counts), usd(total.micro_usd)


def _table(
    title: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    total: Sequence[str] | None = None,
) -> str:
    lines = [_cells("th", head), *(_cells("td", row) for row in rows)]
    if total is not None:
        lines.append(_cells("td", total).replace("<tr>", '<tr class="total">', 1))
    return f"<h2>{escape(title)}</h2>\n<table>\n" + "\n".join(lines) + "\n</table>"


def _cells(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(each)}</{tag}>" for each in cells) + "</tr>"
