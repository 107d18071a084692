from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.benchmarks.instances import Block, Processes
from windtunnel.benchmarks.measure import Effort
from windtunnel.benchmarks.scaling import MIN_ROUNDS, Layout, Scaling, layouts, measure_scaling
from windtunnel.errors import ConfigError
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

MODULE = importlib.import_module("windtunnel.benchmarks.scaling")
FEEDS = {"x": np.ones((3, 4), np.float32)}


@given(st.integers(1, 300), st.lists(st.integers(1, 300), max_size=3))
def test_layouts(cores: int, threads: list[int]) -> None:
    """Never more threads at once than cores; alone, all cores by instances, and all cores by threads are always tried."""
    asked = [each for each in threads if each <= cores]
    tried = layouts(cores, asked)

    assert len(set(tried)) == len(tried)
    assert all(1 <= t * n <= cores for t, n in tried)
    assert {(1, 1), (1, cores), (cores, 1)} <= set(tried)
    assert {(t, 1) for t in asked} | {(t, cores // t) for t in asked} <= set(tried)


@pytest.mark.parametrize("threads", [0, 3])
def test_threads_beyond_the_cores(threads: int) -> None:
    """More threads than cores, or none, are refused with the number of cores there are."""
    with pytest.raises(ConfigError, match=f"`threads` \\(={threads}\\) .*; 2 may be used here"):
        layouts(2, [threads])


def _scaling(rates: Mapping[tuple[int, int], tuple[float, ...]], cores: int) -> Scaling:
    return Scaling("m", 8, cores, tuple(Layout(t, n, each, 0.001) for (t, n), each in rates.items()))


def test_efficiency_by_hand() -> None:
    """Three instances that carry 240 where one carries 100 have an efficiency of 0.8; two of two threads likewise."""
    rates = {(1, 1): (100.0, 110.0), (1, 3): (240.0, 264.0), (3, 1): (200.0, 220.0), (2, 1): (150.0, 165.0)}
    found = _scaling(rates, 3)

    assert found.parallel_efficiency().value == pytest.approx(0.8)
    # rounds differ, their ratios do not: the machine's drift is paired out
    assert (found.parallel_efficiency().low, found.parallel_efficiency().high) == pytest.approx((0.8, 0.8))
    assert found.parallel_efficiency(2).value == 1.0


def test_efficiency_is_at_most_one() -> None:
    """Instances that help each other are not believed: no end of the interval is above 1."""
    efficiency = _scaling({(1, 1): (100.0, 100.0), (1, 2): (210.0, 190.0)}, 2).parallel_efficiency()

    assert efficiency.low < efficiency.value <= efficiency.high == 1.0


def test_efficiency_of_one_core() -> None:
    """One core is shared with nobody."""
    efficiency = _scaling({(1, 1): (100.0, 120.0)}, 1).parallel_efficiency()

    assert (efficiency.value, efficiency.low, efficiency.high, efficiency.samples) == (1.0, 1.0, 1.0, 2)


def test_efficiency_covers_the_truth() -> None:
    """Over repetitions on a machine that drifts, the interval holds the true efficiency in about 95% of cases."""
    rng, truth, covered = np.random.default_rng(3), 0.8, 0
    for _ in range(400):
        drift = np.exp(np.cumsum(rng.normal(scale=0.03, size=8)))
        alone, both = (level * drift * rng.lognormal(0.0, 0.04, 8) for level in (100.0, 200.0 * truth))
        efficiency = _scaling({(1, 1): tuple(alone), (1, 2): tuple(both)}, 2).parallel_efficiency()
        covered += efficiency.low <= truth <= efficiency.high

    assert 0.95 - 2.6 * np.sqrt(0.95 * 0.05 / 400) <= covered / 400


def test_best_and_saturation() -> None:
    """Throughput at saturation is that of the layout that carries most; of two alike, the one of fewer threads."""
    rates = {(1, 1): (100.0, 102.0), (1, 2): (190.0, 194.0), (2, 1): (190.0, 194.0)}
    found = _scaling(rates, 2)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))

    assert found.best == found.find(1, 2)
    assert told["best"] == {"threads": 1, "instances": 2}
    assert told["throughput_at_saturation_per_s"] == 192.0
    assert told["throughput_at_saturation_per_s_low"] < 190.0
    assert [each["rows_per_s"] for each in told["layouts"]] == [101.0, 192.0, 192.0]
    assert told["parallel_efficiency_low"] <= told["parallel_efficiency"] == pytest.approx(192 / 202, rel=1e-3)


def test_a_layout_that_was_not_tried() -> None:
    """What was not tried is not made up."""
    with pytest.raises(KeyError, match=r"\(4, 1\)"):
        _scaling({(1, 1): (1.0, 1.0)}, 1).find(4, 1)


