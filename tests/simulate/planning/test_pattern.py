from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.deployment import Slo
from windtunnel.errors import ConfigError
from windtunnel.fanout import Workers
from windtunnel.seeds import Seeds
from windtunnel.simulate.plan import Plan, plan, rehearse
from windtunnel.simulate.planning import Course, DeviceOffer, FunctionOffer, Offer, Patterns, Space, read_patterns
from windtunnel.simulate.traffic import poisson
from windtunnel.tariff import Edge, Serverless

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price
    from windtunnel.trace import Trace

QUICK = Patterns(cold_start_s=1.0, replacement_s=0.5, preemptions_per_hour=0.1)
LAMBDA = Serverless(usd_per_request=2e-7, usd_per_gb_s=1.7e-5, memory_gb=1.0, name="f")
BOX = Edge(purchase_usd=500.0, lifetime_years=3.0, power_w=15.0, usd_per_kwh=0.30, name="box")


@pytest.fixture
def traces() -> dict[str, Trace]:
    """Ten seconds of 600 requests a second."""
    return {"recorded": poisson(600.0, 6000, np.random.default_rng(0))}


def all_ways(profile: LatencyProfile, price: Price, **other: object) -> Space:
    settings: dict[str, object] = {
        "patterns": read_patterns("all"), "functions": (FunctionOffer(profile, LAMBDA),), "devices": (DeviceOffer(profile, BOX),),
        "assumed": QUICK,
    }  # fmt: skip
    offers = (Offer(profile, replace(price, spot_usd_per_hour=0.03)),)
    return Space(offers, (1, 2, 3, 4), (8,), (0.0,), **{**settings, **other})  # type: ignore[arg-type]  # settings of a Space


def a_plan(traces: dict[str, Trace], space: Space, quantile: float = 0.9) -> Plan:
    return plan(traces, space, slo=Slo(quantile, 0.03), seeds=Seeds(1), repeats=3, workers=Workers(1))


def test_every_way_of_running_is_searched_by_itself(
    traces: dict[str, Trace], profile: LatencyProfile, price: Price
) -> None:
    """Of each way the cheapest is what flying all of it would have found, and the answer is the cheapest of those that may win."""
    space = all_ways(profile, price)
    found = a_plan(traces, space)
    course = Course.of(traces, space, Slo(0.9, 0.03))
    flown = [course.fly(deployment, Seeds(1)) for deployment in space.deployments()]
    best = {
        name: min(
            (each.deployment.usd_per_hour for each in flown if each.keeps and each.deployment.pattern == name),
            default=None,
        )
        for name in read_patterns("all")
    }

    assert {each.name: each.usd_per_hour if each.keeps else None for each in found.patterns} == best
    assert found.cheapest is not None
    assert found.cheapest.deployment.usd_per_hour == min(usd for usd in best.values() if usd is not None)
    assert found.cheapest.to_dict(0.9)["pattern"] == found.cheapest.deployment.pattern == "edge"
    assert all(each.assumptions for each in found.patterns)


