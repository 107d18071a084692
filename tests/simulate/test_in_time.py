from __future__ import annotations

import numpy as np

from windtunnel.seeds import Seeds
from windtunnel.simulate.arrivals import Poisson
from windtunnel.simulate.batching import IdealBatching
from windtunnel.simulate.flight import Flight, fly
from windtunnel.simulate.in_time import in_time
from windtunnel.simulate.system import System

BOUND_S = 0.0154
SERVICE_S = np.stack([np.zeros(4096), -np.log1p(-(np.arange(4096) + 0.5) / 4096) * 0.001])


def flown(seed: int, requests: int, rate_per_s: float = 700.0, bound_s: float = BOUND_S) -> Flight:
    system = System(SERVICE_S, batcher=IdealBatching(1))
    return fly(system, Poisson(rate_per_s).arrivals(requests=requests, seed=seed), Seeds(seed), slo_s=bound_s)


def test_holds_the_truth_as_often_as_it_says() -> None:
    """M/M/1 answers within t with chance 1 − exp(−(μ − λ)t): of 200 intervals at 95%, 92% to 98% hold it."""
    truth = 1.0 - np.exp(-(1000.0 - 700.0) * BOUND_S)
    found = [in_time(flown(seed, 20_000)) for seed in range(200)]

    assert 184 <= sum(each.low <= truth <= each.high for each in found) <= 199


def test_none_late_is_not_never_late() -> None:
    """Where no request is late, the lower end is no higher than that of as many independent ones (Wilson): n / (n + z²)."""
    found = in_time(flown(1, 20_000, bound_s=10.0))

    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.99 < found.low <= 20_000 / (20_000 + 1.959964**2)


def test_few_requests_carry_no_interval() -> None:
    """Of a few hundred requests the share stands, and nothing is said of how sure it is."""
    found = in_time(flown(1, 500))

    assert (found.low, found.high) == (0.0, 1.0)
    assert 0.0 < found.value <= 1.0
