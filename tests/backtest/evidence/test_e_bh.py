from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.backtest.evidence import Asymptotic, e_bh


@given(e_values=st.lists(st.floats(0.0, 1e4), min_size=1, max_size=8), rate=st.sampled_from([0.05, 0.2]))
def test_it_is_its_definition(e_values: list[float], rate: float) -> None:
    """The greatest k whose k-th greatest e-value is at least K / (k · rate) rejects as many."""
    many, ranked = len(e_values), sorted(e_values, reverse=True)
    enough = [k for k in range(1, many + 1) if ranked[k - 1] * k * rate >= many]
    rejected = e_bh(np.array(e_values), rate)

    assert rejected.sum() == max(enough, default=0)
    assert not enough or min(np.array(e_values)[rejected]) == ranked[max(enough) - 1]


def test_looks_are_judged_each_alone() -> None:
    """With looks along the second axis each column is what it is alone."""
    e_values = np.random.default_rng(1).exponential(60.0, size=(5, 7))
    together = e_bh(e_values, 0.1)

    assert all((together[:, look] == e_bh(e_values[:, look], 0.1)).all() for look in range(7))


def test_false_discoveries_stay_below_the_rate_when_all_hang_together() -> None:
    """Of 12 candidates against one incumbent, 8 of them no better: stopped at the look that shows most, few are false."""
    rng, shares, powers = np.random.default_rng(2), [], []
    true = np.arange(12) < 4
    for _ in range(150):
        incumbent = rng.normal(size=120)
        days = np.where(true, -0.8, 0.0)[:, None] + (rng.normal(size=(12, 120)) - incumbent) / 2.0**0.5
        rejected = e_bh(Asymptotic(stretched=False).below(days, 0.0), 0.1)
        stopped = rejected[:, np.argmax(rejected.sum(axis=0))]
        shares.append((stopped & ~true).sum() / max(1, stopped.sum()))
        powers.append(stopped[true].mean())

    assert np.mean(shares) <= 0.1
    assert np.mean(powers) > 0.9
