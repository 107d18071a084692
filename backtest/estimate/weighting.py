"""The mean loss of all that was asked, from the labels that have come: weighted, or bounded.

The plain mean over matured rows favours what is answered fast. Two weightings undo that, each under an assumption that
the data cannot check by themselves, and the bounds need none:

- **by age**: a label counts 1 / P(it came by the age its request has), within its stratum. Right where, within a
  stratum, how long a label takes tells nothing about the loss; what is asked may change over time.
- **by delay**: a label that took so long counts 1 / (share of requests that were watched so long). Right where what is
  asked, and how long it takes, stays as it is; then even labels that come faster for one outcome do no harm.
- **bounds**: each missing label is set to what is best, then to what is worst.

Where the two weightings disagree by more than their intervals, one of the assumptions is wrong: believe the bounds.

Source: inverse probability of censoring weights, Robins & Rotnitzky (1992); for delayed feedback, Yasui et al., *A
Feedback Shift Correction in Predicting Conversion Rates under Delayed Feedback*, WWW 2020. Kish's effective sample size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as distributions

from .triangle import as_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .triangle import Triangle

    Floats = NDArray[np.float64]

LEAST_ARRIVED = 0.05
"""A period and stratum of which less than this share can have come is left out: its few labels would count too much."""


@dataclass(frozen=True)
class WeightedMean:
    """A weighted mean loss at every look, float64 [looks] each; NaN where nothing can be said.

    Args:
        mean: the estimate of the mean loss over all that was asked.
        low: lower end of its interval, of each look by itself. Periods are its blocks, and what changes from one to the
            next counts as chance: so it is wide where traffic has a trend, and wider than needed for the mean of what
            happened to be asked (which it held in 400 trials of 400).
        high: upper end.
        effective: how many unweighted labels it is worth.
        left_out: share of what was asked that it does not speak of, because too few of its labels can have come.
        confidence: of the interval.
    """

    mean: Floats
    low: Floats
    high: Floats
    effective: Floats
    left_out: Floats
    confidence: float


def plain_mean(triangle: Triangle, model: str) -> Floats:
    """The mean loss over the matured rows at every look, float64 [looks], unweighted: favours fast labels."""
    matured = as_of(triangle.matured).sum(axis=(0, 2))
    return _over(as_of(triangle.losses[model]).sum(axis=(0, 2)), matured)


def mean_by_age(triangle: Triangle, model: str, confidence: float = 0.95) -> WeightedMean:
    """Weigh each label by the inverse of the chance that it has come by now, given its age and stratum.

    Args:
        triangle: the labels, in the strata within which a label's delay says nothing of the loss.
        model: whose loss.
        confidence: of the interval.

    Example: of a slow stratum half as many have come as of the fast one, so each of its labels counts twice.

        >>> import numpy as np
        >>> from windtunnel.backtest.estimate import Periods, Triangle
        >>> time, known = np.array([1, 2, 3, 4, 5, 6, 7, 8]), np.array([9, 9, 9, 9, 9, 9, 999, 999])
        >>> triangle = Triangle.of(time, known, periods=Periods.of(np.array([10, 20]), 10),
        ...     losses={"m": np.array([0, 0, 0, 0, 1, 1, 1, 1.0])}, strata=np.array([0, 0, 0, 0, 1, 1, 1, 1]),
        ...     number_of_strata=2)
        >>> plain_mean(triangle, "m").round(3).tolist(), mean_by_age(triangle, "m").mean.tolist()
        ([0.333, 0.333], [0.5, 0.5])
    """
    arrived = 1.0 - triangle.waiting()[0]
    counts, sums = np.cumsum(triangle.matured, axis=-1), np.cumsum(triangle.losses[model], axis=-1)
    looks, last = triangle.periods.looks, triangle.periods.lags - 1
    shown = np.full((5, looks), np.nan)
    for look in range(looks):
        period = np.arange(look + 1)
        age = np.minimum(look - period, last)
        chance = arrived[:, look][:, age]
        weight = np.where(chance >= LEAST_ARRIVED, 1.0 / np.maximum(chance, LEAST_ARRIVED), 0.0)
        n, asked = counts[:, period, age], triangle.asked[:, : look + 1]
        mean, reach = _linearised(sums[:, period, age] * weight, n * weight, confidence)
        effective = _ratio((n * weight).sum() ** 2, (n * weight**2).sum())
        left_out = _ratio(asked[weight == 0.0].sum(), asked.sum())
        shown[:, look] = mean, mean - reach, mean + reach, effective, left_out
    return WeightedMean(shown[0], shown[1], shown[2], shown[3], shown[4], confidence)


def mean_by_delay(triangle: Triangle, model: str, confidence: float = 0.95) -> WeightedMean:
    """Weigh each label by the inverse of the share of requests that were watched for as long as it took.

    Says nothing before the fate of the first period is known: labels slower than anything watched have no weight to
    speak through. Within each stratum, then averaged by what was asked of each.

    Args:
        triangle: the labels.
        model: whose loss.
        confidence: of the interval.
    """
    looks, settle = triangle.periods.looks, triangle.periods.settle
    total = np.cumsum(triangle.asked, axis=1)
    shown = np.full((5, looks), np.nan)
    for look in range(settle, looks):
        watched = np.stack([total[:, look - lag] for lag in range(settle + 1)], axis=1)
        weight = np.divide(total[:, look, None], watched, out=np.zeros_like(watched), where=watched > 0.0)
        seen = np.arange(look + 1)[:, None] + np.arange(settle + 1) <= look
        n = np.where(seen, triangle.matured[:, : look + 1], 0.0)
        counts, squares = (n * weight[:, None]).sum(axis=2), (n * weight[:, None] ** 2).sum(axis=2)
        sums = (np.where(seen, triangle.losses[model][:, : look + 1], 0.0) * weight[:, None]).sum(axis=2)
        # what never comes is taken for what came of its stratum
        scale = _over(total[:, look], counts.sum(axis=1))
        scale = np.where(np.isfinite(scale), scale, 0.0)[:, None]
        mean, reach = _linearised(sums * scale, counts * scale, confidence)
        effective = _ratio((counts * scale).sum() ** 2, (squares * scale**2).sum())
        left_out = _ratio(total[scale[:, 0] == 0.0, look].sum(), total[:, look].sum())
        shown[:, look] = mean, mean - reach, mean + reach, effective, left_out
    return WeightedMean(shown[0], shown[1], shown[2], shown[3], shown[4], confidence)


def bound_mean(triangle: Triangle, model: str) -> tuple[Floats, Floats]:
    """The least and the greatest mean loss over all that was asked, whatever the labels that have not come.

    No assumption, hence wide; float64 [looks] each, NaN while nothing was asked.

    Example: two of four labels are there, both without loss; the other two could cost nothing or one each.

        >>> import numpy as np
        >>> from windtunnel.backtest.estimate import Periods, Triangle
        >>> time, known, zero = np.array([1, 2, 3, 4]), np.array([5, 6, 99, 99]), np.zeros(4)
        >>> triangle = Triangle.of(time, known, periods=Periods.of(np.array([10, 20]), 10),
        ...     losses={"m": zero}, limits={"m": (zero, zero + 1.0)})
        >>> [each.tolist() for each in bound_mean(triangle, "m")]
        [[0.0, 0.0], [0.5, 0.5]]
    """
    asked = np.cumsum(triangle.asked.sum(axis=0))
    there = as_of(triangle.losses[model]).sum(axis=(0, 2))
    of_asked, of_matured = triangle.limits[model]
    missing = np.cumsum(of_asked.sum(axis=1), axis=1) - as_of(of_matured).sum(axis=(1, 3))
    return _over(there + missing[0], asked), _over(there + missing[1], asked)


def _linearised(sums: Floats, counts: Floats, confidence: float) -> tuple[float, float]:
    """A ratio of sums over periods and the reach of its interval, from how the periods differ (Taylor linearisation).

    Args:
        sums: weighted losses, float64 [strata, periods].
        counts: weights, float64 [strata, periods].
        confidence: of the interval.
    """
    total = float(counts.sum())
    if total <= 0.0:
        return np.nan, np.nan
    mean = float(sums.sum()) / total
    blocks = int(np.count_nonzero(counts.sum(axis=0)))
    if blocks < 2:
        return mean, np.inf
    residual = (sums - mean * counts).sum(axis=0)
    variance = float((residual**2).sum()) / total**2 * blocks / (blocks - 1)
    return mean, float(distributions.t.ppf(0.5 + confidence / 2.0, blocks - 1)) * float(np.sqrt(variance))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0.0 else np.nan


def _over(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0.0)
    return share
