"""The closed forms against figures worked out by hand, against each other at their limits, and against flown queues."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numba import njit

from windtunnel.simulate.chance import origin, uniform_from
from windtunnel.simulate.histogram import Histogram
from windtunnel.simulate.sketch import Sketch, make_room, record
from windtunnel.simulate.spread import Spread
from windtunnel.simulate.theory import (
    NoTheory,
    Theory,
    batch_chain,
    bulk_root,
    choices_latency_s,
    choices_tail,
    closed_form,
    erlang_b,
    erlang_c,
    little,
    md1_wait_s,
    mg1_wait_s,
    mm1_latency_quantile_s,
    mm1k_bulk_wait_s,
    mmc_wait_quantile_s,
    mmc_wait_s,
    mmck_blocking,
    priority_waits_s,
    saturation_per_s,
    take_all_bound_s,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOADS = [0.1, 0.5, 0.8, 0.95]


def birth_and_death(births: Sequence[float], deaths: Sequence[float]) -> Floats:
    """The chances of each number present, from the rates up out of each and down out of the next."""
    chances = np.cumprod([1.0, *(up / down for up, down in zip(births, deaths, strict=True))])
    return np.asarray(chances / chances.sum())


# figures worked out by hand


def test_erlang_by_hand() -> None:
    """Two servers at a load of 1: B = (1/2) / (1 + 1 + 1/2) = 1/5 and C = 1/3; three at 2: B = (8/6) / (19/3) = 4/19, C = 4/9."""
    assert erlang_b(2, 1.0) == pytest.approx(1 / 5)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_b(3, 2.0) == pytest.approx(4 / 19)
    assert erlang_c(3, 2.0) == pytest.approx(4 / 9)
    assert mmc_wait_s(2.0, 1.0, 3) == pytest.approx(4 / 9)


def test_pooling_at_nine_tenths() -> None:
    """At 90% and a mean service of 1, requests wait 9, 4.26, 1.525, 0.669 and 0.275 with 1, 2, 5, 10 and 20 servers."""
    waits = [mmc_wait_s(0.9 * servers, 1.0, servers) for servers in (1, 2, 5, 10, 20)]

    assert waits == pytest.approx([9.0, 4.263, 1.525, 0.669, 0.275], abs=5e-4)


def test_single_server_by_hand() -> None:
    """At a load of 4/5, waits are 4 with exponential service, 2 with constant, and 3 with two exponential stages."""
    assert mg1_wait_s(0.8, 1.0, 2.0) == pytest.approx(4.0)
    assert md1_wait_s(0.8, 1.0) == pytest.approx(2.0)
    assert mg1_wait_s(0.8, 1.0, 1.5) == pytest.approx(3.0)
    assert mmc_wait_quantile_s(0.9, 0.8, 1.0, 1) == pytest.approx(5.0 * math.log(8.0))
    assert mm1_latency_quantile_s(0.9, 0.8, 1.0) == pytest.approx(5.0 * math.log(10.0))
    assert little(0.8, 5.0) == pytest.approx(4.0)


def test_priorities_by_hand() -> None:
    """Loads 3/10 and 1/2 of exponential service: W₀ = 4/5, so 4/5 ÷ 7/10 = 8/7 and 4/5 ÷ (7/10 · 1/5) = 40/7."""
    assert priority_waits_s([0.3, 0.5], [1.0, 1.0], [2.0, 2.0]) == pytest.approx([8 / 7, 40 / 7])


def test_bulk_by_hand() -> None:
    """Twenty an hour, pairs served in five minutes on average: 3r³ − 8r + 5 = 0 has the root (√69 − 3)/6."""
    assert bulk_root(20.0, 1 / 12, 2) == pytest.approx((math.sqrt(69.0) - 3.0) / 6.0)


def test_two_choices_by_hand() -> None:
    """At 99%, the second choice makes 100 service times 5.43; a queue of three is had by 0.99⁷ of the servers."""
    assert choices_latency_s(0.99, 1.0) == pytest.approx(5.43, abs=0.005)
    assert choices_tail(0.99, 3) == pytest.approx(0.99**7)


# limits, and other ways to the same figure


@pytest.mark.parametrize("load", LOADS)
def test_one_server_is_one_server(load: float) -> None:
    """M/M/1 is Erlang's queue of one server, Pollaczek's of exponential service, a bulk queue of one, and one class."""
    expected = load / (1.0 - load)

    assert mmc_wait_s(load, 1.0, 1) == pytest.approx(expected)
    assert mg1_wait_s(load, 1.0, 2.0) == pytest.approx(expected)
    assert mm1k_bulk_wait_s(load, 1.0, 1) == pytest.approx(expected)
    assert priority_waits_s([load], [1.0], [2.0]) == pytest.approx([expected])
    assert choices_latency_s(load, 1.0, choices=1) - 1.0 == pytest.approx(expected)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.8), (2, 1.5), (7, 6.0)])
def test_erlang_is_a_birth_and_death(servers: int, load: float) -> None:
    """Erlang's figures are the chances of a chain that goes up at the rate of arrivals and down at that of busy servers."""
    numbers = np.arange(1, 2000)
    chances = birth_and_death([load] * len(numbers), np.minimum(numbers, servers).tolist())
    queue = float(np.maximum(np.arange(2000) - servers, 0) @ chances)

    assert erlang_c(servers, load) == pytest.approx(chances[servers:].sum())
    assert mmc_wait_s(load, 1.0, servers) == pytest.approx(queue / load)
    for room in (servers, servers + 3):
        full = birth_and_death([load] * room, np.minimum(numbers[:room], servers).tolist())
        assert mmck_blocking(servers, room, load) == pytest.approx(full[-1])


