from __future__ import annotations

import numpy as np
import pytest

from windtunnel.backtest.evidence import Asymptotic, placebo_rate
from windtunnel.errors import DataError


def test_on_common_noise_the_method_keeps_its_word() -> None:
    """Whatever the difference was, on its noise the alarms are within the level."""
    values = np.random.default_rng(1).normal(5.0, 1.0, size=150)
    rate = placebo_rate(values, Asymptotic(), np.random.default_rng(2), repeats=300)

    assert rate.low <= 0.05


def test_a_method_that_cries_wolf_is_found_out() -> None:
    """Without a burn-in, deviations measured on two or three days call noise a difference, and the placebos show it."""
    values = np.random.default_rng(3).normal(size=100)
    rate = placebo_rate(values, Asymptotic(burn_in=2, stretched=False), np.random.default_rng(4), repeats=300)

    assert rate.low > 0.05


def test_the_difference_itself_plays_no_part() -> None:
    """Moving all values by a constant leaves the rate what it was."""
    values = np.random.default_rng(5).normal(size=60)
    rates = [
        placebo_rate(values + moved, Asymptotic(burn_in=5), np.random.default_rng(6), run=3, repeats=100)
        for moved in (0.0, 2.0)
    ]

    assert pytest.approx(rates[0].value, abs=0.011) == rates[1].value


@pytest.mark.parametrize("values", [[], [0.1, float("nan")]])
def test_no_noise_is_no_trial(values: list[float]) -> None:
    """Without blocks, or with unknown ones, there is nothing to draw from."""
    with pytest.raises(DataError, match="none, or NaN"):
        placebo_rate(np.array(values), Asymptotic(), np.random.default_rng(1))
