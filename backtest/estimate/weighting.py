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

import math
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


MOST_PERIODS = 60
"""Of how many of the latest settled periods it is read how much periods differ."""


@dataclass(frozen=True)
class WeightedMean:
    """A weighted mean loss at every look, float64 [looks] each; NaN where nothing can be said.

    Args:
        mean: the estimate of the mean loss over all that was asked.
        low: lower end of its interval, of each look by itself, for what that mean will turn out to be: what is not known are
            the missing labels alone, so it closes as they come. Infinite where labels are missing and those that came show
            no variance to go by.
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
    n, sums, squares = (np.cumsum(each, axis=-1) for each in _cells(triangle, model))
    looks, last = triangle.periods.looks, triangle.periods.lags - 1
    shown = np.full((5, looks), np.nan)
    for look in range(looks):
        period = np.arange(look + 1)
        age = np.minimum(look - period, last)
        chance = arrived[:, look][:, age]
        weight = np.where(chance >= LEAST_ARRIVED, 1.0 / np.maximum(chance, LEAST_ARRIVED), 0.0)
        asked = triangle.asked[:, : look + 1]
        came, of_each = n[:, period, age], sums[:, period, age]
        told = _Told.of(weight, came, of_each, (asked * (weight > 0.0)).sum(axis=1), float(asked.sum()))
        reach = told.reach_of_labels(came, of_each, squares[:, period, age], confidence)
        shown[:, look] = told.mean, told.mean - reach, told.mean + reach, told.effective, told.left_out
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
    total, lags = np.cumsum(triangle.asked, axis=1), np.arange(settle + 1)
    n, sums, squares = (np.cumsum(each, axis=1) for each in _cells(triangle, model))
    shown = np.full((5, looks), np.nan)
    for look in range(settle, looks):
        watched, at = total[:, look - lags], look - lags
        weight = np.divide(total[:, look, None], watched, out=np.zeros_like(watched), where=watched > 0.0)
        came, of_each = n[:, at, lags], sums[:, at, lags]
        told = _Told.of(weight, came, of_each, total[:, look], float(total[:, look].sum()))
        reach = told.reach_of_periods(triangle, model, look, squares[:, at, lags], confidence)
        shown[:, look] = told.mean, told.mean - reach, told.mean + reach, told.effective, told.left_out
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


def _cells(triangle: Triangle, model: str) -> tuple[Floats, Floats, Floats]:
    return triangle.matured, triangle.losses[model], triangle.squares[model]


@dataclass(frozen=True)
class _Told:
    """What one look says, of labels in cells of one weight each; the weights of a stratum scaled to what was asked in it.

    Args:
        bare: the weights before, float64 [strata, cells].
        scale: what never comes is taken for what came of its stratum: how much that adds, float64 [strata].
        n: labels, float64 [strata, cells].
        centre: the weighted mean loss of each stratum, float64 [strata].
        spoken: requests that the labels of each stratum speak for, float64 [strata].
        left_out: share of all requests that no label speaks for.
    """

    bare: Floats
    scale: Floats
    n: Floats
    centre: Floats
    spoken: Floats
    left_out: float

    @staticmethod
    def of(weight: Floats, n: Floats, sums: Floats, asked: Floats, of: float) -> _Told:
        """Scale the weights.

        Args:
            weight: float64 [strata, cells].
            n: labels, likewise.
            sums: of their losses, likewise.
            asked: requests that the labels of each stratum are to speak for, float64 [strata].
            of: all requests.
        """
        told = (weight * n).sum(axis=1)
        spoken = np.where(told > 0.0, asked, 0.0)
        scale = np.divide(spoken, told, out=np.zeros_like(told), where=told > 0.0)
        centre = np.divide((weight * sums).sum(axis=1), told, out=np.zeros_like(told), where=told > 0.0)
        left_out = 1.0 - float(spoken.sum()) / of if of > 0.0 else math.nan
        return _Told(weight, scale, n, centre, spoken, left_out)

    @property
    def weight(self) -> Floats:
        """Of each cell, scaled, float64 [strata, cells]."""
        return self.bare * self.scale[:, None]

    @property
    def mean(self) -> float:
        """Over all that is spoken for; NaN where nothing is."""
        return _ratio(float(self.centre @ self.spoken), float(self.spoken.sum()))

    @property
    def effective(self) -> float:
        """Kish's (Σw)² / Σw² over all labels; 0 of none."""
        return float(_effective(self.weight, self.n).sum())

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Whether requests of a stratum that are spoken for have no label, bool [strata]."""
        fewer: NDArray[np.bool_] = np.less((self.n * (self.bare > 0.0)).sum(axis=1), self.spoken)
        return fewer

    def reach_of_labels(self, n: Floats, sums: Floats, squares: Floats, confidence: float) -> float:
        """Of the interval where each label comes by a chance of its own.

        A label speaks for W requests, of which W − 1 are not known: Σ W (W − 1) (loss − its stratum's mean)² is unbiased for
        the squared error of the sum over all of them (Horvitz & Thompson), whatever periods are like. Student's over strata,
        with Satterthwaite's degrees of freedom.
        """
        apart = np.maximum(squares - 2.0 * self.centre[:, None] * sums + self.centre[:, None] ** 2 * n, 0.0)
        error = (self.weight * np.maximum(self.weight - 1.0, 0.0) * apart).sum(axis=1)
        if not self.missing.any():
            return 0.0
        worth = _effective(self.weight, n, axis=1)[self.missing]
        error = error[self.missing]
        if (error == 0.0).any() or (worth <= 1.0).any():
            return math.inf
        error = error * worth / (worth - 1.0)
        freedom = float(error.sum() ** 2 / (error**2 / (worth - 1.0)).sum())
        return _student(float(error.sum()), freedom, confidence) / float(self.spoken.sum())

    def reach_of_periods(self, triangle: Triangle, model: str, look: int, squares: Floats, confidence: float) -> float:
        """Of the interval where periods are drawn alike, and the rows of one may share their luck.

        Each of the latest settled periods is taken for one of each younger age, as though its later labels had not come, and it
        is seen by how much they are then missed; as much as these errors differ from period to period, the errors of the
        periods that *are* so young may differ. What never comes is missed row by row.
        """
        settle, asked = triangle.periods.settle, triangle.asked.sum(axis=0)
        old = np.arange(max(0, look - settle + 1 - MOST_PERIODS), look - settle + 1)
        old = old[asked[old] > 0.0]
        if not self.missing.any():
            return 0.0
        if len(old) < 2:
            return math.inf
        apart = triangle.losses[model][:, old] - self.centre[:, None, None] * triangle.matured[:, old]
        seen = np.arange(settle + 1)[:, None] <= np.arange(settle + 1)  # [lags, ages]
        factor = (self.bare[:, :, None] * seen - 1.0) * self.scale[:, None, None]
        missed = np.einsum("hql,hla->qa", apart, factor, optimize=True) / asked[old, None]
        ages = np.minimum(look - np.arange(look + 1), settle)
        sizes = np.bincount(ages, weights=asked[: look + 1] ** 2, minlength=settle + 1)
        never = (self.bare * (squares - self.centre[:, None] ** 2 * self.n)).sum(axis=1)
        never = np.maximum(never, 0.0) * self.scale * np.maximum(self.scale - 1.0, 0.0)
        error = float(missed.var(axis=0, ddof=1) @ sizes + never.sum())
        if error == 0.0:
            return math.inf
        return _student(error, len(old) - 1.0, confidence) / float(self.spoken.sum())


def _student(variance: float, freedom: float, confidence: float) -> float:
    return float(distributions.t.ppf(0.5 + confidence / 2.0, freedom)) * math.sqrt(variance)


def _effective(weight: Floats, n: Floats, axis: int | None = None) -> Floats:
    """Kish's (Σw)² / Σw², 0 of nothing."""
    squares = np.asarray((weight**2 * n).sum(axis=axis))
    worth = np.zeros(squares.shape)
    np.divide((weight * n).sum(axis=axis) ** 2, squares, out=worth, where=squares > 0.0)
    return worth


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else math.nan


def _over(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0.0)
    return share
