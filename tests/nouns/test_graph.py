from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from windtunnel.errors import ModelError
from windtunnel.graph import bind, count_graph, infer, read_graph

if TYPE_CHECKING:
    from pathlib import Path

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def _weight(name: str, *shape: int, dtype: type[np.generic] = np.float32) -> Any:
    return numpy_helper.from_array(np.zeros(shape, dtype), name)


def _model(nodes: list[Any], inputs: dict[str, list[Any]], output: str, weights: list[Any], **more: Any) -> Any:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, more.get(name, FLOAT), shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(output, more.get(output, FLOAT), None)], weights,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=more.get("functions", []))


def _graph(model: Any, **sizes: int) -> Any:
    return count_graph(infer(bind(model, sizes)))


def _mlp() -> Any:
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["y"]),
    ]
    return _model(nodes, {"x": ["n", 64]}, "y", [_weight("w1", 64, 32), _weight("b1", 32), _weight("w2", 32, 10)])


@given(batch=st.integers(1, 500))
def test_perceptron(batch: int) -> None:
    """Two layers by hand, at every batch: operations and activations grow with the rows, weights do not."""
    graph = _graph(_mlp(), batch=batch)

    assert graph.flops == batch * (2 * 64 * 32 + 32) + batch * 32 + batch * 2 * 32 * 10
    weights = 4 * (64 * 32 + 32 + 32 * 10)
    assert (graph.weight_bytes, graph.input_bytes, graph.output_bytes) == (weights, batch * 256, batch * 40)
    assert graph.bytes == weights + batch * 4 * ((64 + 32) + (32 + 32) + (32 + 10))
    # the widest moment: input (held by the caller), and the hidden layer before and after Relu
    assert graph.peak_bytes == weights + batch * 4 * (64 + 32 + 32)
    assert graph.uncounted == ()


