"""The script that compares us with SimPy runs, and both fly the same queue."""

from __future__ import annotations

import pytest

from tests.performance import simulation


def test_both_fly_the_same_queue() -> None:
    """SimPy's mean latency and ours are those of one queue: within 5% over 20,000 requests of each."""
    ours = simulation.flown(simulation.plain(), simulation.RATE_PER_S, 200_000, 1).latency_times.mean_s

    assert simulation.SimpyQueue(20_000, 1).run() == pytest.approx(ours, rel=0.05)


def test_it_measures() -> None:
    """The table has a ratio with its interval, and every speed."""
    told = simulation.measure(2, 20_000).to_dict()

    assert told["ratio_low"] <= told["ratio"] <= told["ratio_high"]
    assert min(told["ours_per_s"], told["simpy_per_s"], told["whole_system_per_s"]) > 0.0
