from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as distributions

from windtunnel.errors import ConfigError, DataError
from windtunnel.simulate.traffic import flash_crowd, poisson
from windtunnel.trace import Trace


def test_poisson_is_poisson() -> None:
    """Steps between arrivals are exponential with the mean asked for, and the first comes at zero."""
    trace = poisson(20.0, 20_000, np.random.default_rng(0))

    assert trace.arrivals_s[0] == 0.0
    assert distributions.kstest(np.diff(trace.arrivals_s) * 20.0, "expon").pvalue > 0.001


@pytest.mark.parametrize("rate_per_s", [0.0, -1.0, np.nan, np.inf])
def test_poisson_refuses_no_rate(rate_per_s: float) -> None:
    """A rate is above zero and finite."""
    with pytest.raises(ConfigError, match="must be above zero"):
        poisson(rate_per_s, 10, np.random.default_rng(0))


def test_poisson_refuses_one_request() -> None:
    """One request is no traffic."""
    with pytest.raises(DataError, match="fewer than two requests"):
        poisson(1.0, 1, np.random.default_rng(0))


def test_flash_crowd_multiplies_its_window_only() -> None:
    """Outside the window not a request is added; inside there are `times` as many; the recorded ones stay."""
    calm = poisson(10.0, 50_000, np.random.default_rng(0))
    crowded = flash_crowd(calm, times=4.0, start_share=0.25, length_share=0.1, rng=np.random.default_rng(1))
    start_s = 0.25 * calm.duration_s
    end_s = start_s + 0.1 * calm.duration_s

    def inside(trace: Trace) -> int:
        return int(np.sum((trace.arrivals_s >= start_s) & (trace.arrivals_s < end_s)))

    assert 4 * inside(calm) == inside(crowded)
    assert len(calm) - inside(calm) == len(crowded) - inside(crowded)
    assert np.all(np.isin(calm.arrivals_s, crowded.arrivals_s))


def test_flash_crowd_by_a_fraction_holds_on_average() -> None:
    """A multiple that is no whole number is met in the mean over many crowds."""
    calm = Trace("calm", np.arange(1001.0))
    added = [
        len(flash_crowd(calm, times=2.3, length_share=0.2, rng=np.random.default_rng(s))) - 1001 for s in range(200)
    ]

    assert pytest.approx(float(np.mean(added)), abs=4 * np.sqrt(200 * 0.3 * 0.7 / 200)) == 1.3 * 200


def test_flash_crowd_is_pure_and_seeded() -> None:
    """The recording is left as it was; the same stream makes the same crowd."""
    calm = Trace("calm", np.arange(1001.0))
    first, again, other = (flash_crowd(calm, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert np.array_equal(np.arange(1001.0), calm.arrivals_s)
    assert np.array_equal(first.arrivals_s, again.arrivals_s)
    assert not np.array_equal(first.arrivals_s, other.arrivals_s)


def test_flash_crowd_of_one_is_the_recording() -> None:
    """A crowd that multiplies by one adds nobody."""
    calm = Trace("calm", np.arange(1001.0))

    assert np.array_equal(calm.arrivals_s, flash_crowd(calm, times=1.0, rng=np.random.default_rng(0)).arrivals_s)


@pytest.mark.parametrize(
    ("times", "start_share", "length_share"),
    [(0.5, 0.5, 0.1), (np.nan, 0.5, 0.1), (5.0, -0.1, 0.1), (5.0, 1.0, 0.1), (5.0, 0.5, 0.0), (5.0, 0.9, 0.2)],
)
def test_flash_crowd_refuses_impossible_windows(times: float, start_share: float, length_share: float) -> None:
    """A crowd adds, within the trace."""
    with pytest.raises(ConfigError):
        flash_crowd(
            Trace("calm", np.arange(101.0)), times=times, start_share=start_share, length_share=length_share,
            rng=np.random.default_rng(0),
        )  # fmt: skip


def test_flash_crowd_refuses_silence() -> None:
    """Nothing times five is nothing: the user is told to move the window."""
    night = Trace("night", np.array([0.0, 1.0, 99.0, 100.0]))

    with pytest.raises(DataError, match=r"`night` has no request from 50 s to 52 s.*start_share"):
        flash_crowd(night, rng=np.random.default_rng(0))
