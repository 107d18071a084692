from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.stats import norm

from windtunnel.deployment import Slo
from windtunnel.errors import ConfigError, DataError
from windtunnel.seeds import Seeds
from windtunnel.simulate.capacity import BLOCKS, capacity, resampled

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile

P99 = Slo(0.99, 0.02)
CAPACITY = sys.modules["windtunnel.simulate.capacity"]
"""The module; its function has the same name."""


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


def _alike_neighbours(profile: LatencyProfile, run: int, likeness: float = 0.9, count: int = 3000) -> LatencyProfile:
    """Exponential service times whose neighbours are alike: each is the exponential of a normal AR(1) series' rank."""
    noise = np.random.default_rng(run).normal(size=count + 200) * math.sqrt(1.0 - likeness**2)
    normal = lfilter([1.0], [1.0, -likeness], noise)[200:]
    return replace(profile, batch_sizes=(1,), samples_s=(-0.001 * norm.logsf(normal),))


def _coverage(profile: LatencyProfile, runs: int) -> float:
    """The share of profiles of an exponential server, measured with alike neighbours, whose interval holds the capacity."""
    exact = 1000.0 - math.log(100.0) / 0.02
    intervals = [
        capacity(
            _alike_neighbours(profile, run), P99, max_batch=1, max_wait_s=0.0, servers=1, seeds=Seeds(run),
            requests=15_000, resamples=10,
        )
        for run in range(runs)
    ]  # fmt: skip
    return float(np.mean([each.low <= exact <= each.high for each in intervals]))


def test_interval_covers_where_neighbours_are_alike(profile: LatencyProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks cover the exact capacity where single draws, blocks of one, claim to know too much.

    Service times correlated by 0.9 from one to the next tell as much as a nineteenth of them, as to their mean.
    """
    in_blocks = _coverage(profile, 60)
    monkeypatch.setattr(CAPACITY, "_block_count", lambda _: 3000)
    one_by_one = _coverage(profile, 60)

    assert in_blocks >= 0.85
    assert one_by_one < 0.75


def test_blocks_are_stretches_of_the_same_moments(profile: LatencyProfile) -> None:
    """Every batch size is resampled in stretches of its neighbours, at the same places of the measurement."""
    counts = (400, 1000)
    moments = tuple(np.arange(1.0, count + 1.0) for count in counts)
    again = resampled(replace(profile, batch_sizes=(1, 2), samples_s=moments), Seeds(1), 1)
    starts = []
    for count, series in zip(counts, again.samples_s, strict=True):
        stretches = series.reshape(BLOCKS, count // BLOCKS)

        assert len(series) == count
        assert set(np.unique(np.diff(stretches, axis=1) % count)) == {1.0}
        starts.append((stretches[:, 0] - 1.0) / count)

    assert np.allclose(starts[0], starts[1], atol=1.0 / counts[0])


def _late(rate: float, servers: int, service_per_s: float, bound_s: float) -> float:
    """The chance that a request of M/M/c takes longer than a bound: Erlang's wait and the service after it."""
    blocked, offered = 1.0, rate / service_per_s
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    waits = blocked / (1.0 - offered / servers * (1.0 - blocked))
    spare = servers * service_per_s - rate
    served, waited = math.exp(-service_per_s * bound_s), math.exp(-spare * bound_s)
    return (1.0 - waits) * served + waits * (spare * served - service_per_s * waited) / (spare - service_per_s)


@pytest.mark.parametrize(("servers", "bound_s"), [(1, 0.01), (2, 0.008), (4, 0.007), (16, 0.006)])
def test_capacity_of_m_m_c(profile: LatencyProfile, servers: int, bound_s: float) -> None:
    """With exponential service the rate at which p99 meets the bound is that of the closed form."""
    exact = brentq(lambda rate: _late(rate, servers, 1000.0, bound_s) - 0.01, 1.0, servers * 1000.0 - 1e-3)
    samples = -0.001 * np.log1p(-(np.arange(20_000) + 0.5) / 20_000)
    exponential = replace(profile, batch_sizes=(1,), samples_s=(samples,), parallel_efficiency=1.0)
    found = capacity(
        exponential, Slo(0.99, bound_s), max_batch=1, max_wait_s=0.0, servers=servers, seeds=Seeds(1), requests=100_000
    )

    assert found.low <= exact <= found.high
    assert pytest.approx(exact, rel=0.05) == found.value


def test_a_projection_is_as_unsure_as_its_band(profile: LatencyProfile) -> None:
    """The ends of a projected profile's interval hold the capacity of a machine slower, and one faster, by its band."""
    band = 1.5
    projected = replace(profile, basis="projected", band=band)
    found, slow, fast, plain = (
        capacity(each, P99, max_batch=8, max_wait_s=0.0, servers=2, seeds=Seeds(1), requests=4000)
        for each in (projected, profile.scaled(band), profile.scaled(1.0 / band), profile)
    )

    assert plain.value == found.value
    assert found.low <= slow.value < plain.low
    assert plain.high < fast.value <= found.high


def test_a_projection_that_may_keep_the_promise(profile: LatencyProfile) -> None:
    """Too slow as projected, but perhaps not in truth: the estimate is zero and the upper end is not."""
    projected = replace(profile, basis="projected", band=2.0)
    found = capacity(
        projected, Slo(0.99, 0.0015), max_batch=8, max_wait_s=0.0, servers=1, seeds=Seeds(1), requests=4000
    )

    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high > 0.0


def test_times_measured_in_company_are_not_slowed_again(profile: LatencyProfile) -> None:
    """What was measured with several instances busy at once holds what they do to each other."""
    lax = Slo(0.99, 1000.0)
    alone, together = (
        capacity(each, lax, max_batch=8, max_wait_s=0.0, servers=2, seeds=Seeds(1), requests=4000).value
        for each in (profile, replace(profile, concurrency=2))
    )

    assert pytest.approx(alone / profile.parallel_efficiency, rel=0.01) == together


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