def test_priorities_conserve_work() -> None:
    """Whoever goes first, the work that waits is the same: Σ ρW = ρW of one queue (Kleinrock's conservation law)."""
    rates, means, moments = [0.2, 0.1, 0.3], [1.0, 2.0, 0.5], [1.0, 9.0, 0.5]
    waits = priority_waits_s(rates, means, moments)
    loads = np.multiply(rates, means)
    moment = float(np.dot(rates, moments)) / sum(rates)

    together = mg1_wait_s(sum(rates), float(loads.sum()) / sum(rates), moment)
    assert float(loads @ waits) == pytest.approx(float(loads.sum()) * together)
    assert waits == sorted(waits)


@pytest.mark.parametrize("load", LOADS)
def test_the_chain_is_the_closed_form(load: float) -> None:
    """Solved as a chain, batches of one are M/D/1, M/M/1 and M/G/1, and batches of one exponential law M/M^[1,K]/1."""
    for cv in (0.0, 0.5, 1.0):
        found = batch_chain(load, [1.0], cv)
        assert found is not None
        assert found == pytest.approx(
            (mg1_wait_s(load, 1.0, 1.0 + cv**2), mg1_wait_s(load, 1.0, 1.0 + cv**2) + 1.0), rel=1e-6
        )
    bulk = batch_chain(4.0 * load, [1.0] * 4, 1.0)
    assert bulk is not None
    assert bulk[0] == pytest.approx(mm1k_bulk_wait_s(4.0 * load, 1.0, 4), rel=1e-6)


@pytest.mark.parametrize(("load", "near"), [(0.1, 0.9), (0.3, 0.99), (0.6, 0.999), (0.8, 0.999)])
def test_the_bound_is_a_bound(load: float, near: float) -> None:
    """Inoue's bound of take-all batches is never below the chain's latency, and near it, the nearer the busier."""
    found = batch_chain(load / 0.01, [0.1 + 0.01 * batch for batch in range(1, 150)], 0.0)
    bound_s = take_all_bound_s(load / 0.01, 0.1, 0.01)

    assert found is not None
    assert near * bound_s < found[1] <= bound_s * (1.0 + 1e-8)


