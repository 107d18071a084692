from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.deployment import Slo
from windtunnel.digest import canonical_json
from windtunnel.errors import ConfigError, DataError
from windtunnel.fanout import Workers
from windtunnel.seeds import Seeds
from windtunnel.simulate.plan import Plan, plan, rehearse
from windtunnel.simulate.planning import LeftOut, Offer, Space
from windtunnel.simulate.scenarios import ReplicaLoss
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


def a_space(profile: LatencyProfile, price: Price, **other: Any) -> Space:
    settings: dict[str, Any] = {"replicas": (1, 2, 3, 4, 6), "max_batch": (1, 8), "max_wait_s": (0.0, 0.002)}
    return Space((Offer(profile, price),), **{**settings, **other})


def a_plan(traces: dict[str, Trace], space: Space, **other: Any) -> Plan:
    settings: dict[str, Any] = {"slo": Slo(0.99, 0.03), "seeds": Seeds(1), "repeats": 4, "workers": Workers(1)}
    return plan(traces, space, **{**settings, **other})


@pytest.fixture
def space(profile: LatencyProfile, price: Price) -> Space:
    """Fifteen deployments on machines of two cores."""
    return a_space(profile, price)


def test_cheapest_keeps_and_cheaper_do_not(traces: dict[str, Trace], space: Space) -> None:
    """The answer keeps the promise on every trace, surely; every cheaper deployment breaks it somewhere when it is flown."""
    result = a_plan(traces, space)
    cheapest = result.cheapest

    assert cheapest is not None
    assert result.verdict.outcome == "go"
    for replay in cheapest.replays:
        assert replay.interval is not None
        assert replay.interval.low <= replay.latency_s <= replay.interval.high <= 0.03
    cheaper = [each for each in space.deployments() if each.usd_per_hour < cheapest.deployment.usd_per_hour]
    assert cheaper
    for deployment in cheaper:
        flights = rehearse(traces, space, deployment, seeds=Seeds(1)).values()
        logs = [flight.log for flight in flights if flight.log is not None]
        assert any(np.mean(log.latency_s > 0.03) > 0.01 for log in logs)


def test_the_answer_is_a_sentence(traces: dict[str, Trace], space: Space) -> None:
    """A person reads what to deploy, what it costs, how sure that is, and what could not be planned for."""
    result = a_plan(traces, space, left_out=(LeftOut("there:gpu", "measure there"),))
    deployment = result.shown.deployment

    expected = (
        f"{deployment} on here:small at ${deployment.usd_per_hour:.4g} an hour: "
        "99% sure that p99 ≤ 30 ms on a day like recorded and flash-crowd."
    )
    where = "The service times are those of a CPU, taken as they are for here:small: measure there before buying."
    assert result.verdict.reasons == (expected, where, "Nothing fails.", "there:gpu is not in the plan: measure there.")


