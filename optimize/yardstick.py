"""A Yardstick: how far the answers of one model lie from those of another, row by row, in units that mean something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Answers = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.float64]

LEAST_SHARE = 0.05
"""Of the rows on either side of one half: a model that hardly ever crosses it decides elsewhere, if at all."""


@dataclass(frozen=True)
class Yardstick:
    """What is compared of some answers, and in which unit; read off the parent's answers to real rows.

    Where the answers are decisions (labels, a probability that crosses one half, the largest of several), rows differ or
    they do not. Where they are values or vectors, the unit is the spread of the parent's own answers over the rows.

    Args:
        decision: the output that is decided by; empty where nothing is decided.
        kind: how it is decided by.
        score: the output whose numbers are compared.
        spread: the root mean square distance of the parent's scores from their mean.

    Example:
        >>> stick = Yardstick.of({"p": np.array([0.2, 0.9, 0.6])})
        >>> stick.kind, stick.departures({"p": np.array([0.2, 0.9, 0.6])}, {"p": np.array([0.3, 0.8, 0.4])}).tolist()
        ('half', [0.0, 0.0, 1.0])
    """

    decision: str
    kind: Literal["label", "half", "largest", "none"]
    score: str
    spread: float

    @staticmethod
    def of(answers: Answers) -> Yardstick:
        """Read the yardstick off a parent's answers: the first output decides, the first of floats gives the scores."""
        first = next(iter(answers))
        score = next((name for name, array in answers.items() if array.dtype.kind == "f"), first)
        kind = _kind(answers[first])
        numbers = _flat(answers[score])
        numbers = numbers[np.isfinite(numbers).all(axis=1)]
        spread = float(np.sqrt(np.mean(np.sum((numbers - numbers.mean(axis=0)) ** 2, axis=1)))) if len(numbers) else 0.0
        return Yardstick(first if kind != "none" else "", kind, score, spread or 1.0)

    @property
    def unit(self) -> str:
        """What a departure of 1 is, in words."""
        return "another decision" if self.kind != "none" else "one spread of the parent's answers"

    def scores(self, answers: Answers) -> Floats:
        """The numbers that are compared, float64 `[rows, numbers]`."""
        return _flat(answers[self.score])

    def decisions(self, answers: Answers) -> NDArray[Any] | None:
        """What is decided for each row, or None where nothing is."""
        if self.kind == "none":
            return None
        array = answers[self.decision].reshape(len(answers[self.decision]), -1)
        if self.kind == "label":
            return array[:, 0]
        return array[:, -1] >= 0.5 if self.kind == "half" else np.argmax(array, axis=1)

    def departures(self, a: Answers, b: Answers) -> Floats:
        """How far two answers to the same rows lie apart, float64 `[rows]` from 0 to 1; NaN against a number is 1."""
        one, other = self.scores(a), self.scores(b)
        whole = np.isfinite(one).all(axis=1), np.isfinite(other).all(axis=1)
        decided, differently = self.decisions(a), self.decisions(b)
        apart: Floats
        if decided is not None and differently is not None:
            apart = (decided != differently).astype(np.float64)
        else:
            with np.errstate(invalid="ignore"):
                apart = np.minimum(1.0, np.sqrt(np.sum((one - other) ** 2, axis=1)) / self.spread)
        apart[whole[0] != whole[1]] = 1.0
        apart[~whole[0] & ~whole[1]] = 0.0
        return apart


def broken(answers: Answers) -> int:
    """How many rows have an answer that is NaN or infinite.

    Example:
        >>> broken({"y": np.array([[1.0, np.nan], [np.inf, 1.0], [0.0, 0.0]])})
        2
    """
    rows = len(next(iter(answers.values())))
    bad = np.zeros(rows, bool)
    for array in answers.values():
        if array.dtype.kind == "f":
            bad |= ~np.isfinite(array.reshape(rows, -1)).all(axis=1)
    return int(bad.sum())


def largest_change(a: Answers, b: Answers) -> float:
    """The largest change of a number in any output of floats, relative to the largest of its output.

    Infinite where one is NaN and the other is not. Labels are not numbers: see `Yardstick.decisions`.

    Example:
        >>> largest_change({"y": np.array([1.0, 200.0])}, {"y": np.array([1.5, 201.0])})
        0.005
    """
    names = [name for name, array in a.items() if array.dtype.kind == "f"]
    return max((_change(a[name].astype(np.float64), b[name].astype(np.float64)) for name in names), default=0.0)


def _change(expected: Floats, actual: Floats) -> float:
    if expected.size == 0:
        return 0.0
    if not np.array_equal(np.isfinite(expected), np.isfinite(actual)):
        return float("inf")
    whole = np.isfinite(expected)
    if not whole.any():
        return 0.0
    size = float(np.max(np.abs(expected[whole])))
    return float(np.max(np.abs(expected[whole] - actual[whole]))) / (size if size > 0.0 else 1.0)


def _kind(array: NDArray[Any]) -> Literal["label", "half", "largest", "none"]:
    """How the first output decides; vectors of length one are embeddings, and decide nothing."""
    if array.dtype.kind != "f":
        return "label" if array.size == len(array) else "none"
    wide = array.reshape(len(array), -1).astype(np.float64)
    if wide.shape[1] == 1 or (wide.shape[1] == 2 and _shares(wide)):
        above = float(np.mean(wide[:, -1] >= 0.5))
        bounded = bool((wide >= 0.0).all() and (wide <= 1.0).all())
        return "half" if bounded and LEAST_SHARE <= above <= 1.0 - LEAST_SHARE else "none"
    embedding = np.allclose(np.sum(wide**2, axis=1), 1.0, atol=1e-2) and not _shares(wide)
    return "none" if array.ndim > 2 or embedding else "largest"


def _shares(wide: Floats) -> bool:
    """Whether each row sums to one and nothing is below zero."""
    return bool((wide >= 0.0).all() and np.allclose(wide.sum(axis=1), 1.0, atol=1e-3))


def _flat(array: NDArray[Any]) -> Floats:
    """One row a row; labels that are no numbers become the places of their values."""
    if array.dtype.kind in "OUS":
        array = np.unique(array, return_inverse=True)[1].reshape(array.shape)
    return np.asarray(array.reshape(len(array), -1), np.float64)
