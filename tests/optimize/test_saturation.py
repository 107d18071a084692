from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ModelError
from windtunnel.optimize.saturation import Anatomy
from windtunnel.session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

ZERO = 3
"""The activations' zero point in these graphs."""


def _weights(*shape: int, limit: int = 127) -> Array:
    return np.random.default_rng(1).integers(-limit, limit + 1, shape).astype(np.int8)


def _save(folder: Path, nodes: list[Any], weights: dict[str, Any], shape: list[Any], dtype: int, out: int) -> Path:
    graph = helper.make_graph(
        nodes, "planted", [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", out, [None] * len(shape))], [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "planted.onnx")
    return folder / "planted.onnx"


def _pairs(a: Array, w: Array) -> Array:
    """`vpmaddubsw` by its definition: sums of two neighbouring products, clamped to 16 bits, and added."""
    a, w = a.astype(np.int64), w.astype(np.int64)
    if len(w) % 2:
        a, w = np.pad(a, ((0, 0), (0, 1))), np.pad(w, ((0, 1), (0, 0)))
    sums = a[:, 0::2, None] * w[None, 0::2] + a[:, 1::2, None] * w[None, 1::2]
    return np.asarray(np.clip(sums, -(2**15), 2**15 - 1).sum(axis=1))


def _product(x: Array, w: Array) -> Array:
    """What a kernel makes of the clamped sums: the activations' zero point is taken off afterwards."""
    return np.asarray(_pairs(x, w) - ZERO * w.astype(np.int64).sum(axis=0))


def _convolution(x: Array, w: Array, strides: tuple[int, int], pad: int, groups: int) -> Array:
    """The same for a convolution, place by place, summed in the order height, width, channel."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=ZERO)
    high, wide = w.shape[2:]
    each, share = x.shape[1] // groups, len(w) // groups
    down, across = range(0, x.shape[2] - high + 1, strides[0]), range(0, x.shape[3] - wide + 1, strides[1])
    out = np.zeros((len(x), len(w), len(down), len(across)), np.int64)
    for group in range(groups):
        part = w[group * share : (group + 1) * share].transpose(2, 3, 1, 0).reshape(-1, share)
        for i, top in enumerate(down):
            for j, left in enumerate(across):
                seen = x[:, group * each : (group + 1) * each, top : top + high, left : left + wide]
                out[:, group * share : (group + 1) * share, i, j] = _product(
                    seen.transpose(0, 2, 3, 1).reshape(len(x), -1), part
                )
    return out


ROWS = np.random.default_rng(2).integers(0, 256, (6, 33)).astype(np.uint8)
IMAGES = np.random.default_rng(2).integers(0, 256, (2, 4, 6, 7)).astype(np.uint8)
SCALE, WEIGHT_SCALE = np.float32(0.02), np.linspace(0.01, 0.02, 5, dtype=np.float32)
CONSTANTS: dict[str, Any] = {"s": SCALE, "z": np.uint8(ZERO), "ws": WEIGHT_SCALE, "wz": np.zeros(5, np.int8)}
W, KERNEL = _weights(33, 5), _weights(4, 2, 3, 3)


def _matmul_integer(folder: Path) -> Path:
    nodes = [helper.make_node("MatMulInteger", ["x", "w", "z"], ["y"])]
    return _save(folder, nodes, {"w": W, "z": np.uint8(ZERO)}, ["n", 33], TensorProto.UINT8, TensorProto.INT32)


def _conv_integer(folder: Path) -> Path:
    nodes = [helper.make_node("ConvInteger", ["x", "w", "z"], ["y"], strides=[2, 1], pads=[1] * 4, group=2)]
    return _save(
        folder, nodes, {"w": KERNEL, "z": np.uint8(ZERO)}, ["n", 4, 6, 7], TensorProto.UINT8, TensorProto.INT32
    )


def _to_float(folder: Path) -> Path:
    node = helper.make_node("MatMulIntegerToFloat", ["x", "w", "s", "ws", "z", "wz"], ["y"], domain="com.microsoft")
    return _save(folder, [node], {"w": W, **CONSTANTS}, ["n", 33], TensorProto.UINT8, TensorProto.FLOAT)


def _qdq(kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        weights = W if kind == "MatMul" else np.ascontiguousarray(W.T)
        settings: dict[str, Any] = {"transB": 1} if kind == "Gemm" else {}
        nodes = [
            helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
            helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["b"], axis=1 if kind == "MatMul" else 0),
            helper.make_node(kind, ["a", "b"], ["y"], **settings),
        ]
        return _save(folder, nodes, {"w": weights, **CONSTANTS}, ["n", 33], TensorProto.UINT8, TensorProto.FLOAT)

    return make


def _expected_float() -> Array:
    return np.asarray(_product(ROWS, W) * (SCALE * WEIGHT_SCALE))


@pytest.mark.parametrize(
    ("make", "x", "expected"),
    [
        (_matmul_integer, ROWS, lambda: _product(ROWS, W)),
        (_conv_integer, IMAGES, lambda: _convolution(IMAGES, KERNEL, (2, 1), 1, 2)),
        (_to_float, ROWS, _expected_float),
        (_qdq("MatMul"), ROWS, _expected_float),
        (_qdq("Gemm"), ROWS, _expected_float),
    ],
    ids=["MatMulInteger", "ConvInteger", "MatMulIntegerToFloat", "Q/DQ MatMul", "Q/DQ Gemm"],
)
def test_planted_overflow(
    make: Callable[[Path], Path], x: Array, expected: Callable[[], Array], tmp_path: Path
) -> None:
    """What is emulated is `vpmaddubsw` by its definition; the exact answers are the runtime's own."""
    path = make(tmp_path)
    found = Anatomy(path).emulate({"x": x})
    real = OnnxSession(path).run({"x": x})["y"]

    assert found.exact["y"] == pytest.approx(real, rel=1e-5)
    assert found.clamped["y"] == pytest.approx(expected(), rel=1e-4, abs=1e-3)
    assert found.share > 0.0
    assert not np.allclose(found.exact["y"], found.clamped["y"])


def _requantized(kind: str, folder: Path, limit: int = 127) -> Path:
    """A product that comes out as bytes again: as one node of its own, or as a float one between Q and DQ."""
    conv = "Conv" in kind
    w = _weights(4, 2, 3, 3, limit=limit) if conv else _weights(33, 4, limit=limit)
    weights: dict[str, Any] = {"w": w, "s": SCALE, "z": np.uint8(ZERO), "ws": np.full(4, 0.01, np.float32), "wz": np.zeros(4, np.int8),
               "ys": np.float32(1.5), "yz": np.uint8(128)}  # fmt: skip
    settings: dict[str, Any] = {"strides": [2, 1], "pads": [1] * 4, "group": 2} if conv else {}
    if kind.startswith("QLinear"):
        nodes = [helper.make_node(kind, ["x", "s", "z", "w", "ws", "wz", "ys", "yz"], ["y"], **settings)]
    else:
        nodes = [
            helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
            helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["b"], axis=0 if conv else 1),
            helper.make_node(kind, ["a", "b"], ["c"], **settings),
            helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["y"]),
        ]
    shape = ["n", 4, 6, 7] if conv else ["n", 33]
    return _save(folder, nodes, weights, shape, TensorProto.UINT8, TensorProto.UINT8)


