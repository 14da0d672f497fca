"""Time zones by name, for the months of a bill (L7)."""

from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from domain.refusal import Invalid

# Of the machine, not of a place: another machine would make another bill.
NO_PLACES = frozenset({"Factory", "localtime", "posixrules"})


@cache
def zone_of(name: str) -> tzinfo:
    """The zone of an IANA name such as `Asia/Tokyo`, also one that was chosen long ago.

    Raises Invalid.
    """
    if name == "UTC":
        return UTC  # Without the system's tables, which a small machine may lack.
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise Invalid("time_zone", "is no time zone such as Asia/Tokyo") from error


def known_zone(name: str) -> str:
    """A name that may be chosen: the same zone on every machine. Raises Invalid."""
    if name != "UTC" and name not in _names():
        raise Invalid("time_zone", "is no time zone such as Asia/Tokyo")
    return name


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones()) - NO_PLACES
