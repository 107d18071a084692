"""Rows to be judged: what was predicted, what turned out true, and what else a metric may ask for."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def _none() -> Floats:
    return np.empty(0)


def _no_queries() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Judged:
    """One model's answers beside the labels.

    Args:
        label: float64 [n]: 0 or 1, a class 0, 1, 2 …, a number, or a relevance; NaN where it never came.
        prediction: float64 [n], or [n, classes] where it is a probability for each class.
        amount: what is at stake in each row, float64 [n]; empty where nothing is said of it.
        query: which rows were ranked together, int64 [n]; empty where none were.
        weight: how much each row counts, float64 [n]; empty where all count alike.

    Raises:
        DataError: columns of different lengths.

    Example:
        >>> rows = Judged(np.array([1.0, 0.0, 1.0]), np.array([0.9, 0.2, 0.4]), amount=np.array([5.0, 1.0, 2.0]))
        >>> rows.take(np.array([True, False, True])).amount.tolist()
        [5.0, 2.0]
    """

    label: Floats
    prediction: Floats
    amount: Floats = field(default_factory=_none)
    query: Ints = field(default_factory=_no_queries)
    weight: Floats = field(default_factory=_none)

    def __post_init__(self) -> None:
        for each in fields(self)[1:]:
            rows = len(getattr(self, each.name))
            if rows != len(self) and (rows or each.name == "prediction"):
                raise DataError(
                    f"has {rows} rows where there are {len(self)} labels", field=each.name, fix="give one value a row"
                )

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[Any]) -> Judged:
        """Only some rows: their places, or a flag for each."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        return Judged(**{name: values[rows] if len(values) else values for name, values in told.items()})

    def weighing(self, weight: Floats) -> Judged:
        """The same rows, each counting so much."""
        return Judged(self.label, self.prediction, self.amount, self.query, weight)

    @property
    def weights(self) -> Floats | None:
        """How much each row counts, as scikit-learn takes it."""
        return self.weight if len(self.weight) else None


def check_alike(incumbent: Judged, candidate: Judged, name: str) -> None:
    """Refuse a candidate whose answers are of another shape than the incumbent's, so that no metric could compare them.

    Raises:
        DataError: another number of rows, or of classes.

    Example:
        >>> check_alike(Judged(np.ones(2), np.ones(2)), Judged(np.ones(2), np.ones((2, 3))), "challenger")
        Traceback (most recent call last):
        windtunnel.errors.DataError: `challenger` has another signature than the incumbent: 3 numbers a row, not one; ...
    """
    if len(incumbent) != len(candidate):
        raise DataError(
            f"answers {len(candidate)} rows where the incumbent answers {len(incumbent)}", field=name,
            fix="score the same requests with both",
        )  # fmt: skip
    ours, theirs = (each.prediction.shape[1:] for each in (incumbent, candidate))
    if ours != theirs:
        raise DataError(
            f"has another signature than the incumbent: {_wide(theirs)} a row, not {_wide(ours, short=True)}", field=name,
            fix="name outputs that mean the same, such as the probability of label 1 of both",
        )  # fmt: skip


def _wide(shape: tuple[int, ...], *, short: bool = False) -> str:
    if not shape:
        return "one" if short else "one number"
    return str(shape[0]) if short else f"{shape[0]} numbers"
