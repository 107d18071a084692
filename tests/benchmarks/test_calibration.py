from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from windtunnel.benchmarks.calibration import (
    alone_s,
    bound,
    calibrate,
    fit,
    profile,
    shared_s,
    sizes_of,
    without_profiler,
)
from windtunnel.graph import Graph
from windtunnel.operator_count import Operator
from windtunnel.peak import Peak

if TYPE_CHECKING:
    from pathlib import Path

LARGE = 10**9
"""Bytes that fit no cache, so that a made-up graph streams from memory."""


def _peak(cores: float = 1.0, fork_s: float = 0.0, **changes: Any) -> Peak:
    figures: dict[str, Any] = {"kind": "cpu", "transfer_bytes_per_s": None, **changes}
    return Peak(
        "m", figures["kind"], cores, {"float32": 1e11}, 1e10, 1e-6, figures["transfer_bytes_per_s"], "made up", fork_s=fork_s
    )  # fmt: skip


def _graph(*operators: Operator) -> Graph:
    return Graph(operators, (), LARGE, 24_000_000, 0, LARGE)


def _product(name: str, flops: int) -> Operator:
    return Operator(name, "MatMul", "matmul", flops, 1000, 1000, "float32")


def _copy(name: str, size: int) -> Operator:
    return Operator(name, "Transpose", "movement", 0, size, size, "float32")


def test_bound_by_hand() -> None:
    """A product of 1e9 operations is bound by arithmetic for 10 ms, a copy of 2 × 1e7 bytes by memory for 2 ms."""
    assert bound(_product("p", 10**9), _peak(), 1e10) == (0.01, "flops")
    assert bound(_copy("c", 10**7), _peak(), 1e10) == (0.002, "bytes")


def test_fit_finds_planted_efficiencies() -> None:
    """Times made from known efficiencies give these back, and the model then gives the times."""
    graph = _graph(_product("p", 10**9), _product("q", 10**8), _copy("c", 10**7))
    work_s = {"p": 0.01 / 0.8, "q": 0.001 / 0.8, "c": 0.002 / 0.5}
    calibration = fit(graph, work_s, _peak(), sum(work_s.values()) + 3e-6 + 5e-6)

    assert dict(calibration.efficiency) == pytest.approx({("matmul", "flops"): 0.8, ("movement", "bytes"): 0.5})
    assert calibration.rest_s == pytest.approx(5e-6)
    assert calibration.time_s(graph, _peak()) == pytest.approx(calibration.measured_s)


def test_efficiency_that_was_not_seen() -> None:
    """It is taken from the class under another bound, then from others under the bound, then from all."""
    calibration = fit(_graph(_product("p", 10**9), _copy("c", 10**7)), {"p": 0.0125, "c": 0.004}, _peak(), 1.0)

    assert calibration.efficiency_of("matmul", "bytes") == pytest.approx(0.8)
    assert calibration.efficiency_of("reduction", "bytes") == pytest.approx(0.5)
    assert fit(_graph(), {}, _peak(), 1.0).efficiency_of("matmul", "flops") == 1.0


def test_uncounted_share() -> None:
    """What the runtime spent on nodes that nobody counted is known, and stays in the rest."""
    calibration = fit(_graph(_product("p", 10**9)), {"p": 0.01, "mystery": 0.03}, _peak(), 0.04)

    assert calibration.uncounted_share == pytest.approx(0.75)
    assert calibration.rest_s == pytest.approx(0.03 - 1e-6)


def test_gpu_has_no_caches_like_these() -> None:
    """Efficiencies above 1, owed to caches, count as 1 on a GPU; views launch nothing; what goes in and out travels."""
    graph = _graph(_copy("c", 10**7), Operator("v", "Reshape", "movement", 0, 0, 0, "float32"))
    calibration = fit(graph, {"c": 0.001}, _peak(), 0.001 + 2e-6)
    gpu = _peak(kind="gpu", transfer_bytes_per_s=12e9)

    assert calibration.efficiency["movement", "bytes"] == pytest.approx(2.0)
    assert calibration.time_s(graph, gpu) == pytest.approx(0.002 + 1e-6 + 24e6 / 12e9 + 2e-6)


