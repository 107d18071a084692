"""How much of something there is, added up over time."""

from __future__ import annotations


class Meter:
    """A level that changes at instants, and the area under it.

    Example:
        >>> meter = Meter(10.0)
        >>> meter.change(3, 11.0)
        >>> meter.read_s(13.0)
        6.0
    """

    def __init__(self, now_s: float) -> None:
        self.level, self.area_s, self.since_s = 0, 0.0, now_s

    def change(self, by: int, now_s: float) -> None:
        """So many more from now on."""
        self.area_s += self.level * (now_s - self.since_s)
        self.level, self.since_s = self.level + by, now_s

    def read_s(self, now_s: float) -> float:
        """The area up to now."""
        self.change(0, now_s)
        return self.area_s

    def reset(self) -> None:
        """Begin to add up anew."""
        self.area_s = 0.0
