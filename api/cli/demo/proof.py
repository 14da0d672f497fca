"""The log itself: what is in it, and that nothing was altered."""

from collections import Counter

from api.cli.demo.scene import Day
from api.cli.demo.screen import number
from api.cli.demo.stage import expect

TYPES_SHOWN = 8
HASH_SHOWN = 16


async def prove(day: Day) -> None:
    """Positions without a gap, and the chain computed again over every column (E2)."""
    day.screen.section(
        "The log",
        "All that was shown is computed from a log of events that are never changed. Each event's "
        "hash covers the one before it, so the last hash stands for the whole day.",
    )
    events = await day.stage.events()
    positions = [event["position"] for event in events]
    expect(positions == list(range(1, len(events) + 1)), "positions are 1, 2, 3 … without a gap")
    counted, head = await day.stage.verified()
    expect(counted == len(events), "the proof covers every event")
    expect(head == events[-1]["hash"], "the log ends with the hash that the proof ends with")
    types = Counter(event["type"] for event in events).most_common()
    shown = [(name, number(count)) for name, count in types[:TYPES_SHOWN]]
    rest = sum(count for _, count in types[TYPES_SHOWN:])
    others = f"{len(types) - TYPES_SHOWN} other types"
    day.screen.table("Events", "Count", rows=[*shown, (others, number(rest))])
    day.screen.table(
        "Proof",
        "Found",
        rows=[
            ("Positions", f"1 … {len(events)}, without a gap"),
            ("Hash chain", f"{counted} links, computed again from every stored column, agree"),
            ("Head", f"{head[:HASH_SHOWN]}…"),
        ],
    )
    day.screen.checked("Nothing was altered, removed, added or put in another order.")