def test_two_choices_are_in_balance() -> None:
    """As many servers come to have i requests as cease to: λ(s²ᵢ₋₁ − s²ᵢ) = sᵢ − sᵢ₊₁, and shares are the load's."""
    load = 0.9
    tails = [choices_tail(load, length) for length in range(9)]

    assert tails[:2] == [1.0, load]
    for length in range(1, 8):
        came = load * (tails[length - 1] ** 2 - tails[length] ** 2)
        assert came == pytest.approx(tails[length] - tails[length + 1])


def test_saturated_queues_have_no_wait() -> None:
    """From saturation on, nothing is claimed."""
    waits = [
        mmc_wait_s(2.0, 1.0, 2), mmc_wait_quantile_s(0.5, 2.0, 1.0, 2), mm1_latency_quantile_s(0.5, 1.0, 1.0),
        choices_latency_s(1.0, 1.0), mg1_wait_s(1.0, 1.0, 2.0), mm1k_bulk_wait_s(4.0, 1.0, 4), take_all_bound_s(100.0, 0.1, 0.01),
        priority_waits_s([0.5, 0.5], [1.0, 1.0], [2.0, 2.0])[1],
    ]  # fmt: skip

    assert np.isnan(waits).all()
    assert saturation_per_s(3, [1.0, 1.5]) == 4.0
    assert batch_chain(1.0, [1.0], 1.0) is None


# flown: the queue is simulated in a few lines, and the exact figure lies in the interval


@njit(nogil=True)
def serve(
    sketch: Sketch,
    classes: Sketch,
    requests: int,
    gap_s: float,
    means_s: Floats,
    exponential: bool,
    servers: int,
    first: float,
) -> None:
    """Waits in front of servers that take all that wait, up to the largest batch; a share `first` goes before the rest."""
    make_room(sketch, requests)
    make_room(classes, requests)
    start, idle_s = origin(np.uint64(11)), np.zeros(servers)
    arrival_s = np.empty(requests)
    time_s = 0.0
    for each in range(requests):
        time_s -= gap_s * math.log1p(-uniform_from(start, 3 * each))
        arrival_s[each] = time_s
    taken = np.zeros(requests, dtype=np.bool_)
    oldest, next_first = 0, 0
    while oldest < requests:
        if taken[oldest]:
            oldest += 1
            continue
        server = int(np.argmin(idle_s))
        now_s = max(idle_s[server], arrival_s[oldest])
        if first > 0.0:
            while next_first < requests and (taken[next_first] or uniform_from(start, 3 * next_first + 1) >= first):
                next_first += 1
            chosen = next_first if next_first < requests and arrival_s[next_first] <= now_s else oldest
            batch, end = 1, chosen + 1
        else:
            chosen, end = oldest, oldest + 1
            while end < requests and end - oldest < len(means_s) and arrival_s[end] <= now_s:
                end += 1
            batch = end - oldest
        for request in range(chosen, end):
            taken[request] = True
            record(sketch, request, now_s - arrival_s[request])
            if first > 0.0 and uniform_from(start, 3 * request + 1) < first:
                record(classes, request, now_s - arrival_s[request])
        scale = -math.log1p(-uniform_from(start, 3 * chosen + 2)) if exponential else 1.0
        idle_s[server] = now_s + scale * means_s[batch - 1]


def flown(
    rate_per_s: float, means_s: Sequence[float], *, exponential: bool, servers: int = 1, first: float = 0.0
) -> tuple[Spread, Spread]:
    """The waits of all and of those that go first, at 99.9%."""
    waits, classes = Sketch.empty(), Sketch.empty()
    serve(waits, classes, 1_500_000, 1.0 / rate_per_s, np.array(means_s), exponential, servers, first)
    return Spread.of(Histogram.of(waits), 0.999), Spread.of(Histogram.of(classes), 0.999)


