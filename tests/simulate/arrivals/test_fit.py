from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from scipy import stats as distributions

from windtunnel.errors import ConfigError, DataError
from windtunnel.simulate.arrivals import Gamma, Hawkes, Mmpp, Poisson, RateCurve, Weekly, fit
from windtunnel.simulate.arrivals.burstiness import fit_burstiness
from windtunnel.trace import Trace

if TYPE_CHECKING:
    from windtunnel.simulate.arrivals import Fit, Generator

DATA = Path(__file__).parents[4] / "shared" / "data"
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def stepped() -> Fit:
    """A fit to ten minutes of bursty gaps on two levels, with columns."""
    made = RateCurve.steps((20.0, 60.0), (300.0, 300.0), cv=1.5).arrivals(seconds=600.0, seed=4)
    rows = np.arange(len(made))
    return fit(Trace("stepped", made.arrivals_s, {"key": rows, "bytes": rows * 10.0}))


@pytest.mark.parametrize(
    ("truth", "name"),
    [
        (Poisson(50.0), "poisson"),
        (Gamma(50.0, cv=2.0), "gamma"),
        (Hawkes(RateCurve.constant(25.0), branching=0.6, decay_per_s=2.0), "hawkes"),
    ],
    ids=str,
)
def test_what_made_the_traffic_is_recognised(truth: Generator, name: str) -> None:
    """Of the three the true one is chosen, with no curve where there was none, and is found to fit."""
    fitted = fit(truth.arrivals(requests=20_000, seed=3))

    assert fitted.burstiness[0].name == name
    assert fitted.resolutions[0].bins == 1
    assert fitted.goodness.failures == ()
    assert fitted.process.mean_rate_per_s == pytest.approx(truth.mean_rate_per_s, rel=0.1)


def _covered(truth: Generator, parameter: str, value: float, runs: int, requests: int) -> int:
    covered = 0
    for run in range(runs):
        times_s = truth.arrivals(requests=requests, seed=run).arrivals_s
        curve = RateCurve.constant(truth.mean_rate_per_s)
        found = {each.name: each for each in fit_burstiness(curve, times_s)}
        interval = dict(found["gamma" if parameter == "cv" else "hawkes"].parameters)[parameter]
        covered += interval.low <= value <= interval.high
    return covered


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
def test_cv_intervals_cover(cv: float) -> None:
    """The 95% interval of the cv covers the truth in as many of 100 recordings as a binomial number of 95% may."""
    covered = _covered(Gamma(10.0, cv), "cv", cv, runs=100, requests=500)

    assert distributions.binom.cdf(covered, 100, 0.95) > 1e-3


@pytest.mark.parametrize(("parameter", "value"), [("branching", 0.6), ("decay_per_s", 3.0)])
def test_hawkes_intervals_cover(parameter: str, value: float) -> None:
    """The 95% intervals of branching and decay cover in as many of 60 recordings as a binomial number of 95% may."""
    truth = Hawkes(RateCurve.constant(4.0), branching=0.6, decay_per_s=3.0)
    covered = _covered(truth, parameter, value, runs=60, requests=2000)

    assert distributions.binom.cdf(covered, 60, 0.95) > 1e-3


def test_the_day_is_found() -> None:
    """Four days with a rhythm give a curve that repeats by the day and is within 15% of the truth at every hour."""
    truth = Weekly(0.5, swing=0.6)
    fitted = fit(truth.arrivals(seconds=4 * DAY_S, seed=1))
    hours_s = (np.arange(24.0) + 0.5) * 3600.0
    curve = fitted.process

    assert isinstance(curve, RateCurve)
    assert fitted.resolutions[0].period_s == DAY_S
    assert curve.rates(hours_s + 7 * DAY_S) == pytest.approx(truth.rates(hours_s), rel=0.15)
    assert fitted.goodness.fits


def test_the_week_is_found() -> None:
    """Two weeks with quiet weekends give a curve that repeats by the week; a period that is known is taken."""
    trace = Weekly(0.03, swing=0.6, weekend=0.3).arrivals(seconds=14 * DAY_S, seed=1)

    assert fit(trace).resolutions[0].period_s == 7 * DAY_S
    assert fit(trace, period_s=DAY_S).resolutions[0].period_s == DAY_S


def test_what_does_not_fit_is_said() -> None:
    """A process of other kind than those tried is reported as not fitting, with the figures that are off."""
    goodness = fit(Mmpp((20.0, 200.0), (5.0, 1.0)).arrivals(requests=20_000, seed=1)).goodness

    assert not goodness.fits
    assert any("the fit's" in failure for failure in goodness.failures)
    assert len(goodness.failures) == sum(not check.holds for check in goodness.checks) + (goodness.ks_p < 0.01)


