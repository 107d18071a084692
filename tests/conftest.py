"""What tests of several stages share: models small enough to check by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, settings
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[1]

# the same examples in every run, and no judgement by the clock of a machine that others share
settings.register_profile("windtunnel", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("windtunnel")


def pytest_configure() -> None:
    """Forget compiled loops that are older than what they call: numba looks at a function's own file only."""
    sources = [*(ROOT / "simulate").rglob("*.py"), ROOT / "optimize" / "pair_sum.py"]
    newest = max(path.stat().st_mtime for path in sources)
    for folder in ("simulate", "optimize"):
        for kept in (ROOT / folder).rglob("__pycache__/*.nb[ic]"):
            if kept.stat().st_mtime < newest:
                kept.unlink()


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """An ONNX model y = sigmoid(x·w): `x` float32 [batch, 4], `y` float32 [batch], w = (0.5, -0.25, 1, 2)."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.array([0.5, -0.25, 1.0, 2.0], np.float32), "w")],
    )
    path = tmp_path / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path
