from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.benchmarks.frontier import Choice, Frontier, frontier, mark
from windtunnel.load_curve import LoadCurve, LoadPoint
from windtunnel.price import Price
from windtunnel.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile

    Make = Callable[..., LatencyProfile]


def _exactly(value: float) -> Interval:
    return Interval(value, value, value, 9, 0.95)


def _choice(usd: float, p99_s: float) -> Choice:
    return Choice("x:m", "fp32", 1, 2, "measured", 0.5, 10.0, _exactly(p99_s), _exactly(usd), at_knee=False)


def _price(name: str = "x:m", usd: float = 0.36) -> Price:
    return Price(name, "here", "x86_64", 2, 8.0, "", 0, usd, "2026-01-01", "a list", physical_cores=2.0)


def _curve(profile: LatencyProfile, *, servers: int, max_batch: int) -> LoadCurve:
    """M/M/1-like: saturated at 100 a second a server; the last load's p99 has no interval."""
    points = []
    for load in (0.25, 0.5, 0.9):
        latency = _exactly(0.01 / (1.0 - load))
        p99 = replace(latency, high=math.inf) if load == 0.9 else latency
        points.append(LoadPoint(100.0 * servers * load, load, 100.0 * servers * load, load, 1.0, latency, latency, p99))
    return LoadCurve(
        profile.name,
        profile.basis,
        profile.band,
        servers,
        max_batch,
        0.0,
        100.0 * servers,
        tuple(points),
        50.0 * servers,
    )


def _on(profile: LatencyProfile, name: str = "x:m") -> LatencyProfile:
    return replace(profile, hardware=replace(profile.hardware, instance=name))


def test_by_hand(make_profile: Make) -> None:
    """Two servers at a quarter and at half of 200 a second cost 2 and 1 USD a million at 0.36 USD an hour."""
    found = frontier([_on(make_profile())], [_price()], _curve, max_batches=(1,))

    assert [(choice.rate_per_s, choice.at_knee) for choice in found.choices] == [(50.0, False), (100.0, True)]
    assert [choice.usd_per_million.value for choice in found.choices] == pytest.approx([2.0, 1.0])
    assert all(choice.best for choice in found.choices)


def test_a_p99_without_interval_is_no_choice(make_profile: Make) -> None:
    """The load whose p99 the simulation cannot bound is left out, and so are batches beyond the profile's."""
    found = frontier([_on(make_profile())], [_price()], _curve, max_batches=(1, 8, 64))

    assert {choice.load for choice in found.choices} == {0.25, 0.5}
    assert {choice.max_batch for choice in found.choices} == {1, 8}


def test_a_band_moves_cost_and_latency_together(make_profile: Make) -> None:
    """If every time were longer by the band, the same share of saturation would cost and last as much more."""

    def project(profile: LatencyProfile, price: Price) -> LatencyProfile | str:
        if price.name == "x:arm":
            return "nothing follows"
        return replace(_on(profile, price.name), basis="projected", band=1.5)

    found = frontier([make_profile()], [_price(), _price("x:arm")], _curve, max_batches=(1,), project=project)

    assert {(choice.hardware, choice.basis) for choice in found.choices} == {("x:m", "projected")}
    knee = next(choice for choice in found.choices if choice.at_knee)
    assert (knee.usd_per_million.low, knee.usd_per_million.high) == pytest.approx((1.0 / 1.5, 1.5))
    assert (knee.p99.low, knee.p99.high) == pytest.approx((0.02 / 1.5, 0.03))


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=25))
def test_best_are_those_that_none_dominates(pairs: list[tuple[int, int]]) -> None:
    """Against the definition: best are exactly those of which no other is as cheap and as fast and better in one."""
    marked = mark([_choice(float(usd), float(p99)) for usd, p99 in pairs])
    kept = {(c.usd_per_million.value, c.p99.value) for c in marked if c.best}
    undominated = {(u, p) for u, p in pairs if not any(a <= u and b <= p and (a, b) != (u, p) for a, b in pairs)}

    assert kept == undominated
    assert sum(choice.best for choice in marked) == len(undominated)


def test_doublings_by_hand() -> None:
    """The cheapest, then the fastest for twice as much, four times, eight times; a doubling that buys nothing is left out."""
    choices = mark([_choice(1.0, 9.0), _choice(1.5, 8.0), _choice(1.9, 7.0), _choice(2.1, 6.0), _choice(7.0, 5.0)])
    found = Frontier(choices)

    assert [choice.usd_per_million.value for choice in found.best] == [1.0, 1.5, 1.9, 2.1, 7.0]
    assert [choice.usd_per_million.value for choice in found.doublings] == [1.0, 1.9, 2.1, 7.0]
    assert found.to_dict()["choices"] == 5


def test_nothing_known_is_an_empty_frontier(make_profile: Make) -> None:
    """Without a projector a machine that was not measured is no choice."""
    found = frontier([make_profile()], [_price()], _curve, max_batches=(1,))

    assert (found.choices, found.best, found.doublings) == ((), (), ())
