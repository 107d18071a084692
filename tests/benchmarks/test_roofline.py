from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.benchmarks.calibration import Calibration, bound, fit
from windtunnel.benchmarks.leave_one_out import projected_s
from windtunnel.benchmarks.projection_error import HeldOut, ProjectionError
from windtunnel.benchmarks.reference_models import build, rows
from windtunnel.benchmarks.roofline import LEAST_SPREAD, Projector, Target, cpu_target, gpu_target, project, spread
from windtunnel.errors import ConfigError, ModelError
from windtunnel.graph import Graph
from windtunnel.hardware import Hardware
from windtunnel.latency_profile import LatencyProfile
from windtunnel.operator_count import CLASSES, Operator
from windtunnel.peak import Peak
from windtunnel.price import Price, find_price
from windtunnel.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGE = 10**9
ERROR = ProjectionError(tuple(HeldOut(change, "m", 1.2, 1.0) for change in ("threads", "precision", "instructions")))
HERE = Hardware("a processor", "x86_64", ("AVX2",), 2.0, 2**32)


def _peak(**changes: Any) -> Peak:
    return replace(Peak("m", "cpu", 1.0, {"float32": 1e11}, 1e10, 1e-6, None, "made up"), **changes)


def _price(**changes: Any) -> Price:
    return replace(find_price("azure:D2s_v5"), name="made:up", physical_cores=2.0, clock_ghz=None, **changes)


def _calibration(size: int = 1, **changes: Any) -> Calibration:
    """A product bound by arithmetic for 10 ms and a copy bound by memory for 2 ms, times `size`, all at half the peak."""
    operators = (
        Operator("p", "MatMul", "matmul", size * 10**9, 1000, 1000, "float32"),
        Operator("c", "Transpose", "movement", 0, size * 10**7, size * 10**7, "float32"),
    )
    graph = Graph(operators, (), LARGE, 0, 0, LARGE)
    return replace(fit(graph, {"p": 0.02 * size, "c": 0.004 * size}, _peak(), 0.024 * size + 2e-6), **changes)


def _profile(**changes: Any) -> LatencyProfile:
    rng = np.random.default_rng(1)
    samples = tuple(0.024 * size * rng.uniform(0.9, 1.1, 50) for size in (1, 8))
    profile = LatencyProfile(
        "m", "a" * 64, HERE, "onnxruntime 1.32.0 CPUExecutionProvider", 1, "measured", (1, 8), samples, 0.9, Verdict("go", ("fine",)),
        cpu_s=(0.024, 0.192),
    )  # fmt: skip
    return replace(profile, **changes)


def _calibrations() -> dict[int, Calibration]:
    return {1: _calibration(1), 8: _calibration(8)}


def _target(**changes: Any) -> Target:
    return Target(_peak(name="other", **changes), HERE, "elsewhere")


def test_scales_by_hand() -> None:
    """Twice the arithmetic and the same memory: the product's 20 ms become 10, the copy's 4 ms stay."""
    projected = project(_profile(), _calibrations(), _target(flops_per_s={"float32": 2e11}), ERROR)
    measured = _profile()

    for before, after in zip(measured.samples_s, projected.samples_s, strict=True):
        assert after / before == pytest.approx(np.full(50, 14.0 / 24.0), rel=1e-3)
    assert projected.cpu_s == pytest.approx((0.014, 0.112), rel=1e-3)


def test_same_machine_projects_to_itself() -> None:
    """On a machine with the peaks measured here nothing changes but the basis and the band."""
    projected, measured = project(_profile(), _calibrations(), _target(), ERROR), _profile()

    assert all(np.allclose(a, b) for a, b in zip(projected.samples_s, measured.samples_s, strict=True))
    assert (projected.basis, projected.band) == ("projected", ERROR.band())
    assert projected.verdict.outcome == "go"
    assert "projected from a processor to other, whose peaks are made up" in projected.verdict.reasons[0]


