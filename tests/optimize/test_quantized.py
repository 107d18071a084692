from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ModelError
from windtunnel.optimize.quantized import check_quantized, count_quantized

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.variant import Variant


def _quantized(path: Path, *, activations: bool) -> Path:
    """One product whose weights are integers, and its activations where asked."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        helper.make_node("MatMul", ["d" if activations else "x", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes if activations else nodes[2:],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(np.ones((4, 2), np.int8), "w"),
            numpy_helper.from_array(np.array(0.1, np.float32), "s"),
            numpy_helper.from_array(np.array(0, np.int8), "z"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


def test_integers_on_both_sides(mlp: Variant, tmp_path: Path) -> None:
    """A product counts where both sides are integers: with integer weights alone it multiplies floats, and is slower."""
    assert count_quantized(_quantized(tmp_path / "both.onnx", activations=True)) == (1, 1)
    assert count_quantized(_quantized(tmp_path / "weights.onnx", activations=False)) == (0, 1)
    assert count_quantized(mlp.path) == (0, 2)


def test_weights_alone_are_refused(mlp: Variant, tmp_path: Path) -> None:
    """A file of which only weights were quantized is not handed on as int8."""
    with pytest.raises(ModelError, match=r"mlp\.onnx: has 1 heavy operators and none of them was quantized"):
        check_quantized(_quantized(tmp_path / "weights.onnx", activations=False), mlp)
    assert check_quantized(_quantized(tmp_path / "both.onnx", activations=True), mlp) == (1, 1)
