"""The table of ratios, for people, and the same as JSON."""

import json
import platform
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "latest.json"

console = Console(highlight=False)


@dataclass(frozen=True)
class Row:
    """One comparison: ours divided by a peer's, in the same round; the median of the rounds."""

    what: str
    ratio: float
    spread: tuple[float, float]
    floor: float | None
    ours: float
    peer: float
    ceiling: float | None = None  # Of what is to be small.

    @property
    def bound(self) -> str:
        """What the ratio has to keep to."""
        if self.ceiling is not None:
            return f"≤ {self.ceiling:g}"
        return "" if self.floor is None else f"≥ {self.floor:g}"


def compare(what: str, ours: list[float], peers: list[float], floor: float | None) -> Row:
    """The ratio of each round, and its median."""
    ratios = [one / other for one, other in zip(ours, peers, strict=True)]
    return Row(what, median(ratios), (min(ratios), max(ratios)), floor, median(ours), median(peers))


def compare_times(what: str, ours: list[float], peers: list[float], ceiling: float | None) -> Row:
    """The same of seconds taken, which are to be few; shown as times a second."""
    row = compare(what, ours, peers, None)
    return replace(row, ours=1 / row.ours, peer=1 / row.peer, ceiling=ceiling)


def show(rows: list[Row]) -> None:
    """The table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("What")
    for title in ("Ratio", "Rounds", "Bound", "Ours/s", "Peer/s"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            row.what,
            f"{row.ratio:.2f}",
            f"{row.spread[0]:.2f}–{row.spread[1]:.2f}",
            row.bound,
            f"{row.ours:,.0f}",
            f"{row.peer:,.0f}",
        )
    console.print(table)


def write(rows: list[Row]) -> None:
    """The same as JSON."""
    RESULTS.parent.mkdir(exist_ok=True)
    made = {
        "at": datetime.now(UTC).isoformat(),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "rows": [vars(row) for row in rows],
    }
    RESULTS.write_text(json.dumps(made, indent=2))
