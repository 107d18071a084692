"""What was known of each label as of a time: two clocks, four states, and no way back from any of them.

A request is *asked* as of τ when its event time lies before τ. Of the asked,

- *matured*: the label was known by τ, and came within the horizon of the request;
- *expired*: not matured, and the request is older than the horizon, so that it never will;
- *pending*: the rest.

A label that comes after its horizon does not count: those that came late are not a fair sample of what was asked. When
the recording ends, what is pending stays pending: it is censored, never flushed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError
from windtunnel.recording import LABEL, LABEL_TIME, TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.recording import Recording

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

NEVER_US = int(np.iinfo(np.int64).max)
"""The known time of a label that never came."""


@dataclass(frozen=True)
class Counts:
    """How many requests were in which state, as of each time of a grid; int64 [grid] each."""

    asked: NDArray[np.int64]
    matured: NDArray[np.int64]
    expired: NDArray[np.int64]
    pending: NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """The labels of a recording under its two clocks, in whole microseconds so that no comparison is ever rounded.

    Args:
        time_us: when each request was asked, int64 [n], sorted.
        known_us: when its label was known, int64 [n]; `NEVER_US` where it never was.
        value: the label, float64 [n]; NaN where it never came.
        horizon_us: how long a label may take.

    Example: four requests and a horizon of three ticks. The second one's label comes too late, the third's never.

        >>> labels = Labels(np.array([1, 1, 2, 4]), np.array([2, 9, NEVER_US, 5]), np.array([1.0, 0.0, np.nan, 1.0]), 3)
        >>> for as_of in (1, 2, 3, 5, 6, 9):
        ...     print(as_of, *labels.state_at(as_of))
        1 unasked unasked unasked unasked
        2 matured pending unasked unasked
        3 matured pending pending unasked
        5 matured expired pending matured
        6 matured expired expired matured
        9 matured expired expired matured
    """

    time_us: Times
    known_us: Times
    value: Floats
    horizon_us: int

    @staticmethod
    def of(recording: Recording, horizon_s: float) -> Labels:
        """Take the two clocks and the labels out of a recording.

        Raises:
            DataError: a recording without rows or without a label column.
        """
        if len(recording) == 0:
            raise DataError("has no requests in the given time", file=recording.name, fix="start earlier")
        if LABEL not in recording.frame.columns:
            raise DataError("is missing", file=recording.name, field=LABEL, fix="name the label and label_time columns")
        frame = recording.frame
        return Labels(
            frame[TIME].dt.timestamp("us").to_numpy(),
            frame[LABEL_TIME].dt.timestamp("us").fill_null(NEVER_US).to_numpy(),
            frame[LABEL].fill_null(float("nan")).to_numpy(),
            round(horizon_s * 1e6),
        )

    def __len__(self) -> int:
        return len(self.time_us)

    @cached_property
    def came(self) -> NDArray[np.bool_]:
        """Whether the label came at all, bool [n]."""
        return np.not_equal(self.known_us, NEVER_US)

    @cached_property
    def on_time(self) -> NDArray[np.bool_]:
        """Whether the label came within the horizon, bool [n]."""
        on_time: NDArray[np.bool_] = self.came & (self.known_us <= self.time_us + self.horizon_us)
        return on_time

    @cached_property
    def last_known_us(self) -> int:
        """The last moment that the recording tells anything about, by either clock."""
        return int(max(self.time_us[-1], self.known_us[self.came].max(initial=self.time_us[-1])))

    def state_at(self, as_of_us: int) -> NDArray[np.str_]:
        """The state of each request as of a time, straight from the definition: `unasked` or one of the four."""
        asked = self.time_us < as_of_us
        matured = asked & self.on_time & (self.known_us <= as_of_us)
        expired = asked & ~matured & (as_of_us - self.time_us > self.horizon_us)
        return np.select([matured, expired, asked], ["matured", "expired", "pending"], "unasked")

    def first_seen(self, grid_us: Times) -> NDArray[np.int64]:
        """The first grid time as of which each on-time label is matured, int64 [on time], `len(grid)` for none.

        A label known at the very instant of its request is seen only after it: until then it was not asked.
        """
        seen_us = np.maximum(self.known_us[self.on_time], self.time_us[self.on_time] + 1)
        return np.searchsorted(grid_us, seen_us, side="left")

    def counts(self, grid_us: Times, first_seen: NDArray[np.int64]) -> Counts:
        """Count the states as of each time of a grid, in one pass over the rows and one over the grid.

        It can be one pass because no state is ever left again but `pending`.
        """
        asked = np.searchsorted(self.time_us, grid_us, side="left")
        matured = np.cumsum(np.bincount(first_seen, minlength=len(grid_us) + 1)[: len(grid_us)])
        expired = np.searchsorted(self.time_us[~self.on_time], grid_us - self.horizon_us, side="left")
        return Counts(asked, matured, expired, asked - matured - expired)
