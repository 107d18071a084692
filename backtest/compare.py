"""Is the candidate better than the incumbent, judged block by block as the blocks mature.

Rows of real traffic depend on each other, and an interval that counts them one by one lies. So the paired differences of
loss are averaged over blocks first, UTC days of *request* time. A block counts as of τ once it is mature, when its end
plus the horizon lies at or before τ: by then every label that may still count has come. Blocks are released in the order
of their requests; releasing rows as their labels arrive would favour whatever is answered fast.

Even days depend on each other: weather lasts. So the confidence sequence is stretched by what its own past shows of that
(`carry_over`), and its burn-in is counted in days that are worth as much as independent ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.stats import autocorrelation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.loss import Loss
    from windtunnel.stats import ConfidenceSequence

    from .labels import Labels

    Floats = NDArray[np.float64]

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Blocks:
    """The on-time rows of a recording in UTC days of request time.

    Args:
        day: the block of each on-time row, int64 [on time], from 0.
        rows: how many on-time rows each block has, int64 [blocks].
        release_us: when each block is mature, int64 [blocks].
    """

    day: NDArray[np.int64]
    rows: NDArray[np.int64]
    release_us: NDArray[np.int64]

    @staticmethod
    def of(labels: Labels) -> Blocks:
        """Cut the requests into days."""
        first = int(labels.time_us[0]) // DAY_US
        days = int(labels.time_us[-1]) // DAY_US - first + 1
        day = labels.time_us[labels.on_time] // DAY_US - first
        ends = (first + 1 + np.arange(days, dtype=np.int64)) * DAY_US
        return Blocks(day, np.bincount(day, minlength=days), ends + labels.horizon_us)

    def sums(self, values: Floats) -> Floats:
        """The sum of one value an on-time row over each block, float64 [blocks]."""
        return _sums(self.day, values, len(self.rows))

    def means(self, values: Floats) -> Floats:
        """The mean of one value an on-time row over each block, float64 [blocks]; NaN where a block has no such row."""
        return _over(self.sums(values), self.rows)

    def halves(self, values: Floats, first: NDArray[np.bool_]) -> Floats:
        """The mean over one half of each block's rows minus that over the other; NaN where a half is empty."""
        rows = np.bincount(self.day[first], minlength=len(self.rows))
        total = self.sums(np.where(first, values, 0.0))
        return _over(total, rows) - _over(self.sums(values) - total, self.rows - rows)


@dataclass(frozen=True)
class Path:
    """What was known of a mean difference as of each time of a grid, [grid] each.

    Args:
        blocks: how many mature blocks carry it, int64.
        difference: their mean, float64, NaN before the first.
        low: lower end of the confidence sequence, float64, −∞ during burn-in.
        high: upper end, float64, ∞ during burn-in.
        e_value: the evidence against no difference, float64.
        stretch: how much wider the latest interval was made because blocks depend on each other; 1 where they do not.
        values: the block differences themselves, float64 [mature blocks], in the order of release.
    """

    blocks: NDArray[np.int64]
    difference: Floats
    low: Floats
    high: Floats
    e_value: Floats
    stretch: float
    values: Floats

    @cached_property
    def autocorrelation(self) -> float:
        """How much of one block's difference is left in the next: near 0 where the blocks are long enough."""
        return autocorrelation(self.values)


def carry_over(values: Floats) -> Floats:
    """How much wider the mean's interval must be because each value carries over to the next, after each value, ≥ 1.

    The variance of the mean of a long AR(1) series is (1 + φ) / (1 − φ) times what it would be without dependence; φ is the
    lag-one autocorrelation so far, with its downward bias (1 + 4φ) / n taken out (Kendall, *Note on bias in the
    estimation of autocorrelation*, Biometrika 41, 1954) and kept within 0 to 0.95.

    Example:
        >>> carry_over(np.tile([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], 20))[-1:], carry_over(np.tile([0.0, 1.0], 60))[-1:]
        (array([1.46]), array([1.]))
    """
    n = np.arange(1, len(values) + 1, dtype=np.float64)
    # around the first value, so that a large offset does not cancel the variance away
    shifted = values - values[:1]
    total = np.cumsum(shifted)
    mean = total / n
    power = np.cumsum(shifted**2) - n * mean**2
    products = np.append(0.0, np.cumsum(shifted[1:] * shifted[:-1]))[: len(values)]
    # the sum of (x[i] − mean)(x[i−1] − mean) from the second on; shifted[0] is zero
    shared = products - mean * (2.0 * total - shifted) + (n - 1.0) * mean**2
    phi = np.divide(shared, power, out=np.zeros(len(values)), where=power > 0.0)
    phi = np.clip(phi + (1.0 + 4.0 * phi) / n, 0.0, 0.95)
    stretch: Floats = np.sqrt((1.0 + phi) / (1.0 - phi))
    return stretch