def test_doubt_is_not_projected_away() -> None:
    """What was not valid where it was measured is not valid elsewhere."""
    doubtful = _profile(verdict=Verdict("inconclusive", ("batch 1 drifted",)))
    projected = project(doubtful, _calibrations(), _target(), ERROR)

    assert (projected.verdict.outcome, projected.verdict.reasons[0]) == ("inconclusive", "batch 1 drifted")


def test_gpu_is_wider() -> None:
    """For a GPU the band holds what no configuration here could show, and says so; one server has it alone."""
    gpu = _target(kind="gpu", transfer_bytes_per_s=12e9)
    projected = project(_profile(), _calibrations(), gpu, ERROR)

    assert projected.band == ERROR.band(unseen=LEAST_SPREAD) > ERROR.band()
    assert (projected.parallel_efficiency, projected.cpu_s) == (1.0, ())
    assert "no GPU was seen here" in projected.verdict.reasons[1]


def test_spread_by_hand() -> None:
    """Two classes that take equal time, one e⁴ times as efficient as the other: a deviation of 2."""
    efficiency = {("matmul", "flops"): math.exp(-2.0), ("movement", "bytes"): math.exp(2.0)}
    operators = (
        Operator("p", "MatMul", "matmul", 10**9, 0, 0, "float32"),
        Operator("c", "Transpose", "movement", 0, round(1e8 * math.exp(4.0)), 0, "float32"),
    )
    unlike = _calibration(graph=Graph(operators, (), LARGE, 0, 0, LARGE), efficiency=efficiency)

    assert spread([unlike]) == pytest.approx(2.0)
    assert spread([_calibration()]) == LEAST_SPREAD


def test_refuses_what_was_not_counted() -> None:
    """Where a third of the time belongs to operators that nobody counted there is no projection."""
    calibrations = {1: _calibration(1), 8: _calibration(8, uncounted_share=0.34)}

    with pytest.raises(ModelError, match="spends 34% of its time in operators that cannot be counted"):
        project(_profile(), calibrations, _target(), ERROR)


def test_refuses_what_does_not_fit() -> None:
    """A model that the target's memory cannot hold is refused, with both sizes."""
    with pytest.raises(ModelError, match=r"needs 0\.9 GiB at batch 1, and other has 0\.5 GiB"):
        project(_profile(), _calibrations(), _target(memory_bytes=2**29), ERROR)


def test_cpu_target() -> None:
    """Another machine without accelerator is this processor with its cores; the session keeps its threads."""
    here = _peak(cores=4.0, flops_per_s={"float32": 4e11}, bytes_per_s=4e10)
    two = cpu_target(_price(), here, HERE, "rt")

    assert (two.peak.cores, two.peak.flops("float32"), two.peak.bytes_per_s) == (2.0, 2e11, 2e10)
    assert two.peak.source == "those measured here for 2 of 2 cores, at the same clock, since the catalogue states none"
    assert (two.hardware.instance, two.hardware.cores, two.peak.memory_bytes) == ("made:up", 2.0, 8 * 2**30)
    assert cpu_target(_price(), _peak(), HERE, "rt").peak.cores == 1.0


