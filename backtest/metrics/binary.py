"""Metrics of 0/1 labels: as losses, at a threshold, and of the order alone; scikit-learn's (1.9) where it has them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from sklearn import metrics as sk

from windtunnel.loss import LOSSES

from .decided import decided_at_every_look
from .metric import Metric
from .order import auc_at_every_look, precision_at_every_look

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from windtunnel.loss import Loss

    from .judged import Judged
    from .metric import Better

    Floats = NDArray[np.float64]


def of_loss(loss: Loss) -> Metric:
    """The mean of a loss.

    Example:
        >>> from windtunnel.backtest.metrics import Judged
        >>> of_loss(LOSSES["rmse"]).measure(Judged(np.array([1.0, 3.0]), np.array([1.0, 1.0]))).value
        1.414214
    """

    def row(rows: Judged) -> Floats:
        return loss.of(rows.label, rows.prediction)

    labels, takes = ("binary", "probability") if loss.binary else ("numbers", "number")
    return Metric(loss.name, loss.unit, "lower", labels, takes, row=row, shown=loss.shown)  # type: ignore[arg-type]  # the pair is one of two


def at_threshold(name: str, threshold: float) -> Metric:
    """A metric of decisions: yes from the threshold on.

    Args:
        name: `accuracy`, `precision`, `recall`, `f1`, `balanced_accuracy` or `mcc`.
        threshold: of the prediction.

    Example:
        >>> from windtunnel.backtest.metrics import Judged
        >>> at_threshold("recall", 0.3).measure(Judged(np.array([1.0, 1.0, 0.0]), np.array([0.4, 0.1, 0.2]))).value
        0.5
    """
    told = name if threshold == 0.5 else f"{name}@{threshold:g}"
    if name == "accuracy":

        def right(rows: Judged) -> Floats:
            correct: Floats = np.equal(rows.prediction >= threshold, rows.label == 1.0).astype(np.float64)
            return correct

        return Metric(told, "share right", "higher", "binary", "probability", row=right)
    score, doubt = _DECISIONS[name]

    def whole(rows: Judged) -> float:
        return float(score(rows.label, rows.prediction >= threshold, sample_weight=rows.weights))

    return Metric(
        told, "1", "higher", "binary", "probability", whole=whole, doubt=partial(doubt, name=told, threshold=threshold),
        every=decided_at_every_look(name, threshold),
    )  # fmt: skip


def _one_class(rows: Judged, *, name: str, threshold: float = 0.0) -> str:  # noqa: ARG001  # one signature for all doubts
    first = rows.label[0]
    if (rows.label != first).any():
        return ""
    return f"all {len(rows)} labels are {first:g}, and {name} tells two classes apart"


def _no_positive(rows: Judged, *, name: str, threshold: float) -> str:
    if name.startswith("precision"):
        return "" if (rows.prediction >= threshold).any() else f"no prediction reaches {threshold:g}"
    return "" if (rows.label == 1.0).any() else f"no label is 1, and {name} is a share of those"


def _constant(rows: Judged, *, name: str, threshold: float) -> str:
    if why := _one_class(rows, name=name):
        return why
    said = rows.prediction >= threshold
    return f"every decision is {'yes' if said[0] else 'no'}" if (said == said[0]).all() else ""


_DECISIONS: dict[str, tuple[Callable[..., float], Callable[..., str]]] = {
    "precision": (sk.precision_score, _no_positive),
    "recall": (sk.recall_score, _no_positive),
    "f1": (sk.f1_score, _no_positive),
    "balanced_accuracy": (sk.balanced_accuracy_score, _one_class),
    "mcc": (sk.matthews_corrcoef, _constant),
}


def _ordered(name: str, score: Callable[..., float], better: Better = "higher") -> Metric:
    def whole(rows: Judged) -> float:
        return float(score(rows.label, rows.prediction, sample_weight=rows.weights))

    every = {"roc_auc": auc_at_every_look, "average_precision": precision_at_every_look}[name]
    return Metric(name, "1", better, "binary", "number", whole=whole, doubt=partial(_one_class, name=name), every=every)


BINARY = (
    *(of_loss(LOSSES[name]) for name in ("log_loss", "brier", "zero_one")),
    _ordered("roc_auc", sk.roc_auc_score),
    _ordered("average_precision", sk.average_precision_score),
)
AT_THRESHOLD = ("accuracy", *_DECISIONS)
