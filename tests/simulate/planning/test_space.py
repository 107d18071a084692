from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy, Slo
from windtunnel.errors import ConfigError, DataError
from windtunnel.simulate.planning import Course, Offer, Space, match_offers, slowdown
from windtunnel.simulate.planning.bound import fast_share, least_rate_per_s, surely_late, usual_replicas
from windtunnel.simulate.traffic import poisson

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price


def test_space_is_whole_and_priced(profile: LatencyProfile, price: Price) -> None:
    """Every combination is there once, a batch of one with one wait; machines are filled evenly and paid for whole."""
    space = Space((Offer(profile, price),), (1, 2, 3, 4, 6), (1, 8), (0.002, 0.0))
    deployments = list(space.deployments())

    assert len(space) == len(deployments) == len(set(deployments)) == 5 * 3
    assert {each.batch for each in deployments} == {BatchPolicy(1, 0.0), BatchPolicy(8, 0.0), BatchPolicy(8, 0.002)}
    machines = {each.replicas: (each.machines, each.usd_per_hour) for each in deployments}
    assert {1: (1, 0.1), 2: (1, 0.1), 3: (2, 0.2), 4: (2, 0.2), 6: (3, pytest.approx(0.3))} == machines


def test_on_a_line_only_replicas_differ(profile: LatencyProfile, price: Price) -> None:
    """On a line all are as fast: as many replicas share the fullest machine, so one more never slows the others."""
    space = Space(
        (Offer(profile, price),), (1, 2, 3, 4, 6), (8,), (0.0,), ("ideal", "ray-serve"), ("power-of-two", "round-robin")
    )

    assert len(space.lines) == 2 * 3
    course = Course.of({"t": poisson(100.0, 100, np.random.default_rng(0))}, space, Slo(0.5, 1.0))
    for line in space.lines:
        assert sorted(rung.replicas for rung in line.rungs) == [rung.replicas for rung in line.rungs]
        tables = [course.table(rung) for rung in line.rungs]
        assert all(np.array_equal(tables[0], table) for table in tables)


def test_routed_replicas_have_queues_of_their_own(profile: LatencyProfile, price: Price) -> None:
    """The ideal batcher is one queue in front of all replicas; any other is a queue a replica behind a router."""
    offer = Offer(profile, price)
    space = Space((offer,), (3,), (8,), (0.0,), ("ideal", "ray-serve"), ("round-robin",))
    course = Course.of({"t": poisson(100.0, 100, np.random.default_rng(0))}, space, Slo(0.5, 1.0))
    shared, routed = (course.system(deployment) for deployment in space.deployments())

    assert (shared.stations, shared.executors) == (1, 3)
    assert (routed.stations, routed.router.name) == (3, "round-robin")


def test_slowdown_is_what_was_measured_at_both_ends() -> None:
    """Alone a replica is as fast as measured; on a full machine as slow as measured; between in proportion; never slower."""
    assert slowdown(0.8, 1, 4) == 1.0
    assert slowdown(0.8, 4, 4) == 1.25
    assert pytest.approx(slowdown(0.8, 3, 5)) == 1.125
    assert slowdown(0.8, 1, 1) == 1.0
    assert slowdown(0.6, 2, 2) == slowdown(0.6, 8, 2) == pytest.approx(1 / 0.6)


def test_sharing_a_machine_slows_the_service(profile: LatencyProfile, price: Price) -> None:
    """Two replicas on one machine serve slower, by the efficiency, than two on a machine each."""
    traces = {"t": poisson(100.0, 500, np.random.default_rng(0))}
    offers = Offer(profile, price), Offer(profile, replace(price, name="here:tiny", vcpu=1))
    space = Space(offers, (2,), (1,), (0.0,))
    course = Course.of(traces, space, Slo(0.5, 1.0))
    together, apart = (course.table(deployment) for deployment in space.deployments())

    assert together[1] == pytest.approx(apart[1] / 0.8)


def test_a_machine_gets_the_profile_that_was_measured_on_it(profile: LatencyProfile, price: Price) -> None:
    """Of two profiles of a variant each machine takes its own; one that nothing speaks of is left out, and why is told."""
    other = replace(price, name="here:other")
    gpu = replace(price, name="there:gpu", accelerator="A10G", accelerators=1)
    there = replace(profile, hardware=replace(profile.hardware, instance="here:other"))
    offers, left_out = match_offers([profile, there], [price, other, gpu])

    assert [(offer.price.name, offer.basis, offer.profile is there) for offer in offers] == [
        ("here:small", "taken", False),
        ("here:other", "measured", True),
    ]
    assert [each.hardware for each in left_out] == ["there:gpu"]
    assert "A10G" in left_out[0].reason
    with pytest.raises(ConfigError, match="cannot be planned for with this profile: run windtunnel benchmark"):
        match_offers([profile], [gpu])
    on_gpu = replace(profile, hardware=replace(profile.hardware, instance="there:gpu"))
    assert Offer(on_gpu, gpu).per_machine == 1


