"""How often something was how large: counted where it happens, without a lock, shown elsewhere."""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts of values between bounds. One event loop counts, so nothing need be guarded."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` ascend; what is above the last counts too."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def note(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
