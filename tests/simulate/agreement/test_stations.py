"""The compiled stations of the road against the same story told slowly."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.road import IDLE_S
from windtunnel.simulate.agreement.stations import (
    LOOP,
    OUTSIDE,
    SERVICE,
    TIMER,
    Stations,
    between,
    loop_of,
    pass_through,
    service_of,
)
from windtunnel.simulate.batching import RayServeBatching
from windtunnel.simulate.chance import origin, uniform_from
from windtunnel.simulate.reference.road import Course, drive_slowly


def make_stations(
    batching: RayServeBatching, replicas: int, rng: np.random.Generator, requests: int, ongoing: int
) -> Stations:
    """Stations of two loads, all numbers drawn."""
    largest = batching.max_batch
    service_s = np.concatenate([[0.0], 0.002 + 0.003 * np.arange(1, largest + 1)])
    return Stations(
        batching.settings(), replicas, service_s, np.sort(rng.uniform(0.9, 1.3, len(IDLE_S))), np.array([1.0, 1.2]), rng.lognormal(0.0, 0.2, (2, 50)),
        np.sort(rng.gamma(2.0, 0.0005, (2, 64)), axis=1), np.sort(rng.exponential(0.0003, (2, 64)), axis=1),
        0.0002, 0.0004, 0.0001, ongoing, np.asarray(0.0003 + 0.0001 * np.arange(largest + 1), np.float64), 0.0002, rng.lognormal(0.0, 0.5, (2, 70)), 0.0001, 0.00015, 0, 0.3,
        np.zeros(requests, dtype=np.int64), rng.uniform(size=requests), rng.uniform(0.8, 1.3, requests),
    )  # fmt: skip


def course_of(stations: Stations, seed: int, requests: int) -> Course:
    """What the compiled loop draws, as functions."""
    starts = [np.uint64(origin(np.uint64(4 * seed + each))) for each in range(4)]
    ways = [
        between(stations.outside_s, stations.lowers[each], stations.shares[each], uniform_from(starts[OUTSIDE], each))
        / 2.0
        for each in range(requests)
    ]
    return Course(
        lambda request: (ways[request], ways[request]),
        lambda batch, size, first, idle_s: service_of(stations, starts[SERVICE], batch, size, first, idle_s),
        lambda each: between(stations.timer_s, stations.lower, stations.share, uniform_from(starts[TIMER], each)),
        stations.entry_s, stations.dispatch_s, stations.join_s, stations.ongoing, lambda size: float(stations.resume_s[size]), stations.knock_s,
        lambda batch, first: loop_of(stations, starts[LOOP], batch, first), stations.company_s, stations.rank_s,
    )  # fmt: skip


@pytest.mark.parametrize("python", [(3, 11), (3, 12)])
@pytest.mark.parametrize(
    ("replicas", "max_batch", "rate_per_s", "ongoing"),
    [
        (1, 8, 150.0, 100),
        (1, 4, 60.0, 100),
        (2, 8, 350.0, 16),
        (3, 1, 300.0, 2),
        (1, 8, 330.0, 16),
        (1, 8, 330.0, 11),
        (2, 8, 300.0, 5),
    ],
)
def test_compiled_stations_equal_the_slow_ones(
    python: tuple[int, int], replicas: int, max_batch: int, rate_per_s: float, ongoing: int
) -> None:
    """Request by request, the compiled loop and the plain one tell the same times, batches and replicas."""
    rng = np.random.default_rng(7)
    batching = RayServeBatching(max_batch, 0.005, blocking=True, python=python)
    stations = make_stations(batching, replicas, rng, 800, ongoing)
    scheduled_s = np.cumsum(rng.exponential(1.0 / rate_per_s, 800))
    passed = pass_through(scheduled_s, stations, 5)
    slow = drive_slowly(scheduled_s.tolist(), batching, replicas, course_of(stations, 5, len(scheduled_s)))
    for name in ("entered_s", "started_s", "ended_s", "finished_s"):
        assert np.allclose(getattr(passed, name), [getattr(step, name) for step in slow], atol=1e-9), name
    assert passed.batch_size.tolist() == [step.batch_size for step in slow]
    assert passed.replica.tolist() == [step.replica for step in slow]


def test_a_lone_request_takes_its_way_its_timer_and_its_service() -> None:
    """A request that meets nobody: way in, entry, wait for company, service, way back; to the nanosecond."""
    batching = RayServeBatching(8, 0.005, blocking=True)
    one = np.full((1, 4), 1.0)
    stations = Stations(
        batching.settings(), 1, np.array([0.0, *[0.01] * 8]), np.ones(len(IDLE_S)), np.ones(1), one, one * 0.002, one * 0.0004, 0.0001, 0.0003, 0.0, 16, np.zeros(9), 0.0, one,
        0.1, 0.1, 0, 0.0,
        np.zeros(3, dtype=np.int64), np.zeros(3), np.ones(3),
    )  # fmt: skip
    passed = pass_through(np.array([1.0, 2.0]), stations, 1)
    assert np.allclose(passed.entered_s - [1.0, 2.0], 0.001 + 0.0001)
    assert np.allclose(passed.finished_s - [1.0, 2.0], 0.001 + 0.0001 + 0.0054 + 0.01 + 0.001)


def test_a_request_that_meets_a_busy_loop_waits_outside() -> None:
    """While the model runs nobody gets in: the wait is before the replica's code, not in its queue."""
    batching = RayServeBatching(8, 0.005, blocking=True)
    one = np.full((1, 4), 1.0)
    stations = Stations(
        batching.settings(), 1, np.array([0.0, *[0.1] * 8]), np.ones(len(IDLE_S)), np.ones(1), one, one * 0.0, one * 0.0, 0.0001, 0.0, 0.0, 16, np.asarray(0.0003 + 0.0004 * np.arange(9), np.float64), 0.0002, one,
        0.0, 0.0, 0, 0.0,
        np.zeros(3, dtype=np.int64), np.zeros(3), np.ones(3),
    )  # fmt: skip
    passed = pass_through(np.array([0.0, 0.05]), stations, 1)
    assert passed.entered_s[1] == pytest.approx(0.1053 + 0.0003 + 0.0004 + 0.0002 + 0.0001)
    assert passed.started_s[1] - passed.entered_s[1] == pytest.approx(0.005)