@given(
    work_s=st.floats(1e-7, 1.0), cores=st.integers(1, 64), fork_s=st.floats(0.0, 1e-3)
)  # fmt: skip
def test_shared_and_alone(work_s: float, cores: int, fork_s: float) -> None:
    """One undoes the other, and threads never make an operator slower than one of them alone."""
    peak = _peak(float(cores), fork_s)

    assert shared_s(alone_s(work_s, peak), peak) == pytest.approx(work_s)
    assert shared_s(work_s, peak) <= work_s * cores


def test_the_profiler_is_taken_off() -> None:
    """Each node loses the floor; where all together still took longer than without the profiler, more, down to that."""
    assert without_profiler({"a": 10.0, "b": 3.0}, 100.0, 2.0) == {"a": 8.0, "b": 1.0}
    assert without_profiler({"a": 10.0, "b": 6.0}, 8.0, 2.0) == {"a": 6.0, "b": 2.0}
    assert without_profiler({"a": 10.0, "b": 1.0}, 2.0, 2.0) == {"a": 2.0, "b": 0.0}
    assert without_profiler({}, 1.0, 2.0) == {}


def _model(path: Path) -> Path:
    """Three layers whose names ONNX Runtime keeps, or makes new ones for where it fuses."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=(256, 256)).astype(np.float32), f"w{i}") for i in range(3)]
    nodes = [
        node
        for i in range(3)
        for node in (
            helper.make_node("MatMul", ["x" if i == 0 else f"r{i - 1}", f"w{i}"], [f"m{i}"]),
            helper.make_node("Relu", [f"m{i}"], [f"r{i}"]),
        )
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 256]) for name in ("x", "r2")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_profile_of_a_real_run(tmp_path: Path) -> None:
    """What the runtime ran is counted whole, node by node, with a time for each."""
    path, rows = _model(tmp_path / "m.onnx"), {"x": np.zeros((8, 256), np.float32)}
    graph, kernels_s = profile(path, rows, 1, 0.01)

    assert graph.flops == 3 * (2 * 8 * 256 * 256 + 8 * 256)
    assert graph.uncounted == ()
    assert {operator.name for operator in graph.operators} == set(kernels_s)
    assert sizes_of(path, rows) == {"n": 8, "x[0]": 8}


def test_calibration_of_a_real_run(tmp_path: Path) -> None:
    """The model of the machine that was calibrated takes no less than was measured, and knows every operator."""
    path, rows = _model(tmp_path / "m.onnx"), {"x": np.zeros((64, 256), np.float32)}
    calibration = calibrate(path, rows, _peak(), 0.01)

    assert calibration.time_s(calibration.graph, calibration.peak) >= calibration.measured_s * (1.0 - 1e-9)
    assert calibration.uncounted_share == pytest.approx(0.0)
    assert ("matmul", "flops") in calibration.efficiency


def test_shapes_that_only_the_runtime_knows(tmp_path: Path) -> None:
    """Operators that the runtime made by fusing are counted by the shapes that it saw."""
    rng = np.random.default_rng(0)
    kernel = numpy_helper.from_array(rng.normal(size=(16, 3, 3, 3)).astype(np.float32), "k")
    nodes = [helper.make_node("Conv", ["x", "k"], ["a"], kernel_shape=[3, 3]), helper.make_node("Relu", ["a"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    ends[0] = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 10, 10])
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [kernel]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)  # fmt: skip
    onnx.save(onnx.shape_inference.infer_shapes(model), str(tmp_path / "m.onnx"))
    graph, _ = profile(tmp_path / "m.onnx", {"x": np.zeros((2, 3, 10, 10), np.float32)}, 1, 0.01)

    convolutions = [operator for operator in graph.operators if operator.operator_class == "convolution"]
    assert [each.flops for each in convolutions] == [2 * (2 * 16 * 8 * 8) * 27]
    assert graph.uncounted == ()
