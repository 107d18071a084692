from __future__ import annotations

import numpy as np
import pytest

from windtunnel.optimize.goal import Goal
from windtunnel.optimize.speed import compare_speed
from windtunnel.timings import Timings


def _timings(seed: int = 1, **times_s: dict[int, float]) -> Timings:
    """Ten rounds of twenty calls, with one percent of noise that parent and child share in a round."""
    rng = np.random.default_rng(seed)
    drift = rng.uniform(0.8, 1.2, 10)
    blocks = {
        (name, batch): tuple(time_s * each * rng.uniform(0.99, 1.01, 20) for each in drift)
        for name, cells in times_s.items()
        for batch, time_s in cells.items()
    }
    return Timings(blocks, dict.fromkeys(blocks, True))


def test_cells_and_their_mean() -> None:
    """A child that is 4 × as fast at one batch size and as fast at the other is 2 × as fast in the geometric mean."""
    timings = _timings(a={1: 1e-3, 8: 4e-3}, b={1: 0.25e-3, 8: 4e-3})
    found = compare_speed({"": timings}, "a", "b", Goal(batch_sizes=(1, 8)), 0.95)

    assert {name: cell.value for name, cell in found.cells.items()} == pytest.approx({"1": 4.0, "8": 1.0}, rel=0.01)
    assert found.overall.value == pytest.approx(2.0, rel=0.01)
    assert found.overall.low < 2.0 < found.overall.high
    assert found.steady


def test_size_classes_are_cells_of_their_own() -> None:
    """Every length at every batch size is a cell, and all count alike."""
    short, long = _timings(a={1: 1e-3}, b={1: 1e-3 / 8}), _timings(2, a={1: 9e-3}, b={1: 4.5e-3})
    found = compare_speed({"n=8": short, "n=64": long}, "a", "b", Goal(), 0.95)

    assert list(found.cells) == ["1, n=8", "1, n=64"]
    assert found.overall.value == pytest.approx(4.0, rel=0.01)


def test_throughput_is_that_of_the_best_batch() -> None:
    """Each model is taken at the batch size where it does most rows a second."""
    timings = _timings(a={1: 1e-3, 8: 16e-3}, b={1: 2e-3, 8: 2e-3})
    found = compare_speed({"": timings}, "a", "b", Goal(batch_sizes=(1, 8), objective="throughput"), 0.95)

    assert found.overall.value == pytest.approx(4.0, rel=0.02)  # 4,000 rows a second against 1,000


def test_the_tail_is_compared_where_it_is_asked_for() -> None:
    """With p99 a child of the same median and a longer tail is slower."""
    rng = np.random.default_rng(1)
    steady = tuple(rng.uniform(0.99e-3, 1.01e-3, 200) for _ in range(10))
    tailed = tuple(np.where(rng.random(200) < 0.05, 3e-3, block) for block in steady)
    timings = Timings({("a", 1): steady, ("b", 1): tailed}, {})

    assert compare_speed({"": timings}, "a", "b", Goal(objective="p50"), 0.95).overall.value == pytest.approx(
        1.0, rel=0.01
    )
    assert compare_speed({"": timings}, "a", "b", Goal(objective="p99"), 0.95).overall.value < 0.5


def test_intervals_hold() -> None:
    """Of two hundred 95% intervals about a known ratio, about nineteen in twenty hold it."""
    inside = sum(
        (found := compare_speed({"": _timings(seed, a={1: 2e-3}, b={1: 1e-3})}, "a", "b", Goal(), 0.95).overall).low
        <= 2.0
        <= found.high
        for seed in range(200)
    )

    assert inside >= 180
