"""Where a log misses an event."""

import pytest

from api.jobs import as_projector
from api.main import Database as Where
from projections.engine.gaps import first_gap
from tests.projections.diaries import Log
from tests.projections.test_rebuild import change


@pytest.mark.parametrize(
    ("missing", "first"),
    [("0", None), ("1", 1), ("4, 5, 7", 4), ("9", 9), ("1, 2, 3, 4, 5, 6, 7, 8, 9", 1)],
)
async def test_the_first_gap_is_found(
    where: Where, log: Log, missing: str, first: int | None
) -> None:
    """Before, between and behind the events; other organisations' are not looked at."""
    log.append(1, 9)
    log.append(2, 20)
    change(log, f"DELETE FROM events WHERE org = 1 AND position IN ({missing})")
    change(log, "DELETE FROM events WHERE org = 2 AND position = 3")
    async with as_projector(where) as connection:
        assert await first_gap(connection, 1) == first
