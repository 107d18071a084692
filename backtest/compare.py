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

    from windtunnel.stats import ConfidenceSequence

    Floats = NDArray[np.float64]


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
