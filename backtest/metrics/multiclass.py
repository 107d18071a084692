"""Metrics of one class among several, from a probability for each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from sklearn import metrics as sk

from windtunnel.errors import ConfigError
from windtunnel.loss import CLIP

from .decided import class_auc_at_every_look, macro_f1_at_every_look
from .metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .judged import Judged

    Floats = NDArray[np.float64]


def _given(rows: Judged) -> Floats:
    """The probability that was given to what turned out true."""
    given: Floats = np.take_along_axis(rows.prediction, rows.label.astype(np.int64)[:, None], axis=1)[:, 0]
    return given


def _log_loss(rows: Judged) -> Floats:
    surprise: Floats = -np.log(_given(rows).clip(CLIP, 1.0 - CLIP))
    return surprise


def _brier(rows: Judged) -> Floats:
    score: Floats = np.square(rows.prediction).sum(axis=1) - 2.0 * _given(rows) + 1.0
    return score


def _right(rows: Judged) -> Floats:
    right: Floats = np.equal(rows.prediction.argmax(axis=1), rows.label).astype(np.float64)
    return right


def _among(rows: Judged, *, k: int) -> Floats:
    """Whether fewer than k classes were thought likelier, or as likely and named before."""
    given, label = _given(rows)[:, None], rows.label[:, None]
    before = (rows.prediction == given) & (np.arange(rows.prediction.shape[1]) < label)
    among: Floats = np.less(((rows.prediction > given) | before).sum(axis=1), k).astype(np.float64)
    return among


def top(k: int) -> Metric:
    """The share of rows whose class is among the k likeliest.

    Raises:
        ConfigError: k is below 1.

    Example:
        >>> from windtunnel.backtest.metrics import Judged
        >>> told = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
        >>> top(2).measure(Judged(np.array([1.0, 0.0]), told)).value
        0.5
    """
    if k < 1:
        raise ConfigError("must be 1 or more", field="metric", value=f"top@{k}", fix="write top@3")
    return Metric(f"top@{k}", "share right", "higher", "classes", "probabilities", row=partial(_among, k=k))


def _macro_f1(rows: Judged) -> float:
    told = rows.prediction.argmax(axis=1)
    return float(sk.f1_score(rows.label, told, average="macro", sample_weight=rows.weights, zero_division=0.0))


def _auc(rows: Judged) -> float:
    """The mean area of each class against the rest."""
    return float(np.mean([
        sk.roc_auc_score(rows.label == place, rows.prediction[:, place], sample_weight=rows.weights)
        for place in range(rows.prediction.shape[1])
    ]))  # fmt: skip


def _missing_class(rows: Judged) -> str:
    missing = np.setdiff1d(np.arange(rows.prediction.shape[1]), rows.label)
    return f"no label is class {missing[0]}, which class_auc holds against the rest" if len(missing) else ""


MULTICLASS = (
    Metric("class_log_loss", "nats", "lower", "classes", "probabilities", row=_log_loss),
    Metric("class_brier", "probability²", "lower", "classes", "probabilities", row=_brier),
    Metric("class_accuracy", "share right", "higher", "classes", "probabilities", row=_right),
    Metric("macro_f1", "1", "higher", "classes", "probabilities", whole=_macro_f1, every=macro_f1_at_every_look),
    Metric(
        "class_auc",
        "1",
        "higher",
        "classes",
        "probabilities",
        whole=_auc,
        doubt=_missing_class,
        every=class_auc_at_every_look,
    ),
)
