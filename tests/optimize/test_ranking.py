from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn import metrics

from windtunnel.optimize.pair import Pair, resample_drop
from windtunnel.optimize.quality import Holdout, compare
from windtunnel.optimize.ranking import average_precision_drop, ndcg_drop, normalized_gains, weighted_average_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@pytest.mark.parametrize("places", [8, 1], ids=["no ties", "ties"])
def test_weighted_average_precision(places: int) -> None:
    """Rows that are drawn several times or not at all weigh as scikit-learn has them weigh, with ties and without."""
    rng = np.random.default_rng(1)
    label = (rng.random(300) < 0.3).astype(np.float64)
    score = (rng.normal(size=300) + label).round(places)
    weights = rng.multinomial(300, np.full(300, 1 / 300), size=5).astype(np.float64)
    theirs = [metrics.average_precision_score(label, score, sample_weight=each) for each in weights]

    assert weighted_average_precision(label, score)(weights) == pytest.approx(np.array(theirs))


@pytest.mark.parametrize("depth", [None, 5])
@pytest.mark.parametrize("places", [8, 1], ids=["no ties", "ties"])
def test_normalized_gains(depth: int | None, places: int) -> None:
    """NDCG of every query is scikit-learn's, however many rows it has and whatever ties."""
    rng = np.random.default_rng(2)
    queries, label = rng.integers(0, 12, 300), rng.integers(0, 4, 300).astype(np.float64)
    score = rng.normal(size=300).round(places)
    theirs = [metrics.ndcg_score([label[queries == q]], [score[queries == q]], k=depth) for q in range(12)]

    assert normalized_gains(label, score, queries, depth) == pytest.approx(np.array(theirs))


def test_queries_without_anything_relevant() -> None:
    """A query in which nothing is relevant has no better order, and is left out."""
    label, queries = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0, 0, 1, 1])
    pair = Pair(label, np.array([2.0, 1.0, 2.0, 1.0]), np.array([1.0, 2.0, 1.0, 2.0]), queries)

    assert np.isnan(normalized_gains(label, pair.parent, queries, None)).tolist() == [False, True]
    assert ndcg_drop(pair, 0.95, None).parent_value == 1.0


def test_no_change_leaves_room() -> None:
    """Queries, and rows to be found, whose order did not change leave room for about four that would; the uninformative do not count."""
    rng = np.random.default_rng(8)
    queries, label = np.arange(300) // 5, (np.arange(300) % 5 == 0).astype(np.float64)
    label[150:200], label[200:] = 0.0, 1.0
    told = rng.normal(size=300)
    pair = Pair(label, told, told, queries, resamples=100)

    assert ndcg_drop(pair, 0.95, None).drop.high == pytest.approx(1.96**2 / (30 + 1.96**2), rel=1e-3)
    assert average_precision_drop(pair, 0.95).drop.high == pytest.approx(1.96**2 / (50 + 1.96**2), rel=1e-3)


def _ranked(rng: np.random.Generator) -> Pair:
    label = (rng.random(500) < 0.2).astype(np.float64)
    parent = rng.normal(size=500) + 1.5 * label
    return Pair(label, parent, parent + 0.5 * rng.normal(size=500), seed=int(rng.integers(2**31)), resamples=300)


AVERAGE_PRECISION_DROP = 0.05426
"""Of three million rows drawn as `_ranked` draws them."""


def test_average_precision_covers() -> None:
    """The interval holds the truth in about 95 of 100 draws, and seldom proves a drop that is there."""
    rng, draws = np.random.default_rng(3), 200
    drops = [average_precision_drop(_ranked(rng), 0.95).drop for _ in range(draws)]
    covered = sum(each.low <= AVERAGE_PRECISION_DROP <= each.high for each in drops)
    proven = sum(each.high < AVERAGE_PRECISION_DROP for each in drops)

    assert covered >= draws * 0.95 - 3.0 * math.sqrt(draws * 0.95 * 0.05)
    assert proven <= draws * 0.025 + 3.0 * math.sqrt(draws * 0.025 * 0.975)


def _searched(queries: int, rng: np.random.Generator) -> Pair:
    codes = np.repeat(np.arange(queries), 10)
    label = rng.integers(0, 3, len(codes)).astype(np.float64)
    parent = rng.normal(size=len(codes)) + label
    return Pair(label, parent, parent + rng.normal(size=len(codes)), codes, int(rng.integers(2**31)), 300)


def test_ndcg_covers() -> None:
    """The same for NDCG, where queries are what is drawn."""
    rng, draws = np.random.default_rng(4), 200
    truth = ndcg_drop(replace(_searched(30_000, rng), resamples=2), 0.95, 5).drop.value
    drops = [ndcg_drop(_searched(60, rng), 0.95, 5).drop for _ in range(draws)]
    covered = sum(each.low <= truth <= each.high for each in drops)

    assert covered >= draws * 0.95 - 3.0 * math.sqrt(draws * 0.95 * 0.05)


def test_whole_groups_are_drawn() -> None:
    """Twice the same rows in groups of two tell no more than once, and as rows of their own they would claim to."""
    rng = np.random.default_rng(5)
    label = rng.normal(size=300)
    parent, child = label + rng.normal(size=300), label + 1.2 * rng.normal(size=300)
    both = [np.tile(each, 2) for each in (label, parent, child)]
    once = compare("rmse", Holdout({}, np.tile(label, 2), np.tile(np.arange(300), 2)), both[1], both[2]).drop
    alone = compare("rmse", Holdout({}, np.tile(label, 2)), both[1], both[2]).drop

    assert once.samples == alone.samples == 600
    assert (once.high - once.low) == pytest.approx(math.sqrt(2.0) * (alone.high - alone.low), rel=0.1)


def test_resamples_weigh_groups_alike() -> None:
    """In a resample of groups every row of one has the same weight."""
    groups = np.array([0, 0, 1, 2, 2, 2])

    def alike(weights: Floats) -> Floats:
        assert (weights[:, 0] == weights[:, 1]).all()
        assert (weights[:, 3:] == weights[:, 3:4]).all()
        total: Floats = weights.sum(axis=1)
        return total

    pair = Pair(None, np.zeros(6), np.zeros(6), groups)

    assert resample_drop(pair, alike, 0.95, resamples=50).samples == 6
