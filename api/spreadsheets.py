"""CSV that no spreadsheet takes for anything but data."""

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from itertools import dropwhile
from typing import Any
from unicodedata import category, normalize

# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")
# These alone make some of them look for one behind.
_OPENING = ("\t", "\r", "\n")
# What may be passed over on the way there: spaces, line ends, and marks that nobody sees.
_PASSED_OVER = {"Cc", "Cf", "Zl", "Zp", "Zs"}


def csv_row(cells: Iterable[Any]) -> bytes:
    """One line of CSV. A text that a spreadsheet would run is kept a text by an apostrophe."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(map(_cell, cells))
    return buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case str() if _is_like_a_formula(value):
            return f"'{value}"
        case _:
            return value


def _is_like_a_formula(text: str) -> bool:
    """Also where it is written in full width, as Japanese keyboards do, or behind spaces."""
    seen = next(dropwhile(lambda each: category(each) in _PASSED_OVER, text), "")
    return text.startswith(_OPENING) or normalize("NFKC", seen).startswith(_FORMULA)
