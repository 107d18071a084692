"""What every router keeps to, and what theory says of some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.seeds import Seeds
from windtunnel.simulate import arrivals
from windtunnel.simulate.arrivals import parse_service
from windtunnel.simulate.flight import fly
from windtunnel.simulate.routing import (
    ROUTERS,
    Ask,
    ConsistentHash,
    LeastOutstanding,
    Multiplexed,
    Pinned,
    PowerOfTwo,
    RandomChoice,
    RoundRobin,
    route,
)
from windtunnel.simulate.system import System
from windtunnel.simulate.theory import choices_latency_s
from windtunnel.stats import mean_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.simulate.routing import Router

STATIONS = 6
ALL: list[Router] = [
    *(router() for router in ROUTERS.values()),  # type: ignore[call-arg]  # those with a name of their own need nothing
    PowerOfTwo(cache_s=0.5),
    Pinned(0.5, 2, 1.0, 4.0, PowerOfTwo(cache_s=0.5)),
    Pinned(1.0, 9, 0.0, 2.0, RoundRobin()),
    Pinned(0.5, 2, 1.0, 4.0, Multiplexed()),
    ConsistentHash(3),
    ConsistentHash(10, 1.25),
    ConsistentHash(1, 1.0),
]
"""Every router as it comes, and those whose settings change what they do."""

NOBODY = -7
"""What stands behind the accepting stations: nobody may read it."""

Question = tuple[float, list[int], list[int], Ask]
"""now_s, the accepting stations, the ongoing attempts of all, and what is known of the request."""

MODELS = 4

each_router = pytest.mark.parametrize("router", ALL, ids=repr)
below_one = st.floats(0.0, 1.0, exclude_max=True)


@st.composite
def questions(draw: st.DrawFn) -> list[Question]:
    """A router's life: what it is asked, in the order of time."""
    asked: list[Question] = []
    now_s, sets = 0.0, st.sets(st.integers(0, MODELS - 1))
    for _ in range(draw(st.integers(1, 20))):
        now_s += draw(st.sampled_from([0.0, 0.25, 0.5, 3.0]))
        accepting = sorted(draw(st.sets(st.integers(0, STATIONS - 1), min_size=1)))
        ongoing = draw(st.lists(st.integers(0, 3), min_size=STATIONS, max_size=STATIONS))
        models = dict(enumerate(draw(st.lists(sets, min_size=STATIONS, max_size=STATIONS))))
        ask = Ask((draw(below_one), draw(below_one)), draw(st.integers(0, MODELS - 1)), models)
        asked.append((now_s, accepting, ongoing, ask))
    return asked


def claims_of(models: Mapping[int, set[int]]) -> NDArray[np.int64]:
    """Of each station how many models it holds, and which."""
    claims = np.zeros((STATIONS, MODELS + 1), dtype=np.int64)
    for station, held in models.items():
        claims[station, 0] = len(held)
        claims[station, [1 + model for model in held]] = 1
    return claims


def answers(router: Router, asked: list[Question]) -> list[int]:
    """What the compiled router says to all of it; it may not write but into its own memo."""
    memo, width = np.append(router.memory(STATIONS), NOBODY), len(router.memory(STATIONS))
    told = []
    for now_s, accepting, ongoing, ask in asked:
        stations = np.array(accepting + [NOBODY] * (STATIONS - len(accepting)))
        busy, claims, rules = np.array(ongoing), claims_of(ask.models), router.settings()
        before = stations.copy(), busy.copy()
        told.append(
            route(router.code, now_s, stations, len(accepting), busy, ask.draw, ask.key, claims, rules, memo[:width])
        )
        np.testing.assert_array_equal(before, (stations, busy))
        np.testing.assert_array_equal(claims_of(ask.models), claims)
    assert memo[width] == NOBODY
    return told


@each_router
@settings(max_examples=150, deadline=None)
@given(questions())
def test_router_equals_its_twin(router: Router, asked: list[Question]) -> None:
    """A router chooses what its twin in plain Python chooses, each time it is asked."""
    twin = router.twin()

    expected = [twin.route(now_s, accepting, ongoing, ask) for now_s, accepting, ongoing, ask in asked]

    assert expected == answers(router, asked)