def test_a_level_that_moved_is_followed(stepped: Fit) -> None:
    """Two levels are found as two bins, and the cv of the gaps beyond them."""
    assert stepped.resolutions[0].bins == 2
    assert stepped.burstiness[0].name == "gamma"
    assert dict(stepped.burstiness[0].parameters)["cv"].value == pytest.approx(1.5, rel=0.05)
    assert {"bin_s", "cv_low", "fits", "failures", "ks", "warnings"} <= set(stepped.describe())


def test_samples_are_like_the_recording(stepped: Fit) -> None:
    """A sample is as long, about as many, repeatable, and carries whole rows of the recording."""
    sample, again = stepped.sample(1), stepped.sample(1)

    assert sample.arrivals_s.tobytes() == again.arrivals_s.tobytes()
    assert len(sample) == pytest.approx(24_000, rel=0.1)
    assert sample.columns["bytes"] == pytest.approx(sample.columns["key"] * 10.0)
    assert any("`key`" in warning for warning in stepped.warnings)  # running numbers: neighbours are alike


def test_scaled_longer_and_with_a_holiday(stepped: Fit) -> None:
    """Twice the users are twice the requests; a longer horizon repeats the curve; a peak multiplies its own window only."""
    plain = stepped.process
    peak = stepped.with_peak(5.0, start_s=700.0, length_s=200.0, horizon_s=1800.0).process
    assert isinstance(plain, RateCurve)
    assert isinstance(peak, RateCurve)
    at_s = np.array([100.0, 650.0, 710.0, 760.0, 800.0, 840.0, 890.0, 1000.0])
    twice, longer = stepped.scaled(2.0).sample(2), stepped.sample(2, seconds=1800.0)

    assert len(twice) == pytest.approx(48_000, rel=0.1)
    assert len(longer) == pytest.approx(72_000, rel=0.1)
    assert peak.rates(at_s) / plain.rates(at_s) == pytest.approx([1.0, 1.0, 1.8, 5.0, 5.0, 5.0, 1.8, 1.0], rel=1e-6)
    assert peak.cv == plain.cv
    with pytest.raises(ConfigError, match="does not lie within it"):
        stepped.with_peak(5.0, start_s=700.0, length_s=2000.0, horizon_s=1800.0)


def test_coarse_clocks_are_spread_and_said() -> None:
    """Whole seconds are spread over the second, with a warning, and Poisson traffic is then seen to be Poisson."""
    trace = Poisson(5.0).arrivals(requests=10_000, seed=1)
    fitted = fit(Trace("coarse", np.floor(trace.arrivals_s)))

    assert fitted.burstiness[0].name == "poisson"
    assert any("spread over 1 s" in warning for warning in fitted.warnings)


def test_too_few_requests_are_refused() -> None:
    """Below 200 requests there is no rhythm to find."""
    with pytest.raises(DataError, match="too few requests"):
        fit(Poisson(1.0).arrivals(requests=199, seed=1))
    with pytest.raises(ConfigError, match="zero or more"):
        fit(Poisson(1.0).arrivals(requests=300, seed=1), period_s=-1.0)


def _file(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"the shared data folder has no {name}")
    return DATA / name


def test_azure_llm_is_fitted_honestly() -> None:
    """An hour of real conversations: the curve moves, gaps are a little burstier than Poisson, what is off is named."""
    table = pl.read_csv(_file("azure_llm_2023_conv.csv.gz"))
    at = table["TIMESTAMP"].str.slice(0, 26).str.to_datetime(time_unit="us").dt.timestamp("us").to_numpy() / 1e6
    fitted = fit(Trace("azure", np.sort(at - at.min()), {"context_tokens": table["ContextTokens"].to_numpy()}))

    assert fitted.resolutions[0].bins > 1
    assert fitted.burstiness[0].name != "poisson"
    assert fitted.goodness.fits == (not fitted.goodness.failures)
    assert fitted.goodness.ks < 0.03
    assert len(fitted.sample(1)) == pytest.approx(len(table), rel=0.1)


def test_mooncake_is_fitted_with_a_warning() -> None:
    """Time stamps on a grid of three seconds are spread, and the fit says below what it knows nothing."""
    with gzip.open(_file("mooncake_conversation.jsonl.gz")) as lines:
        at = np.sort(np.array([json.loads(line)["timestamp"] / 1e3 for line in lines]))
    fitted = fit(Trace("mooncake", at - at[0]))

    assert any("90% of requests share an instant" in warning for warning in fitted.warnings)
    assert fitted.describe()["fits"] == (not fitted.describe()["failures"])
