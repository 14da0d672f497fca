"""Time zones by name, for the months of a bill (L7)."""

from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from domain.refusal import Invalid


@cache
def zone_of(name: str) -> tzinfo:
    """The zone of an IANA name such as `Asia/Tokyo`. Raises Invalid."""
    if name == "UTC":
        return UTC  # Without the system's tables, which a small machine may lack.
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise Invalid("time_zone", "is no time zone such as Asia/Tokyo") from error
