"""Ways to judge answers, at every look of a grid, by what was known then.

`metric_named` finds a metric: of 0/1 labels, classes, numbers, quantiles, order within a query, calibration, or a cost of the
user's; `cost_by_matrix` and `by_amount` make one of money. `follow_metric` follows it over a grid, in a `Window`: all
requests so far, the last days, or fading; `follow_by_slice` does so in slices. `Hindsight` holds what each morning showed
against what turned out true.
"""

from __future__ import annotations

from .calibration import Reliability
from .catalogue import METRICS, metric_named
from .changes import Changes
from .clocks import CUMULATIVE, Clocks, Window
from .cost import by_amount, cost_by_function, cost_by_matrix
from .follow import Followed, follow_by_slice, follow_metric, followed_sums
from .hindsight import Hindsight
from .judged import Judged, check_alike
from .metric import Measured, Metric

__all__ = [
    "CUMULATIVE",
    "METRICS",
    "Changes",
    "Clocks",
    "Followed",
    "Hindsight",
    "Judged",
    "Measured",
    "Metric",
    "Reliability",
    "Window",
    "by_amount",
    "check_alike",
    "cost_by_function",
    "cost_by_matrix",
    "follow_by_slice",
    "follow_metric",
    "followed_sums",
    "metric_named",
]
