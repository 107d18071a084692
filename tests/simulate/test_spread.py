from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numba import njit

from windtunnel.simulate.chance import origin, uniform_from
from windtunnel.simulate.histogram import Histogram
from windtunnel.simulate.sketch import Sketch, make_room, record
from windtunnel.simulate.spread import LEAST_REQUESTS, QUANTILES, Spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@njit(nogil=True)
def m_m_1(sketch: Sketch, requests: int, load: float, seed: np.uint64) -> None:
    """The latencies of M/M/1 with a mean service time of 1, by Lindley's recursion."""
    make_room(sketch, requests)
    start, wait_s = origin(seed), 0.0
    for request in range(requests):
        service_s = -math.log1p(-uniform_from(start, 2 * request))
        record(sketch, request, wait_s + service_s)
        gap_s = -math.log1p(-uniform_from(start, 2 * request + 1)) / load
        wait_s = max(0.0, wait_s + service_s - gap_s)


def spread(series: Floats) -> Spread:
    return Spread.of(Histogram.of_series(series))


@pytest.mark.parametrize(
    ("load", "requests", "known"), [(0.5, 100_000, 5), (0.8, 250_000, 4)], ids=["half", "four fifths"]
)
def test_intervals_cover_in_m_m_1(load: float, requests: int, known: int) -> None:
    """Over 200 runs, 95% intervals hold the mean and the quantiles of M/M/1's latency in 92 to 99 of 100 runs.

    It is exponential with rate μ − λ. An interval that is refused claims nothing and cannot miss: of the first `known`
    figures (mean, p50, p90, p99, p999) hardly any is.
    """
    exact = np.array([1.0, *(-math.log1p(-share) for share in QUANTILES.values())])[:known] / (1.0 - load)
    covered, given, runs = np.zeros(known), np.zeros(known), 200
    for run in range(runs):
        sketch = Sketch.empty()
        m_m_1(sketch, requests, load, np.uint64(run))
        found = Spread.of(Histogram.of(sketch))
        ends = np.array([(each.low, each.high) for each in (found.mean, *found.quantiles)])[:known].T
        covered += (ends[0] <= exact) & (exact <= ends[1]) & np.isfinite(ends[1])
        given += np.isfinite(ends[1])

    assert np.all(given >= 0.97 * runs)
    assert np.all(covered >= 0.92 * given)
    assert np.all(covered <= 0.99 * given)


def test_as_json() -> None:
    """Units stand in the keys; what a short log cannot carry is null, never a guess."""
    figures = spread(np.random.default_rng(0).exponential(size=3000)).to_dict()

    names = ["mean", *QUANTILES]
    assert [*(f"{name}_s{end}" for name in names for end in ("", "_low", "_high")), "max_s"] == list(figures)
    assert figures["p999_s"] is not None
    assert (figures["p999_s_low"], figures["p999_s_high"]) == (None, None)


def test_short_series_carries_no_interval() -> None:
    """Fewer than thirty blocks of thirty requests say nothing about chance."""
    series = np.random.default_rng(0).exponential(size=30 * 32)

    assert math.inf == spread(series[: 29 * 32]).mean.high
    assert math.inf == spread(series[: 29 * 32])["p50"].high
    assert spread(series).mean.high < math.inf


def test_few_answers_carry_no_interval() -> None:
    """Requests without an answer fill blocks, and do not make an interval of what was answered."""
    series = np.random.default_rng(0).exponential(size=64_000)
    series[np.arange(64_000) % (64_000 // LEAST_REQUESTS + 1) != 0] = np.nan

    assert math.inf == spread(series).mean.high


def test_lost_requests_do_not_bend_the_mean() -> None:
    """Blocks in which requests were lost weigh as much as what is left of them."""
    series = np.random.default_rng(0).exponential(size=64_000)
    lost = series.copy()
    lost[:30_000][np.arange(30_000) % 10 > 0] = np.nan
    all_of_them, left = spread(series).mean, spread(lost).mean

    assert left.value == pytest.approx(float(np.nanmean(lost)), abs=1e-9)
    assert left.low < 1.0 < left.high
    assert all_of_them.high - all_of_them.low < left.high - left.low < 3.0 * (all_of_them.high - all_of_them.low)


def test_one_cluster_carries_no_interval() -> None:
    """A tail that lies in one block alone was seen once, however many requests it holds."""
    rng = np.random.default_rng(0)
    calm = rng.exponential(size=60_000)
    scattered, clustered = calm.copy(), calm.copy()
    scattered[rng.choice(60_000, size=1200, replace=False)] += 100.0
    clustered[30_000:31_000] += 100.0

    assert spread(scattered)["p99"].high < math.inf
    assert math.inf == spread(clustered)["p99"].high


def test_likeness_of_blocks_widens() -> None:
    """The same blocks in an order in which neighbours are alike are known less well than in any other."""
    blocks = np.random.default_rng(0).exponential(size=(64, 32)) + np.arange(64)[:, None] / 10.0
    mixed = blocks[np.random.default_rng(1).permutation(64)]
    alike, strangers = spread(blocks.ravel()).mean, spread(mixed.ravel()).mean

    assert alike.value == pytest.approx(strangers.value)
    assert alike.high - alike.low > 3.0 * (strangers.high - strangers.low)


@pytest.mark.parametrize("time_s", [0.0, 0.02])
def test_what_never_varies_is_known(time_s: float) -> None:
    """Where every request took the same time, all figures and their ends are that time."""
    figures = spread(np.full(5000, time_s)).to_dict()

    assert {time_s} == {None if each is None else round(each, 9) for each in figures.values()}


def test_a_share_that_never_waits() -> None:
    """Where most requests do not wait at all, the median wait is zero with certainty, and the tail is not."""
    series = np.random.default_rng(0).exponential(size=100_000)
    series[np.random.default_rng(1).random(100_000) < 0.8] = 0.0
    found = spread(series)

    assert (found["p50"].low, found["p50"].value, found["p50"].high) == (0.0, 0.0, 0.0)
    assert found["p99"].low < -math.log(0.05) < found["p99"].high
    assert found["p99"].low < found["p99"].high


def test_of_nothing_nothing_is_known() -> None:
    """A run in which nobody was answered has figures that are null, and no error."""
    assert {None} == set(spread(np.empty(0)).to_dict().values())
