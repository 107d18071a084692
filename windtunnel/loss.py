"""What one prediction costs or gains, row by row, and metrics of how rows are ranked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError, nearest
from windtunnel.source import call, load_function

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CLIP = 1e-7
"""The nearest that `log_loss` lets a probability come to 0 and 1, so that one sure mistake costs 16.1 nats and not ∞."""


@dataclass(frozen=True)
class Loss:
    """A loss and what it needs.

    Args:
        name: as users write it.
        unit: of the loss of one row.
        binary: labels must be 0 or 1, and predictions probabilities of 1 unless only their order counts.
        of: takes labels and predictions, float64 [n] each, and gives the loss of each row, float64 [n].
        family: which of the compiled losses it is; empty where it is none of them.
        parameters: of the family.
        rooted: whether the mean is shown as its square root; differences are of the mean itself.
        greater_is_better: whether it is no loss, but a metric that is better the greater it is.
        classes: how many numbers a prediction has, the probability of each class; 0 where it is one number.
    """

    name: str
    unit: str
    binary: bool
    of: Callable[[Floats, Floats], Floats]
    family: str = ""
    parameters: tuple[float, ...] = ()
    rooted: bool = False
    greater_is_better: bool = False
    classes: int = 0

    @property
    def ordering(self) -> bool:
        """Whether it asks only which of two predictions is greater, so that any numbers will do."""
        return self.name in RANKINGS

    @property
    def differenced(self) -> str:
        """What differences are of: the metric itself, but where a root is shown, the mean below the root.

        Example:
            >>> LOSSES["rmse"].differenced, LOSSES["rmse"].differenced_unit, LOSSES["brier"].differenced
            ('squared error', 'label units²', 'brier')
        """
        return self.family.replace("_", " ") if self.rooted else self.name

    @property
    def differenced_unit(self) -> str:
        """The unit of differences."""
        return f"{self.unit}²" if self.rooted else self.unit

    def shown(self, mean: Floats) -> Floats:
        """What is shown of mean losses.

        Example:
            >>> LOSSES["rmse"].shown(np.array([4.0])).tolist(), LOSSES["squared_error"].shown(np.array([4.0])).tolist()
            ([2.0], [4.0])
        """
        return np.sqrt(mean) if self.rooted else mean

    def check_labels(self, label: Floats) -> None:
        """Refuse labels that this loss cannot take; NaN stands for one that never came.

        Raises:
            DataError: a label that is neither 0 nor 1 where the loss is binary, or that is infinite.
        """
        known = label[~np.isnan(label)]
        if self.classes:
            wrong = (known % 1.0 != 0.0) | (known < 0.0) | (known >= self.classes)
        else:
            wrong = (known != 0.0) & (known != 1.0) if self.binary else ~np.isfinite(known)
        if not wrong.any():
            return
        needs = f": it needs a whole number from 0 to {self.classes - 1}" if self.classes else ""
        raise DataError(
            f"is no label that {self.name} can take" + (": it needs 0 or 1" if self.binary else needs),
            field="label",
            value=float(known[wrong][0]),
            fix="mend the label, or choose squared_error or absolute_error" if self.binary else "mend the label",
        )

    def check_predictions(
        self, model: str, prediction: Floats, rows: int, first: int = 0, ids: pl.Series | None = None
    ) -> None:
        """Refuse predictions that do not match the rows or that this loss cannot take.

        Args:
            model: named in messages.
            prediction: float64 [rows], or [rows, classes].
            rows: how many there must be.
            first: the place of the first of them in the whole recording.
            ids: of the requests, by which a message names the row; by its place where None.

        Raises:
            DataError: another number of rows or classes, NaN or infinite values, a value outside 0 to 1 where the loss is of
                probabilities, or probabilities that do not add up to 1.
        """
        wanted = (rows, self.classes) if self.classes else (rows,)
        if prediction.shape != wanted:
            raise DataError(
                f"has predictions of shape {prediction.shape} where the recording has {rows} rows"
                + (f" and there are {self.classes} classes" if self.classes else ""),
                field=model,
                fix="give one prediction a row, in the recording's order, of as many classes for every model",
            )
        bounded = self.classes > 0 or (self.binary and not self.ordering)
        least, most = (0.0, 1.0) if bounded else (-_GREATEST, _GREATEST)
        # NaN is neither; two passes that keep nothing, for almost always all is well
        if not rows or (prediction.min() >= least and prediction.max() <= most and self._adds_up(prediction).all()):
            return
        wrong = ~((prediction >= least) & (prediction <= most)).reshape(rows, -1).all(axis=1) | ~self._adds_up(
            prediction
        )
        row = int(np.argmax(wrong))
        fix = "give the probability of label 1, not a logit" if bounded else "score that row again"
        where = f"in row {first + row}" if ids is None else f"of request {ids[row]}"
        raise DataError(
            f"is the prediction {where}, which {self.name} cannot take", field=model,
            value=prediction[row].tolist(), fix="give probabilities that add up to 1" if self.classes else fix,
        )  # fmt: skip

    def _adds_up(self, prediction: Floats) -> NDArray[np.bool_]:
        """Whether the probabilities of all classes add up to 1, as far as rounded ones can."""
        if not self.classes:
            return np.ones(1, dtype=np.bool_)
        told: NDArray[np.bool_] = np.abs(prediction.sum(axis=1) - 1.0) <= SLACK
        return told

    def of_classes(self, classes: int) -> Loss:
        """The same loss of predictions that are one probability a class, and labels that are the number of the class.

        Raises:
            ConfigError: it has no such form.

        Example:
            >>> loss = LOSSES["log_loss"].of_classes(3)
            >>> loss.of(np.array([2.0, 0.0]), np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])).round(3).tolist()
            [0.693, 0.0]
        """
        if self.name not in CLASSIFYING:
            raise ConfigError(
                "takes one number a prediction, not one a class", field="metric", value=self.name,
                fix=f"choose one of {', '.join(CLASSIFYING)}, or name one column a model",
            )  # fmt: skip
        of = partial(of_many, kind=self.name)
        return replace(self, binary=False, of=of, family="", parameters=(), classes=classes)


def log_loss(label: Floats, prediction: Floats) -> Floats:
    """The surprise at the label in nats, with the prediction clipped to 1e-7 … 1 − 1e-7.

    Example:
        >>> log_loss(np.array([1.0, 0.0, 1.0]), np.array([0.5, 0.0, 0.0])).round(3).tolist()
        [0.693, 0.0, 16.118]
    """
    given = np.where(label == 1.0, prediction, 1.0 - prediction)
    surprise: Floats = -np.log(given.clip(CLIP, 1.0 - CLIP))
    return surprise


def zero_one(label: Floats, prediction: Floats) -> Floats:
    """1 where the prediction falls on the wrong side of 0.5, which itself counts as label 1; else 0.

    Example:
        >>> zero_one(np.array([1.0, 0.0, 1.0]), np.array([0.5, 0.5, 0.4])).tolist()
        [0.0, 1.0, 1.0]
    """
    wrong: NDArray[np.bool_] = (prediction >= 0.5) != (label == 1.0)
    return wrong.astype(np.float64)


def accuracy(label: Floats, prediction: Floats) -> Floats:
    """1 where the prediction falls on the right side of 0.5, which itself counts as label 1; else 0.

    Example:
        >>> accuracy(np.array([1.0, 0.0, 1.0]), np.array([0.5, 0.5, 0.4])).tolist()
        [1.0, 0.0, 0.0]
    """
    return 1.0 - zero_one(label, prediction)


def of_many(label: Floats, prediction: Floats, *, kind: str) -> Floats:
    """The losses of `CLASSIFYING` where predictions are probabilities of several classes; of equal ones the first is chosen.

    Args:
        label: the number of the class, float64 [n]; NaN costs NaN.
        prediction: float64 [n, classes].
        kind: the loss.

    Example:
        >>> of_many(np.array([1.0]), np.array([[0.5, 0.25, 0.25]]), kind="brier").tolist()
        [0.875]
    """
    known = ~np.isnan(label)
    place = np.where(known, label, 0.0).astype(np.int64)
    rows = np.arange(len(label))
    if kind == "log_loss":
        told = -np.log(prediction[rows, place].clip(CLIP, 1.0 - CLIP))
    elif kind == "brier":
        hit = np.zeros(prediction.shape)
        hit[rows, place] = 1.0
        told = ((prediction - hit) ** 2).sum(axis=1)
    else:
        told = ((prediction.argmax(axis=1) == place) == (kind == "accuracy")).astype(np.float64)
    return np.where(known, told, np.nan)


def squared_error(label: Floats, prediction: Floats) -> Floats:
    """The square of the error; of a probability it is the Brier score.

    Example:
        >>> squared_error(np.array([1.0, 3.0]), np.array([0.5, 1.0])).tolist()
        [0.25, 4.0]
    """
    squared: Floats = (prediction - label) ** 2
    return squared


def absolute_error(label: Floats, prediction: Floats) -> Floats:
    """The size of the error.

    Example:
        >>> absolute_error(np.array([1.0, 3.0]), np.array([0.5, 4.0])).tolist()
        [0.5, 1.0]
    """
    return np.abs(prediction - label)


def pinball(label: Floats, prediction: Floats, *, quantile: float) -> Floats:
    """What a forecast of a quantile costs: least in the mean where so large a share of the labels lies below it.

    Example:
        >>> pinball(np.array([3.0, 0.0]), np.array([1.0, 1.0]), quantile=0.9).round(6).tolist()
        [1.8, 0.1]
    """
    short = label - prediction
    return np.maximum(quantile * short, (quantile - 1.0) * short)


def cost(label: Floats, prediction: Floats, *, matrix: Sequence[float], threshold: float) -> Floats:
    """What a decision costs: yes where the prediction reaches the threshold.

    Args:
        label: 0 or 1, float64 [n]; NaN costs NaN.
        prediction: float64 [n].
        matrix: the cost of no and yes where the label is 0, then where it is 1.
        threshold: from which prediction on the decision is yes.

    Example: a false alarm costs 1, a miss 5.

        >>> cost(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.2, 0.8, 0.2, 0.8]), matrix=[0, 1, 5, 0], threshold=0.5).tolist()
        [0.0, 1.0, 5.0, 0.0]
    """
    known = ~np.isnan(label)
    place = 2 * np.where(known, label, 0.0).astype(np.int64) + (prediction >= threshold)
    return np.where(known, np.asarray(matrix, dtype=np.float64)[place], np.nan)


def no_loss_of_rows(_label: Floats, _prediction: Floats) -> Floats:
    """Metrics of how rows are ranked give no row a loss of its own."""
    raise ConfigError(
        "is a metric of many rows, not of each", field="metric", fix="choose log_loss, brier or another loss"
    )


CLASSIFYING = ("log_loss", "brier", "zero_one", "accuracy")
"""What can be said of predictions of several classes."""

SLACK = 0.01
"""By how much the probabilities of all classes together may miss 1, for logged ones are often rounded."""

_GREATEST = float(np.finfo(np.float64).max)

LOSSES = {
    loss.name: loss
    for loss in (
        Loss("log_loss", "nats", True, log_loss, "log_loss", (CLIP,)),
        Loss("brier", "probability²", True, squared_error, "squared_error"),
        Loss("zero_one", "share wrong", True, zero_one, "zero_one"),
        Loss("accuracy", "share right", True, accuracy, "accuracy", greater_is_better=True),
        Loss("squared_error", "label units²", False, squared_error, "squared_error"),
        Loss("absolute_error", "label units", False, absolute_error, "absolute_error"),
        Loss("rmse", "label units", False, squared_error, "squared_error", rooted=True),
    )
}
"""The losses by the name that users write; beside them stand `pinball@0.9`, for any quantile, and `cost_loss`."""

RANKINGS = {
    metric.name: metric
    for metric in (
        Loss("roc_auc", "share of pairs well ordered", True, no_loss_of_rows, "roc_auc", greater_is_better=True),
        Loss("average_precision", "mean precision", True, no_loss_of_rows, "average_precision", greater_is_better=True),
    )
}
"""Metrics of how rows are ranked by name: they take labels and predictions as losses do, and give no row a loss of its own."""


def loss_named(name: str) -> Loss:
    """Find a loss, or a metric of how rows are ranked, by its name.

    Raises:
        ConfigError: no such loss, or a quantile that is none.

    Example:
        >>> loss_named("brier").binary, loss_named("pinball@0.9").parameters
        (True, (0.9,))
    """
    family, _, value = name.partition("@")
    if family == "pinball":
        quantile = _quantile(name, value)
        return Loss(name, "label units", False, partial(pinball, quantile=quantile), "pinball", (quantile,))
    known = LOSSES | RANKINGS
    if name not in known:
        raise ConfigError("is not a loss", field="metric", value=name, fix=nearest(name, [*known, "pinball@0.9"]))
    return known[name]


def cost_loss(matrix: Sequence[Sequence[float]], threshold: float = 0.5) -> Loss:
    """The loss that is a decision's cost in money or whatever else the matrix is in.

    Args:
        matrix: `[[label 0: no, yes], [label 1: no, yes]]`; gains are below zero.
        threshold: from which prediction on the decision is yes.

    Raises:
        ConfigError: the matrix is not two by two finite numbers.

    Example:
        >>> cost_loss([[0.0, 1.0], [5.0, 0.0]]).of(np.array([1.0]), np.array([0.4])).tolist()
        [5.0]
    """
    flat = tuple(float(each) for row in matrix for each in row)
    if [len(row) for row in matrix] != [2, 2] or not np.isfinite(flat).all():
        raise ConfigError(
            "is not two rows of two numbers", field="cost", value=matrix,
            fix="write [[0.0, 1.0], [5.0, 0.0]]: what no and yes cost where the label is 0, then where it is 1",
        )  # fmt: skip
    return Loss(
        "cost", "cost a request", True, partial(cost, matrix=flat, threshold=threshold), "cost", (threshold, *flat)
    )


@dataclass(frozen=True)
class UserCost:
    """A user's function of labels and predictions, found again by its name wherever it is called.

    Args:
        text: `file.py:function` or `package.module:function`.
        home: the folder that it is relative to.
    """

    text: str
    home: Path

    def __call__(self, label: Floats, prediction: Floats) -> Floats:
        """What each row costs; rows without a label are not asked about and cost NaN.

        Raises:
            DataError: it does not answer with one finite number a row.
        """
        known = ~np.isnan(label)
        told = np.full(len(label), np.nan)
        answer = call(load_function(self.text, self.home), label[known], prediction[known], name=self.text)
        costs = np.asarray(answer, dtype=np.float64)
        if costs.shape != (int(known.sum()),) or not np.isfinite(costs).all():
            raise DataError(
                "does not answer with one finite number a row", field=self.text, value=costs.shape,
                fix="return an array with the cost of each row, from its own label and prediction alone",
            )  # fmt: skip
        told[known] = costs
        return told


def user_cost(text: str, home: Path) -> Loss:
    """The loss that a user's function works out: it takes labels and predictions, float64 [n] each, and gives costs, [n].

    What a row costs may hang on that row alone, since rows are handed over in pieces.

    Args:
        text: `file.py:function` or `package.module:function`.
        home: the folder that it is relative to.

    Raises:
        ConfigError: there is no such function.
        UserCodeError: its file raised while it was imported.
    """
    load_function(text, home)
    return Loss("cost", "cost a request", False, UserCost(text, home))


def _quantile(name: str, value: str) -> float:
    try:
        quantile = float(value)
    except ValueError:
        quantile = 0.0
    if not 0.0 < quantile < 1.0:
        raise ConfigError("names no quantile", field="metric", value=name, fix="write pinball@0.9")
    return quantile
