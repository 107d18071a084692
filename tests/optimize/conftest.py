"""A model worth quantizing, small enough to be quantized in a blink."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.optimize.invariance import Dependence
from windtunnel.optimize.judged import Judged
from windtunnel.optimize.quality import Quality
from windtunnel.optimize.speed import Speed
from windtunnel.stats import Interval
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(scope="session")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """Two layers, 64 wide: `x` float32 [batch, 16] → probability float32 [batch, 1]."""
    rng = np.random.default_rng(1)
    weights = {"w1": rng.normal(size=(16, 64)) / 4, "b1": rng.normal(size=64) / 4, "w2": rng.normal(size=(64, 1)) / 4}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Add", ["a", "b1"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["d"]),
        helper.make_node("Sigmoid", ["d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    path: Path = tmp_path_factory.mktemp("mlp") / "mlp.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return Variant.from_file(path, name="fp32")


@pytest.fixture(scope="session")
def rows() -> dict[str, NDArray[Any]]:
    """Rows for `mlp`."""
    return {"x": np.random.default_rng(2).normal(size=(600, 16)).astype(np.float32)}


@pytest.fixture
def judged_as(mlp: Variant) -> Callable[..., Judged]:
    """A variant with a judgement made by hand: so many times as fast as its parent, losing so much agreement."""

    def make(name: str, status: Any = "on-frontier", speed: float = 1.0, drop: float = 0.0, **more: Any) -> Judged:
        quality = Quality("agreement", 1.0 - drop, Interval(drop, drop - 0.005, drop + 0.005, 400, 0.95), 1.0)
        faster = Interval(speed, speed - 0.1, speed + 0.1, 12, 0.95)
        p50_s = {"1": 1e-3 / speed, "8": 2e-3 / speed}
        timed = Speed(faster, dict.fromkeys(p50_s, faster), p50_s, p50_s)
        calm = Dependence(0.0, 0.0, 0.0, None, 48)
        return Judged(replace(mlp, name=name), status, "why", quality, timed, calm, (1, 2), **more)

    return make