@pytest.mark.parametrize("kind", ["QLinearConv", "Conv", "QLinearMatMul", "MatMul"])
def test_bytes_come_out_clamped(kind: str, tmp_path: Path) -> None:
    """Where a product ends in bytes, they are those of the clamped sums, but for one where rounding falls otherwise."""
    x = IMAGES if "Conv" in kind else ROWS
    path = _requantized(kind, tmp_path)
    weights = numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    sums = _convolution(x, weights, (2, 1), 1, 2) if "Conv" in kind else _product(x, weights)
    expected = np.clip(np.rint(sums * float(SCALE) * 0.01 / 1.5) + 128, 0, 255)
    found = Anatomy(path).emulate({"x": x})

    assert np.abs(found.clamped["y"].astype(int) - expected).max() <= 1
    assert np.abs(found.exact["y"].astype(int) - expected).max() > 1


@pytest.mark.parametrize("kind", ["QLinearConv", "Conv", "QLinearMatMul", "MatMul"])
def test_reduced_range_is_not_at_risk(kind: str, tmp_path: Path) -> None:
    """With weights of 7 bits no product is at risk, and nothing need be run to know."""
    products = Anatomy(_requantized(kind, tmp_path, limit=64)).products

    assert [product.at_risk for product in products] == [False]


def test_a_convolution_that_stays_float_multiplies_no_integers(tmp_path: Path) -> None:
    """Without a quantization after it, ONNX Runtime computes a convolution in floats; a `Relu` between is folded away."""
    path = _requantized("Conv", tmp_path)
    model = onnx.load(path)
    model.graph.node[3].op_type = "Relu"
    del model.graph.node[3].input[1:]
    onnx.save(model, path)
    assert Anatomy(path).products == []

    model.graph.node[3].output[0] = "d"
    model.graph.node.append(helper.make_node("QuantizeLinear", ["d", "ys", "yz"], ["y"]))
    onnx.save(model, path)
    assert len(Anatomy(path).products) == 1


