from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ModelError
from windtunnel.optimize.dynamic_int8 import DynamicInt8, dynamic_int8
from windtunnel.optimize.export import relative_difference
from windtunnel.optimize.smooth_quant import smooth
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

OUTLIERS = (3, 20)


def planted(path: Path, *, residual: bool = False, gemm: bool = False) -> Variant:
    """A normalization whose channels 3 and 20 are a hundred times the others, then a product with weights that undo it."""
    rng = np.random.default_rng(1)
    scale = np.ones(32, np.float32)
    scale[list(OUTLIERS)] = 100.0
    weights = rng.normal(size=(32, 16)).astype(np.float32)
    weights[list(OUTLIERS)] /= 100.0
    arrays = {
        "g": scale,
        "b": np.zeros(32, np.float32),
        "w": weights.T if gemm else weights,
        "c": np.ones(16, np.float32),
    }
    product = (
        helper.make_node("Gemm", ["n", "w", "c"], ["y"], transB=1)
        if gemm
        else helper.make_node("MatMul", ["n", "w"], ["y"])
    )
    nodes = [helper.make_node("LayerNormalization", ["x", "g", "b"], ["n"], axis=-1), product]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 16])]
    if residual:
        nodes.append(helper.make_node("Neg", ["n"], ["z"]))
        outputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 32]))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 32])], outputs,
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return Variant.from_file(path)


def _rows() -> dict[str, NDArray[Any]]:
    return {"x": np.random.default_rng(2).normal(size=(200, 32)).astype(np.float32)}


def _answer(path: Path, name: str = "y") -> NDArray[Any]:
    return OnnxSession(path).run(_rows())[name]


def _kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(str(path)).graph.node]


@pytest.mark.parametrize("gemm", [False, True])
def test_int8_is_much_nearer_after_smoothing(tmp_path: Path, gemm: bool) -> None:
    """With outliers planted, smoothing changes no answer of the float model and makes int8 five times nearer or more."""
    parent = planted(tmp_path / "m.onnx", gemm=gemm)
    smooth(parent, tmp_path / "s.onnx", _rows())
    errors = []
    for name in ("m", "s"):
        dynamic_int8(Variant.from_file(tmp_path / f"{name}.onnx"), tmp_path / f"{name}8.onnx", DynamicInt8())
        errors.append(float(np.abs(_answer(tmp_path / f"{name}8.onnx") - _answer(parent.path)).mean()))

    assert relative_difference(_answer(parent.path), _answer(tmp_path / "s.onnx")) < 1e-5
    assert _kinds(tmp_path / "s.onnx") == _kinds(parent.path)  # folded: no operator more
    assert errors[1] < errors[0] / 5


def test_a_value_that_others_take_too(tmp_path: Path) -> None:
    """Where something else takes the activation, a `Mul` of its own is put before the product, and the other is untouched."""
    parent = planted(tmp_path / "m.onnx", residual=True)
    for name in ("a.onnx", "b.onnx"):
        smooth(parent, tmp_path / name, _rows())

    assert sorted(_kinds(tmp_path / "a.onnx")) == ["LayerNormalization", "MatMul", "Mul", "Neg"]
    assert np.array_equal(_answer(parent.path, "z"), _answer(tmp_path / "a.onnx", "z"))
    assert relative_difference(_answer(parent.path), _answer(tmp_path / "a.onnx")) < 1e-5
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_through_a_relu(mlp: Variant, rows: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """The second layer's scales are folded into the first layer's weights and bias, through the `Relu` between them."""
    smooth(mlp, tmp_path / "s.onnx", rows)
    before, after = (next(iter(OnnxSession(each).run(rows).values())) for each in (mlp.path, tmp_path / "s.onnx"))

    assert _kinds(tmp_path / "s.onnx") == _kinds(mlp.path)
    assert mlp.path.read_bytes() != (tmp_path / "s.onnx").read_bytes()
    assert relative_difference(before, after) < 1e-5


def test_nothing_to_smooth(tmp_path: Path) -> None:
    """A model without products is refused; so is one whose channels are all alike and that leaves nowhere to fold."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[n] x) => (float[n] y) {y = Neg (x)}'
    )
    onnx.save(model, str(tmp_path / "m.onnx"))

    with pytest.raises(ModelError, match="multiplies nothing with weights of its own"):
        smooth(Variant.from_file(tmp_path / "m.onnx"), tmp_path / "s.onnx", {"x": np.ones(4, np.float32)})