def test_convolutional_net() -> None:
    """Convolution, pool, flatten and a dense layer by hand."""
    nodes = [
        helper.make_node("Conv", ["x", "k", "c"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    weights = [_weight("k", 8, 3, 3, 3), _weight("c", 8), _weight("w", 8 * 16 * 16, 10)]
    graph = _graph(_model(nodes, {"x": ["batch", 3, 32, 32]}, "y", weights), batch=2)

    image = 2 * 8 * 32 * 32
    assert graph.flops == image * (2 * 27 + 1) + image + 2 * 8 * 16 * 16 * 4 + 2 * 2 * 8 * 16 * 16 * 10
    by_class = {operator.kind: operator.operator_class for operator in graph.operators}
    assert by_class == {
        "Conv": "convolution",
        "Relu": "elementwise",
        "MaxPool": "reduction",
        "Flatten": "movement",
        "MatMul": "matmul",
    }


def _transformer_block(width: int, heads: int) -> Any:
    """Attention over heads and a feed-forward layer, with the reshapes by `Shape` that exporters write."""
    each = width // heads
    nodes = [helper.make_node("Gather", ["table", "ids"], ["x"])]
    nodes += [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "two"], ["bs"])]
    nodes += [helper.make_node("Concat", ["bs", "split"], ["shape"], axis=0)]
    for name in "qkv":
        nodes += [
            helper.make_node("MatMul", ["x", f"w{name}"], [f"{name}1"]),
            helper.make_node("Reshape", [f"{name}1", "shape"], [f"{name}2"]),
            helper.make_node("Transpose", [f"{name}2"], [name], perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        helper.make_node("MatMul", ["q", "k"], ["scores"]), helper.make_node("Softmax", ["scores"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["m1"]), helper.make_node("Transpose", ["m1"], ["m2"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["m2", "joined"], ["m3"]), helper.make_node("MatMul", ["m3", "wo"], ["o"]),
        helper.make_node("Add", ["x", "o"], ["a"]), helper.make_node("LayerNormalization", ["a", "g", "b"], ["n"], axis=-1),
        helper.make_node("MatMul", ["n", "w1"], ["f1"]), helper.make_node("Relu", ["f1"], ["f2"]),
        helper.make_node("MatMul", ["f2", "w2"], ["y"]),
    ]  # fmt: skip
    weights = [_weight("table", 1000, width), *(_weight(f"w{name}", width, width) for name in "qkvo")]
    weights += [
        _weight("g", width),
        _weight("b", width),
        _weight("w1", width, 4 * width),
        _weight("w2", 4 * width, width),
    ]
    for name, numbers in (("two", [0, 1]), ("split", [heads, each]), ("joined", [0, 0, width])):
        weights.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
    return _model(nodes, {"ids": ["batch", "sequence"]}, "y", weights, ids=INT64)


def test_transformer_block() -> None:
    """The textbook's 24·s·d² + 4·s²·d operations a row for the products, through reshapes that follow from `Shape`."""
    rows, length, width, heads = 3, 20, 32, 4
    graph = _graph(_transformer_block(width, heads), batch=rows, sequence=length)

    products = sum(operator.flops for operator in graph.operators if operator.operator_class == "matmul")
    assert products == rows * (24 * length * width**2 + 4 * length**2 * width)
    rest = rows * (5 * heads * length**2 + length * width + 7 * length * width + 4 * length * width)
    assert graph.flops == products + rest
    assert graph.uncounted == ()
    kinds = [operator.kind for operator in graph.operators]
    assert "Shape" not in kinds  # what follows from the shapes alone is worked out, as runtimes do


def test_lstm() -> None:
    """A recurrent layer by hand."""
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["", "y"], hidden_size=32)
    weights = [_weight("w", 1, 128, 16), _weight("r", 1, 128, 32), _weight("b", 1, 256)]
    graph = _graph(_model([node], {"x": ["steps", "batch", 16]}, "y", weights), steps=7, batch=2)

    assert graph.flops == 7 * 2 * 32 * (2 * 4 * (16 + 32) + 2 * 4 + 5)
    assert graph.operators[0].bytes_read == 4 * (7 * 2 * 16 + 128 * 16 + 128 * 32 + 256)
    assert graph.operators[0].bytes_written == 4 * 2 * 32  # the last state alone


def test_quantized_model() -> None:
    """Dynamic quantization as the tools write it: integer product, and the quantizing around it counted apart."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("MatMulInteger", ["xq", "w", "xz"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
        helper.make_node("Mul", ["f", "xs"], ["y"]),
    ]
    graph = _graph(_model(nodes, {"x": ["n", 64]}, "y", [_weight("w", 64, 10, dtype=np.int8)]), batch=8)

    assert [(each.operator_class, each.flops) for each in graph.operators] == [
        ("quantization", 5 * 8 * 64), ("matmul", 2 * 8 * 10 * 64), ("movement", 0), ("elementwise", 80)
    ]  # fmt: skip
    assert graph.operators[1].dtype == "int8"


def test_quantize_dequantize() -> None:
    """Between DequantizeLinear nodes a product is one of integers."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["y"]),
    ]
    weights = [_weight("w", 64, 10, dtype=np.int8), _weight("s"), _weight("z", dtype=np.int8)]
    graph = _graph(_model(nodes, {"x": ["n", 64]}, "y", weights), batch=8)

    assert [each.dtype for each in graph.operators if each.kind == "MatMul"] == ["int8"]


def test_liveness() -> None:
    """The peak is at the widest moment, not at the sum: a chain needs two neighbours, a kept branch one more."""
    chain = [helper.make_node("Relu", [f"t{i}" if i else "x"], [f"t{i + 1}"]) for i in range(5)]
    kept = [*chain, helper.make_node("Add", ["t5", "t1"], ["y"])]
    size = 4 * 100

    assert _graph(_model(chain, {"x": [1, 100]}, "t5", [])).peak_bytes == 3 * size
    assert _graph(_model(kept, {"x": [1, 100]}, "y", [])).peak_bytes == 4 * size


def test_views_share_memory() -> None:
    """A reshaped tensor lives in the memory of the one it shows, and keeps it alive."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]

    assert _graph(_model(nodes, {"x": [1, 10, 10]}, "y", [])).peak_bytes == 3 * 400


def test_uncounted_are_named() -> None:
    """A node of an unknown domain is listed with its kind, and is in no sum."""
    nodes = [helper.make_node("Mystery", ["x"], ["h"], domain="mine", name="m"), helper.make_node("Relu", ["x"], ["y"])]
    graph = _graph(_model(nodes, {"x": [1, 10]}, "y", []))

    assert graph.uncounted == ("m (mine.Mystery)",)
    assert graph.flops == 10


def test_functions_are_inlined() -> None:
    """A function of the file is counted by what it is made of."""
    body = [helper.make_node("Relu", ["a"], ["h"]), helper.make_node("Neg", ["h"], ["b"])]
    function = helper.make_function("mine", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    node = helper.make_node("Twice", ["x"], ["y"], domain="mine")
    graph = _graph(_model([node], {"x": [1, 10]}, "y", [], functions=[function]))

    assert (graph.flops, graph.uncounted) == (20, ())


def test_axis_without_size() -> None:
    """An axis nobody gave a size is refused by name, with the sizes that are known."""
    with pytest.raises(ModelError, match=r"`sequence` is an axis of input 'ids' without a size; .*'batch': 3"):
        _graph(_transformer_block(32, 4), batch=3)


def test_axes_without_names() -> None:
    """An axis without a name is given its size by tensor and position."""
    model = _model([helper.make_node("Relu", ["x"], ["y"])], {"x": [None, None]}, "y", [])

    assert _graph(model, **{"x[0]": 3, "x[1]": 5}).flops == 15


def test_contradiction() -> None:
    """What cannot be added has no shape, and is uncounted."""
    model = _model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": ["n", 5]}, "y", [_weight("w", 7)])

    assert _graph(model, batch=2).uncounted == ("Add_0 (Add)",)


def test_refusal_names_the_file(tiny_model: Path) -> None:
    """A file whose axes are not all given sizes is refused by its name."""
    with pytest.raises(ModelError, match=r"tiny\.onnx: `batch` is an axis of input 'x' without a size"):
        read_graph(tiny_model, {})


def test_given_model_is_left_alone(tiny_model: Path) -> None:
    """Binding sizes makes another model."""
    model = onnx.load(str(tiny_model))
    before = model.SerializeToString()
    bind(model, {"batch": 4})

    assert before == model.SerializeToString()
    assert read_graph(tiny_model, {"batch": 4}).flops == 4 * (2 * 4) + 4
