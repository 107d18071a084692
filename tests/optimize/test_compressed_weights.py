from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ModelError
from windtunnel.execution import Execution
from windtunnel.hardware import Hardware
from windtunnel.optimize.compressed_weights import GROUP, compressed_weights
from windtunnel.optimize.int8 import VNNI
from windtunnel.optimize.invariance import batch_dependence
from windtunnel.runtime import find_runtime, open_session
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Rows = dict[str, NDArray[Any]]

VNNI_HERE = any(isa in Hardware.detect().isa for isa in VNNI)
OPENVINO = pytest.mark.skipif(bool(find_runtime("openvino").missing()), reason="OpenVINO is not installed")


def _saved(path: Path, nodes: list[onnx.NodeProto], weights: Rows, opset: int = 18) -> Variant:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 128])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path))
    return Variant.from_file(path)


def _wide(path: Path, opset: int = 18) -> Variant:
    """A `MatMul` of 128 inputs and a turned, scaled `Gemm` of 256; of both, one output's weights are all nought."""
    rng = np.random.default_rng(1)
    weights = {"w": rng.normal(size=(128, 256)) / 8, "v": rng.normal(size=(4, 256)) / 8 + 0.1, "b": rng.normal(size=4)}
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    weights["w"][:, 7] = weights["v"][1] = 0.0
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("Gemm", ["h", "v", "b"], ["y"], transB=1, alpha=0.5),
    ]
    return _saved(path, nodes, weights, opset)


@pytest.fixture
def parent(tmp_path: Path) -> Variant:
    """See `_wide`."""
    return _wide(tmp_path / "parent.onnx")


@pytest.fixture(scope="module")
def inputs() -> Rows:
    """Rows of normal numbers, the last a hundred times as large."""
    x = np.random.default_rng(2).normal(size=(64, 128)).astype(np.float32)
    x[-1] *= 100.0
    return {"x": x}


def _made(parent: Variant, path: Path) -> Variant:
    compressed_weights(parent, path)
    return Variant.from_file(path, precision="int8")


def _grouped(variant: Variant, size: int) -> Variant:
    return replace(variant, execution=Execution("openvino", options=((GROUP, str(size)),)))


def _off(expected: Rows, found: Rows) -> float:
    """The length of a row's difference beside that of its answer, on average."""
    lengths = (np.linalg.norm(array, axis=1) for array in (expected["y"] - found["y"], expected["y"]))
    return float(np.divide(*lengths).mean())


def test_small_and_near(parent: Variant, inputs: Rows, tmp_path: Path) -> None:
    """In ONNX Runtime a quarter of the bytes answer within a hundredth; the signature is the parent's, the parent untouched."""
    before = parent.path.read_bytes()
    made = _made(parent, tmp_path / "a.onnx")
    off = _off(OnnxSession(parent.path).run(inputs), OnnxSession(made.path).run(inputs))

    assert 0.0 < off < 0.01
    assert made.bytes < 0.3 * parent.bytes
    assert made.signature == parent.signature
    assert parent.path.read_bytes() == before


def test_same_bytes(parent: Variant, tmp_path: Path) -> None:
    """The same parent gives the same file."""
    first, second = (_made(parent, tmp_path / name) for name in ("a.onnx", "b.onnx"))

    assert first.path.read_bytes() == second.path.read_bytes()


def test_weights_are_within_a_step(parent: Variant, tmp_path: Path) -> None:
    """Each weight is within a step of its output's own grid, and nought is exactly nought."""
    made = _made(parent, tmp_path / "a.onnx")
    arrays = {each.name: numpy_helper.to_array(each) for each in onnx.load(str(made.path)).graph.initializer}
    nodes = [node for node in onnx.load(str(made.path)).graph.node if node.op_type == "DequantizeLinear"]
    parents = {each.name: numpy_helper.to_array(each) for each in onnx.load(str(parent.path)).graph.initializer}

    for node, weights in zip(nodes, (parents["w"].T, 0.5 * parents["v"]), strict=True):
        codes, scale, zeros = (arrays[name].astype(np.float64) for name in node.input)
        across = codes if node.attribute[0].i == 0 else codes.T
        values = (across - zeros[:, None]) * scale[:, None]
        assert arrays[node.input[0]].dtype == np.uint8
        # nought on a whole number moves the ends by up to half a step more
        assert (np.abs(values - weights) <= 1.001 * scale[:, None]).all()
        assert (values[weights == 0.0] == 0.0).all()


@OPENVINO
def test_openvino_quantizes_activations(parent: Variant, inputs: Rows, tmp_path: Path) -> None:
    """Asked not to, OpenVINO answers as ONNX Runtime does; with groups it rounds activations too where it gains by it."""
    made = _made(parent, tmp_path / "a.onnx")
    exact = OnnxSession(made.path).run(inputs)
    floats, coarse, fine = (open_session(_grouped(made, size)).run(inputs) for size in (0, 128, 32))

    assert _off(exact, floats) < 1e-5
    assert max(_off(exact, fine), _off(exact, coarse)) < 0.03
    if VNNI_HERE:
        assert 1e-4 < _off(exact, fine) < _off(exact, coarse)


@OPENVINO
@pytest.mark.parametrize("size", [32, 128])
def test_neighbours_move_nothing(parent: Variant, inputs: Rows, tmp_path: Path, size: int) -> None:
    """A row's activations have scales of their own: a stranger a hundred times as large moves not one bit of its answer."""
    made = _grouped(_made(parent, tmp_path / "a.onnx"), size)
    found = batch_dependence(open_session(made), inputs)

    assert found.neighbours == 0.0
    assert found.objection(batch_dependence(open_session(parent), inputs), exact=False) == ""


def test_shared_weights_are_written_once(inputs: Rows, tmp_path: Path) -> None:
    """Two products of the same weights read the same bytes."""
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["y"]),
    ]
    weights = {"w": rng.normal(size=(128, 128)).astype(np.float32), "v": rng.normal(size=(128, 4)).astype(np.float32)}
    parent = _saved(tmp_path / "parent.onnx", nodes, weights)
    made = _made(parent, tmp_path / "a.onnx")
    kinds = [node.op_type for node in onnx.load(str(made.path)).graph.node]

    assert kinds.count("DequantizeLinear") == 2
    assert _off(OnnxSession(parent.path).run(inputs), OnnxSession(made.path).run(inputs)) < 0.03


def test_older_opsets_are_raised(inputs: Rows, tmp_path: Path) -> None:
    """A file of opset 11, which knows one scale a tensor, is raised to one that knows a scale for each output."""
    parent = _wide(tmp_path / "parent.onnx", opset=11)
    made = _made(parent, tmp_path / "a.onnx")

    assert onnx.load(str(made.path)).opset_import[0].version == 13
    assert _off(OnnxSession(parent.path).run(inputs), OnnxSession(made.path).run(inputs)) < 0.01


def test_nothing_to_compress(tmp_path: Path) -> None:
    """A model that multiplies nothing with weights of its own is refused."""
    node = helper.make_node("Gather", ["x", "places"], ["y"], axis=1)
    parent = _saved(tmp_path / "parent.onnx", [node], {"places": np.arange(4)})

    with pytest.raises(ModelError, match="multiplies nothing with weights of its own"):
        compressed_weights(parent, tmp_path / "a.onnx")