def test_a_projection_is_planned_at_the_slow_end_of_its_band(profile: LatencyProfile, price: Price) -> None:
    """A promise on a projected machine is kept by the slower one of the band too, and the basis says projected."""
    there = replace(profile.hardware, instance=price.name)
    projected = replace(profile, basis="projected", band=1.5, hardware=there)

    with pytest.raises(ConfigError, match="it is a projection to here:small"):
        Offer(projected, replace(price, name="here:other"))
    assert Offer(projected, price).basis == "projected"
    assert Offer(projected, price).table(8) == pytest.approx(1.5 * profile.service_table(8))


def test_rare_slow_calls_are_not_cut_off(profile: LatencyProfile, price: Price) -> None:
    """One call in a thousand that takes a hundred times as long is drawn as often: the mean and the tail are kept."""
    calls = np.full(20_000, 0.001)
    calls[::1000] = 0.1
    table = Offer(replace(profile, batch_sizes=(1,), samples_s=(calls,)), price).table(1)[1]

    assert table.mean() == pytest.approx(calls.mean(), rel=0.02)
    assert np.mean(table > 0.05) == pytest.approx(0.001, rel=0.3)


def test_the_least_rate_is_between_too_little_and_enough() -> None:
    """Of ten at once four are in time within 2 s at 2 a second, whatever the order; the least rate lies where too many are late."""
    assert surely_late(np.zeros(10), 2.0, 2.0) == 6
    assert surely_late(np.zeros(10), 5.0, 2.0) == 0
    # a lone server in first-come order would be late with all but four; leaving late ones out loses six all the same
    assert surely_late(np.array([0.0, 0.0, 0.0, 10.0]), 1.0, 2.0) == 1

    trace = poisson(100.0, 20_000, np.random.default_rng(0))
    least = least_rate_per_s(trace, Slo(0.9, 0.05))
    assert (
        surely_late(trace.arrivals_s, least * 1.001, 0.05) <= 2000 < surely_late(trace.arrivals_s, least * 0.999, 0.05)
    )


def test_service_alone_bounds_the_share_in_time(profile: LatencyProfile) -> None:
    """Where nearly no call is short enough, no queue can make up for it; where all are, nothing is ruled out."""
    table = profile.service_table(8)

    assert fast_share(table, Slo(0.99, 0.0001), 10**6) == 0.0
    assert fast_share(table, Slo(0.99, float(np.quantile(table[1], 0.5))), 10**6) == pytest.approx(0.5, abs=0.02)
    assert fast_share(table, Slo(0.99, 1.0), 10**6) >= 1.0


def test_replicas_reach_beyond_what_the_load_asks_for(profile: LatencyProfile) -> None:
    """Where nobody said how many to try: up to twice what serves the load without batching, in at most 64 steps."""
    table = profile.service_table(1)
    tries = usual_replicas({"t": poisson(100_000.0, 20_000, np.random.default_rng(0))}, [table], Slo(0.99, 0.05))

    assert len(tries) <= 64
    assert tries[-1] >= 150
    assert usual_replicas({"t": poisson(10.0, 2000, np.random.default_rng(0))}, [table], Slo(0.99, 0.05)) == tuple(
        range(1, 9)
    )


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"replicas": ()}, "replicas"), ({"replicas": (0, 1)}, "replicas"), ({"max_batch": ()}, "max_batch"),
        ({"max_batch": (0,)}, "max_batch"), ({"max_wait_s": ()}, "max_wait"), ({"max_wait_s": (-1.0,)}, "max_wait"),
        ({"max_wait_s": (math.inf,)}, "max_wait"), ({"batchers": ()}, "batcher"), ({"routers": ()}, "router"),
    ],
)  # fmt: skip
def test_refuses_impossible_spaces(profile: LatencyProfile, price: Price, wrong: dict[str, Any], field: str) -> None:
    """The field that is wrong is named before anything is simulated."""
    usual: dict[str, Any] = {"replicas": (1,), "max_batch": (1,), "max_wait_s": (0.0,)}
    with pytest.raises(ConfigError, match=f"`{field}`"):
        Space((Offer(profile, price),), **{**usual, **wrong})


def test_refuses_offers_that_say_nothing(profile: LatencyProfile, price: Price) -> None:
    """A batch that was never profiled, the same offer twice, and a machine of unknown size are refused."""
    offer = Offer(profile, price)
    with pytest.raises(DataError, match="never profiled"):
        Space((offer,), (1,), (64,), (0.0,))
    with pytest.raises(ConfigError, match="is offered twice"):
        Space((offer, offer), (1,), (1,), (0.0,))
    with pytest.raises(ConfigError, match="no number of processors"):
        Offer(profile, replace(price, vcpu=0))
