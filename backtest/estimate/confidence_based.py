"""Performance before the labels: what a model's own calibrated confidence says of each period on the day it ends.

If of the requests predicted at p a share c turns out to be ones, then the expected loss at p is c times that of a one
plus 1 − c times that of a zero. That holds as long as the calibration holds: where *what is asked* drifts, but not what a
prediction means. Where the meaning itself drifts (concept drift), the estimate sees nothing; so it is scored against
what came (`trust`) and shown as reliable only while it earns it.

Source: CBPE, as in NannyML 0.13.1 (`performance_estimation/confidence_based/metrics.py`); there the calibrator is fitted
once on a labelled reference, here anew at every look on what was settled by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, nearest
from windtunnel.loss import CLIP

from .calibration import Method, calibrate
from .score_table import centres
from .trust import Estimated

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .score_table import ScoreTable

    Floats = NDArray[np.float64]


def estimate_by_confidence(table: ScoreTable, metric: str = "log_loss", method: Method = "isotonic") -> Estimated:
    """Estimate the metric of each period at the look that ends it, and what it turned out to be once it settled.

    Args:
        table: one model's predictions.
        metric: `log_loss`, `brier`, `zero_one`, `accuracy` or `auc`.
        method: of calibration.

    Raises:
        ConfigError: an unknown metric.

    Example: a model that says 0.9 where the truth is 0.5, found out once the first period is settled.

        >>> from windtunnel.backtest.estimate import Periods, ScoreTable
        >>> time, label = np.repeat(np.arange(5) * 10, 2000), np.tile([0.0, 1.0], 5000)
        >>> table = ScoreTable.of(time, time + 1, np.full(10_000, 0.9), label, Periods.of(np.arange(10, 60, 10), 10))
        >>> estimate_by_confidence(table, "accuracy").estimate.round(2).tolist()
        [nan, 0.5, 0.5, 0.5, 0.5]
    """
    if metric not in METRICS:
        raise ConfigError(
            "cannot be estimated without labels", field="metric", value=metric, fix=nearest(metric, METRICS)
        )
    measure = METRICS[metric]
    mean = np.divide(table.predicted, table.asked, out=np.tile(centres(), (len(table.asked), 1)), where=table.asked > 0)
    settle, looks = table.periods.settle, table.periods.looks
    learnt, ones = np.cumsum(table.matured, axis=0), np.cumsum(table.ones, axis=0)
    estimate, realised = np.full(looks, np.nan), np.full(looks, np.nan)
    for look in range(settle, looks):
        old = look - settle
        realised[old] = measure(table.ones[old], table.matured[old] - table.ones[old], mean[old])
        chance = calibrate(learnt[old], ones[old], method)
        if not np.isnan(chance[0]):
            expected = table.asked[look] * chance
            estimate[look] = measure(expected, table.asked[look] - expected, mean[look])
    return Estimated(metric, table.periods, estimate, realised)


def _log_loss(ones: Floats, zeros: Floats, prediction: Floats) -> float:
    given = prediction.clip(CLIP, 1.0 - CLIP)
    return _mean(-ones * np.log(given) - zeros * np.log1p(-given), ones + zeros)


def _brier(ones: Floats, zeros: Floats, prediction: Floats) -> float:
    return _mean(ones * (1.0 - prediction) ** 2 + zeros * prediction**2, ones + zeros)


def _zero_one(ones: Floats, zeros: Floats, prediction: Floats) -> float:
    return _mean(np.where(prediction >= 0.5, zeros, ones), ones + zeros)


def _accuracy(ones: Floats, zeros: Floats, prediction: Floats) -> float:
    return 1.0 - _zero_one(ones, zeros, prediction)


def _auc(ones: Floats, zeros: Floats, prediction: Floats) -> float:  # noqa: ARG001  # one signature for all metrics
    """The chance that a one is predicted higher than a zero, ties within a bin counted half."""
    pairs = float(ones.sum() * zeros.sum())
    below = np.cumsum(zeros) - zeros / 2.0
    return float(ones @ below) / pairs if pairs > 0.0 else np.nan


def _mean(losses: Floats, counts: Floats) -> float:
    total = float(counts.sum())
    return float(losses.sum()) / total if total > 0.0 else np.nan


METRICS: dict[str, Callable[[Floats, Floats, Floats], float]] = {
    "log_loss": _log_loss,
    "brier": _brier,
    "zero_one": _zero_one,
    "accuracy": _accuracy,
    "auc": _auc,
}
"""What can be estimated: each takes the (expected) ones, zeros and the mean prediction of each bin."""
