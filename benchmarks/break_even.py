"""Which way to pay is cheapest at which load: by the request, by the machine, or for a box of one's own."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOURS_A_MONTH = 730.0
"""As the clouds count: 365 days of 24 hours, over twelve."""

SECONDS_A_MONTH = HOURS_A_MONTH * 3600.0

PIECES = 200_000
"""So many pieces a solution may have; more steps than that are asked about in vain."""

EXACTLY = 1e-12
"""A load that fills machines to this share beyond the whole still fits them: it is the rounding of a division."""


@dataclass(frozen=True)
class Pattern:
    """A way to pay: so much a request, and so much for every machine that the load needs.

    Args:
        name: what people call it.
        usd_per_request: for each request; 0 where only machines are paid.
        usd_per_hour: for each machine; 0 where there is none.
        per_s: requests a second that one machine carries and keeps the promise; infinite where there is none.
        least: machines that run however low the load is.
        note: what its figures rest on.

    Raises:
        ConfigError: a price below zero or without end, a machine that carries nothing, fewer machines than none.
    """

    name: str
    usd_per_request: float = 0.0
    usd_per_hour: float = 0.0
    per_s: float = math.inf
    least: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        for field, value in (("usd_per_request", self.usd_per_request), ("usd_per_hour", self.usd_per_hour)):
            if not 0.0 <= value < math.inf:
                raise ConfigError(f"of {self.name} is not a price", field=field, value=value, fix="give US dollars")
        if not self.per_s > 0.0:
            raise ConfigError(f"of {self.name} carries nothing", field="per_s", value=self.per_s)
        if self.least < 0:
            raise ConfigError(f"of {self.name} is below zero", field="least", value=self.least)

    def machines(self, load_per_s: float) -> int:
        """How many machines a load needs."""
        return max(self.least, math.ceil(load_per_s / self.per_s * (1.0 - EXACTLY)))

    def usd_per_month(self, load_per_s: float) -> float:
        """What a month of a steady load costs.

        Example:
            >>> Pattern("boxes", usd_per_hour=0.1, per_s=10.0).usd_per_month(25.0)     # three boxes
            219.0
            >>> round(Pattern("calls", usd_per_request=1e-6).usd_per_month(1.0), 3)
            2.628
        """
        return (
            self.usd_per_request * load_per_s * SECONDS_A_MONTH
            + self.machines(load_per_s) * self.usd_per_hour * HOURS_A_MONTH
        )


@dataclass(frozen=True)
class Segment:
    """Loads at which one pattern is cheapest: above `low_per_s`, up to `high_per_s`."""

    pattern: str
    low_per_s: float
    high_per_s: float

    def to_dict(self) -> dict[str, Any]:
        """The segment as JSON values."""
        return {"pattern": self.pattern, "low_per_s": self.low_per_s, "high_per_s": self.high_per_s}


@dataclass(frozen=True)
class BreakEven:
    """Which pattern is cheapest at which load, and what twice the load does.

    Args:
        patterns: the ways to pay.
        segments: the cheapest one by rising load, up to the load asked about.
        load_per_s: the load that is expected.
    """

    patterns: tuple[Pattern, ...]
    segments: tuple[Segment, ...]
    load_per_s: float

    def cheapest(self, load_per_s: float) -> Pattern:
        """The cheapest pattern at a load; of equals the first."""
        return min(self.patterns, key=lambda pattern: pattern.usd_per_month(load_per_s))

    def doubled(self, pattern: Pattern) -> float:
        """How many times as much a pattern costs at twice the expected load; 1 where it costs nothing.

        Example:
            >>> half_idle = Pattern("boxes", usd_per_hour=1.0, per_s=10.0)
            >>> BreakEven((half_idle,), (), 4.0).doubled(half_idle), BreakEven((half_idle,), (), 10.0).doubled(half_idle)
            (1.0, 2.0)
        """
        once = pattern.usd_per_month(self.load_per_s)
        return pattern.usd_per_month(2.0 * self.load_per_s) / once if once > 0.0 else 1.0

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "load_per_s": self.load_per_s,
            "patterns": [self._describe(pattern) for pattern in self.patterns],
            "segments": [segment.to_dict() for segment in self.segments],
            "cheapest": self.cheapest(self.load_per_s).name,
            "cheapest_at_twice": self.cheapest(2.0 * self.load_per_s).name,
        }  # fmt: skip

    def _describe(self, pattern: Pattern) -> dict[str, Any]:
        return {
            "pattern": pattern.name, "usd_per_month": pattern.usd_per_month(self.load_per_s),
            "usd_per_month_at_twice": pattern.usd_per_month(2.0 * self.load_per_s),
            "machines": pattern.machines(self.load_per_s), "doubled": self.doubled(pattern), "note": pattern.note,
        }  # fmt: skip


def break_even(patterns: Sequence[Pattern], load_per_s: float, *, up_to_per_s: float | None = None) -> BreakEven:
    """Find the loads at which the cheapest pattern changes, exactly.

    Costs are straight lines between the loads at which one more machine is needed. Between two such loads, of any pattern,
    the cheapest of the lines is followed from crossing to crossing.

    Args:
        patterns: the ways to pay, each named once.
        load_per_s: the load that is expected, requests a second over the month.
        up_to_per_s: the highest load asked about; ten times the expected one where None.

    Raises:
        ConfigError: no pattern, two of one name, a load that is not above zero, or more steps than can be told.

    Example:
        >>> calls = Pattern("calls", usd_per_request=1e-6)
        >>> boxes = Pattern("boxes", usd_per_hour=0.036, per_s=100.0, least=1)
        >>> [(s.pattern, round(s.high_per_s, 9)) for s in break_even([calls, boxes], 20.0, up_to_per_s=100.0).segments]
        [('calls', 10.0), ('boxes', 100.0)]
    """
    limit = 10.0 * load_per_s if up_to_per_s is None else up_to_per_s
    _check(patterns, load_per_s, limit)
    segments: list[Segment] = []
    edges = _edges(patterns, limit)
    for low, high in itertools.pairwise(edges):
        for pattern, end in _envelope(patterns, low, high):
            if segments and segments[-1].pattern == pattern.name:
                segments[-1] = Segment(pattern.name, segments[-1].low_per_s, end)
            else:
                segments.append(Segment(pattern.name, segments[-1].high_per_s if segments else 0.0, end))
    return BreakEven(tuple(patterns), tuple(segments), load_per_s)


def _check(patterns: Sequence[Pattern], load_per_s: float, limit: float) -> None:
    names = [pattern.name for pattern in patterns]
    if not names or len(set(names)) != len(names):
        raise ConfigError("must be at least one, each named once", field="patterns", value=names)
    for field, value in (("load_per_s", load_per_s), ("up_to_per_s", limit)):
        if not 0.0 < value < math.inf:
            raise ConfigError("must be above zero", field=field, value=value, fix="give requests a second")
    steps = sum(limit / pattern.per_s for pattern in patterns)
    if steps > PIECES:
        raise ConfigError(
            f"needs {steps:.3g} machines, one step each", field="up_to_per_s", value=limit, fix="ask about lower loads"
        )


def _edges(patterns: Sequence[Pattern], limit: float) -> list[float]:
    """Zero, the loads at which a pattern needs one more machine, and the limit."""
    steps = {
        count * pattern.per_s
        for pattern in patterns
        if math.isfinite(pattern.per_s)
        for count in range(max(1, pattern.least), math.ceil(limit / pattern.per_s))
    }
    return [0.0, *sorted(step for step in steps if step < limit), limit]


def _envelope(patterns: Sequence[Pattern], low: float, high: float) -> Iterator[tuple[Pattern, float]]:
    """The cheapest pattern from one load to the next, where none needs another machine: each with where it ends."""
    middle = (low + high) / 2.0
    lines = [
        (p, p.usd_per_request * SECONDS_A_MONTH, p.machines(middle) * p.usd_per_hour * HOURS_A_MONTH) for p in patterns
    ]
    at = low
    # at the start itself, of equals the one that rises least
    pattern, slope, fixed = min(lines, key=lambda line: (line[2] + line[1] * low, line[1]))
    while True:
        crossings = [((other[2] - fixed) / (slope - other[1]), other[1], other) for other in lines if other[1] < slope]
        reach, _, following = min(crossings, key=lambda crossing: crossing[:2], default=(math.inf, 0.0, None))
        if following is None or reach >= high:
            yield pattern, high
            return
        if reach > at:
            yield pattern, reach
            at = reach
        pattern, slope, fixed = following
