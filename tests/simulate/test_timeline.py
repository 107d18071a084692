from __future__ import annotations

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy
from windtunnel.errors import ConfigError
from windtunnel.simulate.timeline import timeline
from windtunnel.simulate.traffic import poisson
from windtunnel.simulate.tunnel import simulate
from windtunnel.trace import Trace

TABLE = np.array([[0.0, 0.0], [0.5, 1.5]])


def test_every_request_is_in_one_interval() -> None:
    """Rates times seconds add up to the requests, the first and the last included."""
    log = simulate(poisson(0.5, 1000, np.random.default_rng(0)), TABLE, BatchPolicy(), 1, seed=1)
    over_time = timeline(log, 37)

    assert pytest.approx(float(np.sum(over_time.rate_per_s)) * over_time.seconds) == 1000


def test_quantile_is_that_of_the_interval() -> None:
    """An interval's latency is the quantile of what arrived within it."""
    log = simulate(poisson(0.5, 1000, np.random.default_rng(0)), TABLE, BatchPolicy(), 1, seed=1)
    over_time = timeline(log, 10, quantile=0.9)
    start_s = over_time.start_s[4]
    inside = (log.scheduled_s >= start_s) & (log.scheduled_s < over_time.start_s[5])

    assert np.quantile(log.latency_s[inside], 0.9) == over_time.latency_s[4]


def test_silence_has_no_latency() -> None:
    """Where nothing arrived the rate is zero and the latency is not a number."""
    log = simulate(Trace("t", np.array([0.0, 1.0, 9.0, 10.0])), TABLE, BatchPolicy(), 1, seed=1)
    over_time = timeline(log, 5)

    assert over_time.rate_per_s.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert np.isnan(over_time.latency_s).tolist() == [False, True, True, True, False]


def test_refuses_no_interval() -> None:
    """At least one interval is needed."""
    with pytest.raises(ConfigError, match="must be at least 1"):
        timeline(simulate(Trace("t", np.array([0.0, 1.0])), TABLE, BatchPolicy(), 1, seed=1), 0)
