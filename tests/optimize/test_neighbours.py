from __future__ import annotations

import math

import numpy as np
import pytest

from windtunnel.optimize import neighbours
from windtunnel.optimize.neighbours import _jackknife, nearest_rows, neighbours_drop
from windtunnel.optimize.pair import Pair


def _pair(rows: int, noise: float, rng: np.random.Generator) -> Pair:
    parent = rng.normal(size=(rows, 8))
    return Pair(None, parent, parent + noise * rng.normal(size=parent.shape))


def test_nearest_rows_are_scikit_learns() -> None:
    """The nearest rows by angle, nearest first, the row itself left out."""
    from sklearn.neighbors import NearestNeighbors

    given = np.random.default_rng(1).normal(size=(700, 5))
    theirs = NearestNeighbors(n_neighbors=5, metric="cosine").fit(given).kneighbors(return_distance=False)

    assert (nearest_rows(given, 5) == theirs).mean() > 0.999


def test_the_share_that_is_kept() -> None:
    """The value is the mean share of the parent's neighbours that the child has, in any order and at any length."""
    pair = _pair(200, 0.2, np.random.default_rng(2))
    ours, theirs = nearest_rows(pair.parent, 10), nearest_rows(pair.child, 10)
    kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ours, theirs, strict=True)])

    assert neighbours_drop(pair, 0.95, 10).value == pytest.approx(kept)
    assert neighbours_drop(Pair(None, pair.parent, 7.0 * pair.parent), 0.95, 10).drop.value == 0.0


def test_jackknife_leaves_every_row_out() -> None:
    """Every pseudo-value is what leaving that row out of both models, and of everyone's neighbours, gives."""
    pair = _pair(40, 0.3, np.random.default_rng(3))

    def share(keep: np.ndarray) -> float:
        return neighbours_drop(pair.take(keep), 0.95, 4).value

    without = np.array([share(np.arange(40) != row) for row in range(40)])
    expected = 40 * share(np.ones(40, dtype=np.bool_)) - 39 * without

    assert _jackknife(nearest_rows(pair.parent, 5), nearest_rows(pair.child, 5)) == pytest.approx(expected)


def test_covers() -> None:
    """A loss of neighbours that is the tolerance itself is seldom proven."""
    rng, draws = np.random.default_rng(4), 60
    drops = [neighbours_drop(_pair(200, 0.1, rng), 0.95, 10).drop for _ in range(draws)]
    truth = float(np.mean([each.value for each in drops]))

    assert sum(each.high < truth for each in drops) <= draws * 0.025 + 3.0 * math.sqrt(draws * 0.025 * 0.975)
    assert sum(each.low > truth for each in drops) <= draws * 0.025 + 3.0 * math.sqrt(draws * 0.025 * 0.975)


def test_many_rows_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more rows than can be squared, evenly many are looked at, and it is said how many."""
    monkeypatch.setattr(neighbours, "MOST_ROWS", 100)
    drop = neighbours_drop(_pair(350, 0.1, np.random.default_rng(5)), 0.95, 10).drop

    assert drop.samples == 100


def test_no_change_leaves_room() -> None:
    """Where no row's neighbours change, about four in all the rows, or groups, may change all the same."""
    pair = _pair(200, 0.0, np.random.default_rng(7))
    grouped = Pair(None, pair.parent, pair.child, np.arange(200) // 5)

    assert neighbours_drop(pair, 0.95, 10).drop.high == pytest.approx(1.96**2 / (200 + 1.96**2), rel=1e-3)
    assert neighbours_drop(grouped, 0.95, 10).drop.high == pytest.approx(1.96**2 / (40 + 1.96**2), rel=1e-3)


def test_rows_in_groups() -> None:
    """Groups are what is left out, where rows come in groups."""
    pair = _pair(300, 0.1, np.random.default_rng(6))
    grouped = Pair(None, pair.parent, pair.child, np.arange(300) // 10)

    assert neighbours_drop(grouped, 0.95, 10).drop.value == neighbours_drop(pair, 0.95, 10).drop.value
    assert neighbours_drop(grouped, 0.95, 10).drop.high != neighbours_drop(pair, 0.95, 10).drop.high
