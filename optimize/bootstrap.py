"""The paired bootstrap: what a difference of two figures could have been, had other rows been drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import stats as distributions

from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 2000
"""How often rows are drawn anew."""

CARRIED = 10
"""How many resamples must lie beyond a quantile that is read off them; farther out the tail goes on as a normal one."""

BLOCKS = 200
"""Into how many blocks the units are dealt to see how skewed their influence is."""

CELLS = 100_000
"""How many counts are held at a time: 0.8 MB, which lie in a core's own cache."""

UNDEFINED = 0.1
"""The share of resamples in which a statistic may be undefined (a class may be missing) before nothing is known."""


class Statistic(Protocol):
    """A difference between child and parent, of weighted units."""

    def __call__(self, weights: Floats, /) -> Floats:
        """The difference for each row of weights, `[resamples, units]` → `[resamples]`; NaN where it is undefined."""
        ...


def paired_bootstrap(
    statistic: Statistic,
    units: int,
    confidence: float,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    blocks: int = BLOCKS,
) -> Interval:
    """The interval of a difference by the bias-corrected, accelerated bootstrap over units (rows, or groups of rows).

    Student's quantiles stand where BCa has normal ones, against its narrowness in small samples. A quantile beyond what
    the resamples carry is continued as a normal tail with their own deviation, so that an interval that is split over many
    children need not resample without end.

    Args:
        statistic: takes weights, float64 `[resamples, units]`.
        units: how many.
        confidence: of the interval.
        rng: of the draws.
        resamples: how many.
        blocks: how many blocks of units are left out in turn.

    Source: Efron, JASA 82 (1987), 171-185; the acceleration from blocks: Efron & Tibshirani, *An Introduction to the
    Bootstrap* (1993), section 14.3.

    Example:
        >>> x = np.random.default_rng(3).exponential(size=400)
        >>> found = paired_bootstrap(lambda w: w @ x / w.sum(axis=1), 400, 0.95, np.random.default_rng(1))
        >>> found.low < 1.0 < found.high, found.high - found.value > found.value - found.low
        (True, True)
    """
    seen = float(statistic(np.ones((1, units)))[0])
    drawn = np.concatenate([statistic(weights) for weights in _resamples(units, resamples, rng)])
    defined = np.sort(drawn[np.isfinite(drawn)])
    if not math.isfinite(seen) or units < 2 or len(defined) < (1.0 - UNDEFINED) * len(drawn):
        return Interval(seen, -math.inf, math.inf, units, confidence)
    deviation = float(defined.std(ddof=1))
    if deviation == 0.0:
        return Interval(seen, seen, seen, units, confidence)
    below = (np.sum(defined < seen) + 0.5 * np.sum(defined == seen) + 0.5) / (len(defined) + 1.0)
    bias = float(distributions.norm.ppf(below))
    bend = _acceleration(statistic, units, min(blocks, units), rng)
    reach = float(distributions.t.ppf(0.5 + confidence / 2, units - 1)) * math.sqrt(units / (units - 1))
    low, high = (_quantile(defined, _adjusted(z, bias, bend), deviation) for z in (-reach, reach))
    return Interval(seen, min(low, seen), max(high, seen), units, confidence)


def _resamples(units: int, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each unit is drawn in each resample, a bounded number of resamples at a time."""
    at_once = max(1, min(resamples, CELLS // units))
    for first in range(0, resamples, at_once):
        count = min(at_once, resamples - first)
        drawn = rng.integers(0, units, size=(count, units), dtype=np.int64)
        drawn += np.arange(count, dtype=np.int64)[:, None] * units
        yield np.bincount(drawn.ravel(), minlength=count * units).reshape(count, units).astype(np.float64)


def _acceleration(statistic: Statistic, units: int, blocks: int, rng: np.random.Generator) -> float:
    """How skewed the influence of a unit is, from leaving out one block of them after the other."""
    block = rng.permutation(units) % blocks
    at_once = max(1, CELLS // units)
    left_out = np.concatenate(
        [
            statistic((block[None, :] != np.arange(first, min(first + at_once, blocks))[:, None]).astype(np.float64))
            for first in range(0, blocks, at_once)
        ]
    )
    influence = np.nanmean(left_out) - left_out[np.isfinite(left_out)]
    power = float(influence @ influence)
    return float(np.sum(influence**3)) / (6.0 * power**1.5) if power > 0.0 else 0.0


def _adjusted(z: float, bias: float, bend: float) -> float:
    """The normal score at which BCa reads the resamples."""
    shifted = bias + z
    return bias + shifted / max(0.1, 1.0 - bend * shifted)


def _quantile(ordered: Floats, z: float, deviation: float) -> float:
    """The resamples' quantile at a normal score, its tail continued where they do not reach."""
    limit = float(distributions.norm.ppf(1.0 - min(0.5, CARRIED / len(ordered))))
    held = min(max(z, -limit), limit)
    return float(np.quantile(ordered, float(distributions.norm.cdf(held)))) + (z - held) * deviation
