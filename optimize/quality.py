"""Is a child shown not to be worse than its parent? Paired, with an interval, within a tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats as distributions
from scipy.optimize import brentq

from windtunnel.errors import ConfigError, DataError, ModelError, nearest
from windtunnel.loss import absolute_error, log_loss, squared_error, zero_one
from windtunnel.stats import Interval, auc_difference, mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Holdout:
    """Rows that no step has learnt from, on which quality is proven.

    Args:
        feeds: by input name, rows on axis 0.
        label: what turned out true, or None where the metric needs none.
    """

    feeds: Mapping[str, NDArray[Any]]
    label: Floats | None


ROW_LOSSES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "log_loss": log_loss,
    "brier": squared_error,
    "accuracy": zero_one,
    "mae": absolute_error,
    "mse": squared_error,
}
"""Metrics that are a mean over rows, by the loss of each row."""

METRICS = ("roc_auc", *ROW_LOSSES, "agreement")
LEAST_ROWS, LEAST_OF_EACH_CLASS = 500, 20
"""Below these, rare blunders hide and DeLong's variance collapses: the interval is the whole line.

A loss of 6 nats in one row of 200 was called harmless in 22% of samples of 300 rows, 8% of 500."""

BINARY = ("roc_auc", "log_loss", "brier", "accuracy")
PROBABILITIES = ("log_loss", "brier", "accuracy", "agreement")
"""Metrics that read an answer as a probability: a threshold of 0.5 says nothing about anything else."""


@dataclass(frozen=True)
class Quality:
    """How well a child did beside its parent.

    Args:
        metric: its name.
        value: the child's.
        drop: how much worse than the parent (below zero: better), with the interval of the paired difference.
    """

    metric: str
    value: float
    drop: Interval

    def judge(self, max_drop: float) -> str:
        """`proven` within the tolerance, `worse` beyond it, or `not-proven` where the data cannot tell."""
        if self.drop.high <= max_drop:
            return "proven"
        return "worse" if self.drop.low > max_drop else "not-proven"

    def rows_needed(self, max_drop: float) -> int | None:
        """About how many rows would prove it, if the estimate held; None where it would not."""
        room, reach = max_drop - self.drop.value, self.drop.high - self.drop.value
        if not (room > 0 and np.isfinite(reach)):
            return None
        return int(np.ceil(self.drop.samples * (reach / room) ** 2))


def check_metric(metric: str, holdout: Holdout) -> None:
    """Refuse a metric that is not known, or that the holdout cannot carry.

    Raises:
        ConfigError: unknown metric.
        DataError: labels are missing, or not 0 and 1 for a binary metric, or of one class only for ROC AUC.
    """
    if metric not in METRICS:
        raise ConfigError("is not a metric", field="metric", value=metric, fix=nearest(metric, METRICS))
    if metric == "agreement":
        return
    if holdout.label is None:
        raise DataError(
            f"are needed for {metric}", field="labels", fix="name the label column, or use the metric agreement"
        )
    if metric in BINARY and not np.isin(holdout.label, (0.0, 1.0)).all():
        raise DataError(f"must be 0 and 1 for {metric}", field="labels", fix="use mae or mse for other labels")
    if metric == "roc_auc" and len(np.unique(holdout.label)) < 2:
        raise DataError("are all of one class, so ROC AUC says nothing", field="labels", fix="hold out more rows")


def answers(outputs: Mapping[str, NDArray[Any]], name: str) -> Floats:
    """The first output as one number a row: `[rows]`, `[rows, 1]`, or the second of two classes.

    Raises:
        ModelError: another shape, or numbers that are not finite.
    """
    first = np.asarray(next(iter(outputs.values())), dtype=np.float64)
    if first.ndim == 2 and first.shape[1] in {1, 2}:
        first = first[:, -1]
    if first.ndim != 1:
        raise ModelError(
            "gives more than one number a row", field=name, value=first.shape, fix="output a probability or a value"
        )
    if not np.isfinite(first).all():
        raise ModelError(f"gives {int((~np.isfinite(first)).sum())} answers that are NaN or infinite", field=name)
    return first


def compare(metric: str, label: Floats | None, parent: Floats, child: Floats, confidence: float = 0.95) -> Quality:
    """Compare a child with its parent on the same rows; rows are taken as independent.

    Args:
        metric: one of `METRICS`.
        label: what turned out true, or None for agreement.
        parent: the parent's answers.
        child: the child's.
        confidence: of the interval of the drop.

    Example:
        >>> y = np.tile([0.0, 1.0], 200); p = np.where(y > 0, 0.8, 0.3)
        >>> compare("accuracy", y, p, p).judge(max_drop=0.02)
        'proven'
    """
    if metric == "roc_auc":
        assert label is not None
        few = min(int(label.sum()), len(label) - int(label.sum())) < LEAST_OF_EACH_CLASS
        from sklearn.metrics import roc_auc_score

        gain = auc_difference(label, parent, child, confidence)
        drop = Interval(-gain.value, -gain.high, -gain.low, gain.samples, confidence)
        return Quality(metric, float(roc_auc_score(label, child)), _nothing_known(drop) if few else drop)
    if metric == "agreement":
        flips = ((parent >= 0.5) != (child >= 0.5)).astype(np.float64)
        return Quality(metric, 1.0 - float(flips.mean()), _of_decisions(flips, confidence))
    assert label is not None
    loss = ROW_LOSSES[metric]
    difference = loss(label, child) - loss(label, parent)
    value = float(loss(label, child).mean())
    if metric == "accuracy":
        return Quality(metric, 1.0 - value, _of_decisions(difference, confidence))
    drop = mean_interval(difference, confidence)
    return Quality(metric, value, _nothing_known(drop) if len(difference) < LEAST_ROWS else drop)


def _nothing_known(drop: Interval) -> Interval:
    """The interval of a sample too small for its normal approximation: it proves nothing."""
    return replace(drop, low=-math.inf, high=math.inf)


def _of_decisions(difference: Floats, confidence: float) -> Interval:
    """The mean of differences that are −1, 0 or 1, with the score interval for paired shares.

    Student's interval knows nothing of the rows that did not differ this time: with 300 rows and one flip it would prove a
    drop of 0.01 that is there in one case of six. The score interval asks which drops could have given such counts, so
    even no flip at all leaves room for some.

    Source: Tango, Statistics in Medicine 17 (1998), 891-908.
    """
    rows, lost, won = len(difference), int(np.sum(difference > 0)), int(np.sum(difference < 0))
    high, low = _largest_drop(lost, won, rows, confidence), -_largest_drop(won, lost, rows, confidence)
    return Interval((lost - won) / rows, low, high, rows, confidence)


def _largest_drop(lost: int, won: int, rows: int, confidence: float) -> float:
    """The largest drop under which so few rows lost, and so many won, is not yet surprising."""
    z = float(distributions.norm.ppf(0.5 + confidence / 2))

    def room(drop: float) -> float:
        linear = (2 * rows - lost + won) * drop - lost - won
        constant = won * drop * (1.0 - drop)
        share_won = (np.sqrt(linear**2 + 8 * rows * constant) - linear) / (4 * rows)
        variance = rows * max(0.0, 2.0 * share_won + drop * (1.0 - drop))
        return float(lost - won - rows * drop + z * np.sqrt(variance))

    seen = (lost - won) / rows
    # a hair above what was seen: where nothing differed, what was seen is a root itself
    return float(brentq(room, seen + 1e-12, 1.0)) if seen < 1.0 else 1.0
