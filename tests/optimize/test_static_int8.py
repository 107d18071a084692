from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ConfigError, DataError, ModelError
from windtunnel.optimize.clipping import METHODS
from windtunnel.optimize.int8 import HEAVY, prepared
from windtunnel.optimize.quantized import count_quantized
from windtunnel.optimize.static_int8 import FLOWING, StaticInt8, quantize_statically, static_int8, suited
from windtunnel.session import OnnxSession
from windtunnel.variant import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Rows = dict[str, NDArray[Any]]


def _answers(path: Path, rows: Rows) -> NDArray[Any]:
    return next(iter(OnnxSession(path).run(rows).values()))


def _save(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, NDArray[Any]], shape: list[int | str]) -> Variant:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "answers"])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return Variant.from_file(path, name="fp32")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_quantized_and_near(mlp: Variant, rows: Rows, tmp_path: Path, activations: str, method: str) -> None:
    """Both multiplications become integer ones, with every type and calibrator, and the answers stay near."""
    path = tmp_path / "int8.onnx"
    static_int8(mlp, path, StaticInt8(activations=activations, calibrator=method), rows)

    assert count_quantized(path) == (2, 2)
    assert 0.0 < float(np.abs(_answers(mlp.path, rows) - _answers(path, rows)).max()) < 0.1
    assert OnnxSession(path).signature.dynamic_batch


def test_same_bytes(mlp: Variant, rows: Rows, tmp_path: Path) -> None:
    """The same step on the same parent gives the same bytes."""
    for name in ("a.onnx", "b.onnx"):
        static_int8(mlp, tmp_path / name, StaticInt8(calibrator="mse"), rows)

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_ranges_come_from_the_rows(mlp: Variant, rows: Rows, tmp_path: Path) -> None:
    """Other calibration rows make other ranges; the very last row counts too."""
    wide = {"x": rows["x"].copy()}
    wide["x"][-1] *= 100
    static_int8(mlp, tmp_path / "a.onnx", StaticInt8(), rows)
    static_int8(mlp, tmp_path / "b.onnx", StaticInt8(), wide)

    assert (tmp_path / "a.onnx").read_bytes() != (tmp_path / "b.onnx").read_bytes()