def test_cpu_target_with_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stated clock counts against the one counted here."""
    monkeypatch.setattr("windtunnel.benchmarks.roofline.clock_ghz", lambda: 2.5)
    target = cpu_target(replace(_price(), clock_ghz=3.0), _peak(), HERE, "rt")

    assert target.peak.flops("float32") == pytest.approx(1.2e11)
    assert "× clock (3 GHz as stated ÷ 2.5 GHz as counted here)" in target.peak.source


def test_gpu_target() -> None:
    """An accelerator is its data sheet; one that has none is refused."""
    target = gpu_target(find_price("aws:g5.xlarge"), HERE, "onnxruntime 1 CPUExecutionProvider")

    assert (target.peak.name, target.hardware.gpus, target.runtime) == (
        "A10G",
        ("A10G",),
        "onnxruntime 1 CUDAExecutionProvider",
    )
    with pytest.raises(ConfigError, match="has no data sheet here"):
        gpu_target(_price(accelerator="Abacus", accelerators=1), HERE, "rt")


@pytest.fixture
def projector(tmp_path: Path) -> Projector:
    """One of the reference models, with planted errors."""
    return Projector({"m": build("dense", tmp_path)}, {"": rows("dense", 8)}, lambda: ERROR)


def test_projector(projector: Projector) -> None:
    """A profile of a model that is at hand is projected to another machine and to a GPU."""
    for name in ("azure:D2s_v5", "aws:g5.xlarge"):
        projected = projector(_profile(), find_price(name))
        assert isinstance(projected, LatencyProfile)
        assert (projected.basis, projected.hardware.instance) == ("projected", name)


@pytest.mark.parametrize(
    ("changes", "price", "reason"),
    [
        ({"variant": "other"}, {}, "other was not measured here"),
        ({"basis": "projected"}, {}, "m was not measured here"),
        ({"runtime": "torch 2.6 eager"}, {}, "only ONNX Runtime's times on a CPU can be projected"),
        ({}, {"architecture": "arm64"}, "measured on x86_64, from which nothing follows for arm64"),
        ({}, {"accelerator": "Abacus", "accelerators": 1}, "has no data sheet here"),
    ],
)
def test_projector_says_why_not(
    projector: Projector, changes: dict[str, Any], price: dict[str, Any], reason: str
) -> None:
    """What cannot be projected is answered with the reason, so that the cost table can say it."""
    answer = projector(_profile(**changes), replace(_price(), **price))

    assert isinstance(answer, str)
    assert reason in answer


def _random_graph(rng: np.random.Generator) -> Graph:
    """Fifteen operators of any class and size."""
    operators = tuple(
        Operator(f"o{i}", "Any", str(rng.choice(CLASSES)), round(10 ** rng.uniform(5, 9)), round(10 ** rng.uniform(4, 8)), 0, "float32")
        for i in range(15)
    )  # fmt: skip
    return Graph(operators, (), LARGE, 0, 0, LARGE)


def _run(graph: Graph, peak: Peak, efficiency: Callable[[Operator], float]) -> Calibration:
    """A calibration on a machine whose true efficiencies are known."""
    work_s = {each.name: bound(each, peak, peak.bytes_per_s)[0] / efficiency(each) for each in graph.operators}
    return fit(graph, work_s, peak, math.fsum(work_s.values()) + len(work_s) * peak.dispatch_s)


def _change(rng: np.random.Generator, name: str, deviation: float) -> list[HeldOut]:
    """Three models projected from one made-up machine to another, which runs each class better or worse than the first did."""
    first, second = (
        _peak(),
        _peak(flops_per_s={"float32": 1e11 * rng.uniform(0.5, 4.0)}, bytes_per_s=1e10 * rng.uniform(0.5, 4.0)),
    )
    here = {each: rng.uniform(0.2, 1.0) for each in CLASSES}
    common = rng.normal(0.0, deviation)
    there = {each: here[each] * math.exp(common + rng.normal(0.0, deviation)) for each in CLASSES}
    held_out = []
    for case in range(3):
        graph = _random_graph(rng)
        a, b = (_run(graph, first, lambda each: here[each.operator_class]), _run(graph, second, lambda each: there[each.operator_class]))  # fmt: skip
        held_out.append(HeldOut(name, f"model {case}", projected_s(a, b), b.measured_s))
    return held_out


def _coverage(band: Callable[[ProjectionError], float]) -> float:
    """How often the band that follows from three changes covers the projections of a fourth."""
    rng, hits = np.random.default_rng(5), []
    for _ in range(250):
        seen = ProjectionError(tuple(each for name in "abc" for each in _change(rng, name, 0.25)))
        following = _change(rng, "d", 0.25)
        hits += [abs(each.log_error) <= math.log(band(seen)) + 1e-9 for each in following]
    return float(np.mean(hits))


def test_band_covers_on_machines_whose_truth_is_known() -> None:
    """Between machines that run each class of operators better or worse by chance, the band covers as often as it says."""
    assert _coverage(ProjectionError.band) == pytest.approx(0.95, abs=0.03)


def test_too_confident_on_machines_whose_truth_is_known() -> None:
    """The same check on a band of 1 fails."""
    assert _coverage(lambda _: 1.0) < 0.05
