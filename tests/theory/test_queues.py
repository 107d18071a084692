"""The tunnel against the textbook: what can be written down exactly must come out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy
from windtunnel.simulate.traffic import poisson
from windtunnel.simulate.tunnel import simulate
from windtunnel.stats import Interval, mean_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.request_log import RequestLog

    Floats = NDArray[np.float64]

RUNS, REQUESTS, WARM_UP = 40, 150_000, 10_000


def row_of(service_s: Floats) -> Floats:
    """A service table whose row for one request is given."""
    return np.stack([np.zeros_like(service_s), service_s])


def exponential(points: int = 50_000) -> Floats:
    """Equally likely points of an exponential distribution with mean 1."""
    service_s = -np.log1p(-(np.arange(points) + 0.5) / points)
    return np.asarray(service_s / service_s.mean())


def flown(rate_per_s: float, table: Floats, batch: BatchPolicy, replicas: int, run: int) -> RequestLog:
    return simulate(poisson(rate_per_s, REQUESTS, np.random.default_rng(run)), table, batch, replicas, seed=run)


def mean_wait(rate_per_s: float, service_s: Floats, replicas: int = 1) -> Interval:
    """The mean wait over independent runs, settled, at 99.9% confidence."""
    table = row_of(service_s)
    waits = [flown(rate_per_s, table, BatchPolicy(), replicas, run).wait_s[WARM_UP:].mean() for run in range(RUNS)]
    return mean_interval(np.array(waits), 0.999)


def erlang_c(servers: int, offered: float) -> float:
    """The chance that a request has to wait in M/M/c (Erlang, 1917), by the recursion of Erlang B."""
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1.0 - offered / servers * (1.0 - blocked))


def assert_holds(expected: float, interval: Interval, precision: float) -> None:
    """The interval holds the exact figure, and is narrow enough for that to mean something."""
    assert interval.low <= expected <= interval.high
    assert interval.high - interval.low < 2.0 * precision * expected


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.8), (2, 0.7), (5, 0.8), (16, 0.9)])
def test_m_m_c(servers: int, load: float) -> None:
    """The mean wait of M/M/c is Erlang C's chance of waiting over the spare rate."""
    expected = erlang_c(servers, servers * load) / (servers * (1.0 - load))

    assert_holds(expected, mean_wait(servers * load, exponential(), servers), 0.05)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_m_d_1(load: float) -> None:
    """The mean wait of M/D/1 is ρ / 2(1 − ρ) service times."""
    assert_holds(load / (2.0 * (1.0 - load)), mean_wait(load, np.ones(1)), 0.05)


@pytest.mark.parametrize("load", [0.4, 0.75])
def test_m_g_1(load: float) -> None:
    """The mean wait of M/G/1 is λE[S²] / 2(1 − ρ), Pollaczek and Khinchine's: here with a service of two very unlike kinds."""
    service_s = np.array([0.25] * 9 + [7.75])
    expected = load * float(np.mean(service_s**2)) / (2.0 * (1.0 - load))

    assert_holds(expected, mean_wait(load, service_s), 0.08)


def test_m_m_1_quantiles() -> None:
    """The latency of M/M/1 is exponential with rate μ − λ, at its tail too."""
    load, table = 0.6, row_of(exponential())
    latencies = [flown(load, table, BatchPolicy(), 1, run).latency_s[WARM_UP:] for run in range(RUNS)]
    for quantile in (0.5, 0.9, 0.99):
        interval = mean_interval(np.array([np.quantile(latency, quantile) for latency in latencies]), 0.999)

        assert_holds(-math.log1p(-quantile) / (1.0 - load), interval, 0.05)


@pytest.mark.parametrize("load", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_take_all_batches_stay_below_the_bound(load: float) -> None:
    """With service a·b + τ and no largest batch, the mean latency stays below Inoue's bound, and not far below.

    Source: Inoue, arXiv 1912.06322.
    """
    each_s, fixed_s, largest = 0.01, 0.1, 2000
    table = np.arange(largest + 1.0)[:, None] * each_s + fixed_s
    rate = load / each_s
    first = (
        (each_s + fixed_s) / (2.0 * (1.0 - load)) * (1.0 + 2.0 * rate * fixed_s + (1.0 - rate * fixed_s) / (1.0 + load))
    )
    second = 1.5 * fixed_s / (1.0 - load) + each_s / 2.0 * (load + 2.0) / (1.0 - load**2)
    bound = min(first, second)
    logs = [flown(rate, table, BatchPolicy(largest), 1, run) for run in range(10)]
    interval = mean_interval(np.array([log.latency_s[WARM_UP:].mean() for log in logs]), 0.999)

    assert max(int(log.batch_size.max()) for log in logs) < largest
    assert 0.9 * bound < interval.value
    assert interval.low <= bound


@pytest.mark.parametrize(
    ("batch", "replicas"), [(BatchPolicy(), 1), (BatchPolicy(4, 0.5), 3), (BatchPolicy(32, 5.0), 2)]
)
def test_littles_law(batch: BatchPolicy, replicas: int) -> None:
    """The mean number present is the arrival rate times the mean latency, exactly, from empty to empty."""
    table = np.outer(1.0 + 0.1 * np.arange(batch.max_batch + 1), exponential(64))
    log = flown(0.7 * replicas, table, batch, replicas, 1)
    times_s = np.concatenate([log.scheduled_s, log.finished_s])
    steps = np.concatenate([np.ones(len(log)), -np.ones(len(log))])
    order = np.argsort(times_s, kind="stable")
    present = np.cumsum(steps[order])[:-1]
    span_s = times_s.max() - times_s.min()
    mean_present = float(np.sum(present * np.diff(times_s[order]))) / span_s

    assert len(log) / span_s * log.latency_s.mean() == pytest.approx(mean_present, rel=1e-9)


@pytest.mark.parametrize("load", [0.3, 0.95, 2.0])
@pytest.mark.parametrize(
    ("batch", "replicas"), [(BatchPolicy(), 2), (BatchPolicy(4, 0.5), 3), (BatchPolicy(7, 0.0), 1)]
)
def test_conservation(batch: BatchPolicy, replicas: int, load: float) -> None:
    """Every request ends once, in order, in a whole batch, on a replica that serves nobody else; also in overload."""
    table = np.outer(1.0 + 0.1 * np.arange(batch.max_batch + 1), exponential(64))
    log = flown(load * replicas * batch.max_batch / table[batch.max_batch].mean(), table, batch, replicas, 2)

    assert len(log) == REQUESTS
    assert np.all(np.isfinite(log.finished_s))
    assert np.all(log.wait_s >= 0.0)
    assert np.all(log.finished_s > log.started_s)
    assert np.all(np.diff(log.started_s) >= 0.0)
    assert set(range(replicas)) == set(log.replica.tolist())
    for replica in range(replicas):
        mine = log.replica == replica
        starts, first, counts = np.unique(log.started_s[mine], return_index=True, return_counts=True)
        ends = log.finished_s[mine][first]

        assert np.array_equal(counts, log.batch_size[mine][first])
        assert np.all(ends[:-1] <= starts[1:])


def test_faster_together_than_apart() -> None:
    """One queue before two servers makes nobody wait as long as two queues of half the traffic would."""
    pooled, apart = mean_wait(1.6, exponential(), 2), mean_wait(0.8, exponential(), 1)

    assert pooled.high < apart.low
