"""Predicted probabilities counted by period and by bins of their log odds: all that confidence-based estimation needs.

The bins are the same for all data and all times, so nothing leaks through them; 0.5 is an edge, so that the two sides
of a decision are told apart exactly. Within a bin a loss is taken at the bin's mean prediction, which is off by some
width² / 96, a hundred-thousandth of a nat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import DataError
from windtunnel.loss import CLIP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .periods import Periods

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

BINS = 1024
"""How many bins, an even number."""

TOP = math.log((1.0 - CLIP) / CLIP)
"""The log odds at which the losses clip; the first and last bin end there."""


@dataclass(frozen=True)
class ScoreTable:
    """One model's predictions of 0/1 labels, float64 [looks, BINS] each.

    Args:
        periods: the grid.
        asked: requests.
        predicted: the sum of their predictions.
        matured: those whose label came within the horizon. A period's row may be read only once it is settled.
        ones: the sum of these labels, each in its last version.

    Example:
        >>> from windtunnel.backtest.estimate import Periods
        >>> periods = Periods.of(np.array([10, 20]), 10)
        >>> table = ScoreTable.of(
        ...     np.array([1, 2, 3]), np.array([5, 5, 99]), np.array([0.5, 0.9, 0.9]), np.array([0, 1, np.nan]), periods)
        >>> [float(each.sum()) for each in (table.asked, table.matured, table.ones)]
        [3.0, 2.0, 1.0]
    """

    periods: Periods
    asked: Floats
    predicted: Floats
    matured: Floats
    ones: Floats

    @staticmethod
    def of(
        time_us: Times,
        known_us: Times,
        prediction: Floats,
        label: Floats,
        periods: Periods,
        *,
        until_us: Times | None = None,
        first: NDArray[np.bool_] | None = None,
    ) -> ScoreTable:
        """Count canonical rows, in any order; see `Triangle.of`.

        Raises:
            DataError: a prediction that is no probability, or a label that counts and is neither 0 nor 1.
        """
        if len(prediction) and not (prediction.min() >= 0.0 and prediction.max() <= 1.0):
            raise DataError("holds values that are no probability", field="predictions", fix="give values from 0 to 1")
        period = periods.of_request(time_us)
        inside = period < periods.looks
        cell = np.where(inside, period * BINS + bin_of(prediction), -1)
        final = inside & periods.on_time(time_us, known_us)
        if until_us is not None:
            final &= ~periods.on_time(time_us, until_us)
        if not ((label[final] == 0.0) | (label[final] == 1.0)).all():
            raise DataError(
                "holds labels other than 0 and 1", field="label", fix="estimate their loss by regression instead"
            )
        counted = inside if first is None else inside & first
        return ScoreTable(
            periods,
            _count(cell[counted], None, periods),
            _count(cell[counted], prediction[counted], periods),
            _count(cell[final], None, periods),
            _count(cell[final], label[final], periods),
        )

    def __add__(self, other: ScoreTable) -> ScoreTable:
        """Two shards of the same grid together."""
        return ScoreTable(
            self.periods,
            self.asked + other.asked,
            self.predicted + other.predicted,
            self.matured + other.matured,
            self.ones + other.ones,
        )


def bin_of(prediction: Floats) -> Times:
    """The bin of each probability, int64 from 0 to `BINS` − 1.

    Example:
        >>> bin_of(np.array([0.0, 0.49999999, 0.5, 1.0])).tolist()
        [0, 511, 512, 1023]
    """
    odds = prediction.clip(CLIP, 1.0 - CLIP)
    odds = np.log(odds / (1.0 - odds))
    return ((odds + TOP) * (BINS / (2.0 * TOP))).astype(np.int64).clip(0, BINS - 1)


def centres() -> Floats:
    """The probability in the middle of each bin, float64 [BINS], rising."""
    odds = (np.arange(BINS) + 0.5) * (2.0 * TOP / BINS) - TOP
    middle: Floats = 1.0 / (1.0 + np.exp(-odds))
    return middle


def _count(cell: Times, weights: Floats | None, periods: Periods) -> Floats:
    sums = np.bincount(cell, weights=weights, minlength=periods.looks * BINS)
    return sums.astype(np.float64).reshape(periods.looks, BINS)
