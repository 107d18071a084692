from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.deployment import Slo
from windtunnel.errors import ConfigError, DataError
from windtunnel.seeds import Seeds
from windtunnel.simulate.capacity import capacity

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile

P99 = Slo(0.99, 0.02)


def test_interval_covers_the_capacity_of_m_m_1(profile: LatencyProfile) -> None:
    """Over many profiles sampled from one exponential server, nominal 95% intervals hold the exact capacity in 85% at least.

    The latency of M/M/1 is exponential with rate μ − λ, so that p99 ≤ L exactly up to λ = μ − ln(100) / L.
    """
    exact = 1000.0 - math.log(100.0) / 0.02
    covered, runs = 0, 40
    for run in range(runs):
        samples = np.random.default_rng(run).exponential(0.001, size=1000)
        measured = replace(profile, batch_sizes=(1,), samples_s=(samples,))
        found = capacity(
            measured, P99, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(run), requests=15_000, resamples=8
        )
        covered += found.low <= exact <= found.high
        assert found.high - found.low < exact

    assert covered / runs >= 0.85


def test_capacity_is_reproducible(profile: LatencyProfile) -> None:
    """Same profile, promise and seeds, same figure."""
    first, again, other = (
        capacity(profile, P99, max_batch=4, max_wait_s=0.001, servers=2, seeds=Seeds(seed), requests=4000, resamples=3)
        for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_capacity_stays_below_saturation(profile: LatencyProfile) -> None:
    """However lax the promise, no rate is offered at which the queue would only grow; and a strict one offers less."""
    saturation = 8 / profile.samples_s[-1].mean()
    lax, strict = (
        capacity(profile, Slo(0.99, bound), max_batch=8, max_wait_s=0.0, servers=1, seeds=Seeds(1), requests=4000).value
        for bound in (1000.0, 0.012)
    )

    assert strict < lax < saturation * 1.001
    assert lax == pytest.approx(saturation, rel=0.01)


def test_shared_cores_slow_each_server(profile: LatencyProfile) -> None:
    """Two servers carry less than twice one's load where the cores hinder each other, by the efficiency measured."""
    lax = Slo(0.99, 1000.0)
    one, two = (
        capacity(profile, lax, max_batch=8, max_wait_s=0.0, servers=servers, seeds=Seeds(1), requests=4000).value
        for servers in (1, 2)
    )

    assert two == pytest.approx(2 * profile.parallel_efficiency * one, rel=0.01)


def test_no_capacity_where_the_service_alone_is_too_slow(profile: LatencyProfile) -> None:
    """A promise that a lone request already breaks is kept at no rate."""
    found = capacity(profile, Slo(0.99, 0.001), max_batch=8, max_wait_s=0.0, servers=8, seeds=Seeds(1))

    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_no_capacity_where_waiting_alone_is_too_long(profile: LatencyProfile) -> None:
    """Nor is one whose every batch is held back beyond the bound: the first of a batch has waited until it is full."""
    found = capacity(profile, Slo(0.01, 0.0016), max_batch=8, max_wait_s=60.0, servers=1, seeds=Seeds(1))

    assert found.value == 0.0


def test_refusals(profile: LatencyProfile) -> None:
    """What cannot say anything is refused before work starts."""
    with pytest.raises(ConfigError, match="`servers`"):
        capacity(profile, P99, max_batch=1, max_wait_s=0.0, servers=0, seeds=Seeds(1))
    with pytest.raises(ConfigError, match="`resamples`"):
        capacity(profile, P99, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(1), resamples=1)
    with pytest.raises(ConfigError, match=r"`requests` \(=500\) is too few to see p99; give at least 1112"):
        capacity(profile, P99, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(1), requests=500)
    with pytest.raises(DataError, match="never profiled"):
        capacity(profile, P99, max_batch=16, max_wait_s=0.0, servers=1, seeds=Seeds(1))