def test_who_has_knocked_as_a_full_batch_is_closed_is_left_over() -> None:
    """Three come while a batch runs, and two fill the next: the third is let in before that runs, and goes alone right after it."""
    batching = RayServeBatching(2, 0.005, blocking=True, python=(3, 11))
    one = np.full((1, 4), 1.0)
    stations = Stations(
        batching.settings(), 1, np.array([0.0, 0.1, 0.1]), np.ones(len(IDLE_S)), np.ones(1), one, one * 0.0, one * 0.0, 0.0001, 0.001, 0.0, 16, np.zeros(3), 0.0, one,
        0.0, 0.0, 0, 0.0, np.zeros(4, dtype=np.int64), np.zeros(4), np.ones(4),
    )  # fmt: skip
    passed = pass_through(np.array([0.0, 0.05, 0.06, 0.07]), stations, 1)
    assert passed.batch_size.tolist() == [1, 2, 2, 1]
    assert passed.entered_s[3] < passed.started_s[1]
    assert passed.started_s[3] - passed.ended_s[1] == pytest.approx(0.001)


def test_a_timer_is_later_for_each_that_joins() -> None:
    """Two that come while the first waits for company put it off by half a millisecond each."""
    batching = RayServeBatching(8, 0.005, blocking=True)
    one = np.full((1, 4), 1.0)
    stations = Stations(
        batching.settings(), 1, np.array([0.0, *[0.1] * 8]), np.ones(len(IDLE_S)), np.ones(1), one, one * 0.0, one * 0.0, 0.0, 0.0, 0.0005, 16, np.zeros(9), 0.0, one,
        0.0, 0.0, 0, 0.0, np.zeros(3, dtype=np.int64), np.zeros(3), np.ones(3),
    )  # fmt: skip
    passed = pass_through(np.array([0.0, 0.001, 0.002]), stations, 1)
    assert passed.started_s == pytest.approx([0.006] * 3)


def test_a_replica_takes_on_no_more_than_it_may() -> None:
    """Of twelve that come at once, with places for five and batches of four, nobody waits in the replica but the fifth: the others stay outside."""
    batching = RayServeBatching(4, 0.005, blocking=True)
    one = np.full((1, 4), 1.0)
    stations = Stations(
        batching.settings(), 1, np.array([0.0, *[0.1] * 4]), np.ones(len(IDLE_S)), np.ones(1), one, one * 0.0, one * 0.0, 0.0001, 0.001, 0.0, 5, np.zeros(5), 0.0, one,
        0.0, 0.0, 0, 0.0, np.zeros(12, dtype=np.int64), np.zeros(12), np.ones(12),
    )  # fmt: skip
    passed = pass_through(np.zeros(12), stations, 1)
    inside = [int(np.sum((passed.entered_s <= at_s) & (at_s < passed.ended_s))) for at_s in passed.entered_s]
    assert max(inside) == 5
    assert np.all(passed.entered_s[5:] > passed.ended_s[0])
