from __future__ import annotations

import numpy as np

from windtunnel.backtest.estimate import Estimated, Periods
from windtunnel.backtest.estimate.trust import conformal_reach

PERIODS = Periods.of(np.arange(1, 101) * 10, 30)


def estimated(rng: np.random.Generator, *, noise: float, walk: float = 0.1) -> Estimated:
    """A metric that walks, and an estimate of it that errs by some noise."""
    realised = np.cumsum(rng.normal(0.0, walk, 100))
    return Estimated("m", PERIODS, realised + rng.normal(0.0, noise, 100), realised)


def test_conformal_interval_covers() -> None:
    """An error exchangeable with 30 past ones lies within the reach at least as often as promised, whatever its shape."""
    rng = np.random.default_rng(0)
    errors = np.abs(rng.standard_cauchy((2000, 31)))
    inside = [row[30] <= conformal_reach(row[:30], 0.9) for row in errors]

    assert 0.9 - 3.0 * (0.09 / 2000) ** 0.5 <= np.mean(inside) <= 0.96


def test_noise_earns_no_trust() -> None:
    """An estimate whose errors are as large as the dummy's is called reliable at a look hardly more often than the level."""
    rng = np.random.default_rng(1)
    called = []
    for _ in range(40):
        level = rng.normal(0.0, 0.1, 100)
        # the dummy's error is the difference of two values, so is this estimate's
        called.append(Estimated("m", PERIODS, rng.normal(0.0, 0.1, 100), level).trust().reliable[70])

    assert np.mean(called) <= 0.1 + 3.0 * (0.09 / 40) ** 0.5


def test_a_good_estimate_earns_trust_and_a_broken_one_loses_it() -> None:
    """Trust comes after enough settled periods, and goes when what predictions mean changes."""
    rng = np.random.default_rng(2)
    good = estimated(rng, noise=0.01)
    broken = Estimated("m", PERIODS, np.where(np.arange(100) < 50, good.estimate, 5.0), good.realised)

    assert not good.trust().reliable[:22].any()
    assert good.trust().reliable[40:].all()
    assert broken.trust().reliable[45]
    assert not broken.trust().reliable[60:].any()


def test_dummy_is_what_was_known() -> None:
    """The dummy at a look is the realised value of three periods before, or of an older one where that had no labels."""
    realised = np.arange(100.0)
    realised[10] = np.nan

    assert Estimated("m", PERIODS, realised, realised).last_known[12:15].tolist() == [9.0, 9.0, 11.0]


def test_the_future_does_not_reach_back() -> None:
    """Realised values of periods that were not settled at a look change no bit of the trust at it."""
    one = estimated(np.random.default_rng(3), noise=0.05)
    realised = one.realised.copy()
    realised[58:] = 99.0
    other = Estimated("m", PERIODS, one.estimate, realised)

    assert one.trust().to_dict()[60]["skill"] == other.trust().to_dict()[60]["skill"]
    assert one.trust().low[:61].tobytes() == other.trust().low[:61].tobytes()
    assert one.trust().low[:62].tobytes() != other.trust().low[:62].tobytes()
