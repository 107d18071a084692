"""A metric: what it needs, which way is better, and whether it is a mean over rows.

A metric that is a mean over rows is *additive*: at every look of a grid it is had from sums by look, in one pass. Any other
is worked out on the rows that count at each look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.backtest.comparison import finite
from windtunnel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl
    from numpy.typing import NDArray

    from .judged import Judged

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Labels = Literal["binary", "classes", "numbers", "relevance"]
"""Which labels it needs: 0 and 1; 0, 1, 2 …; any numbers; 0 or more with a query."""

Takes = Literal["probability", "probabilities", "number"]
"""Which answers it takes: from 0 to 1; one of these a class, together 1; any number (a score, an estimate)."""

Better = Literal["higher", "lower", "nearer"]


def _as_it_is(mean: Floats) -> Floats:
    return mean


def _no_doubt(_: Judged) -> str:
    return ""


@dataclass(frozen=True)
class Measured:
    """A metric's value, or why it has none.

    Args:
        value: NaN where it has none.
        rows: how many it rests on.
        why: why it has no value, or says nothing; empty where it does.
    """

    value: float
    rows: int
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The value as JSON values; null where there is none."""
        return {"metric": finite(self.value), "rows": self.rows, "why": self.why or None}


@dataclass(frozen=True)
class Metric:
    """One way to judge answers.

    Args:
        name: as users write it.
        unit: what it is counted in.
        better: whether higher, lower, or nearer to the target.
        labels: which labels it needs.
        takes: which answers.
        row: the value of each row, float64 [n], where it is a mean over rows; else None.
        whole: the value of all rows together where it is not; else None.
        target: what it should be near, where it should.
        shown: what is shown of the mean over rows.
        needs: further columns that it needs: `amount`, `query`.
        doubt: why it has no value on such rows, or says nothing; empty where it does.
        weighted: whether rows may count by weights.
        every: the values at all looks at once, where there is a quicker way: takes rows, the look from which each counts
            and the one from which it no longer does, and the number of looks.
    """

    name: str
    unit: str
    better: Better
    labels: Labels
    takes: Takes
    row: Callable[[Judged], Floats] | None = field(default=None, repr=False)
    whole: Callable[[Judged], float] | None = field(default=None, repr=False)
    target: float = 0.0
    shown: Callable[[Floats], Floats] = field(default=_as_it_is, repr=False)
    needs: tuple[str, ...] = ()
    doubt: Callable[[Judged], str] = field(default=_no_doubt, repr=False)
    weighted: bool = True
    every: Callable[[Judged, Ints, Ints, int], Floats] | None = field(default=None, repr=False)

    @property
    def additive(self) -> bool:
        """Whether it is a mean over rows, up to how it is shown."""
        return self.row is not None

    def badness(self, value: float) -> float:
        """The value turned so that less is better.

        Example:
            >>> from windtunnel.backtest.metrics import metric_named
            >>> metric_named("accuracy").badness(0.9), metric_named("calibration_slope").badness(0.8)
            (-0.9, 0.2)
        """
        return {"higher": -value, "lower": value, "nearer": abs(value - self.target)}[self.better]

    def measure(self, rows: Judged) -> Measured:
        """The metric over the rows that have a label.

        Raises:
            DataError: labels or answers that it cannot take.
            ConfigError: rows with weights, which it cannot take.

        Example:
            >>> from windtunnel.backtest.metrics import Judged, metric_named
            >>> metric_named("roc_auc").measure(Judged(np.ones(3), np.array([0.2, 0.3, 0.9]))).why
            'all 3 labels are 1, and roc_auc tells two classes apart'
        """
        known = ~np.isnan(rows.label)
        rows = rows if known.all() else rows.take(known)
        self.check(rows)
        return self.settle(rows)

    def settle(self, rows: Judged) -> Measured:
        """The metric over rows that were checked and all have labels."""
        if len(rows) == 0:
            return Measured(math.nan, 0, "no label that counts is known")
        why = self.doubt(rows)
        if why:
            return Measured(math.nan, len(rows), why)
        if self.row is not None:
            mean = np.average(self.row(rows), weights=rows.weights)
            return Measured(float(self.shown(np.asarray(mean))), len(rows))
        assert self.whole is not None
        return Measured(float(self.whole(rows)), len(rows))

    def check(self, rows: Judged, ids: pl.Series | None = None) -> None:
        """Refuse what the metric cannot take; labels that never came (NaN) are passed over.

        Args:
            rows: to be judged.
            ids: of their requests, by which a message names a row; by its place where None.

        Raises:
            DataError: labels or answers of another kind, or a column that is not there.
            ConfigError: weights where it takes none.
        """
        for column in self.needs:
            if len(getattr(rows, column)) != len(rows):
                raise DataError(f"is needed for {self.name}", field=column, fix="name the column that holds it")
        if len(rows.weight) and not self.weighted:
            raise ConfigError("cannot weigh rows", field="metric", value=self.name, fix="use a window of whole days")
        known = ~np.isnan(rows.label)
        # the shape first: labels of classes are none that a metric of 0 and 1 can take, which would be said of each label
        _check_answers(self, rows.prediction, ids)
        _check_labels(self, rows.label[known], rows.prediction.shape[1:])


