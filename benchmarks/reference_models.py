"""Small models of the usual kinds, built by hand, on which projections are put to the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROWS: dict[str, tuple[int, ...]] = {
    "dense": (256,), "wide": (1024,), "convolutions": (3, 32, 32), "attention": (64, 128), "dense-int8": (256,), "wide-int8": (1024,),
}  # fmt: skip
"""The models, and the shape of one row of their input `x`."""


class _Builder:
    """Collects nodes and weights; each method adds a layer after the last."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._rng = np.random.default_rng(0)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, *shape: int, dtype: type[np.generic] = np.float32) -> str:
        numbers = self._rng.normal(0.0, 1.0 if dtype is np.float32 else 32.0, shape)
        scaled = numbers / np.sqrt(shape[0]) if dtype is np.float32 else np.clip(numbers, -127, 127)
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(scaled.astype(dtype), name))
        return name

    def dense(self, x: str, inner: int, outer: int) -> str:
        return self.node("Add", self.node("MatMul", x, self.weight(inner, outer)), self.weight(outer))

    def dense_int8(self, x: str, inner: int, outer: int) -> str:
        """As `onnxruntime.quantization.quantize_dynamic` writes it."""
        quantize = helper.make_node("DynamicQuantizeLinear", [x], [f"{x}_q", f"{x}_scale", f"{x}_zero"], name=f"{x}_q")
        self.nodes.append(quantize)
        product = self.node("MatMulInteger", f"{x}_q", self.weight(inner, outer, dtype=np.int8), f"{x}_zero")
        scaled = self.node("Mul", self.node("Cast", product, to=TensorProto.FLOAT), f"{x}_scale")
        return self.node("Add", scaled, self.weight(outer))


def build(name: str, folder: Path) -> Path:
    """Write one of the models to a folder.

    Args:
        name: one of `ROWS`.
        folder: where to.
    """
    builder, family = _Builder(), name.removesuffix("-int8")
    if family in {"dense", "wide"}:
        last = _dense(builder, ROWS[name][0], quantized=name.endswith("-int8"))
    else:
        last = _convolutions(builder) if family == "convolutions" else _attention(builder)
    graph = helper.make_graph(
        builder.nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *ROWS[name]])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)], builder.weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / f"{name}.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


def rows(name: str, batch: int) -> dict[str, NDArray[Any]]:
    """A batch of made-up rows for one of the models."""
    return {"x": np.random.default_rng(1).normal(size=(batch, *ROWS[name])).astype(np.float32)}


def _dense(builder: _Builder, width: int, *, quantized: bool) -> str:
    layer = builder.dense_int8 if quantized else builder.dense
    x = "x"
    for _ in range(3):
        x = builder.node("Relu", layer(x, width, width))
    return layer(x, width, 16)


def _convolutions(builder: _Builder) -> str:
    x = "x"
    for channels, filters, stride in ((3, 32, 1), (32, 64, 2), (64, 64, 1)):
        weight, bias = builder.weight(filters, channels, 3, 3), builder.weight(filters)
        x = builder.node("Conv", x, weight, bias, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride])
        x = builder.node("Relu", x)
    return builder.dense(builder.node("Flatten", builder.node("GlobalAveragePool", x)), 64, 10)


def _attention(builder: _Builder, width: int = 128) -> str:
    queries, keys, values = (builder.dense("x", width, width) for _ in range(3))
    scores = builder.node("MatMul", queries, builder.node("Transpose", keys, perm=[0, 2, 1]))
    mixed = builder.node("MatMul", builder.node("Softmax", scores, axis=-1), values)
    x = builder.node("Add", "x", builder.dense(mixed, width, width))
    normal = builder.node("LayerNormalization", x, builder.weight(width), builder.weight(width), axis=-1)
    widened = builder.node("Tanh", builder.dense(normal, width, 4 * width))
    return builder.node("Add", normal, builder.dense(widened, 4 * width, width))
