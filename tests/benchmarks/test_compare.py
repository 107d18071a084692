from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from windtunnel.benchmarks.compare import Comparison, compare_profiles, compare_timings, judge_slower
from windtunnel.digest import canonical_json
from windtunnel.errors import DataError
from windtunnel.stats import Interval
from windtunnel.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.latency_profile import LatencyProfile


def _ratio(value: float, reach: float = 0.01) -> Comparison:
    return Comparison("old", "new", 1, Interval(value, value - reach, value + reach, 12, 0.95), paired=True)


def test_side_by_side() -> None:
    """Each other model is put beside the first at each batch size; the ratio is the first's median over the other's."""
    level = {"a": 2e-3, "b": 1e-3, "c": 4e-3}
    blocks = {(name, batch): (np.full(9, batch * level[name]),) * 5 for name in level for batch in (1, 8)}

    found = compare_timings(Timings(blocks, {}), [("a", "b"), ("a", "c")], (1, 8))

    assert [(each.a, each.b, each.batch) for each in found] == [
        ("a", "b", 1),
        ("a", "b", 8),
        ("a", "c", 1),
        ("a", "c", 8),
    ]
    assert [each.ratio.value for each in found] == pytest.approx([2.0, 2.0, 0.5, 0.5])
    assert [each.told for each in found] == ["faster", "faster", "slower", "slower"]
    assert all(each.paired for each in found)


def test_pairing_takes_the_drift_out() -> None:
    """On a machine whose speed wanders by a factor of e a difference of one percent is told."""
    rng = np.random.default_rng(1)
    drift = rng.lognormal(0.0, 1.0, size=20)
    blocks = {
        (name, 1): tuple(level * d * rng.normal(1.0, 0.001, 50) for d in drift)
        for name, level in (("a", 1.01), ("b", 1.0))
    }

    (found,) = compare_timings(Timings(blocks, {}), [("a", "b")], (1,))

    assert found.told == "faster"
    assert found.ratio.value == pytest.approx(1.01, abs=2e-3)


def test_two_runs(make_profile: Callable[..., LatencyProfile]) -> None:
    """Two profiles from different times are compared at the batch sizes they share, and are not called paired."""
    old = make_profile("m")
    new = replace(
        old, runtime="onnxruntime 2 CPUExecutionProvider", samples_s=(old.samples_s[0] / 2.0,), batch_sizes=(1,)
    )

    (found,) = compare_profiles(old, new)

    assert (found.a, found.b) == ("m (onnxruntime 1 CPUExecutionProvider)", "m (onnxruntime 2 CPUExecutionProvider)")
    assert (found.batch, found.told, found.paired) == (1, "faster", False)
    assert found.ratio.value == pytest.approx(2.0)


def test_the_same_run_twice(make_profile: Callable[..., LatencyProfile]) -> None:
    """A profile is not told apart from itself."""
    assert {each.told for each in compare_profiles(make_profile(), make_profile())} == {"not told apart"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"basis": "projected"}, "projected, not measured"),
        ({"batch_sizes": (2, 4)}, r"batch sizes \[2, 4\], the other \[1, 8\].*--batch"),
    ],
)
def test_what_cannot_be_compared(
    make_profile: Callable[..., LatencyProfile], change: dict[str, object], message: str
) -> None:
    """What was not measured, or shares no batch size, is refused with the way out."""
    with pytest.raises(DataError, match=message):
        compare_profiles(make_profile("a"), replace(make_profile("b"), **change))  # type: ignore[arg-type]  # one field each


def test_other_hardware(make_profile: Callable[..., LatencyProfile]) -> None:
    """Profiles of two machines are not compared as if they were of one."""
    with pytest.raises(DataError, match="compare what was measured on one kind of machine"):
        compare_profiles(make_profile("a"), make_profile("b", cores=4.0))


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ((1.0, 1.2), "go"),
        ((1.0, 0.9), "no-go"),
        ((0.97, 1.0), "inconclusive"),
        ((0.985,), "go"),
        ((0.955, 0.97), "no-go"),
    ],
)
def test_slower_than_allowed(values: tuple[float, ...], outcome: str) -> None:
    """No-go where one is shown to be slower by more than is allowed, go where none can be, else inconclusive."""
    verdict = judge_slower([_ratio(value, 0.004) for value in values], 0.03)

    assert verdict.outcome == outcome


def test_a_twin_is_seldom_slower_by_chance() -> None:
    """Of twins measured a hundred times, none is failed by a gate of 3% where the noise is 2% a round."""
    rng = np.random.default_rng(2)
    failed = 0
    for _ in range(100):
        blocks = {(name, 1): tuple(np.full(5, each) for each in rng.lognormal(0.0, 0.02, 12)) for name in ("a", "b")}
        failed += judge_slower(compare_timings(Timings(blocks, {}), [("a", "b")], (1,)), 0.03).outcome == "no-go"

    assert failed == 0


def test_as_json() -> None:
    """The document holds the keys that were promised, and a plain sentence."""
    document = _ratio(1.25).to_dict()

    assert json.loads(canonical_json(document)) == document
    assert document.keys() >= {"a", "b", "batch", "ratio", "ratio_low", "ratio_high"}
    assert document["sentence"] == "new is faster than old at batch 1: 1.25 × as fast (1.24 to 1.26)"