@pytest.mark.parametrize(
    ("threads_per_s", "words"),
    [
        ((100.0, 101.0), "1.9 times as many as by 1 instance of 2 threads"),
        ((150.0, 230.0), "cannot be told from as many as by 1 instance of 2 threads"),
    ],
)
def test_meaning(threads_per_s: tuple[float, float], words: str) -> None:
    """The sentence says what carries most, and how that compares with the other way, if it can be told."""
    rates = {(1, 1): (96.0, 97.0), (1, 2): (190.0, 192.0), (2, 1): threads_per_s}

    assert (
        _scaling(rates, 2).meaning
        == f"191 (±7%) rows a second at saturation, by 2 instances of 1 thread in batches of 8; {words}"
    )


def test_meaning_on_one_core() -> None:
    """With one core there is nothing to compare."""
    assert _scaling({(1, 1): (100.0, 100.0)}, 1).meaning == (
        "100 (±0%) rows a second at saturation, by 1 instance of 1 thread in batches of 8"
    )


class _Instances:
    """Carries 100 rows a second an instance, as noisy as it is told; writes down what it was asked."""

    log: list[tuple[str, int, int, int]]
    made: int
    noise: float

    def __init__(self, *_: Any, count: int, threads: int, **__: Any) -> None:
        type(self).made += 1
        self.key, self.rng = (threads, count), np.random.default_rng(count)

    def open(self) -> None:
        self.log.append(("open", *self.key, 0))

    def block(self, batch: int, calls: int) -> Block:
        self.log.append(("block", *self.key, calls))
        rate = 100.0 * self.key[1] * float(np.exp(self.noise * self.rng.normal()))
        return Block(self._times(calls, batch), 0.25 * calls * self.key[1], rate)

    def _times(self, calls: int, batch: int) -> NDArray[np.float64]:
        return np.full(calls * self.key[1], batch / 100.0)

    def close(self) -> None:
        self.log.append(("close", *self.key, 0))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[_Instances]:
    """Instances without processes."""
    kind = type("_Fresh", (_Instances,), {"log": [], "made": 0, "noise": 0.0})
    monkeypatch.setattr(MODULE, "Instances", kind)
    return kind


def _measure(effort: Effort, cores: int = 4) -> Scaling:
    rng = np.random.default_rng(1)
    return measure_scaling(Processes(0), "f.py:make", FEEDS, 2, cores=cores, rng=rng, effort=effort)


def test_rounds(stand_in: type[_Instances]) -> None:
    """Every layout gets the same number of blocks in changing order, loaded anew for each; at the end all are let go."""
    found = _measure(Effort(0.05, 0.0))
    tried = layouts(4)
    rounds = [(threads, count) for what, threads, count, _ in stand_in.log if what == "open"][len(tried) :]
    orders = [tuple(rounds[start : start + len(tried)]) for start in range(0, len(rounds), len(tried))]

    assert [(each.threads, each.instances) for each in found.layouts] == tried
    assert {len(each.rounds_per_s) for each in found.layouts} == {MIN_ROUNDS} == {len(orders)}
    assert all(sorted(order) == tried for order in orders)
    assert len(set(orders)) > 1
    assert sorted(entry[1:3] for entry in stand_in.log if entry[0] == "close") == tried


def test_cpu_seconds_a_row(stand_in: type[_Instances]) -> None:
    """A quarter of a CPU second a call of two rows is an eighth a row, however many instances make the calls."""
    found = _measure(Effort(0.05, 0.0))

    assert stand_in.made == len(found.layouts)
    assert [each.cpu_s_per_row for each in found.layouts] == pytest.approx([0.125] * len(found.layouts))


def test_rounds_go_on_until_precise(stand_in: type[_Instances]) -> None:
    """Rounds go on until every layout's interval is as narrow as was asked for, when the budget allows."""
    stand_in.noise = 0.2
    found = _measure(Effort(0.05, 1e6), cores=2)

    assert len(found.layouts[0].rounds_per_s) > MIN_ROUNDS
    for layout in found.layouts:
        rate = layout.rows_per_s
        assert rate.high - rate.low <= 0.1 * rate.value


def test_all_are_let_go_after_an_error(stand_in: type[_Instances], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a block fails the models are let go all the same."""

    def fail(*_: Any) -> Block:
        raise RuntimeError("a block failed")

    monkeypatch.setattr(stand_in, "block", fail)
    with pytest.raises(RuntimeError, match="a block failed"):
        _measure(Effort())
    assert sum(entry[0] == "close" for entry in stand_in.log) == len(layouts(4))


def test_real_processes(tiny_model: Path) -> None:
    """Two processes carry something, and every figure is there."""
    rng = np.random.default_rng(1)
    with Processes(2) as processes:
        found = measure_scaling(
            processes, Variant.from_file(tiny_model), FEEDS, 3, cores=2, rng=rng, effort=Effort(1.0, 0.0)
        )

    assert [(each.threads, each.instances) for each in found.layouts] == [(1, 1), (1, 2), (2, 1)]
    assert all(min(each.rounds_per_s) > 0.0 and each.cpu_s_per_row > 0.0 for each in found.layouts)
    assert 0.0 < found.parallel_efficiency().value <= 1.0
