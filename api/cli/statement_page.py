"""A statement as one HTML page: no script, nothing from elsewhere, made to be printed."""

from collections.abc import Iterable
from html import escape

from api.cli.statement_tables import StatementTable, tables_of
from api.statements import StatementView

_STYLE = """
@page { size: A4; margin: 20mm 18mm; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2329; max-width: 46rem; margin: 3rem auto;
       padding: 0 1.5rem; }
header { display: flex; justify-content: space-between; align-items: baseline;
         border-bottom: 2px solid #1d2329; padding-bottom: .75rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1rem; margin: 2rem 0 .4rem; }
p { margin: .2rem 0; color: #59636e; }
h2 { break-after: avoid; } tr { break-inside: avoid; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem 0 .35rem 1.2rem; text-align: right; font-variant-numeric: tabular-nums;
         white-space: nowrap; vertical-align: top;
         border-bottom: 1px solid #e3e6e9; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal;
         overflow-wrap: anywhere; }
th { font-weight: 600; color: #59636e; width: 4.5rem; }
th:first-child { width: auto; } th:last-child { width: 9rem; }
tr.total td { font-weight: 700; border-bottom: 0; border-top: 1px solid #1d2329; }
footer { margin-top: 2.5rem; font-size: .85rem; color: #59636e; }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 11pt; } }
"""


def page(organisation: str, bill: StatementView) -> str:
    """The whole page."""
    title = f"Statement {bill.month}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(organisation)}: {escape(title)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<header><h1>{escape(organisation)}</h1><strong>{escape(title)}</strong></header>\n"
        f"<p>Business account {escape(bill.business_account_id)}</p>\n"
        + "\n".join(map(_table, tables_of(bill)))
        + "\n<footer>Amounts in US dollars, exact to the micro-dollar. Every line can be replayed "
        "from the log: see the lines of this statement.</footer>\n</body>\n</html>\n"
    )


def _table(shown: StatementTable) -> str:
    """With a head of its own, which is repeated on each sheet that the table goes on to."""
    rows = [_cells("td", row) for row in shown.rows]
    if shown.has_total:
        rows[-1] = rows[-1].replace("<tr>", '<tr class="total">', 1)
    head = _cells("th", ("", *shown.head))
    lines = ["<table>", f"<thead>{head}</thead>", "<tbody>", *rows, "</tbody>", "</table>"]
    return "\n".join([f"<h2>{escape(shown.title)}</h2>", *lines])


def _cells(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(each)}</{tag}>" for each in cells) + "</tr>"
