from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.optimize.calibration_error import bin_rows, calibrate, calibration_drop
from windtunnel.optimize.pair import Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def _sigmoid(score: Floats) -> Floats:
    probability: Floats = 1.0 / (1.0 + np.exp(-score))
    return probability


def _pair(rows: int, parent: float, child: float, rng: np.random.Generator, noise: float = 0.05) -> Pair:
    """Scores of which the truth is the sigmoid, stretched by parent and child: at 1 they are calibrated."""
    score = 1.5 * rng.normal(size=rows)
    label = (rng.random(rows) < _sigmoid(score)).astype(np.float64)
    return Pair(label, _sigmoid(parent * score), _sigmoid(child * score + noise * rng.normal(size=rows)))


def test_by_hand() -> None:
    """Four rows in two bins: what is said less what came true, weighed by rows."""
    label = np.array([0.0, 1.0, 1.0, 1.0])
    pair = Pair(label, np.array([0.2, 0.2, 0.9, 0.9]), np.array([0.4, 0.4, 0.8, 0.8]))
    found = calibrate(pair)

    assert found.parent_ece == pytest.approx(0.5 * 0.3 + 0.5 * 0.1)
    assert found.ece == pytest.approx(0.5 * 0.1 + 0.5 * 0.2)
    assert found.shift == pytest.approx(0.05)
    assert [(each.rows, each.observed) for each in found.bins] == [(2, 0.5), (2, 1.0)]
    assert found.to_dict()["bins"][1] == pytest.approx({"rows": 2, "observed": 1.0, "parent": 0.9, "child": 0.8})


def test_several_classes() -> None:
    """Of several classes the most probable is what is said, and whether it is the label what comes true."""
    told = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    found = calibrate(Pair(np.array([0.0, 0.0]), told, told))

    assert found.ece == pytest.approx(0.5 * 0.3 + 0.5 * 0.8)


def test_bins() -> None:
    """Bins hold as many rows each, equal probabilities lie together, and few values make few bins."""
    assert np.bincount(bin_rows(np.random.default_rng(1).random(1500))).tolist() == [100] * 15
    assert bin_rows(np.repeat([0.5, 0.5, 0.9], 10)).tolist() == [0] * 20 + [1] * 10
    assert set(bin_rows(np.full(30, 0.5))) == {0}


@pytest.mark.parametrize(("parent", "child"), [(1.0, 1.3), (1.3, 1.69), (1.2, 0.96), (1.3, 0.77)])
def test_a_loss_of_calibration_is_not_hidden_by_luck(parent: float, child: float) -> None:
    """A loss that is there is never called none: chance makes a calibrated parent look worse than it is, and the bounds know."""
    rng, draws = np.random.default_rng(2), 100
    many = calibration_drop(_pair(100_000, parent, child, rng), 0.95).drop.value
    drops = [calibration_drop(_pair(1000, parent, child, rng), 0.95).drop for _ in range(draws)]

    assert sum(each.high < many for each in drops) <= draws * 0.025 + 3.0 * math.sqrt(draws * 0.025 * 0.975)
    assert sum(each.low > many for each in drops) <= draws * 0.025 + 3.0 * math.sqrt(draws * 0.025 * 0.975)


def test_a_small_change_is_proven_small() -> None:
    """A child that differs little cannot lose more than it differs, however few rows tell how calibrated its parent is."""
    drop = calibration_drop(_pair(1000, 1.0, 1.0, np.random.default_rng(3), noise=0.02), 0.99).drop

    assert drop.high < 0.002
    assert drop.low <= drop.value <= drop.high


def test_groups_widen() -> None:
    """The same rows twice tell no more than once."""
    pair = _pair(900, 1.0, 1.3, np.random.default_rng(4))
    again = [np.tile(each, 2) for each in (pair.truth, pair.parent, pair.child)]
    twice = Pair(again[0], again[1], again[2], np.tile(np.arange(900), 2))
    once, doubled = calibration_drop(pair, 0.95).drop, calibration_drop(twice, 0.95).drop

    assert (doubled.value, doubled.low, doubled.high) == pytest.approx((once.value, once.low, once.high), abs=1e-4)
