from __future__ import annotations

import itertools

import numpy as np
import pytest

from windtunnel.backtest.evidence import Betting, Bounded

LEVEL, REPEATS, LENGTH = 0.05, 300, 120
UNIT, BOTH = Bounded(0.0, 1.0), Bounded(-1.0, 1.0)


def test_the_game_is_fair() -> None:
    """Over all 2^12 series, weighed by their chance, the capital is expected to stay exactly what it was if the claim is true."""
    series = np.array(list(itertools.product((0.0, 1.0), repeat=12)))
    for chance in (0.05, 0.5, 0.9):
        weight = np.prod(np.where(series == 1.0, chance, 1.0 - chance), axis=1)

        assert pytest.approx(np.ones(12)) == weight @ Betting(UNIT).above(series, chance)
        assert pytest.approx(np.ones(12)) == weight @ Betting(UNIT).below(series, chance)
        assert (weight @ Betting(UNIT).above(series, chance + 0.03) <= 1.0).all()


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_looking_after_every_row_keeps_the_level(share: float) -> None:
    """Differences of −1, 0 and 1 without a preference: the bounds leave zero out no more often than the level says."""
    rng = np.random.default_rng(7)
    differences = rng.choice([-1.0, 0.0, 1.0], p=[share / 2, 1 - share, share / 2], size=(REPEATS, LENGTH))
    below, above = Betting(BOTH, LEVEL).below(differences, 0.0), Betting(BOTH, LEVEL).above(differences, 0.0)

    assert np.mean((np.maximum(below, above) >= 2.0 / LEVEL).any(axis=-1)) <= LEVEL


def test_bounds_keep_the_mean() -> None:
    """Skewed differences of mean −0.8: the bounds hold it at every look, and come to be narrow."""
    rng = np.random.default_rng(8)
    differences = rng.beta(0.5, 4.5, size=(24, LENGTH)) * 2.0 - 1.0
    low, high = Betting(BOTH, LEVEL).bounds(differences)

    assert np.mean(((low > -0.8) | (high < -0.8)).any(axis=-1)) <= LEVEL + 3.0 * (LEVEL * 0.95 / 24) ** 0.5
    assert np.median((high - low)[:, -1]) < 0.3


def test_bounds_round_outwards() -> None:
    """What lies just outside the bounds is refuted, and no refuted mean on the grid lies inside."""
    x = np.random.default_rng(9).uniform(-0.8, 0.4, size=120)
    sequence = Betting(BOTH)
    low, high = sequence.bounds(x)
    for look in (40, 80, 119):
        assert sequence.above(x, float(low[look]) - 1e-9)[look] >= 2.0 / sequence.level
        assert sequence.below(x, float(high[look]) + 1e-9)[look] >= 2.0 / sequence.level


def test_a_difference_is_found() -> None:
    """A candidate that is right alone on a fifth of the rows and wrong alone on a tenth is nearly always found within 1,000."""
    rng = np.random.default_rng(10)
    differences = rng.choice([-1.0, 0.0, 1.0], p=[0.2, 0.7, 0.1], size=(100, 1000))
    found = (Betting(BOTH).below(differences, 0.0) >= 20.0).any(axis=-1)

    assert found.mean() > 0.9


def test_claims_at_and_beyond_the_ends_are_settled_by_the_range() -> None:
    """A mean cannot be below the least difference, so one value above it refutes that; nothing refutes the greatest."""
    x = np.array([0.2, 0.3])

    assert (Betting(UNIT).above(x, 0.0) >= 1e3).all()
    assert (Betting(UNIT).above(x, 1.0) <= 1.0).all()
    assert (Betting(UNIT).above(x, 1.5) <= 1.0).all()
