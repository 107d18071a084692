from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy, Deployment, Slo
from windtunnel.fanout import Workers
from windtunnel.seeds import Seeds
from windtunnel.simulate.planning import Offer, tune
from windtunnel.simulate.planning.functions import serve_functions
from windtunnel.simulate.scenarios import ReplicaLoss
from windtunnel.simulate.traffic import poisson

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price


def test_the_tuned_batching_is_the_fastest_of_those_tried(profile: LatencyProfile, price: Price) -> None:
    """No setting that was tried is faster than the tuned one but for chance; an overloaded fleet is given large batches."""
    offer = Offer(profile, price)
    fleet = Deployment("m, rt", 2, BatchPolicy(), 1, 0.1, price.name)
    traces = {"busy": poisson(1800.0, 6000, np.random.default_rng(0))}
    tuned = tune(traces, offer, fleet, slo=Slo(0.99, 0.05), seeds=Seeds(1), workers=Workers(1))
    fastest_s = min(each.worst.latency_s for each in tuned.tried)

    assert len(tuned.tried) == 1 + 3 * 7
    assert tuned.best.worst.latency_s == pytest.approx(fastest_s, rel=0.1)
    assert tuned.best.deployment.batch.max_batch > 1
    assert (tuned.best.deployment.replicas, tuned.best.deployment.machines) == (2, 1)


def test_where_batches_hardly_form_the_fleet_keeps_something_in_hand(profile: LatencyProfile, price: Price) -> None:
    """Under a light load all settings are even: the shortest wait wins, with the batch that carries most, not one of one."""
    fleet = Deployment("m, rt", 2, BatchPolicy(), 1, 0.1, price.name)
    traces = {"light": poisson(20.0, 1000, np.random.default_rng(0))}
    tuned = tune(traces, Offer(profile, price), fleet, slo=Slo(0.99, 0.05), seeds=Seeds(1), workers=Workers(1))

    assert tuned.best.deployment.batch == BatchPolicy(8, 0.0)


def test_troubled_days_are_tuned_for_too(profile: LatencyProfile, price: Price) -> None:
    """On the day on which a replica is lost, the fleet is slowest, and that day is among those that were flown."""
    fleet = Deployment("m, rt", 2, BatchPolicy(), 1, 0.1, price.name)
    traces = {"busy": poisson(600.0, 3000, np.random.default_rng(0))}
    loss = ReplicaLoss(lasts_s=1.0)
    tuned = tune(
        traces, Offer(profile, price), fleet, slo=Slo(0.99, 0.05), seeds=Seeds(1), troubles=(loss,), workers=Workers(1)
    )

    assert tuned.best.worst.trace == "replica-loss"
    assert len(tuned.best.replays) == 2


def test_a_function_serves_one_request_at_a_time_and_is_kept_warm() -> None:
    """By hand: two at once need two instances, both cold; the next finds one warm; after a long pause it is cold again."""
    arrivals_s = np.array([0.0, 0.5, 3.0, 100.0])
    latency_s, cold_s = np.empty(4), np.empty(4)
    most = serve_functions(arrivals_s, np.array([1.0]), np.uint64(1), 0.5, 60.0, latency_s, cold_s)

    assert cold_s.tolist() == [0.5, 0.5, 0.0, 0.5]
    assert latency_s.tolist() == [1.5, 1.5, 1.0, 1.5]
    assert most == 2