@each_router
@settings(max_examples=50, deadline=None)
@given(questions())
def test_router_chooses_who_accepts(router: Router, asked: list[Question]) -> None:
    """A router chooses an accepting station, and the same one if the same happens again."""
    told = answers(router, asked)

    assert all(chosen in accepting for chosen, (_, accepting, _, _) in zip(told, asked, strict=True))
    assert told == answers(router, asked)


def test_codes_are_distinct() -> None:
    """No two routers share a name or a code."""
    assert len({router.code for router in ROUTERS.values()}) == len(ROUTERS)
    assert all(name == router.name for name, router in ROUTERS.items())


def test_round_robin_by_hand() -> None:
    """Round robin goes round, past those that do not accept."""
    asked: list[Question] = [
        (0.0, accepting, [0] * STATIONS, Ask((0.5, 0.5)))
        for accepting in ([0, 1, 2], [0, 1, 2], [0, 1], [0, 1, 2], [2], [1, 2])
    ]

    assert answers(RoundRobin(), asked) == [0, 1, 0, 1, 2, 1]


def test_belief_of_power_of_two_by_hand() -> None:
    """A router that remembers sees what it sent itself, and what else changed only when its memory is old."""
    first_and_second = Ask((0.0, 0.0))
    asked: list[Question] = [
        (0.0, [0, 1], [0, 1, 0, 0, 0, 0], first_and_second),
        (0.0, [0, 1], [9, 1, 0, 0, 0, 0], first_and_second),
        (0.25, [0, 1], [9, 1, 0, 0, 0, 0], first_and_second),
        (0.5, [0, 1], [9, 1, 0, 0, 0, 0], first_and_second),
    ]

    assert answers(PowerOfTwo(cache_s=0.5), asked) == [0, 0, 1, 1]
    assert answers(PowerOfTwo(), asked) == [0, 1, 1, 1]


def latencies_s(router: Router, stations: int, load: float, requests: int, runs: int) -> NDArray[np.float64]:
    """The mean latency of the second half of each run, at stations that serve one at a time for an exponential second."""
    table, means = parse_service("exponential(mean=1s)").table(1), []
    generator = arrivals.parse(f"poisson(rate={load * stations})")
    for run in range(runs):
        trace = generator.arrivals(requests=requests, seed=run)  # type: ignore[union-attr]  # it is a generator
        log = fly(System(table, stations, router=router), trace, Seeds(run), log=True).log
        assert log is not None
        means.append(float(np.mean(log.latency_s[requests // 2 :])))
    return np.array(means)


def test_random_splits_a_poisson_stream() -> None:
    """Stations that are drawn at random get Poisson streams of their own: each is an M/M/1 queue."""
    load = 0.6

    told = mean_interval(latencies_s(RandomChoice(), 20, load, 60_000, 8), 0.999)

    expected = choices_latency_s(load, 1.0, choices=1)
    assert told.low <= expected <= told.high


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_two_choices_keep_to_theory(load: float) -> None:
    """The less busy of two among many stations is as long as the limit says, but for what is left to a limit of 500."""
    stations = 500

    told = mean_interval(latencies_s(PowerOfTwo(), stations, load, 60_000, 6), 0.999)

    expected = choices_latency_s(load, 1.0)
    assert told.low - expected / stations <= expected <= told.high + expected / stations


def test_least_of_many_hardly_wait() -> None:
    """The least busy of all among many stations is an idle one: only the service is left."""
    stations = 200

    told = mean_interval(latencies_s(LeastOutstanding(), stations, 0.7, 40_000, 6), 0.999)

    expected = choices_latency_s(0.7, 1.0, choices=stations)
    assert told.low <= expected <= told.high


def test_memory_makes_routers_herd() -> None:
    """What a router remembers for longer than a service takes misleads it: requests wait longer than with true lengths."""
    true, old = (latencies_s(router, 20, 0.8, 20_000, 2).mean() for router in (PowerOfTwo(), PowerOfTwo(cache_s=10.0)))

    assert old > true
