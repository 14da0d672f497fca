"""CSV that no spreadsheet runs, amounts as decimals, months of a time zone."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from api.cli.statement_tables import StatementTable, tables_of
from api.cli.words import sentence, usd
from api.credits import credits_of
from api.recounts import month_bounds
from api.spreadsheets import csv_row
from api.statements import Bill, statement_view
from projections.statements.queries import NOW, Part
from tests.domain.stored_samples import LATER_SAMPLES, SAMPLES


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        '=HYPERLINK("http://x")',
        *("\t=1", "\r=1", "\n=1", "\tA1", "\rA1", " =1", "\r\n+1", "\x00-1"),
        *("\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)", "\u3000\uff1d1", "\ufe661"),
        *("\ufeff=1", "\u200b=1", "\xa0=1", "\u2028=1", "\u202e=1"),
    ],
)
def test_a_text_that_begins_like_a_formula_stays_a_text(text: str) -> None:
    assert csv_row([text]).decode().strip('"').startswith("'")


@pytest.mark.parametrize("text", ["", " ", "1", "a=1", "2026-11", "(1)", "'=1", "\uff11"])
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert csv_row([text, "end"]).decode() == f"{text},end\r\n"


def test_numbers_stay_numbers_and_quotes_are_doubled() -> None:
    moment = datetime(2026, 11, 21, 12, tzinfo=UTC)
    row = csv_row([-8_000, None, True, False, moment, 'a "b", c'])
    assert row == b'-8000,,yes,no,2026-11-21T12:00:00Z,"a ""b"", c"\r\n'


@pytest.mark.parametrize(
    ("micro_usd", "credits_"),
    [
        (0, "0.000"),
        (1_999, "0.000"),
        (2_000, "0.001"),
        (1_999_999, "0.999"),
        (2_000_000, "1.000"),
        (50_000_000, "25.000"),
        (1_992_000, "0.996"),
    ],
)
def test_credits_have_three_places_rounded_down(micro_usd: int, credits_: str) -> None:
    assert credits_of(micro_usd) == credits_


@pytest.mark.parametrize(
    ("micro_usd", "words"),
    [
        (0, "USD 0.00"),
        (8_000, "USD 0.008"),
        (-1_250_000, "-USD 1.25"),
        (1_234_567_890, "USD 1,234.56789"),
        (1, "USD 0.000001"),
    ],
)
def test_money_in_words(micro_usd: int, words: str) -> None:
    assert usd(micro_usd) == words


Hour = tuple[int, int, int, int]


@pytest.mark.parametrize(
    ("month", "zone", "start", "end"),
    [
        ("2026-12", UTC, (2026, 12, 1, 0), (2027, 1, 1, 0)),
        ("2028-02", UTC, (2028, 2, 1, 0), (2028, 3, 1, 0)),
        ("2026-01", ZoneInfo("Asia/Tokyo"), (2025, 12, 31, 15), (2026, 1, 31, 15)),
        ("2026-11", ZoneInfo("America/New_York"), (2026, 11, 1, 4), (2026, 12, 1, 5)),
    ],
)
def test_l7_a_month_has_the_hours_of_its_zone(
    month: str, zone: tzinfo, start: Hour, end: Hour
) -> None:
    assert month_bounds(month, zone) == (datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC))


def test_a_statement_says_what_was_free_and_why() -> None:
    none = {"free": 0, "refunded": 0, "micro_usd": 0}
    sums = [
        Part(part="opening", name="", count=0, **none),
        Part(part="unit", name="message", count=4, **{**none, "free": 3}),
        Part(part="free", name="entry_point", count=2, **none),
        Part(part="free", name="allowance", count=1, **none),
    ]
    bill = statement_view(Bill(1, "1", "waba", "2026-11", NOW), sums, {})
    assert tables_of(bill)[2] == StatementTable(
        "What was free",
        ("Count",),
        [("After an ad or a Page's button", "2"), ("Within the month's allowance", "1")],
    )


def test_the_history_says_why_something_was_free() -> None:
    told = [
        sentence(each)
        for each in (
            LATER_SAMPLES["chat.message_received.1.referred"],
            LATER_SAMPLES["credits.charged.1.in_entry_point"],
            SAMPLES["credits.charged", 1],
        )
    ]
    chat = "in chat ghqg67mj724zudtmbl76dgdurq was free,"
    assert told == [
        "The customer sent a message (text), from an ad or a Page's button.",
        f"A service message (JP) {chat} after an ad or a Page's button,"
        " by service-message/2026-10 and default/1.",
        f"A service conversation (JP) {chat} within the month's allowance,"
        " by conversation/1 and default/1.",
    ]