def test_measured_where_it_is_planned(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """Where the profile was measured on the very machine that is planned for, nothing needs to be said of that."""
    here = replace(profile, hardware=replace(profile.hardware, instance=price.name))

    assert a_plan(traces, a_space(here, price)).verdict.reasons[1:] == ("Nothing fails.",)


def test_evaluation_is_the_rehearsal(traces: dict[str, Trace], space: Space) -> None:
    """The search's figures are those of the very logs that `rehearse` returns for the same deployment and luck."""
    result = a_plan(traces, space)
    for evaluation in result.evaluations[::2]:
        flights = rehearse(traces, space, evaluation.deployment, seeds=Seeds(1))
        for replay in evaluation.replays:
            log = flights[replay.trace].log
            assert log is not None
            assert replay.late == np.count_nonzero(log.latency_s > 0.03)
            exact = np.quantile(log.latency_s, 0.99, method="inverted_cdf")
            assert replay.latency_s == pytest.approx(exact, rel=1 / 256)
            assert (replay.latency_s <= 0.03) == (replay.late <= 60 * len(log) // 6000)


def test_what_is_not_flown_is_accounted_for(traces: dict[str, Trace], space: Space) -> None:
    """Ruled out, screened and flown deployments are no more than there are; flying fewer than all is what the search is for."""
    done: list[int] = []
    effort = a_plan(traces, space, report=done.append).effort

    assert effort.possible == len(space) == 15
    assert effort.ruled_out + effort.screened + effort.evaluated <= 15
    assert 0 < effort.requests_searched < effort.requests_exhaustive == 15 * sum(map(len, traces.values()))
    assert (done[-1], sorted(done)) == (15, done)


def test_same_result_on_ray(traces: dict[str, Trace], space: Space) -> None:
    """One process or two of Ray's: the same plan, byte for byte; only where and how fast differ."""
    more = Space(space.offers, space.replicas, (1, 2, 4, 8), (0.0, 0.001, 0.002, 0.003))
    here, there = (a_plan(traces, more, workers=Workers(count)) for count in (1, 2))

    assert (here.where, there.where) == ("in-process", "ray")
    assert here == there
    assert canonical_json(here.to_dict()) == canonical_json(there.to_dict())


def test_speed_is_told_and_no_part_of_the_result(traces: dict[str, Trace], space: Space) -> None:
    """How long it took is there to be read, and makes no two plans differ."""
    result = a_plan(traces, space)
    slower = replace(result, seconds=2.0)

    assert slower.deployments_per_s == 7.5
    assert result.requests_simulated / 2.0 == slower.requests_per_s
    assert result == slower
    assert result.to_dict() == slower.to_dict()


def test_slow_fleet_is_a_no_go(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """Where nothing in the space keeps the promise, the fastest that was flown is named with the trace and its latency."""
    result = a_plan(traces, a_space(profile, price, replicas=(1, 2)), slo=Slo(0.99, 0.003))

    assert result.verdict.outcome == "no-go"
    assert (result.cheapest, result.tried, result.growth) == (None, (), None)
    assert min(each.worst.latency_s for each in result.evaluations) == result.shown.worst.latency_s
    assert str(result.shown.deployment) in result.verdict.reasons[0]
    assert f"on {result.shown.worst.trace}" in result.verdict.reasons[0]


def test_doubt_is_inconclusive(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """A bound just at what one run reached is kept by that run, and not surely by others."""
    narrow = a_space(profile, price, replicas=(4,), max_batch=(8,), max_wait_s=(0.0,))
    reached = a_plan(traces, narrow).evaluations[0].worst.latency_s
    plans = (a_plan(traces, narrow, slo=Slo(0.99, reached), seeds=Seeds(seed)) for seed in range(1, 20))
    lucky = next(result for result in plans if result.evaluations[0].keeps and result.cheapest is None)

    assert lucky.verdict.outcome == "inconclusive"
    assert lucky.tried[0].worst.interval is not None
    assert lucky.tried[0].worst.interval.high > reached
    assert lucky.tried[0] == lucky.shown


def test_each_try_is_harder_than_the_last(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """The chances of accepting by luck, one a try, add up to no more than the doubt that was allowed."""
    narrow = a_space(profile, price, replicas=(2,), max_batch=(4, 8))
    bounds = [each.worst.latency_s for each in a_plan(traces, narrow, slo=Slo(0.99, 1.0)).evaluations]
    result = a_plan(traces, narrow, slo=Slo(0.99, max(bounds)), repeats=2, confidence=0.999999)
    levels = [e.replays[0].interval.confidence for e in result.tried if e.replays[0].interval is not None]

    assert len(levels) >= 2
    # two days to keep it on: half of the doubt each
    assert pytest.approx(levels[0], abs=1e-12) == 0.9999995
    assert sorted(levels) == levels
    assert 2 * sum((1.0 - level) / 2.0 for level in levels) <= 1e-6 + 1e-12


def test_impossible_promise_is_refused_before_the_search(traces: dict[str, Trace], space: Space) -> None:
    """A bound below the shortest service time that was ever measured needs no simulation; the message says the bound."""
    done: list[int] = []

    with pytest.raises(ConfigError, match=r"`slo` \(='p99 ≤ 1 ms'\) cannot be kept by any deployment: the shortest"):
        a_plan(traces, space, slo=Slo(0.99, 0.001), report=done.append)
    assert done == []


def test_overload_ends_and_does_not_drain(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """A queue that only grows ends with the trace, is marked, and is no deployment that keeps a promise, however lax."""
    narrow = a_space(profile, price, replicas=(1, 6), max_batch=(1,))
    result = a_plan(traces, narrow, slo=Slo(0.99, 1e6))
    by_size = {each.deployment.replicas: each for each in result.evaluations}

    assert [replay.drains for replay in by_size[1].replays] == [False, False]
    assert all(replay.latency_s <= 1e6 for replay in by_size[1].replays)
    assert not by_size[1].keeps
    assert [replay.drains for replay in by_size[6].replays] == [True, True]
    assert result.cheapest is not None
    assert result.cheapest.deployment.replicas == 6


def test_frontier_is_not_dominated(traces: dict[str, Trace], space: Space) -> None:
    """On the frontier nothing is as cheap, as fast and as available as another; off it something is, and is on it."""
    result = a_plan(traces, space)
    figures = [(*each.cost, -each.availability) for each in result.frontier]

    def covers(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True))

    assert sorted(figures) == figures
    assert not any(covers(a, b) for a, b in itertools.permutations(figures, 2))
    for evaluation in result.evaluations:
        assert any(covers(each, (*evaluation.cost, -evaluation.availability)) for each in figures)
    assert {"usd_per_hour", "p99_s", "availability"} <= set(result.to_dict()["frontier"][0])


def test_looser_bounds_are_cheaper(traces: dict[str, Trace], space: Space) -> None:
    """What a looser bound would buy costs less than the answer and is slower than the bound that was asked for."""
    result = a_plan(traces, space)

    assert result.cheapest is not None
    assert result.looser
    for each in result.looser:
        assert each.deployment.usd_per_hour < result.cheapest.deployment.usd_per_hour
        assert each.worst.latency_s > 0.03


def test_runners_up_keep_the_promise_otherwise(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """Another machine, dearer, is flown for comparison; what is named beside the answer keeps the promise and costs no less."""
    dear = replace(price, name="here:dear", usd_per_hour=0.3)
    both = Space((Offer(profile, price), Offer(profile, dear)), (1, 2, 3, 4, 6), (8,), (0.0,))
    result = a_plan(traces, both)

    assert result.cheapest is not None
    assert result.cheapest.deployment.hardware == "here:small"
    assert [each.deployment.hardware for each in result.runners_up] == ["here:dear"]
    assert all(each.keeps and each.cost >= result.cheapest.cost for each in result.runners_up)


def test_growth_ends_where_the_promise_does(traces: dict[str, Trace], space: Space) -> None:
    """The load may grow to somewhere between a factor that is kept and one close above it that is not."""
    growth = a_plan(traces, space).growth

    assert growth is not None
    assert growth.breaks is not None
    assert 1.0 <= growth.keeps < growth.breaks <= growth.keeps * 1.04


def test_losing_a_replica_is_planned_for(profile: LatencyProfile, price: Price) -> None:
    """Where the promise must be kept on the day on which a replica dies at the peak, one replica is never enough."""
    traces = {"recorded": poisson(300.0, 6000, np.random.default_rng(0))}
    alone = a_space(profile, price, replicas=(1, 2, 3, 4), max_batch=(8,), max_wait_s=(0.0,))
    calm = a_plan(traces, alone, slo=Slo(0.99, 0.02))
    worst = a_plan(traces, alone, slo=Slo(0.99, 0.02), troubles=(ReplicaLoss(lasts_s=5.0),))

    assert calm.cheapest is not None
    assert worst.cheapest is not None
    assert (calm.cheapest.deployment.replicas, len(calm.cheapest.replays)) == (2, 1)
    assert [replay.trace for replay in worst.cheapest.replays] == ["recorded", "replica-loss"]
    alone_flown = [each for each in worst.evaluations if each.deployment.replicas == 1]
    assert not any(each.keeps for each in alone_flown)
    flights = rehearse(traces, alone, worst.cheapest.deployment, seeds=Seeds(1), troubles=(ReplicaLoss(lasts_s=5.0),))
    log = flights["replica-loss"].log
    assert log is not None
    assert np.max(np.diff(log.started_s[log.replica == 0])) >= 5.0


def test_json_says_what_to_deploy(traces: dict[str, Trace], space: Space) -> None:
    """The document names the deployment, its price, and the quantile that was promised with its interval on each trace."""
    document = json.loads(canonical_json(a_plan(traces, space).to_dict()))
    cheapest = document["cheapest"]

    assert (document["basis"], cheapest["hardware"], cheapest["quantile"]) == ("simulated", "here:small", 0.99)
    assert (document["possible"], 0 < document["evaluated"] <= 15) == (15, True)
    assert {"replicas", "max_batch", "max_wait_s", "usd_per_hour", "confidence", "availability"} <= set(cheapest)
    assert cheapest["pattern"] == "always-on"
    assert cheapest["confidence_of"].startswith("that the promise is kept on one more day like these")
    assert sorted(cheapest["traces"]) == ["flash-crowd", "recorded"]
    worst = max(cheapest["traces"].values(), key=lambda trace: trace["p99_s"])
    for key in ("p99_s", "p99_s_low", "p99_s_high"):
        assert worst[key] == cheapest[key]
    assert "seconds" not in document


def test_a_quantile_that_nothing_shows_is_refused(
    traces: dict[str, Trace], profile: LatencyProfile, price: Price, space: Space
) -> None:
    """A promise beyond what the profile's samples or the trace's requests can show is refused with what it would take."""
    short = {"recorded": Trace("short", traces["recorded"].arrivals_s[:50])}
    with pytest.raises(DataError, match=r"50 requests, too few to see p99"):
        a_plan(short, space)
    few = replace(profile, samples_s=tuple(samples[:50] for samples in profile.samples_s))
    with pytest.raises(DataError, match=r"50 samples of batch 1, too few"):
        a_plan(traces, a_space(few, price))


def test_a_plan_is_no_surer_than_its_profile(traces: dict[str, Trace], profile: LatencyProfile, price: Price) -> None:
    """An invalid profile makes a plan inconclusive, whatever the simulation says, and its reason is passed on."""
    doubtful = replace(profile, verdict=Verdict("inconclusive", ("never warm",), ("measure again",)))
    found = a_plan(traces, a_space(doubtful, price), slo=Slo(0.99, 1.0))

    assert found.verdict.outcome == "inconclusive"
    assert "never warm" in found.verdict.reasons[-1]


@pytest.mark.parametrize(("wrong", "field"), [({"confidence": 1.0}, "confidence"), ({"repeats": 1}, "repeats")])
def test_refuses_what_means_nothing(traces: dict[str, Trace], space: Space, wrong: dict[str, Any], field: str) -> None:
    """The field that is wrong is named before anything is simulated; without traffic there is no plan."""
    with pytest.raises(ConfigError, match=f"`{field}`"):
        a_plan(traces, space, **wrong)
    with pytest.raises(ConfigError, match="`traces` is empty"):
        a_plan({}, space)
