from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.optimize.non_inferiority import auc_drop, decision_drop, design_effect, mean_drop
from windtunnel.stats import mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from windtunnel.stats import Interval

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

DRAWS = 400


def _seldom(count: int, chance: float) -> bool:
    """Whether a count is no more than so many of the draws, by chance."""
    return count <= DRAWS * chance + 3.0 * math.sqrt(DRAWS * chance * (1.0 - chance))


def test_of_normal_rows_it_is_students() -> None:
    """Where nothing is skewed, the bent interval is Student's, up to the skewness of the sample."""
    apart = np.concatenate([np.linspace(-1.0, 1.0, 301)])
    found, known = mean_drop(apart, 0.95), mean_interval(apart, 0.95)

    assert found.value == pytest.approx(known.value)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))


def test_groups_of_one_are_rows() -> None:
    """Groups of one row each are rows that stand alone; twice the same rows tell no more than once."""
    rng = np.random.default_rng(1)
    apart = rng.exponential(size=200)
    alone, twice = mean_drop(apart, 0.95), mean_drop(np.tile(apart, 2), 0.95, np.tile(np.arange(200), 2))

    assert mean_drop(apart, 0.95, np.arange(200)) == alone
    assert (twice.low, twice.value, twice.high) == pytest.approx((alone.low, alone.value, alone.high))


def test_nothing_differs() -> None:
    """Rows that all lost the same leave no doubt of a mean; one row, or one group, leaves nothing but doubt."""
    assert mean_drop(np.zeros(9), 0.95).high == 0.0
    assert mean_drop(np.zeros(1), 0.95).high == math.inf
    assert mean_drop(np.arange(9.0), 0.95, np.zeros(9, dtype=np.int64)).high == math.inf


def test_skewed_losses_at_the_tolerance() -> None:
    """A mean of skewed losses that is the tolerance itself is seldom proven, where Student's interval does so too often."""
    rng = np.random.default_rng(2)
    samples = [np.where(rng.random(600) < 0.01, 1.0, 0.0) + rng.normal(0.0, 0.02, 600) for _ in range(DRAWS)]
    bent = sum(mean_drop(each, 0.95).high < 0.01 for each in samples)
    students = sum(mean_interval(each, 0.95).high < 0.01 for each in samples)

    assert _seldom(bent, 0.025)
    assert not _seldom(students, 0.025)


def _in_groups(rng: np.random.Generator) -> tuple[Floats, Codes]:
    """Decisions lost at random, much more in some groups than in others; one in ten of all."""
    groups = np.repeat(np.arange(60), 10)
    return (rng.random(600) < rng.beta(0.5, 4.5, 60)[groups]).astype(np.float64), groups


@pytest.mark.parametrize("interval", [mean_drop, decision_drop])
def test_groups_widen(interval: Callable[[Floats, float, Codes], Interval]) -> None:
    """Rows that are alike within a group are counted for what they are worth: the interval covers as it says."""
    rng = np.random.default_rng(3)
    found = [interval(*_flip(_in_groups(rng))) for _ in range(DRAWS)]

    assert _seldom(sum(each.high < 0.1 for each in found), 0.025)
    assert _seldom(sum(not each.low <= 0.1 <= each.high for each in found), 0.05)


def _flip(drawn: tuple[Floats, Codes]) -> tuple[Floats, float, Codes]:
    return drawn[0], 0.95, drawn[1]


def test_design_effect() -> None:
    """Groups that answer as one row have an effect of their size; rows that have nothing to do with them have none."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(300), 8)
    alike = rng.normal(size=300)[groups]

    assert design_effect(alike, groups) == pytest.approx(8.0, rel=0.01)
    assert design_effect(rng.normal(size=2400), groups) == pytest.approx(1.0, abs=0.2)
    assert design_effect(np.zeros(2400), groups) == 8.0


def test_whole_groups_that_are_rarely_lost() -> None:
    """One group in a hundred is lost as a whole: no luck in the draw of groups proves that it is not."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(100), 10)
    proven = sum(
        decision_drop((rng.random(100) < 0.01)[groups].astype(np.float64), 0.95, groups).high < 0.01
        for _ in range(DRAWS)
    )

    assert proven == 0


def test_auc_at_the_tolerance_is_seldom_proven() -> None:
    """A loss of ROC AUC that is the tolerance itself, where the truth is known for normal scores: Φ(d/√2)."""
    rng, separation, noise = np.random.default_rng(5), 1.5, 0.5
    weaker = separation / math.sqrt(1 + noise**2)
    drop = 0.5 * (math.erf(separation / 2) - math.erf(weaker / 2))
    proven = 0
    for _ in range(DRAWS):
        label = (rng.random(400) < 0.3).astype(np.float64)
        parent = rng.normal(size=400) + separation * label
        proven += auc_drop(label, parent, parent + noise * rng.normal(size=400), 0.95).high < drop

    assert proven > 0
    assert _seldom(proven, 0.025)


def test_auc_in_groups() -> None:
    """Groups of one row are DeLong's rows; twice the same rows tell no more than once."""
    rng = np.random.default_rng(6)
    label = (rng.random(300) < 0.3).astype(np.float64)
    parent = rng.normal(size=300) + label
    child = parent + rng.normal(size=300)
    alone = auc_drop(label, parent, child, 0.95)
    single = auc_drop(label, parent, child, 0.95, np.arange(300))
    again = [np.tile(each, 2) for each in (label, parent, child)]
    twice = auc_drop(again[0], again[1], again[2], 0.95, np.tile(np.arange(300), 2))
    width = alone.high - alone.low

    assert single.value == alone.value
    assert (single.low, single.high) == pytest.approx((alone.low, alone.high), abs=0.05 * width)
    assert (twice.low, twice.high) == pytest.approx((single.low, single.high), abs=0.01 * width)
