from __future__ import annotations

import math

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy
from windtunnel.errors import ConfigError, DataError
from windtunnel.request_log import COMPLETED
from windtunnel.simulate.traffic import poisson
from windtunnel.simulate.tunnel import simulate
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