@pytest.mark.parametrize(
    ("rate_per_s", "means_s", "exponential", "servers"),
    [
        (0.7, [1.0], True, 1),
        (0.8, [1.0], False, 1),
        (1.6, [1.0], True, 2),
        (6.0, [1.0], True, 8),
        (2.8, [1.0] * 4, True, 1),
        (900.0, [0.001 + 0.0004 * batch for batch in range(1, 9)], False, 1),
        (1200.0, [0.001 + 0.0004 * batch for batch in range(1, 9)], True, 1),
    ],
)
def test_flown_queues_wait_as_long(rate_per_s: float, means_s: list[float], exponential: bool, servers: int) -> None:
    """The mean wait of a flown queue, and where it is known the tail, holds what its theory says, to within 6%."""
    shape = "exponential" if exponential else "deterministic"
    theory = closed_form(rate_per_s, shape, means_s, 1.0 if exponential else 0.0, servers=servers)
    wait, _ = flown(rate_per_s, means_s, exponential=exponential, servers=servers)

    assert isinstance(theory, Theory)
    assert wait.mean.low <= theory.wait_mean_s <= wait.mean.high
    assert wait.mean.high - wait.mean.low < 0.12 * theory.wait_mean_s
    for (_, expected), interval in zip(theory.wait_quantile_s, wait.quantiles, strict=False):
        assert interval.low <= expected <= interval.high


def test_flown_priorities() -> None:
    """A third of the requests goes before the others, and both wait as Cobham says."""
    waits = priority_waits_s([0.25, 0.5], [1.0, 1.0], [2.0, 2.0])
    everyone, first = flown(0.75, [1.0], exponential=True, first=1 / 3)

    assert first.mean.low <= waits[0] <= first.mean.high
    assert everyone.mean.low <= (waits[0] + 2.0 * waits[1]) / 3.0 <= everyone.mean.high
    assert first.mean.high < everyone.mean.low


# which applies


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("M/M/3", {"rate_per_s": 2.0, "shape": "exponential", "means_s": [1.0], "cv": 1.0, "servers": 3}),
        ("M/D/1", {"rate_per_s": 0.5, "shape": "deterministic", "means_s": [1.0], "cv": 0.0}),
        ("M/G/1", {"rate_per_s": 0.5, "shape": "lognormal", "means_s": [1.0], "cv": 2.0, "max_wait_s": 1.0}),
        ("M/M^[1,4]/1", {"rate_per_s": 2.0, "shape": "exponential", "means_s": [1.0] * 4, "cv": 1.0}),
        ("M/G^[1,2]/1", {"rate_per_s": 0.8, "shape": "gamma", "means_s": [1.0, 1.5], "cv": 0.5}),
    ],
)
def test_closed_form_knows(name: str, arguments: dict[str, object]) -> None:
    """The queue is told by its name, with its source and its mean wait and latency."""
    theory = closed_form(**arguments)  # type: ignore[arg-type]  # the table above holds each argument's own type

    assert isinstance(theory, Theory)
    assert name == theory.to_dict()["name"]
    assert 0.0 < theory.wait_mean_s < theory.latency_mean_s
    assert theory.source


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [
        ("with retries and faults", {"besides": ["retries", "faults"]}),
        ("Poisson arrivals", {"rate_per_s": None}),
        ("grows for ever", {"rate_per_s": 1.0}),
        ("exponential service only", {"servers": 2, "shape": "deterministic"}),
        ("one server only", {"servers": 2, "means_s": [1.0, 1.0]}),
        ("`max_wait` of zero", {"means_s": [1.0, 1.0], "max_wait_s": 0.1}),
        ("service only", {"means_s": [1.0, 1.5], "shape": "lognormal"}),
        ("too near saturation", {"rate_per_s": 1.3333, "means_s": [1.0, 1.5]}),
    ],
)
def test_closed_form_says_why_not(reason: str, arguments: dict[str, object]) -> None:
    """Where no closed form is known, the reason stands where the figures would."""
    usual: dict[str, object] = {"rate_per_s": 0.9, "shape": "exponential", "means_s": [1.0], "cv": 1.0}
    theory = closed_form(**(usual | arguments))  # type: ignore[arg-type]  # as above

    assert isinstance(theory, NoTheory)
    assert reason in theory.to_dict()["reason"]
