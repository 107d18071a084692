from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.deployment import BatchPolicy, Deployment, Slo
from windtunnel.digest import canonical_json
from windtunnel.errors import ConfigError, DataError
from windtunnel.fanout import Workers
from windtunnel.seeds import Seeds
from windtunnel.simulate.plan import Plan, plan, rehearse, slowdown
from windtunnel.simulate.traffic import flash_crowd, poisson
from windtunnel.trace import Trace
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price


@pytest.fixture
def traces() -> dict[str, Trace]:
    """Nearly twice what one replica can serve without batching, and a crowd on top."""
    recorded = poisson(1200.0, 6000, np.random.default_rng(0))
    return {"recorded": recorded, "flash-crowd": flash_crowd(recorded, rng=np.random.default_rng(1))}


def a_plan(traces: dict[str, Trace], profile: LatencyProfile, price: Price, **other: Any) -> Plan:
    settings: dict[str, Any] = {
        "slo": Slo(0.99, 0.03), "price": price, "cores_per_machine": 2, "replicas": (1, 2, 3, 4, 6), "max_batch": (1, 8),
        "max_wait_s": (0.0, 0.002), "seeds": Seeds(1), "repeats": 4, "workers": Workers(1),
    }  # fmt: skip
    return plan(traces, profile, **{**settings, **other})


