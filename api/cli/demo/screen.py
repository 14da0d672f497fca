"""How the day looks in a terminal, or in a file."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, chop_cells
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from api.cli.demo.recorded import YOKOHAMA

PLAIN_WIDTH = 100
WIDTH_MAX = 140
MARGIN = 3
LABEL_GAP = 2
WIDE_TEXT = 1.5  # Cells for a character, from which on a text counts as Japanese.

SERVICES = {"crm": "CRM", "desk": "Desk", "salesiq": "SalesIQ", "books": "Books"}
SERVICE_STYLES = {"crm": "cyan", "desk": "green", "salesiq": "magenta"}
MASK = "░" * 12
SHORT_MASK = "░" * 6

TICKS = {
    "queued": ("·", "dim"),
    "uncertain": ("?", "yellow"),
    "sent": ("✓", "dim"),
    "delivered": ("✓✓", "dim"),
    "read": ("✓✓", "blue"),
    "failed": ("✗", "red"),
}
LABELS = {
    "image": "[photo]",
    "audio": "[voice note]",
    "button_reply": "[button]",
    "template": "[template]",
}


class Screen:
    """Sections, sentences and tables, with air between them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._section = 0
        self.title = "the beginning"  # Where one is, for who is told that it broke off there.

    def opening(self, title: str, sentence: str) -> None:
        """The head of it all."""
        self._console.print()
        self._console.print(Text(title, style="bold"))
        self._console.print(Text(sentence, style="dim"))

    def section(self, title: str, sentence: str) -> None:
        """A new section, and the rule that one sees in it."""
        self._section += 1
        self.title = f"section {self._section}, “{title}”"
        heading = Text(f"{self._section}  {title}", style="bold")
        self._console.print()
        self._console.rule(heading, align="left", style="dim")
        self._show(Text(sentence))

    def table(self, *columns: str | Text, rows: Iterable[Sequence[RenderableType]]) -> None:
        """Columns as wide as they need to be."""
        table = _table()
        for column in columns:
            table.add_column(column, overflow="fold")
        self._fill(table, rows)

    def comparison(
        self,
        *columns: str | Text,
        rows: Iterable[Sequence[RenderableType]],
        wide: Sequence[int],
        cut: bool = False,
    ) -> None:
        """The columns `wide` share the width evenly; with `cut` each row is one line."""
        table = _table(expand=True)
        for number, column in enumerate(columns):
            table.add_column(
                column,
                ratio=1 if number in wide else None,
                no_wrap=cut or number not in wide,
                overflow="ellipsis" if cut else "fold",
            )
        self._fill(table, rows)

    def say(self, text: str | Text) -> None:
        """A sentence between tables."""
        self._console.print()
        self._show(Text(text) if isinstance(text, str) else text)

    def quote(self, label: str, text: str) -> None:
        """What somebody was told, word by word."""
        if cell_len(text) > WIDE_TEXT * len(text):
            text = _folded(text, self._console.width - MARGIN - cell_len(label) - LABEL_GAP)
        row = Table.grid(padding=(0, LABEL_GAP, 0, 0))
        row.add_row(Text(label, style="dim"), Text(text))
        self._show(row)

    def checked(self, sentence: str) -> None:
        """What was found to be so."""
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_row(Text("✓", style="green"), Text(sentence, style="dim"))
        self._console.print()
        self._show(row)

    def closing(self, sentence: str) -> None:
        """The last words."""
        self._console.print()
        self._console.print(Text(sentence, style="bold green"))

    def _fill(self, table: Table, rows: Iterable[Sequence[RenderableType]]) -> None:
        for row in rows:
            table.add_row(*row)
        self._console.print()
        self._show(table)

    def _show(self, renderable: RenderableType) -> None:
        self._console.print(Padding(renderable, (0, 0, 0, MARGIN)))


def _folded(text: str, width: int) -> str:
    """Japanese has no spaces: a line may end anywhere, but none begins with a full stop."""
    folded = "\n".join(chop_cells(text, width - 2))
    return re.sub(r"\n([、。])", r"\1\n", folded).rstrip()


def _table(*, expand: bool = False) -> Table:
    return Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        expand=expand,
        header_style="bold",
        border_style="dim",
    )


# Words for what the API answers.


def service(name: str) -> Text:
    """A service in its colour."""
    return Text(SERVICES[name], style=SERVICE_STYLES.get(name, ""))


def sharing(channel: dict[str, Any]) -> Text:
    """Who shares a channel: the parent first, the others in the order of their connection."""
    active = [each for each in channel["services"] if each["state"] == "active"]
    active.sort(key=lambda each: not each["parent"])
    words = Text()
    for each in active:
        words.append(", " if words else "")
        words.append_text(service(each["service"]))
        words.append(" (parent)" if each["parent"] else "")
    return words


def clock_time(moment: str | datetime, *, day: bool = False) -> str:
    """A time as the clock in the shop shows it."""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return at.astimezone(YOKOHAMA).strftime("%a %H:%M" if day else "%H:%M")


def ticks(status: str) -> Text:
    """A delivery status."""
    sign, style = TICKS[status]
    return Text(f"{sign} {status}", style=style)


def number(count: int | str, *, style: str = "") -> Text:
    """A number in a column of numbers."""
    return Text(str(count), style=style, justify="right")


def customer(chat: dict[str, Any]) -> str:
    """The name of a customer; a group has none."""
    return chat["customer"]["name"] or "(a group)"


def message(shown: dict[str, Any]) -> Text:
    """A message of a timeline, as one service is shown it."""
    if shown["masked"]:
        return Text.assemble(
            (MASK, "dim"), " ", service(shown["service"]), "  ", ticks(shown["status"])
        )
    words = _words(shown)
    if shown["edited_at"]:
        words.append(" (edited)", style="dim")
    if shown["direction"] == "outbound":
        words.append("\n").append_text(ticks(shown["status"]))
    return words


def line(shown: dict[str, Any]) -> Text:
    """The last message of a chat, as the list of chats has it."""
    if shown["direction"] == "inbound":
        return _words(shown)
    sign, style = TICKS[shown["status"]]
    if shown["masked"]:
        return Text.assemble(
            (sign, style), " ", (SHORT_MASK, "dim"), " ", service(shown["service"])
        )
    sender = "" if shown["author"] else "Phone: "
    return Text.assemble((sign, style), " ", (sender, "dim"), _words(shown))


def _words(shown: dict[str, Any]) -> Text:
    words = Text()
    if shown["member"]:
        words.append(f"{shown['member']['name']}: ", style="dim")
    if shown["author"]:
        words.append(f"{shown['author']['name']}: ", style=SERVICE_STYLES[shown["service"]])
    words.append(" ".join(_content(shown)))
    for reaction in shown["reactions"]:
        words.append(f" {reaction['text']}")
    return words


def _content(shown: dict[str, Any]) -> list[str]:
    if shown["unsent"]:
        return ["[unsent]"]
    content = shown["content"]
    if shown["kind"] == "unknown":
        return [f"[a kind nobody knows yet: {content['raw_type']}]"]
    label = LABELS.get(shown["kind"])
    return [each for each in (label, content.get("text")) if each]
