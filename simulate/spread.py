"""A Spread: the mean and the quantiles of a time over the requests, with intervals that know that neighbours are alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as distributions

from windtunnel.stats import Interval, autocorrelation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .histogram import Histogram

    Floats = NDArray[np.float64]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
"""The quantiles of a spread, by the name they have in it."""

LEAST_BLOCKS = 30
"""Fewer blocks carry no interval: Student's quantile and the autocorrelation are too doubtful."""

LEAST_REQUESTS = 900
"""Fewer times carry no interval: thirty a block, in thirty blocks."""


@dataclass(frozen=True)
class Spread:
    """How a time is spread over the requests.

    Args:
        mean: its mean.
        quantiles: one interval for each of `QUANTILES`, in their order.
        greatest_s: the longest; NaN where there is none.
    """

    mean: Interval
    quantiles: tuple[Interval, ...]
    greatest_s: float

    def __getitem__(self, name: str) -> Interval:
        return self.quantiles[list(QUANTILES).index(name)]

    def to_dict(self) -> dict[str, float | None]:
        """The figures in seconds, as `mean_s`, `mean_s_low`, `mean_s_high`, `p50_s`, …, `max_s`; null where unknown."""
        named = {"mean_s": self.mean, **{f"{name}_s": self[name] for name in QUANTILES}}
        figures = {key: figure for name, each in named.items() for key, figure in each.to_dict(name).items()}
        figures["max_s"] = self.greatest_s
        return {key: figure if math.isfinite(figure) else None for key, figure in figures.items()}

    @staticmethod
    def of(times: Histogram, confidence: float = 0.95) -> Spread:
        """The spread of the times that a histogram has counted, block by block.

        Neighbouring requests share queues and batches, so they are not independent observations; long blocks of them
        nearly are. The mean's interval is Student's over 33 to 64 blocks (batch means: Law, *Simulation Modeling and
        Analysis*, section 9.5.3), as a ratio of block sums to block counts, so that a block in which requests were lost
        weighs less. What is left of one block in the next widens it by √((1 + φ) / (1 − φ)), where φ is the blocks'
        autocorrelation, as in Tafazzoli, Wilson, Lada & Steiger, *Performance of Skart* (INFORMS J. Comput. 23, 2011).

        A quantile's interval is found on the other axis (Woodruff, *Confidence intervals for medians and other position
        measures*, JASA 1952): the share of requests at or below it is a mean, whose interval comes from the blocks alike,
        and the quantiles at its two ends are the ends, each moved outwards to the edge of its bin. A quantile taken in
        each block would be biased instead: slow requests come in clusters, and most blocks have none.

        A rare tail is known by few clusters, and a run that saw too few of them is too sure of them as well. So a
        quantile's design effect (by how much its share varies more than that of independent requests) is taken to be no
        less than that of the quantiles before it.

        With fewer than `LEAST_BLOCKS` blocks or `LEAST_REQUESTS` times, or where the share beyond a quantile is not known
        to be above zero, the figure stands and its interval is the whole line.

        Nothing is cut off at the beginning: the figures are about the requests of this trace, of which the first met an
        empty queue, and in a run long enough for intervals a start is a small part of one block. The intervals are about
        a load that goes on like this. Where the rate drifts over the trace, as by night and day, the blocks scatter with
        it, and the intervals are wider than chance alone would make them, or refused.

        Example:
            >>> from .histogram import Histogram
            >>> steady = Spread.of(Histogram.of_series(np.random.default_rng(0).exponential(size=3000)))
            >>> steady.mean.low < 1.0 < steady.mean.high, steady["p999"].high
            (True, inf)
        """
        counts = times.block_counts
        blocks, value = int(np.count_nonzero(counts)), times.mean_s
        if blocks < LEAST_BLOCKS or counts.sum() < LEAST_REQUESTS:
            quantiles = [_unknown(times.quantile_s(share), blocks, confidence) for share in QUANTILES.values()]
            return Spread(_unknown(value, blocks, confidence), tuple(quantiles), _finite(times.greatest_s))
        reach = student(blocks, confidence) * ratio_error(times.block_sums_s, counts)
        # no time is below zero
        mean = Interval(value, max(0.0, value - reach), value + reach, blocks, confidence)
        return Spread(mean, tuple(_quantiles(times, counts, blocks, confidence)), times.greatest_s)


def _finite(figure: float) -> float:
    return figure if math.isfinite(figure) else math.nan


def _unknown(value: float, blocks: int, confidence: float) -> Interval:
    return Interval(value, -math.inf, math.inf, blocks, confidence)


def student(blocks: int, confidence: float) -> float:
    """Student's factor of an interval from so many blocks."""
    return float(distributions.t.ppf(0.5 + confidence / 2.0, blocks - 1))


def ratio_error(sums: Floats, counts: Floats) -> float:
    """The standard error of the ratio of two block sums, widened by the autocorrelation of its residuals."""
    residuals = sums - sums.sum() / counts.sum() * counts
    blocks = int(np.count_nonzero(counts))
    variance = float(residuals @ residuals) * blocks / (blocks - 1) / float(counts.sum()) ** 2
    likeness = max(0.0, autocorrelation(residuals))
    return math.sqrt(variance * (1.0 + likeness) / (1.0 - likeness))


def _quantiles(times: Histogram, counts: Floats, blocks: int, confidence: float) -> list[Interval]:
    """An interval for each of `QUANTILES`, whose shares rise: each inherits the design effect of those before it."""
    intervals, effect, factor = [], 0.0, student(blocks, confidence)
    for share in QUANTILES.values():
        error = ratio_error(times.block_counts_to(times.column_of(share)), counts)
        independent = share * (1.0 - share) / float(counts.sum())
        effect = max(effect, error**2 / independent)
        reach = factor * math.sqrt(effect * independent)
        value = times.quantile_s(share)
        if reach >= 1.0 - share:
            intervals.append(_unknown(value, blocks, confidence))
            continue
        low_s, high_s = (times.edges_s(times.column_of(share + end))[end > 0] for end in (-reach, reach))
        intervals.append(Interval(value, min(low_s, value), max(high_s, value), blocks, confidence))
    return intervals
