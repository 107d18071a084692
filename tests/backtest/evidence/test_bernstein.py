from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import quad

from windtunnel.backtest.evidence import Bernstein, Bounded

LEVEL, REPEATS, LENGTH = 0.05, 80, 150
UNIT = Bounded(0.0, 1.0)


def test_no_claim_that_is_true_can_be_bet_against() -> None:
    """Over all 2^12 series of rights and wrongs, weighed by their chance, the evidence against the truth is at most 1."""
    series = np.array(list(itertools.product((0.0, 1.0), repeat=12)))
    for chance in (0.1, 0.5, 0.8):
        weight = np.prod(np.where(series == 1.0, chance, 1.0 - chance), axis=1)
        expected = weight @ Bernstein(UNIT).above(series, chance)

        assert (expected <= 1.0 + 1e-9).all()
        assert expected[-1] > 0.1


@pytest.mark.parametrize(("total", "misses"), [(3.0, 2.0), (-5.0, 20.0), (40.0, 3.0), (200.0, 100.0), (0.0, 0.0)])
def test_evidence_is_its_mixture(total: float, misses: float) -> None:
    """The closed form is the integral over all wagers."""
    sequence = Bernstein(UNIT)

    def mixed(total: float, misses: float) -> float:
        def at(u: float) -> float:
            return float(np.exp((1.0 - u) * total + (np.log(u) + 1.0 - u) * (misses + sequence.rho)) / u)

        return float(quad(at, 0.0, 1e-6, limit=400)[0] + quad(at, 1e-6, 1.0, limit=400)[0])

    wanted = np.log(mixed(total, misses) / mixed(0.0, 0.0))

    assert pytest.approx(wanted, abs=1e-3) == float(sequence._log_mixture(np.array(total), np.array(misses)))


@pytest.mark.parametrize("drift", [0.0, 0.2])
def test_the_average_so_far_is_kept(drift: float) -> None:
    """Rare, skewed differences whose mean drifts: at no look of 150 do the bounds leave their average more often than meant."""
    rng = np.random.default_rng(5)
    chance = 0.25 + drift * np.sin(np.arange(LENGTH) / 25.0)
    low, high = Bernstein(UNIT, LEVEL).bounds((rng.random((REPEATS, LENGTH)) < chance).astype(np.float64))
    truth = np.cumsum(chance) / np.arange(1, LENGTH + 1)

    assert np.mean(((low > truth) | (high < truth)).any(axis=-1)) <= LEVEL


def test_quiet_differences_are_judged_sooner() -> None:
    """Differences that vary little are bounded more tightly than those that use their range."""
    rng = np.random.default_rng(6)
    quiet, loud = rng.uniform(-0.1, 0.1, size=400), rng.choice([-1.0, 1.0], size=400)
    widths = [np.subtract(*Bernstein(Bounded(-1.0, 1.0)).bounds(x)[::-1])[-1] for x in (quiet, loud)]

    assert widths[0] < widths[1] / 3.0


def test_long_series_neither_overflow_nor_vanish() -> None:
    """A hundred thousand differences, all of one sign, and all balanced, are weighed without a warning."""
    always, balanced = np.ones(100_000), np.resize([1.0, -1.0], 100_000)
    sequence = Bernstein(Bounded(-1.0, 1.0))

    assert sequence.above(always, 0.0)[-1] > 1e300
    assert sequence.below(always, 0.0)[-1] < 1.0
    assert sequence.above(balanced, 0.0)[-1] < 1.0
