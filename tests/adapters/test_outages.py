"""A database that is away is said once by each loop, and once when it is back (R3)."""

import pytest
from psycopg import OperationalError

from adapters import outages
from adapters.outages import Outages, report
from domain.ports import Unavailable

LOST = OperationalError("the connection is closed\nHINT: Is it running?")
REFUSED = Unavailable("The database cannot be asked.")


def rounds(*errors: Exception | None) -> list[float]:
    """A loop's rounds, each with what goes wrong in it; the pauses behind them."""
    met, pauses = Outages("Sending"), []
    for error in errors:
        with met.survived():
            if error is not None:
                raise error
        pauses.append(met.pause_seconds)
    return pauses


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, bool]]:
    """What stands in the log, and whether with a traceback."""
    return [(each.getMessage(), bool(each.exc_info)) for each in caplog.records]


def test_an_outage_is_said_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    assert rounds(None, *[LOST, REFUSED] * 3, None, None, LOST) == [
        0.0,
        *[0.5, 1.0, 2.0, 4.0, 5.0, 5.0],
        0.0,
        0.0,
        0.5,
    ]
    assert said(caplog) == [
        ("Sending waits for the database: the connection is closed", False),
        ("Sending goes on: the database is back", False),
        ("Sending waits for the database: the connection is closed", False),
    ]


def test_a_mistake_of_ours_is_said_each_time_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert rounds(ValueError(), ValueError(), None) == [0.0, 0.0, 0.0]
    assert said(caplog) == [("Sending failed", True)] * 2


def test_control_where_an_outage_is_not_known_as_one_every_round_has_a_traceback(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "AWAY", ())
    assert rounds(LOST, LOST) == [0.0, 0.0]
    assert said(caplog) == [("Sending failed", True)] * 2


def test_a_piece_of_work_needs_no_traceback_for_it(caplog: pytest.LogCaptureFixture) -> None:
    for error in (LOST, ValueError("no")):
        report(error, "A message could not be sent", message_id="one")
    assert said(caplog) == [
        ("A message could not be sent: the connection is closed", False),
        ("A message could not be sent", True),
    ]
    assert [(each.levelname, vars(each)["message_id"]) for each in caplog.records] == [
        ("WARNING", "one"),
        ("ERROR", "one"),
    ]