def test_signed_activations_are_made_unsigned(tmp_path: Path) -> None:
    """x86 adds 128 to signed activations, so S8S8 overflows as U8S8 does."""
    path = _qdq("MatMul")(tmp_path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    zero = next(each for each in model.graph.initializer if each.name == "z")
    zero.CopyFrom(numpy_helper.from_array(np.asarray(np.int8(ZERO - 128)), "z"))
    onnx.save(model, path)
    found = Anatomy(path).emulate({"x": (ROWS.astype(np.int16) - 128).astype(np.int8)})

    assert found.clamped["y"] == pytest.approx(_expected_float(), rel=1e-4, abs=1e-3)


def test_dynamic_quantization_inside_a_node(tmp_path: Path) -> None:
    """`DynamicQuantizeMatMul` makes bytes of its floats by itself: so do we, and the overflow is found."""
    node = helper.make_node("DynamicQuantizeMatMul", ["x", "w", "ws", "wz"], ["y"], domain="com.microsoft")
    path = _save(tmp_path, [node], {"w": W, **CONSTANTS}, ["n", 33], TensorProto.FLOAT, TensorProto.FLOAT)
    x = np.random.default_rng(3).uniform(-1, 3, (6, 33)).astype(np.float32)
    scale = (x.max() - x.min()) / np.float32(255)
    zero = np.rint(-x.min() / scale)
    bytes_ = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8)
    expected = (_pairs(bytes_, W) - zero * W.astype(int).sum(axis=0)) * scale * WEIGHT_SCALE

    assert Anatomy(path).emulate({"x": x}).clamped["y"] == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_a_depthwise_convolution_is_exact(tmp_path: Path) -> None:
    """Where each channel is summed alone, kernels widen before they add: no product of it is at risk."""
    nodes = [helper.make_node("ConvInteger", ["x", "w", "z"], ["y"], group=4)]
    weights = {"w": np.full((4, 1, 3, 3), 127, np.int8), "z": np.uint8(0)}
    path = _save(tmp_path, nodes, weights, ["n", 4, 6, 7], TensorProto.UINT8, TensorProto.INT32)

    assert [product.at_risk for product in Anatomy(path).products] == [False]


def test_the_layers_are_named_worst_first(mlp: Any, rows: dict[str, Array], tmp_path: Path) -> None:
    """Of a model of several layers, each in which sums overflow is named with its share."""
    from onnxruntime.quantization import quantize_dynamic

    from windtunnel.optimize.int8 import hushed

    with hushed():
        quantize_dynamic(mlp.path, tmp_path / "int8.onnx", per_channel=True)
    anatomy = Anatomy(tmp_path / "int8.onnx")
    found = anatomy.emulate({"x": rows["x"][:32]})
    shares = [share for _, share in found.layers]

    assert len(anatomy.products) == 2
    assert shares == sorted(shares, reverse=True)
    assert {name for name, _ in found.layers} <= {product.name for product in anatomy.products}


def test_convolutions_that_are_not_emulated_are_refused(tmp_path: Path) -> None:
    """A convolution whose borders are made by a rule of its own is refused by name."""
    nodes = [helper.make_node("ConvInteger", ["x", "w", "z"], ["y"], name="odd", auto_pad="SAME_UPPER")]
    weights = {"w": _weights(4, 4, 3, 3), "z": np.uint8(ZERO)}
    path = _save(tmp_path, nodes, weights, ["n", 4, 6, 7], TensorProto.UINT8, TensorProto.INT32)
    with pytest.raises(ModelError) as refusal:
        Anatomy(path).emulate({"x": IMAGES})

    assert "`odd` is a convolution of a kind that is not emulated" in str(refusal.value)


def test_a_vector_is_one_column(tmp_path: Path) -> None:
    """Weights that are one vector are a matrix of one column: its overflow is found, one number a row."""
    node = helper.make_node("MatMulInteger", ["x", "w", "z"], ["y"])
    graph = helper.make_graph(
        [node], "planted", [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 33])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["n"])],
        [numpy_helper.from_array(np.ascontiguousarray(W[:, 0]), "w"), numpy_helper.from_array(np.asarray(np.uint8(ZERO)), "z")],
    )  # fmt: skip
    path = tmp_path / "vector.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    found = Anatomy(path).emulate({"x": ROWS})

    assert np.array_equal(found.clamped["y"], _product(ROWS, W[:, :1])[:, 0])


def test_stacks_of_matrices_are_refused(tmp_path: Path) -> None:
    """A stack of weights is looked at matrix by matrix for risk; a product with it is refused by name."""
    node = helper.make_node("MatMulInteger", ["x", "w", "z"], ["y"], name="stacked")
    weights = {"w": _weights(2, 33, 5), "z": np.uint8(ZERO)}
    path = _save(tmp_path, [node], weights, [2, "n", 33], TensorProto.UINT8, TensorProto.INT32)

    assert [product.at_risk for product in Anatomy(path).products] == [True]
    with pytest.raises(ModelError, match="`stacked` multiplies by a stack of matrices, which is not emulated"):
        Anatomy(path).emulate({"x": np.stack([ROWS, ROWS])})
