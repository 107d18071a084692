from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.errors import ConfigError, DataError
from windtunnel.seeds import Seeds
from windtunnel.simulate.load_curve import LOADS, fly, load_curve

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.stats import Interval

SERVICE_S = 0.001


@pytest.fixture
def exponential(profile: LatencyProfile) -> LatencyProfile:
    """One server of M/M/1 with a mean of a millisecond."""
    samples = -np.log1p(-(np.arange(50_000) + 0.5) / 50_000) * SERVICE_S
    return replace(profile, batch_sizes=(1,), samples_s=(samples,), parallel_efficiency=1.0)


def test_knee_of_m_m_1(exponential: LatencyProfile) -> None:
    """Kleinrock: throughput ÷ mean latency of M/M/1 is ρ (1 − ρ) μ², greatest at half of saturation."""
    knees = [
        load_curve(exponential, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(seed)).knee.load
        for seed in range(10)
    ]

    assert pytest.approx(0.5, abs=0.03) == float(np.mean(knees))
    assert max(abs(knee - 0.5) for knee in knees) < 0.06


def test_curve_of_m_m_1(exponential: LatencyProfile) -> None:
    """Intervals hold the exact mean 1 / (μ − λ), median and p99 in at least 85 of 100 cases, at loads up to 80%."""
    held, cases = 0, 0
    for seed in range(12):
        curve = load_curve(exponential, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(seed), loads=LOADS[:9])
        for point in curve.points:
            rate = curve.saturation_per_s - point.offered_per_s
            for interval, quantile in ((point.p50, 0.5), (point.p99, 0.99)):
                if math.isfinite(interval.high):
                    held += _holds(interval, -math.log1p(-quantile) / rate)
                    cases += 1
            held += _holds(point.mean, 1.0 / rate)
            cases += 1

    assert cases > 250
    assert held / cases >= 0.85


def _holds(interval: Interval, expected: float) -> bool:
    return interval.low <= expected <= interval.high


def test_what_is_offered_is_answered(exponential: LatencyProfile) -> None:
    """Below saturation as many are answered as come, and a server is busy for the load's share of the time."""
    curve = load_curve(exponential, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(1))

    for point in curve.points:
        assert pytest.approx(point.offered_per_s, rel=0.03) == point.achieved_per_s
        assert pytest.approx(point.load, rel=0.04) == point.utilization
        assert point.mean_batch == 1.0


def test_times_twice_as_long_are_the_same_curve(profile: LatencyProfile) -> None:
    """If every time doubles, each share of saturation is half the rate at twice the latency: bands rest on this."""
    once, twice = (
        load_curve(each, max_batch=8, max_wait_s=0.0, servers=2, seeds=Seeds(3), requests=5000)
        for each in (profile, profile.scaled(2.0))
    )

    assert pytest.approx(once.saturation_per_s / 2.0) == twice.saturation_per_s
    for point, slower in zip(once.points, twice.points, strict=True):
        assert pytest.approx(point.load) == slower.load
        assert pytest.approx(2.0 * point.mean.value) == slower.mean.value
        assert pytest.approx(2.0 * point.p99.value) == slower.p99.value


def test_batches_grow_with_the_load(profile: LatencyProfile) -> None:
    """Lone requests at little load, almost full batches near saturation, which is that of full batches on all servers."""
    curve = load_curve(profile, max_batch=8, max_wait_s=0.0, servers=2, seeds=Seeds(1), requests=20_000)
    sizes = [point.mean_batch for point in curve.points]

    assert sorted(sizes) == sizes
    assert sizes[0] < 1.3
    assert sizes[-1] > 6.0
    full_s = profile.samples_s[-1].mean() / profile.parallel_efficiency
    assert pytest.approx(16.0 / full_s, rel=1e-3) == curve.saturation_per_s


def test_one_point_is_a_point_of_the_curve(profile: LatencyProfile) -> None:
    """Flown alone, a rate gives what it gives on the curve."""
    curve = load_curve(profile, max_batch=4, max_wait_s=0.001, servers=1, seeds=Seeds(1), requests=5000)
    knee = curve.knee

    alone = fly(profile, knee.offered_per_s, max_batch=4, max_wait_s=0.001, servers=1, seeds=Seeds(1), requests=5000)

    assert knee == alone


def test_curve_is_reproducible_and_says_what_it_is(profile: LatencyProfile) -> None:
    """Same profile and seeds, same curve; a projected profile's curve is projected, with the band."""
    projected = replace(profile, basis="projected", band=1.4)
    first, again = (
        load_curve(projected, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(1), requests=2000) for _ in range(2)
    )

    assert first == again
    assert (first.basis, first.band, first.variant) == ("projected", 1.4, "m, rt")


def test_refusals(profile: LatencyProfile) -> None:
    """What cannot be flown is refused before it is."""
    with pytest.raises(ConfigError, match="`servers`"):
        load_curve(profile, max_batch=1, max_wait_s=0.0, servers=0, seeds=Seeds(1))
    for loads in ((0.1, 0.2), (0.0, 0.1, 0.2), (0.5, 0.4, 0.6), (0.5, 0.9, 1.0)):
        with pytest.raises(ConfigError, match="`loads`"):
            load_curve(profile, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(1), loads=loads)
    with pytest.raises(ConfigError, match=r"`requests` \(=1000\) is too few for an interval; give at least 1001"):
        load_curve(profile, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(1), requests=1000)
    with pytest.raises(ConfigError, match="`rate_per_s`"):
        fly(profile, 0.0, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(1))
    with pytest.raises(DataError, match="never profiled"):
        load_curve(profile, max_batch=16, max_wait_s=0.0, servers=1, seeds=Seeds(1))
