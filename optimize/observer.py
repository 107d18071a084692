"""What has been seen of one tensor: its extremes and a histogram of fixed size that widens its bins as it must."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

BINS = 4096
"""Bins of a histogram; between half of them and all lie between the extremes, zero being counted among these."""

HUGE = 1e30
"""What is larger is no number but a sign, such as the masks of attention: a tensor that holds one has no range."""

FINEST = -120
"""The narrowest bins are 2^FINEST wide, so that a tensor of zeros has bins too."""

SMOOTHING = 0.01
"""The weight of the newest batch in the moving average, once there were a hundred; before, all weigh the same."""


class Observer:
    """Sees a tensor batch by batch and remembers 32 KiB of it, whatever it sees.

    The width of the bins is a power of two and their edges are multiples of it, so that two bins make one exactly when
    the range outgrows them: what is counted depends on the values alone, not on their order or on who saw which.

    Example:
        >>> seen, again = Observer(), Observer()
        >>> seen.observe(np.float32([0.5, 1.0])), seen.observe(np.float32([-9.0, 300.0]))
        (None, None)
        >>> again.observe(np.float32([300.0, 0.5, -9.0, 1.0]))
        >>> seen.low, seen.high, seen.total, bool((seen.counts == again.counts).all())
        (-9.0, 300.0, 4, True)
    """

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self.mean_low, self.mean_high, self.batches = 0.0, 0.0, 0
        self.exponent, self.first = FINEST, 0
        self.counts: Counts = np.zeros(BINS, dtype=np.int64)
        self.unbounded, self.is_float = False, True

    @property
    def bounded(self) -> bool:
        """Whether all that was seen were numbers, and there were some."""
        return self.is_float and not self.unbounded and self.batches > 0

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        """The width of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin."""
        return np.asarray((self.first + np.arange(BINS) + 0.5) * self.width, dtype=np.float64)

    def observe(self, values: NDArray[Any]) -> None:
        """See one batch. A value that is not finite, or `HUGE`, makes the tensor unbounded; of integers nothing is kept."""
        self.is_float = values.dtype == np.float32
        if not (values.size and self.is_float):
            return
        low, high = float(values.min()), float(values.max())
        if not max(-low, high) < HUGE:  # NaN is not less either
            self.unbounded = True
            return
        self._cover(low, high)
        _tally(np.ascontiguousarray(values).reshape(-1), 1.0 / self.width, self.first, self.counts)
        self.batches += 1
        weight = max(1.0 / self.batches, SMOOTHING)
        self.mean_low += weight * (low - self.mean_low)
        self.mean_high += weight * (high - self.mean_high)

    def _cover(self, low: float, high: float) -> None:
        """Widen and move the bins until they hold these extremes too, and zero, which every integer type must hold."""
        self.low, self.high = min(self.low, low), max(self.high, high)
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        exponent = self.exponent
        if high > low:
            exponent = max(exponent, math.floor(math.log2((high - low) / BINS)))
        while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= BINS:
            exponent += 1
        first = math.floor(math.ldexp(low, -exponent))
        if (exponent, first) != (self.exponent, self.first):
            self.counts = _moved(self, exponent, first)
            self.exponent, self.first = exponent, first


def _moved(seen: Observer, exponent: int, first: int) -> Counts:
    """The same counts in wider bins, or in bins that begin elsewhere."""
    filled = np.flatnonzero(seen.counts)
    index = ((filled + seen.first) >> (exponent - seen.exponent)) - first if len(filled) else filled
    moved = np.zeros(BINS, dtype=np.int64)
    np.add.at(moved, index, seen.counts[filled])
    return moved


@njit(nogil=True, cache=True)
def _tally(values: NDArray[np.float32], inverse: float, first: int, counts: Counts) -> None:
    for value in values:
        counts[math.floor(value * inverse) - first] += 1
