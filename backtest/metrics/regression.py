"""Metrics of numbers, and of forecasts of a quantile."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as distributions
from sklearn import metrics as sk

from windtunnel.loss import LOSSES, loss_named

from .binary import of_loss
from .metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .judged import Judged

    Floats = NDArray[np.float64]


def _r2(rows: Judged) -> float:
    return float(sk.r2_score(rows.label, rows.prediction, sample_weight=rows.weights))


def _median(rows: Judged) -> float:
    return float(sk.median_absolute_error(rows.label, rows.prediction, sample_weight=rows.weights))


def _spearman(rows: Judged) -> float:
    return float(distributions.spearmanr(rows.label, rows.prediction).statistic)


def _bias(rows: Judged) -> Floats:
    return rows.prediction - rows.label


def _constant_labels(rows: Judged) -> str:
    first = rows.label[0]
    return f"all {len(rows)} labels are {first:g}: there is nothing to explain" if (rows.label == first).all() else ""


def _constant(rows: Judged) -> str:
    if why := _constant_labels(rows):
        return why
    first = rows.prediction[0]
    return f"every prediction is {first:g}, which puts nothing in order" if (rows.prediction == first).all() else ""


def _held(rows: Judged) -> Floats:
    return (rows.label <= rows.prediction).astype(np.float64)


def _pinball(name: str, quantile: float) -> Metric:
    return of_loss(loss_named(f"{name}@{quantile:g}"))


def _coverage(name: str, quantile: float) -> Metric:
    """The share of labels at or below the forecast, which should be the quantile."""
    told = f"{name}@{quantile:g}"
    return Metric(told, "share below", "nearer", "numbers", "number", row=_held, target=quantile)


REGRESSION = (
    *(of_loss(LOSSES[name]) for name in ("squared_error", "absolute_error", "rmse")),
    Metric("bias", "label units", "nearer", "numbers", "number", row=_bias),
    Metric("r2", "1", "higher", "numbers", "number", whole=_r2, doubt=_constant_labels),
    Metric("median_absolute_error", "label units", "lower", "numbers", "number", whole=_median),
    Metric("spearman", "1", "higher", "numbers", "number", whole=_spearman, doubt=_constant, weighted=False),
)

QUANTILE = {name: partial(make, name) for name, make in (("pinball", _pinball), ("coverage", _coverage))}
"""By name: each makes the metric of a quantile."""
