from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.deployment import Slo
from windtunnel.fanout import Workers
from windtunnel.seeds import Seeds
from windtunnel.simulate.planning import Course, Evaluation, Offer, Search, Space, course
from windtunnel.simulate.traffic import flash_crowd, poisson

if TYPE_CHECKING:
    from windtunnel.latency_profile import LatencyProfile
    from windtunnel.price import Price
    from windtunnel.trace import Trace


def small_space(seed: int, profile: LatencyProfile, price: Price) -> tuple[dict[str, Trace], Space, Slo]:
    """Two variants on two machines, any of them the better one, under traffic that any number of replicas may fit."""
    rng = np.random.default_rng(seed)
    base_s, item_s, spread = rng.uniform(2e-4, 3e-3), rng.uniform(1e-4, 1e-3), rng.uniform(0.02, 0.6)
    samples = tuple((base_s + item_s * size) * rng.lognormal(0.0, spread, size=300) for size in profile.batch_sizes)
    hardware = replace(profile.hardware, cores=float(rng.integers(1, 5)))
    one = replace(profile, samples_s=samples, hardware=hardware, parallel_efficiency=float(rng.uniform(0.5, 1.0)))
    two = replace(one, variant="n").scaled(float(rng.uniform(0.7, 1.5)))
    small = replace(price, vcpu=int(rng.integers(1, 4)))
    large = replace(price, name="here:large", vcpu=int(rng.integers(2, 9)), usd_per_hour=float(rng.uniform(0.15, 0.6)))
    traces = {"calm": poisson(rng.uniform(0.5, 3.0) / (base_s + item_s), 1500, rng)}
    if rng.random() < 0.5:
        traces["crowded"] = flash_crowd(traces["calm"], times=3.0, rng=rng)
    offers = tuple(Offer(profile, machine) for profile in (one, two) for machine in (small, large))
    space = Space(offers, (1, 2, 3, 5, 8), (1, 8), (0.0, float(rng.uniform(1e-4, 5e-3))))
    bound_s = float((base_s + item_s * 8) * rng.uniform(1.0, 8.0))
    return traces, space, Slo(float(rng.choice([0.5, 0.9, 0.99])), bound_s)


def everything(flown: Course, space: Space, seed: int) -> list[Evaluation]:
    """What keeps the promise when every deployment is flown, the cheapest first."""
    every = (flown.fly(deployment, Seeds(seed)) for deployment in space.deployments())
    return sorted((each for each in every if each.keeps), key=lambda each: each.cost)


@pytest.mark.parametrize("seed", range(8))
def test_search_finds_what_flying_everything_finds(
    seed: int, profile: LatencyProfile, price: Price, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same price, and the same latency at it but for chance; what arithmetic, windows and neighbours rule out fails indeed.

    Half of the spaces are screened by windows as well.
    """
    if seed % 2:
        monkeypatch.setattr(course, "LEAST_WINDOW", 100)
    traces, space, slo = small_space(seed, profile, price)
    flown = Course.of(traces, space, slo)
    search = Search(flown, space, Seeds(seed), workers=Workers(1))
    search.run()
    monotony = search.check()
    search.run()
    best = everything(flown, space, seed)

    assert [each.deployment.usd_per_hour for each in search.standing[:1]] == [
        each.deployment.usd_per_hour for each in best[:1]
    ]
    if best:
        assert search.standing[0].worst.latency_s == pytest.approx(best[0].worst.latency_s, rel=0.02)
    assert search.requests < 0.5 * flown.requests * len(space)
    assert monotony.broken == 0
    ruled_out = {rung for known in search.lines for rung in known.line.rungs[: known.fails + 1]}
    assert ruled_out
    assert not ruled_out & {each.deployment for each in best}


def test_search_holds_for_queues_behind_a_router(profile: LatencyProfile, price: Price) -> None:
    """Where each replica has its own queue, batched as Ray Serve or Triton do, the search finds what flying everything finds."""
    traces, space, slo = small_space(2, profile, price)
    routed = Space(
        space.offers[:1], space.replicas, (1, 8), space.max_wait_s, ("ray-serve", "triton"), ("power-of-two",)
    )
    flown = Course.of({"calm": traces["calm"]}, routed, slo)
    search = Search(flown, routed, Seeds(2), workers=Workers(1))
    search.run()
    best = everything(flown, routed, 2)

    assert best
    assert search.standing[0].cost == best[0].cost


def test_more_replicas_may_hurt_where_each_has_its_queue(profile: LatencyProfile, price: Price) -> None:
    """Queues that wait for company fill more slowly the more there are: where the most replicas fail, the fewer are flown too."""
    size = np.array(profile.batch_sizes)
    even = replace(profile, samples_s=tuple(np.full(300, 0.01) for _ in size), parallel_efficiency=1.0)
    traces = {"calm": poisson(800.0, 4000, np.random.default_rng(0))}
    space = Space(
        (Offer(even, replace(price, vcpu=1)),), (4, 16, 32), (4,), (0.045,), ("tf-serving",), ("round-robin",)
    )
    flown = Course.of(traces, space, Slo(0.99, 0.05))
    search = Search(flown, space, Seeds(2), workers=Workers(1))
    search.run()
    best = everything(flown, space, 2)

    assert [each.deployment.replicas for each in best] == [4]
    assert [each.deployment.replicas for each in search.standing] == [4]


def test_a_refused_deployment_takes_fewer_replicas_with_it(profile: LatencyProfile, price: Price) -> None:
    """After a refusal the search goes on with more replicas on that line, or elsewhere, at no lower price."""
    traces, space, slo = small_space(3, profile, price)
    search = Search(Course.of(traces, space, slo), space, Seeds(3), workers=Workers(1))
    search.run()
    first = search.standing[0]
    search.refuse(first)
    search.run()

    assert first.deployment not in [each.deployment for each in search.standing]
    assert search.standing[0].cost >= first.cost


def test_a_line_on_which_more_hurts_is_flown_whole(
    profile: LatencyProfile, price: Price, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where five replicas fail and four keep the promise, the check sees it and flies the whole line: one replica was enough."""
    traces = {"calm": poisson(300.0, 1500, np.random.default_rng(0))}
    space = Space((Offer(profile, replace(price, vcpu=1)),), (1, 2, 3, 4, 5, 6, 7, 8), (8,), (0.0,))
    slo, honest = Slo(0.99, 0.05), Course.fly

    def fickle(self: Course, deployment: object, seeds: Seeds) -> Evaluation:
        flown = honest(self, deployment, seeds)  # type: ignore[arg-type]  # it is a Deployment
        return replace(flown, keeps=flown.deployment.replicas in (1, 4, 6, 7, 8))

    monkeypatch.setattr(Course, "fly", fickle)
    search = Search(Course.of(traces, space, slo), space, Seeds(1), workers=Workers(1))
    search.run()
    assert search.standing[0].deployment.replicas == 4
    monotony = search.check()

    # one keeps and two do not; four keep and five do not
    assert monotony.broken == 2
    assert monotony.pairs == 7
    assert search.standing[0].deployment.replicas == 1
