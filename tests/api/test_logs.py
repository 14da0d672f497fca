"""What `serve` writes to its log."""

import logging
import sys

import pytest

from api import logs
from api.logs import Line, Seldom


def record(
    text: str, *arguments: object, level: int = logging.WARNING, **facts: object
) -> logging.LogRecord:
    logger = logging.getLogger("projections.engine.runner")
    return logger.makeRecord(logger.name, level, "", 0, text, arguments, None, extra=facts)


def test_a_line_has_the_facts_that_were_given() -> None:
    parked = record("An organisation is parked", position=17, projection="inbox", error=None)
    line = Line("%(levelname)s: %(message)s").format(parked)
    assert line == 'WARNING: An organisation is parked error=null position=17 projection="inbox"'


def test_facts_stand_before_a_traceback_and_break_no_line() -> None:
    try:
        raise ValueError
    except ValueError:
        failed = record("A request failed", path="/v1/a\nb")
        failed.exc_info = sys.exc_info()
    first, second, *_ = Line("%(asctime)s %(message)s").format(failed).split("\n")
    assert first.endswith('A request failed path="/v1/a\\nb"')
    assert second == "Traceback (most recent call last):"


def test_a_warning_that_every_request_has_is_shown_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seldom = Seldom()

    def shown() -> list[bool]:
        return [
            seldom.filter(record("The database is away: %s", "refused")),
            seldom.filter(record("The database is away: %s", "no answer")),
            seldom.filter(record("The store of files is away: %s", "no answer")),
            seldom.filter(record("A request failed", level=logging.ERROR)),
            seldom.filter(record("A request failed", level=logging.ERROR)),
        ]

    assert shown() == [True, False, True, True, True]
    assert shown() == [False, False, False, True, True]
    monkeypatch.setattr(logs, "QUIET_SECONDS", 0.0)
    assert shown() == [True] * 5