def test_only_what_may_win_wins(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """A function and a device that are named are compared; the answer is a fleet that is always on where only that may be it."""
    found = a_plan(traces, all_ways(profile, price, patterns=("always-on",)))

    assert found.cheapest is not None
    assert found.cheapest.deployment.pattern == "always-on"
    assert {each.name: each.wins for each in found.patterns} == {"always-on": True, "serverless": False, "edge": False}


def test_the_answer_may_be_a_spot_fleet(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """Larger than the fleet on demand, for one machine is taken away; cheaper all the same; and what it rests on is told."""
    found = a_plan(traces, all_ways(profile, price, patterns=("always-on", "spot"), functions=(), devices=()), 0.99)
    cheapest, usual = found.cheapest, found.patterns[0]

    assert cheapest is not None
    assert cheapest.deployment.pattern == "spot"
    assert cheapest.deployment.machines == 2
    assert usual.usd_per_hour > cheapest.deployment.usd_per_hour > 0.06
    assert any("taken away 0.1 times an hour" in reason for reason in found.verdict.reasons)
    flight = rehearse(traces, all_ways(profile, price), cheapest.deployment, seeds=Seeds(1))["recorded"]
    assert flight.summary.requests == 6000


def test_availability_counts_losses_at_their_rate(
    traces: dict[str, Trace], profile: LatencyProfile, price: Price
) -> None:
    """A day of ten seconds hardly ever sees a machine lost: one is lost in the flight, and as few count as the rate says."""
    space = all_ways(profile, price, patterns=("always-on",), functions=(), devices=())
    failing = replace(space, assumed=Patterns(failures_per_hour=0.36, repair_s=1.0))
    calm, lossy = (Course.of(traces, each, Slo(0.9, 0.03)) for each in (space, failing))
    two = next(each for each in space.deployments() if each.replicas == 2)
    there, gone = calm.fly(two, Seeds(1)).replays[0], lossy.fly(two, Seeds(1)).replays[0]

    assert there.availability == 1.0 - there.late / 6000
    # the one machine of both is gone for a second of ten, and then there is a queue; a thousandth of that is to be expected of such a day
    assert 600 <= gone.late < 900
    assert gone.expected_late == pytest.approx(there.late + 0.001 * gone.late, abs=0.1)
    assert gone.availability > 0.9998


def test_losses_befall_whole_machines() -> None:
    """All replicas of a machine go at once; more machines leave the losses of the first as they were; none by chance is one."""
    from windtunnel.deployment import BatchPolicy, Deployment

    assumed = Patterns(preemptions_per_hour=2.0)
    fleet = Deployment("m", 4, BatchPolicy(), 2, 0.2, "here:small", pattern="spot")
    faults, times = assumed.losses(fleet, 4, 36_000.0, Seeds(1))
    at = {(each.station % 2, each.at_s) for each in faults if hasattr(each, "station")}
    larger, _ = assumed.losses(replace(fleet, replicas=8, machines=4), 8, 36_000.0, Seeds(1))
    rare, once = Patterns(preemptions_per_hour=1e-9).losses(fleet, 4, 100.0, Seeds(1))

    assert 20 <= times <= 60
    assert (len(faults), len(at)) == (2 * times, times)
    assert {each.at_s for each in faults} <= {each.at_s for each in larger}
    assert (once, [(each.at_s) for each in rare]) == (1, [50.0, 50.0])
    assert Patterns().losses(replace(fleet, pattern="always-on"), 4, 100.0, Seeds(1)) == ((), 0)


def test_a_replica_of_several_sessions_takes_the_place_of_several(profile: LatencyProfile, price: Price) -> None:
    """Triton with two instances runs two sessions a replica: one fills a machine of two cores, and is as slow as a full one."""
    space = Space(
        (Offer(profile, price),),
        (1, 2),
        (8,),
        (0.0,),
        ("triton", "triton(instances=2)", "triton(instances=4)"),
        ("round-robin",),
    )
    machines = {(each.batcher, each.replicas): each.machines for each in space.deployments()}
    course = Course.of({"t": poisson(100.0, 100, np.random.default_rng(0))}, space, Slo(0.5, 1.0))
    slow = {each.batcher: course.table(each)[1].mean() for each in space.deployments() if each.replicas == 2}

    assert machines["triton", 2] == 1
    assert machines["triton(instances=2)", 2] == 2
    assert slow["triton(instances=2)"] == slow["triton"]
    # four sessions on two cores take turns
    assert slow["triton(instances=4)"] == pytest.approx(2 * slow["triton"])


def test_a_device_is_paid_for_once_a_site_and_its_hop_counts(
    traces: dict[str, Trace], profile: LatencyProfile, price: Price
) -> None:
    """Three sites have a device each and a third of the requests; a hop comes on top of every latency."""
    near = all_ways(profile, price, assumed=Patterns(sites=3))
    far = replace(near, assumed=Patterns(sites=3, hop_s=0.01))
    device = next(each for each in near.deployments() if each.pattern == "edge")
    close, distant = (Course.of(traces, each, Slo(0.9, 0.03)).fly(device, Seeds(1)).replays[0] for each in (near, far))

    assert device.machines == 3
    assert device.usd_per_hour == pytest.approx(3 * BOX.usd_per_hour)
    assert distant.latency_s == pytest.approx(close.latency_s + 0.01)
    assert distant.late >= close.late


def test_a_function_is_flown_as_the_others(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """Its flight holds every request; its cost is that of requests and seconds; cold starts are waits."""
    space = all_ways(profile, price)
    function = next(each for each in space.deployments() if each.pattern == "serverless")
    evaluation = Course.of(traces, space, Slo(0.9, 0.03)).fly(function, Seeds(1))
    flight = rehearse(traces, space, function, seeds=Seeds(1))["recorded"]

    assert flight.log is not None
    assert (flight.summary.completed, flight.summary.batches) == (6000, 6000)
    assert flight.log.wait_s.max() == 1.0
    busy = LAMBDA.usd_per_million(flight.log.latency_s) * 6000 / 1e6
    assert evaluation.deployment.usd_per_hour == pytest.approx(busy / (traces["recorded"].duration_s / 3600.0))


def test_what_there_is_nothing_for_is_refused(profile: LatencyProfile, price: Price) -> None:
    """Spot without a spot price leaves nothing to try; a name that is no way of running is answered with the nearest."""
    with pytest.raises(ConfigError, match="leave nothing to try"):
        list(Space((Offer(profile, price),), (1,), (1,), (0.0,), patterns=("spot",)).deployments())
    with pytest.raises(ConfigError, match="did you mean `serverless`"):
        read_patterns("serverles")
