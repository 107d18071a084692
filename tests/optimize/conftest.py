"""A model worth quantizing, small enough to be quantized in a blink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.variant import Variant

if TYPE_CHECKING:
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
