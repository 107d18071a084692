"""When each row counts: from the look at which its label is known, until it is corrected or its window has passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from windtunnel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.backtest.rows import Rows

    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Window:
    """Which requests a look weighs, of those whose label counts.

    Args:
        kind: all of them alike; those of the last stretch of time alike; or all, the older the less.
        span_us: the stretch, or after how long a request counts half as much; microseconds.

    Raises:
        ConfigError: a span that is not positive.

    Example:
        >>> Window.last(7 * 86400.0), Window.decayed(86400.0).kind, CUMULATIVE.span_us
        (Window(kind='last', span_us=604800000000), 'decayed', 0)
    """

    kind: Literal["cumulative", "last", "decayed"] = "cumulative"
    span_us: int = 0

    def __post_init__(self) -> None:
        if (self.kind == "cumulative") != (self.span_us == 0) or self.span_us < 0:
            raise ConfigError("must be above zero", field="window", value=self.span_us / 1e6, fix="write 7d")

    @staticmethod
    def last(span_s: float) -> Window:
        """The requests asked within so many seconds before a look."""
        return Window("last", round(span_s * 1e6))

    @staticmethod
    def decayed(half_life_s: float) -> Window:
        """All requests, each counting half as much after so many seconds."""
        return Window("decayed", round(half_life_s * 1e6))


CUMULATIVE = Window()


@dataclass(frozen=True)
class Clocks:
    """When rows were asked and their labels known, int64 [n] microseconds each.

    Args:
        time_us: when each was asked.
        known_us: when this version of its label was known; the greatest int64 where it never was.
        until_us: when the next version is known, the greatest int64 for none; empty where no label is corrected.
        first: whether the row counts its request, bool [n]; empty: all do.
    """

    time_us: Ints
    known_us: Ints
    until_us: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    first: Flags = field(default_factory=lambda: np.empty(0, dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.time_us)

    @staticmethod
    def of(rows: Rows) -> Clocks:
        """The clocks of the engine's rows."""
        return Clocks(rows.time_us, rows.known_us, rows.until_us, rows.first)

    def take(self, rows: NDArray[np.bool_] | Ints) -> Clocks:
        """Only some rows."""
        until_us = self.until_us[rows] if len(self.until_us) else self.until_us
        first = self.first[rows] if len(self.first) else self.first
        return Clocks(self.time_us[rows], self.known_us[rows], until_us, first)

    def final(self, horizon_us: int) -> Flags:
        """Which rows hold the label that counts in the end: known within the horizon, and not corrected within it."""
        due_us = self.time_us + horizon_us
        counts: Flags = self.known_us <= due_us
        return counts & (self.until_us > due_us) if len(self.until_us) else counts

    def at_once(self) -> Clocks:
        """The same requests, had every label been known when they were asked; of rows that are `final`."""
        return Clocks(self.time_us, self.time_us)

    def requests(self) -> Clocks:
        """One row for each request, whatever became of its label, known at once: what was asked."""
        return (self.take(self.first) if len(self.first) else self).at_once()

    def spans(self, grid_us: Ints, horizon_us: int, window: Window = CUMULATIVE) -> tuple[Ints, Ints]:
        """The look from which each row counts, and the one from which it no longer does, int64 [n]; the same where it never does.

        A row counts at τ if it was asked before τ, its label was known at τ and within the horizon of its request, no later
        version was (known at τ and within the horizon), and, in a window of the last span, it was asked at τ − span or later.

        Example: looks at 10, 20, 30; a window of 15. The second label is corrected at 25, the third comes too late.

            >>> never = np.iinfo(np.int64).max
            >>> clocks = Clocks(np.array([1, 6, 9]), np.array([10, 11, 40]), np.array([never, 25, never]))
            >>> [each.tolist() for each in clocks.spans(np.array([10, 20, 30]), 25, Window("last", 15))]
            [[0, 1, 3], [1, 2, 3]]
        """
        looks, due_us = len(grid_us), self.time_us + horizon_us
        asked_us = self.time_us + 1
        begin = np.searchsorted(grid_us, np.maximum(self.known_us, asked_us))
        begin[self.known_us > due_us] = looks
        end = np.full(len(self), looks)
        if len(self.until_us):
            taken_back = self.until_us <= due_us
            end[taken_back] = np.searchsorted(grid_us, np.maximum(self.until_us, asked_us)[taken_back])
        if window.kind == "last":
            end = np.minimum(end, np.searchsorted(grid_us, self.time_us + window.span_us, side="right"))
        return begin, np.maximum(begin, end)
