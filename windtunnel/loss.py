"""What one wrong prediction costs, row by row; smaller is better."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        binary: labels must be 0 or 1 and predictions probabilities of 1.
        of: takes labels and predictions, float64 [n] each, and gives the loss of each row, float64 [n].
        family: which of the compiled losses it is; empty where it is none of them.
        parameters: of the family.
        rooted: whether the mean is shown as its square root; differences are of the mean itself.
    """

    name: str
    unit: str
    binary: bool
    of: Callable[[Floats, Floats], Floats]
    family: str = ""
    parameters: tuple[float, ...] = ()
    rooted: bool = False

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
        wrong = (known != 0.0) & (known != 1.0) if self.binary else ~np.isfinite(known)
        if wrong.any():
            raise DataError(
                f"is no label that {self.name} can take" + (": it needs 0 or 1" if self.binary else ""),
                field="label",
                value=float(known[wrong][0]),
                fix="mend the label, or choose squared_error or absolute_error" if self.binary else "mend the label",
            )

    def check_predictions(self, model: str, prediction: Floats, rows: int, first: int = 0) -> None:
        """Refuse predictions that do not match the rows or that this loss cannot take.

        Args:
            model: named in messages.
            prediction: float64 [rows].
            rows: how many there must be.
            first: the place of the first of them in the whole recording.

        Raises:
            DataError: another number of rows, NaN or infinite values, or a value outside 0 to 1 where the loss is binary.
        """
        if prediction.shape != (rows,):
            raise DataError(
                f"has predictions of shape {prediction.shape} where the recording has {rows} rows",
                field=model,
                fix="give one prediction a row, in the recording's order",
            )
        wrong = ~np.isfinite(prediction)
        if not wrong.any() and self.binary:
            wrong = (prediction < 0.0) | (prediction > 1.0)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"is the prediction in row {first + row}, which {self.name} cannot take",
                field=model,
                value=float(prediction[row]),
                fix="give the probability of label 1, not a logit" if self.binary else "score that row again",
            )


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


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("log_loss", "nats", True, log_loss, "log_loss", (CLIP,)),
        Loss("brier", "probability²", True, squared_error, "squared_error"),
        Loss("zero_one", "share wrong", True, zero_one, "zero_one"),
        Loss("squared_error", "label units²", False, squared_error, "squared_error"),
        Loss("absolute_error", "label units", False, absolute_error, "absolute_error"),
        Loss("rmse", "label units", False, squared_error, "squared_error", rooted=True),
    )
}
"""The losses by the name that users write; beside them stand `pinball@0.9`, for any quantile, and `cost_loss`."""


def loss_named(name: str) -> Loss:
    """Find a loss by its name.

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
    if name not in LOSSES:
        raise ConfigError("is not a loss", field="metric", value=name, fix=nearest(name, [*LOSSES, "pinball@0.9"]))
    return LOSSES[name]


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


def _quantile(name: str, value: str) -> float:
    try:
        quantile = float(value)
    except ValueError:
        quantile = 0.0
    if not 0.0 < quantile < 1.0:
        raise ConfigError("names no quantile", field="metric", value=name, fix="write pinball@0.9")
    return quantile
