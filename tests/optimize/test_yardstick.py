from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.optimize.yardstick import Yardstick, broken, largest_change

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

HALF = np.array([0.1, 0.9, 0.4, 0.6])


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (HALF, "half"),
        (HALF[:, None], "half"),
        (np.stack([1 - HALF, HALF], axis=1), "half"),
        (HALF * 0.1, "none"),
        (HALF * 7, "none"),
        (np.array([3, 1, 2]), "label"),
        (np.array(["late", "early"]), "label"),
        (np.random.default_rng(1).normal(size=(9, 10)), "largest"),
        (np.eye(5)[:3] * 0.6 + np.eye(5)[2:] * 0.8, "none"),
        (np.ones((4, 6, 3)), "none"),
    ],
    ids=["[n]", "[n, 1]", "two shares", "seldom", "values", "numbers", "texts", "scores", "unit vectors", "places"],
)
def test_what_decides(answers: NDArray[Any], kind: str) -> None:
    """Labels, probabilities that cross one half, and the largest score decide; values, rare alarms and embeddings do not."""
    assert Yardstick.of({"y": answers}).kind == kind


def test_the_first_output_decides_and_the_first_of_floats_is_compared() -> None:
    """A classifier that gives labels first and shares second is decided by the one and compared by the other."""
    answers = {"label": np.array(["a", "b", "b"]), "shares": np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])}
    stick = Yardstick.of(answers)

    assert (stick.decision, stick.score) == ("label", "shares")
    assert stick.departures(answers, {**answers, "label": np.array(["a", "a", "b"])}).tolist() == [0.0, 1.0, 0.0]


def test_values_are_measured_in_spreads() -> None:
    """Where nothing is decided, a departure is a distance in standard deviations of the parent's answers, at most 1."""
    values = np.array([0.0, 4.0])
    stick = Yardstick.of({"y": values})

    assert stick.spread == 2.0
    assert stick.departures({"y": values}, {"y": values + np.array([1.0, -50.0])}).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("values", [HALF, HALF * 7])
def test_no_number_is_far_from_a_number(values: NDArray[np.float64]) -> None:
    """NaN against a number is as far as can be, NaN against NaN is no change, whether answers decide or not."""
    stick = Yardstick.of({"y": values})
    holed = np.where([True, False, False, False], np.nan, values)

    assert stick.departures({"y": values}, {"y": holed}).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert stick.departures({"y": holed}, {"y": holed}).tolist() == [0.0, 0.0, 0.0, 0.0]
    assert (broken({"y": values}), broken({"y": holed})) == (0, 1)


def test_the_largest_change_is_of_floats() -> None:
    """Labels are not numbers; a NaN that comes or goes is an infinite change; all-zero answers are compared as they are."""
    zeros = np.zeros(3)

    assert largest_change({"label": np.array([1, 2])}, {"label": np.array([7, 2])}) == 0.0
    assert largest_change({"y": zeros}, {"y": zeros + 0.25}) == 0.25
    assert largest_change({"y": zeros}, {"y": np.array([0.0, np.nan, 0.0])}) == float("inf")
    assert largest_change({"y": zeros * np.nan}, {"y": zeros * np.nan}) == 0.0
    assert largest_change({"y": np.empty((0, 2))}, {"y": np.empty((0, 2))}) == 0.0