def follow(
    means: Floats, release_us: NDArray[np.int64], grid_us: NDArray[np.int64], sequence: ConfidenceSequence
) -> Path:
    """Follow the mean of the block differences as its blocks mature.

    Args:
        means: the difference of each block, float64 [blocks]; NaN: the block has none and is passed over.
        release_us: when each block is mature, int64 [blocks], sorted.
        grid_us: the times to judge as of, int64 [grid], sorted.
        sequence: the confidence sequence; nothing in it may be tuned on the recording.

    Example: blocks released at 10, 20, …, seen at 5 and at 300.

        >>> from windtunnel.stats import ConfidenceSequence
        >>> path = follow(np.tile([0.9, 1.1], 15), np.arange(10, 310, 10), np.array([5, 300]), ConfidenceSequence())
        >>> path.blocks.tolist(), path.difference.round(6).tolist(), bool(0 < path.low[1] < 1 < path.high[1])
        ([0, 30], [nan, 1.0], True)
    """
    counted = ~np.isnan(means) & (release_us <= grid_us[-1])
    values, released_us = means[counted], release_us[counted]
    blocks = np.searchsorted(released_us, grid_us, side="right")
    n = np.arange(1, len(values) + 1)
    mean, stretch = np.cumsum(values) / n, carry_over(values)
    low, high = sequence.bounds(values)
    reach = np.where(n / stretch**2 < sequence.burn_in, np.inf, (high - low) / 2.0 * stretch)
    return Path(
        blocks,
        np.append(np.nan, mean)[blocks],
        np.append(-np.inf, mean - reach)[blocks],
        np.append(np.inf, mean + reach)[blocks],
        np.append(1.0, _e_values(values, reach, stretch, sequence))[blocks],
        float(stretch[-1]) if len(values) else 1.0,
        values,
    )


def _e_values(values: Floats, reach: Floats, stretch: Floats, sequence: ConfidenceSequence) -> Floats:
    """The evidence after each value, of the same stretched deviations as the bounds; 1 during burn-in."""
    evidence = np.ones(len(values))
    for k in np.flatnonzero(np.isfinite(reach)):
        so_far = values[: k + 1]
        centre = so_far.mean()
        evidence[k] = sequence.e_value(centre + (so_far - centre) * stretch[k])
    return evidence


def bound_difference(
    loss: Loss, labels: Labels, blocks: Blocks, models: tuple[Floats, Floats], differences: Floats, as_of_us: int
) -> tuple[float, float] | None:
    """The least and the greatest mean block difference that the labels that did not come could have made.

    Each missing label is set to whichever of 0 and 1 favours the candidate, then to the other: no assumption about why
    it is missing, hence wide. None where the loss is not binary (then nothing bounds it) or no block is mature.

    Args:
        loss: the loss.
        labels: the labels.
        blocks: their blocks.
        models: predictions of the incumbent and of the candidate, float64 [n] each.
        differences: loss of the candidate minus that of the incumbent, float64 [on time].
        as_of_us: only blocks that are mature as of then count.
    """
    mature = blocks.release_us <= as_of_us
    if not loss.binary or not mature.any():
        return None
    missing = ~labels.on_time
    day = labels.time_us[missing] // DAY_US - labels.time_us[0] // DAY_US
    rows = blocks.rows + np.bincount(day, minlength=len(mature))
    counted = mature & (rows > 0)
    incumbent, candidate = (model[missing] for model in models)
    if_0, if_1 = (loss.of(y, candidate) - loss.of(y, incumbent) for y in (np.zeros(len(day)), np.ones(len(day))))
    ends = []
    for extreme in (np.minimum(if_0, if_1), np.maximum(if_0, if_1)):
        sums = blocks.sums(differences) + _sums(day, extreme, len(mature))
        ends.append(float(np.mean(sums[counted] / rows[counted])))
    return ends[0], ends[1]


def _sums(day: NDArray[np.int64], values: Floats, days: int) -> Floats:
    return np.bincount(day, weights=values, minlength=days).astype(np.float64, copy=False)


def _over(sums: Floats, rows: NDArray[np.int64]) -> Floats:
    means = np.full(len(sums), np.nan)
    np.divide(sums, rows, out=means, where=rows > 0)
    return means
