"""A flight over time: replicas, cost and the promise."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.seeds import Seeds
from windtunnel.simulate.batching import RayServeBatching
from windtunnel.simulate.fault import Crash
from windtunnel.simulate.flight import fly
from windtunnel.simulate.flight_course import FlightCourse
from windtunnel.simulate.flight_section import draw_flight
from windtunnel.simulate.scaling import KnativeScaling
from windtunnel.simulate.system import Scaling, System
from windtunnel.trace import Trace

TABLE = np.array([[0.0], [0.5]])


def test_a_queue_has_the_same_replicas_at_all_times() -> None:
    """Three executors of one queue are three replicas, also where the loop books none; intervals pay the whole."""
    system = System(TABLE, executors=3)
    flight = fly(system, Trace("t", np.arange(1000.0)), Seeds(1), slo_s=1.0)
    course = FlightCourse.of(flight, system, usd_per_hour=3600.0)

    assert course.replicas_mean == pytest.approx(3.0)
    assert course.replicas_peak == 3
    assert set(course.table["replicas"].to_list()) == {3.0}
    assert course.table["usd"].sum() == pytest.approx(course.replica_s) == pytest.approx(3 * 999.5)
    assert set(course.table["in_time"].drop_nulls()) == {1.0}


def test_a_replica_that_serves_several_batches_is_paid_once() -> None:
    """Two batches at once in each of two replicas are two replicas, not four."""
    system = System(TABLE, stations=2, executors=2, batcher=RayServeBatching(1, 0.0, max_concurrent_batches=2))
    flight = fly(system, Trace("t", np.arange(100.0)), Seeds(1))
    course = FlightCourse.of(flight, system)

    assert course.replicas_mean == pytest.approx(2.0)
    assert course.replicas_peak == 2
    assert course.table["usd"].null_count() == course.table.height


def test_replicas_that_scale() -> None:
    """A crowd raises them above what there is on average; what the intervals say adds up to what is paid."""
    crowd = np.sort(np.concatenate([np.arange(0.0, 300.0, 2.0), np.random.default_rng(0).uniform(100.0, 150.0, 900)]))
    system = System(TABLE, scaling=Scaling(KnativeScaling(concurrency=1), 1, 20))
    flight = fly(system, Trace("t", crowd), Seeds(1))
    course = FlightCourse.of(flight, system)

    assert 1.0 < course.replicas_mean < course.replicas_peak <= 20
    lasts_s = np.append(np.full(course.table.height - 1, flight.bin_s), flight.summary.seconds_simulated % flight.bin_s)
    assert float(course.table["replicas"].to_numpy() @ lasts_s) == pytest.approx(course.replica_s)
    assert f"{course.replicas_peak} at most" in draw_flight(flight, system, "t", course=course).sentences[0]


def test_a_replica_that_is_away() -> None:
    """A crashed replica is not among those that are there."""
    system = System(TABLE, stations=2, faults=(Crash(0, 200.0, 400.0),))
    course = FlightCourse.of(fly(system, Trace("t", np.arange(1000.0)), Seeds(1)), system)

    assert course.table["replicas"].min() == pytest.approx(1.0)
    assert course.replicas_peak == 2
    assert course.replicas_mean == pytest.approx(2.0 - 0.4, abs=0.01)
