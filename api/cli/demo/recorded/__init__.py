"""The recorded day: one file for each delivery as Meta sent it, named after when it came.

`0509-0703.json` came on the 9th of May 2026 at 07:03 in Yokohama. `answers.json` holds, in the
order of sending, the ids and marks under which that day's deliveries speak of our own messages;
ours are random, so those of today are put in their place before a delivery is signed.
"""

import json
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from typing import NamedTuple

YEAR = 2026
YOKOHAMA = timezone(timedelta(hours=9))

ACCOUNT = "561204488930177"  # The phone_number_id that all deliveries name.
BUSINESS_ACCOUNT = "418820007715532"
NUMBER = "+81 50 3128 4576"


class Answer(NamedTuple):
    """One of our messages: WhatsApp's id of it, and the mark that we had put on it."""

    platform_id: str
    mark: str


def at(written: str) -> datetime:
    """A moment of the recorded days: `0509-0703`."""
    return datetime.strptime(f"{YEAR}{written}", "%Y%m%d-%H%M").replace(tzinfo=YOKOHAMA)


def delivery(name: str) -> str:
    """The body of a delivery, as it came."""
    return files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")


def recorded_answers() -> list[Answer]:
    """Our messages of that day, in the order of sending."""
    known = json.loads(delivery("answers"))
    return [Answer(each["wamid"], each["mark"]) for each in known]


def webhook_count(body: bytes) -> int:
    """How many messages, echoes, statuses and other news a delivery holds."""
    values = [change["value"] for entry in json.loads(body)["entry"] for change in entry["changes"]]
    lists = ("messages", "message_echoes", "statuses")
    return sum(sum(len(value.get(name, ())) for name in lists) or 1 for value in values)
