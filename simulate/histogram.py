"""A Histogram: how times were spread over the requests of a run, block by block; a Sketch that is finished."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .sketch import BLOCKS, TICKS, Sketch, bin_of, edges_s, record_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Histogram:
    """Times counted by block of consecutive requests and by bin.

    A quantile read from it lies within 1/512 of itself of that of the times themselves (in the same bin of
    `sketch.bin_of`), and times below 1 ns are zero. Means are exact to half a nanosecond.

    Args:
        bins: int64 `[columns]`, rising: the bins that hold any time; each is a column.
        counts: int64 `[BLOCKS, columns]`, how many times of each block lie in each of them.
        sums: int64 `[BLOCKS, 2]`: whole seconds, and the rest in `TICKS` of one.
        least_s: the least time; inf where there is none.
        greatest_s: the greatest; −inf where there is none.
        shift: request `r` belongs to block `r >> shift`.

    Example:
        >>> times = Histogram.of_series(np.array([0.001, 0.002, 0.003, 0.2]))
        >>> len(times), round(times.mean_s, 9), round(times.quantile_s(0.5), 5), times.quantile_s(1.0)
        (4, 0.0515, 0.002, 0.2)
    """

    bins: Counts
    counts: Counts
    sums: Counts
    least_s: float
    greatest_s: float
    shift: int

    @staticmethod
    def of(sketch: Sketch) -> Histogram:
        """Freeze what a sketch has counted; the sketch may go on."""
        least_s, greatest_s = sketch.extremes.tolist()
        bins = np.flatnonzero(sketch.counts[:, : bin_of(greatest_s) + 1].any(axis=0))
        counts = sketch.counts[:, bins].astype(np.int64)
        return Histogram(bins, counts, sketch.sums.copy(), least_s, greatest_s, int(sketch.shift[0]))

    @staticmethod
    def of_series(times_s: Floats) -> Histogram:
        """Count times that are at hand, in order of arrival; NaN is a request without a time."""
        sketch = Sketch.empty()
        record_all(sketch, 0, times_s)
        return Histogram.of(sketch)

    def __len__(self) -> int:
        return int(self._below[-1]) if len(self._below) else 0

    @cached_property
    def _below(self) -> Counts:
        """How many times lie at or below the end of each column."""
        return np.cumsum(self.counts.sum(axis=0))

    @property
    def mean_s(self) -> float:
        """The mean; NaN where there is nothing."""
        # in Python's integers, which do not overflow
        whole, ticks = (int(each) for each in self.sums.sum(axis=0))
        return (whole * int(TICKS) + ticks) / (int(TICKS) * len(self)) if len(self) else float("nan")

    @cached_property
    def block_counts(self) -> Floats:
        """How many times each block holds, up to the last that holds any."""
        counts = self.counts.sum(axis=1)
        return np.asarray(np.trim_zeros(counts, "b"), dtype=np.float64)

    @property
    def block_sums_s(self) -> Floats:
        """The sum of the times in each of the blocks of `block_counts`."""
        return np.asarray(self.sums[:, 0] + self.sums[:, 1] / TICKS)[: len(self.block_counts)]

    def column_of(self, share: float) -> int:
        """The column in which the share of times at or below reaches `share`."""
        # a share may miss a count by its last bit
        return min(int(np.searchsorted(self._below, share * len(self) * (1.0 - 1e-15))), len(self._below) - 1)

    def block_counts_to(self, column: int) -> Floats:
        """How many times of each block lie at or below the end of a column."""
        counts = self.counts[: len(self.block_counts), : column + 1]
        return np.asarray(counts.sum(axis=1), dtype=np.float64)

    def edges_s(self, column: int) -> tuple[float, float]:
        """Where a column begins and ends, no farther out than the least and the greatest time."""
        if self.bins[column] == 0:
            return 0.0, 0.0
        low_s, high_s = edges_s(self.bins[column] + np.arange(2))
        return max(float(low_s), self.least_s), min(float(high_s), self.greatest_s)

    def quantile_s(self, share: float) -> float:
        """The time that a share of the requests did not exceed, as if times were spread evenly in its bin; NaN of nothing."""
        if not len(self):
            return float("nan")
        column = self.column_of(share)
        before, until = np.concatenate([[0], self._below])[column : column + 2]
        within = (share * len(self) - before) / (until - before)
        low_s, high_s = self.edges_s(column)
        return low_s + min(max(float(within), 0.0), 1.0) * (high_s - low_s)

    def share_above(self, bound_s: float) -> float:
        """The share of the requests that took longer than a bound, to within the bin that holds the bound; NaN of nothing."""
        above = int(self.counts[:, self.bins > bin_of(bound_s)].sum())
        return above / len(self) if len(self) else float("nan")

    def merged(self, other: Histogram) -> Histogram:
        """Both runs together: requests of the same number fall into the same block, so blocks stay strangers to each other.

        Example:
            >>> one, two = (Histogram.of_series(np.array(each)) for each in ([1.0, 2.0], [3.0]))
            >>> one.merged(two).mean_s, one.merged(two).greatest_s
            (2.0, 3.0)
        """
        shift = max(self.shift, other.shift)
        bins = np.union1d(self.bins, other.bins)
        counts, sums = np.zeros((BLOCKS, len(bins)), dtype=np.int64), np.zeros((BLOCKS, 2), dtype=np.int64)
        for each in (self, other):
            counts[:, np.searchsorted(bins, each.bins)] += _coarser(each.counts, shift - each.shift)
            sums += _coarser(each.sums, shift - each.shift)
        least_s, greatest_s = min(self.least_s, other.least_s), max(self.greatest_s, other.greatest_s)
        return Histogram(bins, counts, sums, least_s, greatest_s, shift)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The histogram as arrays by name, to be saved with `numpy.savez_compressed`.

        Example:
            >>> times = Histogram.of_series(np.array([1.0, 2.0]))
            >>> Histogram.from_arrays(times.arrays()).mean_s
            1.5
        """
        return {each.name: np.asarray(getattr(self, each.name)) for each in fields(self)}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Histogram:
        """The histogram that `arrays` was called of."""
        bins, counts, sums, *scalars = (arrays[each.name] for each in fields(Histogram))
        return Histogram(bins, counts, sums, *(each.item() for each in scalars))


def _coarser(table: Counts, times: int) -> Counts:
    """Merge neighbouring blocks in pairs, so many times."""
    each = min(2**times, BLOCKS)
    merged = np.zeros_like(table)
    merged[: BLOCKS // each] = table.reshape(BLOCKS // each, each, -1).sum(axis=1)
    return merged