def test_seven_bits(mlp: Variant, rows: Rows, tmp_path: Path) -> None:
    """With a reduced range no weight is larger than 64."""
    static_int8(mlp, tmp_path / "m.onnx", StaticInt8(reduce_range=True), rows)
    graph = onnx.load(str(tmp_path / "m.onnx")).graph
    weights = [numpy_helper.to_array(each) for each in graph.initializer if each.data_type == TensorProto.INT8]

    assert max(int(np.abs(each.astype(int)).max()) for each in weights) == 64


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """Two convolutions with a residual between them, a pool and a head."""
    rng = np.random.default_rng(5)
    weights: dict[str, NDArray[Any]] = {
        name: (rng.normal(size=(8, 8, 3, 3)) / 8).astype(np.float32) for name in ("w1", "w2")
    }
    weights |= {
        "stem": rng.normal(size=(8, 3, 3, 3)).astype(np.float32) / 4,
        "head": rng.normal(size=(8, 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w2"], ["e"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["e", "b"], ["f"]),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("GlobalAveragePool", ["g"], ["h"]),
        helper.make_node("Flatten", ["h"], ["i"]),
        helper.make_node("MatMul", ["i", "head"], ["y"]),
    ]
    return _save(tmp_path_factory.mktemp("cnn") / "cnn.onnx", nodes, weights, ["batch", 3, 8, 8])


@pytest.fixture(scope="module")
def images() -> Rows:
    """Rows for `cnn`."""
    return {"x": np.random.default_rng(6).normal(size=(40, 3, 8, 8)).astype(np.float32)}


def test_integers_flow_through_a_cnn(cnn: Variant, images: Rows, tmp_path: Path) -> None:
    """Where integers flow, activations are folded away, the residual is added in integers, and the answers stay near."""
    path = tmp_path / "int8.onnx"
    settings = suited({node.op_type for node in onnx.load(str(cnn.path)).graph.node}, {})
    static_int8(cnn, path, settings, images)
    graph = onnx.load(str(path)).graph
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    before, after = _answers(cnn.path, images), _answers(path, images)

    assert settings.operators == FLOWING
    assert count_quantized(path) == (4, 4)
    assert [node.op_type for node in graph.node if node.op_type == "Relu"] == []
    assert all(set(node.input) <= dequantized for node in graph.node if node.op_type == "Add")
    assert float(np.abs(before - after).max()) < 0.05 * float(np.abs(before).max())


@pytest.mark.parametrize("flows", [True, False])
def test_nodes_left_out_are_floats(cnn: Variant, images: Rows, tmp_path: Path, flows: bool) -> None:
    """A node left out is a float, whether activations are folded or not; with all left out the answers are all but the parent's."""
    settings = suited({"Conv"}, {}) if flows else StaticInt8()
    with prepared(cnn) as path:
        heavy = [node.name for node in onnx.load(str(path)).graph.node if node.op_type in HEAVY]
    write = quantize_statically(cnn, settings, images)
    write(tmp_path / "one.onnx", (heavy[1],))
    write(tmp_path / "none.onnx", tuple(heavy))
    static_int8(cnn, tmp_path / "same.onnx", replace(settings, exclude=(heavy[1],)), images)
    expected = _answers(cnn.path, images)
    errors = {
        name: np.abs(_answers(tmp_path / f"{name}.onnx", images) - expected).max() for name in ("one", "same", "none")
    }

    assert count_quantized(tmp_path / "one.onnx") == count_quantized(tmp_path / "same.onnx") == (3, 4)
    assert errors["one"] < 2 * errors["same"]
    # what else reads a tensor may still read it rounded: here the residual, and where integers flow the pool
    assert errors["none"] < 0.5 * errors["same"] or errors["none"] < 0.01 * np.abs(expected).max()


def test_behind_a_runtimes_own_operators(rows: Rows, tmp_path: Path) -> None:
    """Behind an operator that shape inference does not know, activations are quantized too, not the weights alone."""
    rng = np.random.default_rng(7)
    weights: dict[str, NDArray[Any]] = {
        "w1": rng.normal(size=(16, 8)).astype(np.float32),
        "w2": rng.normal(size=(8, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("BiasGelu", ["a", "bias"], ["b"], domain="com.microsoft"),
        helper.make_node("MatMul", ["b", "w2"], ["y"]),
    ]
    fused = _save(tmp_path / "fused.onnx", nodes, {**weights, "bias": np.zeros(8, np.float32)}, ["batch", 16])
    static_int8(fused, tmp_path / "int8.onnx", StaticInt8(), rows)

    assert count_quantized(tmp_path / "int8.onnx") == (2, 2)


def test_masks_stay_floats(rows: Rows, tmp_path: Path) -> None:
    """A product of something infinite has no range: it is left as it is, and the others are quantized."""
    rng = np.random.default_rng(8)
    weights: dict[str, NDArray[Any]] = {
        "w1": rng.normal(size=(16, 8)).astype(np.float32),
        "w2": rng.normal(size=(8, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Mul", ["a", "mask"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["y"]),
    ]
    masked = _save(
        tmp_path / "m.onnx",
        nodes,
        {**weights, "mask": np.array([1, 1, 1, 1, 1, 1, 1, 3e38], np.float32)},
        ["batch", 16],
    )
    static_int8(masked, tmp_path / "int8.onnx", StaticInt8(), rows)

    assert count_quantized(tmp_path / "int8.onnx") == (1, 2)


def test_nothing_to_quantize(tmp_path: Path) -> None:
    """A model that multiplies no matrices is refused, not handed on as int8."""
    nothing = _save(tmp_path / "m.onnx", [helper.make_node("Sigmoid", ["x"], ["y"])], {}, ["batch", 2])

    with pytest.raises(ModelError, match=r"m\.onnx: has 0 heavy operators and none of them was quantized"):
        static_int8(nothing, tmp_path / "int8.onnx", StaticInt8(), {"x": np.ones((8, 2), np.float32)})


def test_rows_that_do_not_fit(mlp: Variant, tmp_path: Path) -> None:
    """What the runtime raises while it calibrates is a refusal with its words."""
    with pytest.raises(ModelError, match=r"mlp\.onnx: cannot be quantized \(.*INVALID_ARGUMENT.*\); leave it as it is"):
        static_int8(mlp, tmp_path / "int8.onnx", StaticInt8(), {"x": np.ones((4, 7), np.float32)})


def test_no_rows_and_no_such_calibrator(mlp: Variant, rows: Rows, tmp_path: Path) -> None:
    """Without rows there are no ranges, and a calibrator that is not there is named."""
    with pytest.raises(DataError, match="`calibration data` is missing"):
        static_int8(mlp, tmp_path / "int8.onnx", StaticInt8(), {"x": rows["x"][:0]})
    with pytest.raises(ConfigError, match=r"`calibrator` .='median'. is not a calibrator"):
        static_int8(mlp, tmp_path / "int8.onnx", StaticInt8(calibrator="median"), rows)


def test_settings_are_json() -> None:
    """The settings go into the origin as JSON values."""
    told = StaticInt8(operators=("MatMul",), exclude=("a",)).to_dict()

    assert (told["operators"], told["exclude"], told["calibrator"]) == (["MatMul"], ["a"], "minmax")