def test_cheapest_keeps_and_cheaper_do_not(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """The answer keeps the promise on every trace, surely; every cheaper deployment breaks it somewhere or was refused."""
    result = a_plan(traces, profile, price)
    cheapest = result.cheapest

    assert cheapest is not None
    assert result.verdict.outcome == "go"
    for replay in cheapest.replays:
        assert replay.interval is not None
        assert replay.interval.low <= replay.latency_s <= replay.interval.high <= 0.03
    refused = {evaluation.deployment for evaluation in result.tried[:-1]}
    for evaluation in result.evaluations:
        if evaluation.deployment.usd_per_hour < cheapest.deployment.usd_per_hour:
            assert not evaluation.keeps or evaluation.deployment in refused


def test_the_answer_is_a_sentence(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """A person reads what to deploy, what it costs, and how sure that is."""
    result = a_plan(traces, profile, price)
    deployment = result.shown.deployment

    expected = (
        f"{deployment} on here:small at ${deployment.usd_per_hour:.4g} an hour: "
        "99% sure that p99 ≤ 30 ms on recorded and flash-crowd."
    )
    where = "The service times are those of a CPU, taken as they are for here:small: measure there before buying."
    assert result.verdict.reasons == (expected, where)


def test_measured_where_it_is_planned(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """Where the profile was measured on the very machine that is planned for, nothing needs to be said of that."""
    here = replace(profile, hardware=replace(profile.hardware, instance=price.name))

    assert len(a_plan(traces, here, price).verdict.reasons) == 1


def test_evaluation_is_the_rehearsal(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """The sweep's figures are those of the very logs that `rehearse` returns for the same deployment and luck."""
    result = a_plan(traces, profile, price)
    for evaluation in result.evaluations[::5]:
        seed = Seeds(1).number("service")
        logs = rehearse(traces, profile, evaluation.deployment, seed=seed)
        expected = [float(np.quantile(log.latency_s, 0.99)) for log in logs.values()]

        assert expected == [replay.latency_s for replay in evaluation.replays]


def test_grid_is_whole_and_priced(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """Every combination is flown once; machines are filled by replicas of a core each and paid for whole."""
    done: list[int] = []
    result = a_plan(traces, profile, price, report=done.append)

    assert list(range(1, 21)) == done
    assert 20 == result.evaluated == len({evaluation.deployment for evaluation in result.evaluations})
    machines = {e.deployment.replicas: (e.deployment.machines, e.deployment.usd_per_hour) for e in result.evaluations}
    assert {1: (1, 0.1), 2: (1, 0.1), 3: (2, 0.2), 4: (2, 0.2), 6: (3, pytest.approx(0.3))} == machines
    assert sum(map(len, traces.values())) * (20 + 4 * len(result.tried)) == result.requests_simulated


def test_same_result_on_ray(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """One process or two of Ray's: the same plan, byte for byte; only where and how fast differ."""
    here, there = (a_plan(traces, profile, price, workers=Workers(count)) for count in (1, 2))

    assert (here.where, there.where) == ("in-process", "ray")
    assert here == there
    assert canonical_json(here.to_dict()) == canonical_json(there.to_dict())


def test_speed_is_told_and_no_part_of_the_result(
    traces: dict[str, Trace], profile: LatencyProfile, price: Price
) -> None:
    """How long it took is there to be read, and makes no two plans differ."""
    result = a_plan(traces, profile, price)
    slower = replace(result, seconds=2.0)

    assert slower.deployments_per_s == 10.0
    assert result.requests_simulated / 2.0 == slower.requests_per_s
    assert result == slower
    assert result.to_dict() == slower.to_dict()


def test_slow_fleet_is_a_no_go(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """Where nothing on the grid keeps the promise, the fastest is named with the trace and the latency that it reached."""
    result = a_plan(traces, profile, price, replicas=(1, 2), slo=Slo(0.99, 0.002))
    fastest = min(result.evaluations, key=lambda evaluation: evaluation.worst.latency_s)

    assert result.verdict.outcome == "no-go"
    assert (result.cheapest, result.tried, result.possible) == (None, (), 0)
    assert fastest == result.shown
    assert str(fastest.deployment) in result.verdict.reasons[0]
    assert f"on {fastest.worst.trace}" in result.verdict.reasons[0]


def test_doubt_is_inconclusive(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """A bound just at what one run reached is kept by that run, and not surely by others."""
    settings: dict[str, Any] = {"replicas": (4,), "max_batch": (8,), "max_wait_s": (0.0,)}
    reached = a_plan(traces, profile, price, **settings).evaluations[0].worst.latency_s
    lucky = next(
        result
        for result in (
            a_plan(traces, profile, price, **settings, slo=Slo(0.99, reached), seeds=Seeds(seed))
            for seed in range(1, 20)
        )
        if result.possible
    )

    assert lucky.verdict.outcome == "inconclusive"
    assert lucky.cheapest is None
    assert lucky.tried[0].worst.interval is not None
    assert lucky.tried[0].worst.interval.high > reached
    assert lucky.tried[0] == lucky.shown


def test_each_try_is_harder_than_the_last(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """The chances of accepting by luck, one a try, add up to no more than the doubt that was allowed."""
    bounds = [e.worst.latency_s for e in a_plan(traces, profile, price).evaluations if e.deployment.replicas == 2]
    result = a_plan(traces, profile, price, replicas=(2,), slo=Slo(0.99, max(bounds)), repeats=2, confidence=0.999999)
    levels = [e.replays[0].interval.confidence for e in result.tried if e.replays[0].interval is not None]

    assert len(levels) >= 2
    assert pytest.approx(levels[0], abs=1e-12) == 0.999999
    assert sorted(levels) == levels
    assert sum((1.0 - level) / 2.0 for level in levels) <= 1e-6 + 1e-12


def test_proof_covers(profile: LatencyProfile, price: Price) -> None:
    """Nominal 95% intervals of the promised quantile hold its mean over all luck, given the trace, in 89% of plans at least."""
    traces = {"recorded": poisson(500.0, 2000, np.random.default_rng(0))}
    settings: dict[str, Any] = {"replicas": (1,), "max_batch": (1,), "max_wait_s": (0.0,), "slo": Slo(0.99, 10.0)}
    deployment = a_plan(traces, profile, price, **settings).shown.deployment
    exact = np.mean([
        np.quantile(rehearse(traces, profile, deployment, seed=seed)["recorded"].latency_s, 0.99)
        for seed in range(2000)
    ])  # fmt: skip
    proven = [
        a_plan(traces, profile, price, **settings, seeds=Seeds(s), confidence=0.95).shown.worst for s in range(200)
    ]
    covered = [p.interval is not None and p.interval.low <= exact <= p.interval.high for p in proven]

    assert 0.89 <= sum(map(bool, covered)) / len(covered) <= 0.995


def test_impossible_promise_is_refused_before_the_sweep(
    traces: dict[str, Trace], profile: LatencyProfile, price: Price
) -> None:
    """A bound below the shortest service time that was ever measured needs no simulation; the message says the bound."""
    done: list[int] = []

    with pytest.raises(ConfigError, match=r"`slo` \(='p99 ≤ 1 ms'\) cannot be kept by any deployment: the shortest"):
        a_plan(traces, profile, price, slo=Slo(0.99, 0.001), report=done.append)
    assert done == []


def test_overload_ends_and_does_not_drain(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """A queue that only grows ends with the trace, is marked, and is no deployment that keeps a promise, however lax."""
    result = a_plan(traces, profile, price, slo=Slo(0.99, 1e6))
    by_size = {(e.deployment.replicas, e.deployment.batch.max_batch): e for e in result.evaluations}
    overloaded, enough = by_size[1, 1], by_size[6, 8]

    assert [replay.drains for replay in overloaded.replays] == [False, False]
    assert all(replay.latency_s <= 1e6 for replay in overloaded.replays)
    assert not overloaded.keeps
    assert [replay.drains for replay in enough.replays] == [True, True]
    assert enough.keeps


def test_frontier_is_not_dominated(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """On the frontier more money buys less latency; off it somebody is as cheap and as fast."""
    result = a_plan(traces, profile, price)
    figures = [(e.deployment.usd_per_hour, e.worst.latency_s) for e in result.frontier]

    assert all(a[0] < b[0] and a[1] > b[1] for a, b in itertools.pairwise(figures))
    for evaluation in result.evaluations:
        cost, latency_s = evaluation.deployment.usd_per_hour, evaluation.worst.latency_s
        assert any(other[0] <= cost and other[1] <= latency_s for other in figures)


def test_json_says_what_to_deploy(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """The document names the deployment, its price, and the latency with its interval on each trace."""
    document = json.loads(canonical_json(a_plan(traces, profile, price).to_dict()))
    cheapest = document["cheapest"]

    assert (document["basis"], cheapest["hardware"], cheapest["quantile"]) == ("simulated", "here:small", 0.99)
    assert (document["evaluated"], document["possible"] > 0) == (20, True)
    assert {"replicas", "max_batch", "max_wait_s", "usd_per_hour"} <= set(cheapest)
    assert sorted(cheapest["traces"]) == ["flash-crowd", "recorded"]
    worst = max(cheapest["traces"].values(), key=lambda trace: trace["latency_s"])
    for key in ("latency_s", "latency_s_low", "latency_s_high"):
        assert worst[key] == cheapest[key]
    assert "seconds" not in document


def test_no_more_is_hoped_of_a_larger_machine() -> None:
    """More replicas on a machine than were measured together are as slow as those that were, not as if they had room."""
    assert slowdown(0.6, 2, 2) == slowdown(0.6, 8, 2) == pytest.approx(1 / 0.6)


def test_rare_slow_calls_are_not_cut_off(profile: LatencyProfile) -> None:
    """One call in a thousand that takes a hundred times as long is drawn as often: the mean and the tail are kept."""
    calls = np.full(20_000, 0.001)
    calls[::1000] = 0.1
    rare = replace(profile, batch_sizes=(1,), samples_s=(calls,))
    table = rare.service_table(1)[1]

    assert table.mean() == pytest.approx(calls.mean(), rel=0.02)
    assert np.mean(table > 0.05) == pytest.approx(0.001, rel=0.3)


def test_a_quantile_that_nothing_shows_is_refused(
    traces: dict[str, Trace], profile: LatencyProfile, price: Price
) -> None:
    """A promise beyond what the profile's samples or the trace's requests can show is refused with what it would take."""
    short = {"recorded": Trace("short", traces["recorded"].arrivals_s[:50])}
    grid: dict[str, Any] = {
        "price": price, "cores_per_machine": 2, "replicas": (1,), "max_batch": (1,), "max_wait_s": (0.0,), "seeds": Seeds(1),
        "workers": Workers(1),
    }  # fmt: skip
    with pytest.raises(DataError, match=r"50 requests, too few to see p99"):
        plan(short, profile, slo=Slo(0.99, 0.03), **grid)
    few = replace(profile, samples_s=tuple(samples[:50] for samples in profile.samples_s))
    with pytest.raises(DataError, match=r"50 samples of batch 1, too few"):
        plan(traces, few, slo=Slo(0.99, 0.03), **grid)


def test_a_plan_is_no_surer_than_its_profile(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """An invalid profile makes a plan inconclusive, whatever the simulation says, and its reason is passed on."""
    doubtful = replace(profile, verdict=Verdict("inconclusive", ("never warm",), ("measure again",)))
    found = plan(
        traces, doubtful, slo=Slo(0.99, 1.0), price=price, cores_per_machine=2, replicas=(4,), max_batch=(8,), max_wait_s=(0.0,),
        seeds=Seeds(1), workers=Workers(1),
    )  # fmt: skip

    assert found.verdict.outcome == "inconclusive"
    assert "never warm" in found.verdict.reasons[-1]


def test_slowdown_is_what_was_measured_at_both_ends() -> None:
    """Alone a replica is as fast as measured; on a full machine as slow as measured; between them in proportion."""
    assert slowdown(0.8, 1, 4) == 1.0
    assert slowdown(0.8, 4, 4) == 1.25
    assert pytest.approx(slowdown(0.8, 3, 5)) == 1.125
    assert slowdown(0.8, 1, 1) == 1.0


def test_sharing_a_machine_slows_the_service(traces: dict[str, Trace], profile: LatencyProfile) -> None:
    """Two replicas on one machine serve slower, by the efficiency, than two on a machine each."""
    shared, apart = (
        rehearse(
            {"recorded": traces["recorded"]}, profile, Deployment("m", 2, BatchPolicy(), machines, 0.1),
            seed=1,
        )["recorded"]
        for machines in (1, 2)
    )  # fmt: skip
    service = [log.finished_s - log.started_s for log in (shared, apart)]

    assert service[0] == pytest.approx(service[1] / 0.8)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"replicas": ()}, "replicas"), ({"replicas": (0, 1)}, "replicas"), ({"max_batch": ()}, "max_batch"),
        ({"max_batch": (0,)}, "max_batch"), ({"max_wait_s": ()}, "max_wait"), ({"max_wait_s": (-1.0,)}, "max_wait"),
        ({"max_wait_s": (math.inf,)}, "max_wait"), ({"cores_per_machine": 0}, "cores_per_machine"),
        ({"confidence": 1.0}, "confidence"), ({"repeats": 1}, "repeats"),
    ],
)  # fmt: skip
def test_refuses_impossible_grids(
    traces: dict[str, Trace], profile: LatencyProfile, price: Price, wrong: dict[str, Any], field: str
) -> None:
    """The field that is wrong is named before anything is simulated."""
    with pytest.raises(ConfigError, match=f"`{field}`"):
        a_plan(traces, profile, price, **wrong)


def test_refuses_no_traces_and_unprofiled_batches(
    traces: dict[str, Trace], profile: LatencyProfile, price: Price
) -> None:
    """Without traffic there is no plan, and no service time is invented."""
    with pytest.raises(ConfigError, match="`traces` is empty"):
        a_plan({}, profile, price)
    with pytest.raises(DataError, match="never profiled"):
        a_plan(traces, profile, price, max_batch=(64,))
