"""What one wrong prediction costs, row by row; smaller is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """

    name: str
    unit: str
    binary: bool
    of: Callable[[Floats, Floats], Floats]

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

    def check_predictions(self, model: str, prediction: Floats, rows: int) -> None:
        """Refuse predictions that do not match the rows or that this loss cannot take.

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
                f"is the prediction in row {row}, which {self.name} cannot take",
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


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("log_loss", "nats", True, log_loss),
        Loss("brier", "probability²", True, squared_error),
        Loss("zero_one", "share wrong", True, zero_one),
        Loss("squared_error", "label units²", False, squared_error),
        Loss("absolute_error", "label units", False, absolute_error),
    )
}
"""The losses by the name that users write."""


def loss_named(name: str) -> Loss:
    """Find a loss by its name.

    Raises:
        ConfigError: no such loss.

    Example:
        >>> loss_named("brier").binary
        True
    """
    if name not in LOSSES:
        raise ConfigError("is not a loss", field="metric", value=name, fix=nearest(name, LOSSES))
    return LOSSES[name]
