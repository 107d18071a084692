from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ModelError
from windtunnel.optimize.denormals import denormals_scrubbed, scrub
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def _model(weights: NDArray[Any], *, raw: bool = True) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    tensor = numpy_helper.from_array(weights, "w")
    if not raw:
        tensor = helper.make_tensor("w", tensor.data_type, weights.shape, weights.ravel().tolist())
    kind = tensor.data_type
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])], "g", [info("x", kind, ["n", weights.size])],
        [info("y", kind, ["n", weights.size])], [tensor],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "numbers"])
def test_exactly_the_denormals(dtype: Any, *, raw: bool) -> None:
    """What is below the smallest normal number becomes zero of its sign; all else, down to that number, stays bit for bit."""
    tiny = np.finfo(dtype).smallest_normal
    below = np.nextafter(tiny, dtype(0))
    given = np.array(
        [1, tiny, -tiny, below, -below, np.finfo(dtype).smallest_subnormal, 0, -0.0, np.inf, np.nan], dtype
    )
    model = _model(given, raw=raw)
    expected = np.array([1, tiny, -tiny, 0, -0.0, 0, 0, -0.0, np.inf, np.nan], dtype)

    assert scrub(model) == 3
    assert numpy_helper.to_array(model.graph.initializer[0]).tobytes() == expected.tobytes()
    assert scrub(model) == 0


def test_bfloat16() -> None:
    """bfloat16 has float32's exponents, and so its denormals."""
    bits = np.array([0x0001, 0x807F, 0x0080, 0x3F80], np.uint16)
    tensor = TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=[4], raw_data=bits.tobytes())
    model = onnx.ModelProto(graph=onnx.GraphProto(initializer=[tensor]))

    assert scrub(model) == 2
    assert np.frombuffer(model.graph.initializer[0].raw_data, np.uint16).tolist() == [0, 0x8000, 0x0080, 0x3F80]


@pytest.mark.parametrize(
    "given",
    [np.array([1e-6, 1], np.float16), np.array([1e-40], np.float32), np.array(1e-40, np.float32)],
    ids=["half", "one", "lone"],
)
def test_what_is_left(given: NDArray[Any]) -> None:
    """float16 keeps its denormals, which mean something; a number that stands alone keeps a division from being by zero."""
    model = onnx.ModelProto(graph=onnx.GraphProto(initializer=[numpy_helper.from_array(given, "w")]))
    before = model.SerializeToString()

    assert scrub(model) == 0
    assert before == model.SerializeToString()


def test_constants_and_branches() -> None:
    """Constants of nodes are scrubbed as weights are, in branches too."""
    small = numpy_helper.from_array(np.array([1e-40, 1], np.float32))
    constant = helper.make_node("Constant", [], ["c"], value=small)
    branch = helper.make_graph([constant], "b", [], [])
    node = helper.make_node("If", ["p"], ["y"], then_branch=branch, else_branch=branch)
    model = onnx.ModelProto(graph=onnx.GraphProto(node=[constant, node]))

    assert scrub(model) == 3


def test_step(tmp_path: Path) -> None:
    """The step leaves its parent as it is, writes the same bytes each time, and refuses a model without denormals."""
    parent_path, children = tmp_path / "p.onnx", [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    parent_path.write_bytes(_model(np.array([1e-40, 2, 3], np.float32)).SerializeToString())
    parent, before = Variant.from_file(parent_path), parent_path.read_bytes()
    for path in children:
        denormals_scrubbed(parent, path)

    assert before == parent_path.read_bytes()
    assert children[0].read_bytes() == children[1].read_bytes()
    assert numpy_helper.to_array(onnx.load(str(children[0])).graph.initializer[0]).tolist() == [0, 2, 3]
    with pytest.raises(ModelError, match=r"a\.onnx: has no denormal weights; leave it as it is"):
        denormals_scrubbed(Variant.from_file(children[0]), tmp_path / "c.onnx")
