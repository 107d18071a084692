"""What can be said before the labels come: how late they are, what they will weigh, and what a model's confidence tells.

`DelayCurve` and `Triangle` follow the labels' delay; `mean_by_age`, `mean_by_delay` and `bound_mean` take the bias towards
fast labels out of a metric; `estimate_by_confidence` and `estimate_by_regression` guess a period's metric on the day it
ends, and `Estimated.trust` says whether such guesses were worth anything so far. All as-of: no look uses what became
known after it.
"""

from __future__ import annotations

from .confidence_based import METRICS, estimate_by_confidence
from .delay import DelayCurve
from .direct_loss import estimate_by_regression
from .periods import Periods
from .score_table import ScoreTable
from .triangle import Triangle
from .trust import Estimated, Trust
from .weighting import WeightedMean, bound_mean, mean_by_age, mean_by_delay, plain_mean

__all__ = [
    "METRICS",
    "DelayCurve",
    "Estimated",
    "Periods",
    "ScoreTable",
    "Triangle",
    "Trust",
    "WeightedMean",
    "bound_mean",
    "estimate_by_confidence",
    "estimate_by_regression",
    "mean_by_age",
    "mean_by_delay",
    "plain_mean",
]
