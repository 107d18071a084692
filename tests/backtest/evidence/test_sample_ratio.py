from __future__ import annotations

import itertools

import numpy as np
import pytest

from windtunnel.backtest.evidence import SampleRatio
from windtunnel.errors import ConfigError

SHARES = np.array([0.5, 0.5])
LEVEL = 0.01


def test_the_game_is_fair() -> None:
    """Over all 3^6 assignments to three arms, weighed by their chance, the evidence is expected to be exactly 1."""
    meant = np.array([0.5, 0.3, 0.2])
    arms = np.array(list(itertools.product(range(3), repeat=6)))
    weight = np.prod(meant[arms], axis=1)
    e_values = np.array([SampleRatio.of(np.eye(3, dtype=np.int64)[each], meant).e_values for each in arms])

    assert pytest.approx(np.ones(6)) == weight @ e_values


def test_a_true_ratio_is_seldom_called_a_mismatch() -> None:
    """Checked after each of 100 days, a fair split is called unfair in no more than 1% of cases; chi-square by day in many."""
    first = np.random.default_rng(1).binomial(2000, 0.5, size=(300, 100))
    found = [SampleRatio.of(np.stack([each, 2000 - each], axis=1), SHARES, LEVEL) for each in first]
    total, n = np.cumsum(first, axis=1), 2000.0 * np.arange(1, 101)
    peeked = (np.abs(total - n / 2.0) / np.sqrt(n / 4.0) > 2.576).any(axis=1)

    assert np.mean([each.mismatch_at is not None for each in found]) <= LEVEL + 3.0 * (LEVEL * (1 - LEVEL) / 300) ** 0.5
    assert peeked.mean() > 5.0 * LEVEL


def test_a_mismatch_is_found() -> None:
    """A split of 50.8 to 49.2 is found within a few hundred thousand rows, nearly always."""
    first = np.random.default_rng(2).binomial(4000, 0.508, size=(60, 60))
    found = [SampleRatio.of(np.stack([each, 4000 - each], axis=1), SHARES, LEVEL).mismatch_at for each in first]

    assert np.mean([each is not None for each in found]) > 0.95


def test_once_seen_it_is_not_undone() -> None:
    """Traffic that evens the counts out again later does not take the mismatch back."""
    ratio = SampleRatio.of(np.array([[600, 400]] * 3 + [[400, 600]] * 3), SHARES)

    assert ratio.mismatch_at is not None
    assert ratio.e_values[-1] < 1.0
    assert ratio.e_value >= 100.0
    assert pytest.approx(1.0) == ratio.p_value
    assert ratio.to_dict()["mismatch"] is True


def test_no_traffic_is_no_evidence() -> None:
    """Before anyone was assigned there is nothing against the ratio."""
    ratio = SampleRatio.of(np.zeros((2, 2), dtype=np.int64), SHARES)

    assert (ratio.mismatch_at, ratio.p_value) == (None, 1.0)
    assert pytest.approx([1.0, 1.0]) == ratio.e_values.tolist()


@pytest.mark.parametrize("shares", [[0.5, 0.6], [1.0, 0.0], [1.0], [0.5, float("nan")]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    """Shares are above zero, one an arm, and make 1."""
    with pytest.raises(ConfigError, match="not the shares of 2 arms"):
        SampleRatio.of(np.array([[1, 1]]), np.array(shares))


def test_shares_that_are_rounded_are_shares() -> None:
    """Thirds written with seven digits are thirds, for the chi-square as for the e-value."""
    thirds = SampleRatio.of(np.array([[3333, 6667]]), np.array([0.3333333, 0.6666666]))

    assert thirds.p_value > 0.9
    assert SampleRatio.of(np.empty((0, 2), dtype=np.int64), SHARES).p_value == 1.0
