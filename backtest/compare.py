"""Is the candidate better than the incumbent, judged block by block as the blocks mature.

Rows of real traffic depend on each other, and an interval that counts them one by one lies. So the paired differences of
loss are averaged over blocks first, UTC days of *request* time. A block counts as of τ once it is mature, when its end
plus the horizon lies at or before τ: by then every label that may still count has come. Blocks are released in the order
of their requests; releasing rows as their labels arrive would favour whatever is answered fast.

Even days depend on each other: weather lasts. What that does to the interval is the business of the `evidence.Asymptotic` that
weighs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.stats import autocorrelation

from .evidence import apart, carry_over

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .evidence import Asymptotic

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


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
        released_us: when each of them was mature, int64 [mature blocks].
    """

    blocks: Ints
    difference: Floats
    low: Floats
    high: Floats
    e_value: Floats
    stretch: float
    values: Floats
    released_us: Ints

    @cached_property
    def autocorrelation(self) -> float:
        """How much of one block's difference is left in the next: near 0 where the blocks are long enough."""
        return autocorrelation(self.values)


def follow(means: Floats, release_us: Ints, grid_us: Ints, sequence: Asymptotic) -> Path:
    """Follow the mean of the block differences as its blocks mature.

    Args:
        means: the difference of each block, float64 [blocks]; NaN: the block has none and is passed over.
        release_us: when each block is mature, int64 [blocks], sorted.
        grid_us: the times to judge as of, int64 [grid], sorted.
        sequence: how they are weighed; nothing in it may be tuned on the recording.

    Example: blocks released at 10, 20, …, seen at 5 and at 300.

        >>> from windtunnel.backtest.evidence import Asymptotic
        >>> path = follow(np.tile([0.9, 1.1], 15), np.arange(10, 310, 10), np.array([5, 300]), Asymptotic())
        >>> path.blocks.tolist(), path.difference.round(6).tolist(), bool(0 < path.low[1] < 1 < path.high[1])
        ([0, 30], [nan, 1.0], True)
    """
    counted = ~np.isnan(means) & (release_us <= grid_us[-1])
    values, released_us = means[counted], release_us[counted]
    blocks = np.searchsorted(released_us, grid_us, side="right")
    low, high = sequence.bounds(values)
    stretch = carry_over(values)
    return Path(
        blocks,
        np.append(np.nan, np.cumsum(values) / np.arange(1, len(values) + 1))[blocks],
        np.append(-np.inf, low)[blocks],
        np.append(np.inf, high)[blocks],
        np.append(1.0, apart(sequence, values))[blocks],
        float(stretch[-1]) if len(values) else 1.0,
        values,
        released_us,
    )
