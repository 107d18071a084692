from __future__ import annotations

import numpy as np
import pytest

from windtunnel.backtest.evidence import carry_over
from windtunnel.stats import autocorrelation


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_it_is_its_formula_on_every_prefix(offset: float) -> None:
    """After each value the stretch is what the autocorrelation of the values so far makes it, no later value in it."""
    values = np.cumsum(np.random.default_rng(1).normal(size=(3, 40)), axis=-1) * 0.3 + offset
    values += np.random.default_rng(2).normal(size=(3, 40))
    stretch = carry_over(values)
    for series, each in zip(values, stretch, strict=True):
        for n in range(3, 41):
            raw = autocorrelation(series[:n])
            centred = min(max(raw + (1.0 + 4.0 * raw) / n, -1.0), 0.95)
            corrected = min(max(centred + 0.5 * ((1.0 - centred**2) / n) ** 0.5, 0.0), 0.95)

            assert pytest.approx(((1.0 + corrected) / (1.0 - corrected)) ** 0.5, rel=1e-6) == each[n - 1]


def test_one_value_or_none_carries_nothing() -> None:
    """Where there is no neighbour there is nothing to be alike."""
    assert carry_over(np.empty(0)).tolist() == []
    assert carry_over(np.array([3.0])).tolist() == [pytest.approx(39.0**0.5)]