_WANTED = {
    "binary": "0 or 1", "classes": "0, 1, 2 … in the order of the model's output", "numbers": "a finite number",
    "relevance": "a relevance of 0 or more",
}  # fmt: skip


def _check_labels(metric: Metric, label: Floats, classes: tuple[int, ...]) -> None:
    finite = np.isfinite(label)
    fits = {
        "binary": (label == 0.0) | (label == 1.0),
        "classes": finite & (label >= 0.0) & (label == np.floor(label)) & (label < (*classes, np.inf)[0]),
        "numbers": finite,
        "relevance": finite & (label >= 0.0),
    }[metric.labels]
    if not fits.all():
        raise DataError(
            f"is no label that {metric.name} can take", field="label", value=float(label[~fits][0]),
            fix=f"it needs {_WANTED[metric.labels]}",
        )  # fmt: skip


OF_CLASSES = {
    "log_loss": "class_log_loss", "brier": "class_brier", "accuracy": "class_accuracy", "zero_one": "class_accuracy",
    "roc_auc": "class_auc", "f1": "macro_f1",
}  # fmt: skip
"""What a metric of labels 0 and 1 is called where there are several classes."""


def _other(metric: Metric, *, classes: bool) -> str:
    """What to write instead, where answers are of another shape than the metric takes."""
    if classes:
        name = OF_CLASSES.get(metric.name.partition("@")[0])
        return f"of several classes it is called {name}" if name else "name one column a model"
    name = {theirs: ours for ours, theirs in reversed(OF_CLASSES.items())}.get(metric.name)
    return f"of labels 0 and 1 it is called {name}" if name else "name a column for each class"


def _check_answers(metric: Metric, prediction: Floats, ids: pl.Series | None) -> None:
    wide = prediction.ndim == 2
    if wide != (metric.takes == "probabilities"):
        raise DataError(
            f"is {'several numbers' if wide else 'one number'} a row, which {metric.name} cannot take", field="prediction",
            fix=_other(metric, classes=wide),
        )  # fmt: skip
    wrong = ~np.isfinite(prediction)
    if metric.takes != "number":
        wrong |= (prediction < 0.0) | (prediction > 1.0)
    if wrong.any():
        place = np.unravel_index(np.argmax(wrong), wrong.shape)
        where = f"in row {place[0]}" if ids is None else f"of request {ids[int(place[0])]}"
        raise DataError(
            f"holds a value {where} that {metric.name} cannot take", field="prediction",
            value=float(prediction[place]), fix=f"give a {metric.takes}, not a logit" if metric.takes != "number" else "score that row again",
        )  # fmt: skip
