from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy
from windtunnel.errors import ConfigError, DataError
from windtunnel.request_log import COMPLETED
from windtunnel.simulate.traffic import poisson
from windtunnel.simulate.tunnel import BLOCKS, QUANTILES, simulate, spread, summarise
from windtunnel.trace import Trace

TABLE = np.array([[0.0, 0.0], [1.0, 3.0], [2.0, 4.0]])


def test_log_starts_from_the_trace() -> None:
    """Every request is sent when it should be, once, and is answered."""
    trace = poisson(0.4, 500, np.random.default_rng(0))

    log = simulate(trace, TABLE, BatchPolicy(2, 0.5), 2, seed=1)

    assert np.array_equal(trace.arrivals_s, log.scheduled_s)
    assert np.array_equal(trace.arrivals_s, log.sent_s)
    assert set(log.status.tolist()) == {COMPLETED}
    assert set(log.attempt.tolist()) == {0}


def test_same_seed_same_log() -> None:
    """A run depends on its seed and on nothing else."""
    trace = poisson(0.4, 500, np.random.default_rng(0))
    first, again, other = (simulate(trace, TABLE, BatchPolicy(2, 0.5), 1, seed=seed) for seed in (1, 1, 2))

    assert np.array_equal(first.finished_s, again.finished_s)
    assert not np.array_equal(first.finished_s, other.finished_s)


def test_later_requests_change_nothing_before() -> None:
    """What happened to the first requests does not depend on how long the trace goes on."""
    trace = poisson(0.4, 500, np.random.default_rng(0))
    start = Trace("start", trace.arrivals_s[:300])

    whole, part = (simulate(each, TABLE, BatchPolicy(2, 0.0), 1, seed=1) for each in (trace, start))

    assert np.array_equal(whole.started_s[:299], part.started_s[:299])


def test_refuses_no_replicas() -> None:
    """Nobody serves without a replica."""
    with pytest.raises(ConfigError, match=r"`replicas` \(=0\) must be at least 1"):
        simulate(Trace("t", np.array([0.0, 1.0])), TABLE, BatchPolicy(), 0, seed=1)


def test_refuses_batches_beyond_the_table() -> None:
    """No service time is invented for a batch that was not measured."""
    with pytest.raises(DataError, match=r"`max_batch` \(=3\) is larger .* up to 2"):
        simulate(Trace("t", np.array([0.0, 1.0])), TABLE, BatchPolicy(3), 1, seed=1)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_refuses_impossible_service_times(wrong: float) -> None:
    """A service takes some time, and ends."""
    with pytest.raises(DataError, match="not above zero"):
        simulate(Trace("t", np.array([0.0, 1.0])), np.array([[0.0], [wrong]]), BatchPolicy(), 1, seed=1)


def test_summary_of_a_timetable() -> None:
    """Three requests by hand: two share a batch of two seconds, one is served alone in one."""
    log = simulate(
        Trace("t", np.array([0.0, 0.5, 9.0])), np.array([[0.0], [1.0], [2.0]]), BatchPolicy(2, 1.0), 2, seed=1
    )
    summary = summarise(log, 2)

    assert (summary.requests, summary.completed) == (3, 3)
    assert pytest.approx(summary.seconds_simulated) == 11.0
    assert pytest.approx(summary.throughput_per_s) == 3 / 11
    assert pytest.approx(summary.mean_batch) == 1.5
    assert pytest.approx(summary.utilization) == 3 / 22
    assert pytest.approx(summary.latency.mean.value) == (2.5 + 2.0 + 2.0) / 3
    assert pytest.approx(summary.wait.mean.value) == (0.5 + 0.0 + 1.0) / 3


def test_summary_is_about_what_was_answered() -> None:
    """A request without an answer counts as sent and no further."""
    log = simulate(poisson(0.4, 100, np.random.default_rng(0)), TABLE, BatchPolicy(), 1, seed=1)
    failed = log.status.copy()
    failed[10:20] = 1

    summary = summarise(replace(log, status=failed), 1)

    assert (summary.requests, summary.completed) == (100, 90)
    with pytest.raises(DataError, match="no request that was answered"):
        summarise(replace(log, status=np.ones_like(log.status)), 1)


def test_summary_as_json() -> None:
    """Units stand in the keys; what a short log cannot carry is null, never a guess."""
    log = simulate(poisson(0.4, 3000, np.random.default_rng(0)), TABLE, BatchPolicy(), 1, seed=1)
    latency = summarise(log, 1).to_dict()["latency"]

    names = ["mean", *QUANTILES]
    assert [f"{name}_s{end}" for name in names for end in ("", "_low", "_high")] == list(latency)
    assert latency["mean_s_low"] < latency["mean_s"] < latency["mean_s_high"]
    assert latency["p999_s"] > 0.0
    assert (latency["p999_s_low"], latency["p999_s_high"]) == (None, None)


def test_short_series_carries_no_interval() -> None:
    """Blocks of fewer than thirty requests say nothing about chance."""
    series = np.random.default_rng(0).exponential(size=BLOCKS * 30 - 1)

    assert math.inf == spread(series).mean.high
    assert math.inf == spread(series)["p50"].high
    assert spread(np.append(series, 1.0)).mean.high < math.inf


def test_one_cluster_carries_no_interval() -> None:
    """A tail that lies in one block alone was seen once, however many requests it holds."""
    rng = np.random.default_rng(0)
    calm = rng.exponential(size=60_000)
    scattered, clustered = calm.copy(), calm.copy()
    scattered[rng.choice(60_000, size=1200, replace=False)] += 100.0
    clustered[30_000:31_200] += 100.0

    assert spread(scattered)["p99"].high < math.inf
    assert math.inf == spread(clustered)["p99"].high


def _exponential_table(points: int = 20_000) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    row = -np.log1p(-(np.arange(points) + 0.5) / points)
    return np.stack([np.zeros(points), row / row.mean()])


@pytest.mark.parametrize(("load", "requests"), [(0.5, 60_000), (0.8, 60_000)])
def test_intervals_cover_in_m_m_1(load: float, requests: int) -> None:
    """Over many runs of an M/M/1 queue, nominal 95% intervals hold the exact mean and quantiles in 88% at least.

    Its latency is exponential with rate μ − λ. An interval that is refused claims nothing and cannot miss; the mean,
    p50 and p90 are refused never, p99 never at the lower load.
    """
    table, runs = _exponential_table(), 120
    exact = [1.0, *(-math.log1p(-share) for share in QUANTILES.values())]
    covered, given = np.zeros(len(exact)), np.zeros(len(exact))
    for run in range(runs):
        trace = poisson(load, requests, np.random.default_rng(run))
        latency = spread(simulate(trace, table, BatchPolicy(), 1, seed=run).latency_s)
        for position, (interval, truth) in enumerate(zip((latency.mean, *latency.quantiles), exact, strict=True)):
            covered[position] += interval.low <= truth / (1.0 - load) <= interval.high
            given[position] += interval.high < math.inf

    assert np.all(covered / runs >= 0.88)
    assert np.all(given[: 4 if load == 0.5 else 3] == runs)
