"""A quantized model as processors without VNNI would run it: cut at every product that may overflow, and put right there.

ONNX Runtime runs what lies between the products; after each product, what `vpmaddubsw` would have lost (see `pair_sum`) is
added to its output. Only the loss is computed here, so nothing else differs from the exact run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError
from windtunnel.session import first_line, onnx_options

from .draft import inputs_of
from .pair_sum import lost, may_saturate, patches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Values = dict[str, NDArray[Any]]

UNREAD = ("QAttention", "DynamicQuantizeLSTM", "QLinearConvTranspose")
"""Kinds that multiply bytes too, whose inside is not emulated."""

DYNAMIC = ("MatMulInteger", "ConvInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
"""Kinds whose activations get their scale as they come."""

OWN = {
    "MatMulInteger": (0, 1, None, None, None), "ConvInteger": (0, 1, None, None, None), "MatMulIntegerToFloat": (0, 1, 2, 3, None),
    "DynamicQuantizeMatMul": (0, 1, None, 2, None), "QLinearMatMul": (0, 3, 1, 4, 6), "QLinearConv": (0, 3, 1, 4, 6), "QGemm": (0, 3, 1, 4, 7),
}  # fmt: skip
"""Kinds that multiply integers by themselves: which inputs are activations, weights, their scales, and the scale of the output."""

BETWEEN = ("Relu", "Clip")
"""What may stand between a convolution and its quantization without keeping the runtime from computing it in integers."""


@dataclass(frozen=True)
class Product:
    """One product of unsigned activations with signed constant weights.

    Args:
        node: the ONNX node.
        activations: the tensor of bytes; of floats where the node quantizes them itself.
        weights: int8, as the node has them.
        scales: the names of the activations', the weights' and the output's scale; empty where there is none.
        zero: the name of the activations' zero point: what a convolution is padded with.
    """

    node: Any
    activations: str
    weights: NDArray[np.int8]
    scales: tuple[str, str, str]
    zero: str

    @property
    def name(self) -> str:
        """What it is called in the graph."""
        return str(self.node.name or self.node.output[0])

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the node."""
        import onnx

        return next((onnx.helper.get_attribute_value(a) for a in self.node.attribute if a.name == name), default)

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution, whose weights are `[out, in, height, width]`."""
        return "Conv" in self.node.op_type

    def matrices(self) -> list[NDArray[np.int8]]:
        """The weights as matrices `[summed, columns]`, one a group, or one a place of a stack; a vector is one column."""
        if not self.convolves:
            weights = self.weights.T if self.attribute("transB", 0) else self.weights
            weights = weights[:, None] if weights.ndim == 1 else weights
            return list(weights.reshape(-1, *weights.shape[-2:]))
        groups = np.split(self.weights, self.attribute("group", 1))
        return [each.transpose(*range(2, each.ndim), 1, 0).reshape(-1, len(each)) for each in groups]

    @property
    def at_risk(self) -> bool:
        """Whether some activations would overflow it. Where each channel is alone, kernels widen before they add."""
        alone = self.convolves and self.weights.shape[1] == 1
        return not alone and any(may_saturate(each) for each in self.matrices())


@dataclass(frozen=True)
class Emulation:
    """What became of some rows.

    Args:
        exact: answers with sums of 32 bits.
        clamped: answers with sums of two clamped to 16 bits.
        share: of all pairs in the products at risk, how many were clamped.
        layers: the products in which some pair was clamped, and the share of each, the worst first.
    """

    exact: Values
    clamped: Values
    share: float
    layers: tuple[tuple[str, float], ...]


class Anatomy:
    """A model, opened up: its nodes, constants and products.

    Raises:
        ModelError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        import onnx
        import onnx.inliner

        self.model = onnx.inliner.inline_local_functions(onnx.load(str(path)))
        self.nodes = list(self.model.graph.node)
        self.path = path
        self._weights = {each.name: each for each in self.model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self._weights[node.output[0]] = node.attribute[0].t
        self._maker = {name: node for node in self.nodes for name in node.output}
        self.products = [found for node in self.nodes if (found := self._product(node)) is not None]
        every = list(_all_nodes(self.model.graph))
        self.unread = [node.name or node.output[0] for node in every if self._is_unread(node)]
        self.dynamic = any(node.op_type in DYNAMIC for node in every)

    def _is_unread(self, node: Any) -> bool:
        """Whether a node multiplies bytes where we do not see it: inside its kind, or in a graph of another node's."""
        if node.op_type == "MatMulNBits":  # with weights of 4 bits no two products overflow: 2 × 15 × 255
            attributes = {each.name: each.i for each in node.attribute}
            return bool(attributes.get("bits", 4) > 4 and attributes.get("accuracy_level", 0) == 4)
        return node.op_type in UNREAD or (node.op_type in OWN and node.output[0] not in self._maker)

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a constant tensor, or None."""
        import onnx

        return onnx.numpy_helper.to_array(self._weights[name]) if name in self._weights else None

    def _product(self, node: Any) -> Product | None:
        if node.op_type in OWN:
            return self._own(node)
        if node.op_type in {"MatMul", "Gemm", "Conv"}:
            return self._dequantized(node)
        return None

    def _own(self, node: Any) -> Product | None:
        at, weights_at, *scales_at = OWN[node.op_type]
        weights = self.constant(node.input[weights_at])
        if weights is None or weights.dtype != np.int8 or self._is_signed(node.input[at]):
            return None
        names = [_name(node, each) for each in scales_at]
        zero = {"ConvInteger": 2, "QLinearConv": 2}.get(node.op_type)
        return Product(node, node.input[at], weights, (names[0], names[1], names[2]), _name(node, zero))

    def _is_signed(self, name: str) -> bool:
        """Whether activations are signed bytes, whose kernel on x86 adds in 32 bits: told by the zero point they were made with."""
        maker = self._maker.get(name)
        if maker is None or maker.op_type != "QuantizeLinear":
            return False
        zero = self.constant(_name(maker, 2))
        return zero is not None and zero.dtype == np.int8

    def _dequantized(self, node: Any) -> Product | None:
        """A float operator between dequantizations, which the runtime computes in integers."""
        sides = [self._maker.get(name) for name in node.input[:2]]
        if any(side is None or side.op_type != "DequantizeLinear" for side in sides):
            return None
        left, right = sides
        assert left is not None
        assert right is not None
        weights = self.constant(right.input[0])
        if weights is None or weights.dtype != np.int8 or (node.op_type == "Conv" and not self._is_requantized(node)):
            return None
        return Product(node, left.input[0], weights, (left.input[1], right.input[1], ""), _name(left, 2))

    def _is_requantized(self, node: Any) -> bool:
        users = [each for each in self.nodes if node.output[0] in each.input]
        return bool(users) and all(
            user.op_type == "QuantizeLinear" or (user.op_type in BETWEEN and self._is_requantized(user))
            for user in users
        )

    def emulate(self, feeds: Mapping[str, NDArray[Any]]) -> Emulation:
        """Run some rows twice: with exact sums, and with sums of two clamped.

        Raises:
            ModelError: a part of the model cannot be run on its own.
        """
        risky = {product.node.output[0]: product for product in self.products if product.at_risk}
        parts = [_Part(self, piece, later) for piece, later in self._cut(risky)]
        counts: dict[str, tuple[int, int]] = {}
        exact, clamped = dict(feeds), dict(feeds)
        for part in parts:
            part.run(exact)
            part.run(clamped)
            product = risky.get(part.last)
            if product is not None:
                counts[product.name] = _clamp(product, clamped, self)
        outputs = [each.name for each in self.model.graph.output]
        layers = sorted(
            ((name, hit / pairs) for name, (hit, pairs) in counts.items() if hit), key=lambda each: -each[1]
        )
        hits, pairs = (sum(each[at] for each in counts.values()) for at in (0, 1))
        return Emulation(
            {name: exact[name] for name in outputs},
            {name: clamped[name] for name in outputs},
            hits / max(1, pairs),
            tuple(layers),
        )

    def _cut(self, risky: Mapping[str, Product]) -> Iterator[tuple[list[Any], set[str]]]:
        """The nodes in pieces that end with a product, each with the names that are read after it."""
        pieces: list[list[Any]] = [[]]
        for node in self.nodes:
            pieces[-1].append(node)
            if node.output[0] in risky:
                pieces.append([])
        later = {each.name for each in self.model.graph.output}
        needed: list[set[str]] = []
        for piece in reversed(pieces):
            needed.append(set(later))
            later |= {name for node in piece for name in inputs_of(node)}
            product = risky.get(piece[-1].output[0]) if piece else None
            if product is not None:
                later |= {product.activations, *product.scales, product.zero}
                needed[-1] |= {product.activations, *product.scales, product.zero}
        return ((piece, names) for piece, names in zip(pieces, reversed(needed), strict=True) if piece)


class _Part:
    """A piece of a model as a session of its own, made when the types of its inputs are known."""

    def __init__(self, anatomy: Anatomy, nodes: list[Any], later: set[str]) -> None:
        made = {name for node in nodes for name in node.output if name}
        read = {name for node in nodes for name in inputs_of(node)}
        self.anatomy, self.nodes, self.last = anatomy, nodes, nodes[-1].output[0]
        self.weights = [each for each in anatomy.model.graph.initializer if each.name in read]
        self.inputs = sorted(read - made - {each.name for each in self.weights})
        self.outputs = sorted(made & later)
        self.session: Any = None

    def run(self, values: Values) -> None:
        """Compute this piece's values from those before it."""
        if not self.outputs:
            return
        feeds = {name: values[name] for name in self.inputs}
        try:
            if self.session is None:
                self.session = self._open(feeds)
            values.update(zip(self.outputs, self.session.run(self.outputs, feeds), strict=True))
        except Exception as error:  # the runtime's errors share no base class
            raise ModelError(
                f"cannot be run in parts ({first_line(error)})", file=self.anatomy.path, field=self.last,
                fix="check its answers on the processors that will serve it",
            ) from error  # fmt: skip

    def _open(self, feeds: Values) -> Any:
        import onnx
        import onnxruntime

        helper = onnx.helper
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
            for name, array in feeds.items()
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "part", inputs, outputs, self.weights)
        whole = self.anatomy.model
        model = helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)
        options = onnx_options(1)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        # so that the exact run is exact on a processor without VNNI too
        options.add_session_config_entry("session.x64quantprecision", "1")
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _clamp(product: Product, values: Values, anatomy: Anatomy) -> tuple[int, int]:
    """Take from a product's output what clamping loses; how many pairs were clamped, and how many there are."""

    def value(name: str) -> NDArray[Any] | None:
        return values[name] if name in values else anatomy.constant(name)

    activations = np.asarray(value(product.activations))
    scale, weight_scale, output_scale = (value(name) for name in product.scales)
    if activations.dtype.kind == "f":
        activations, scale = _quantized(activations)
    zero = value(product.zero)
    shift = (
        128 if activations.dtype == np.int8 else 0
    )  # x86 adds 128 to signed activations, and multiplies unsigned ones
    unsigned = (activations.astype(np.int16) + shift).astype(np.uint8)
    change, hits, pairs = _lost_by(product, unsigned, shift + int(0 if zero is None else zero.reshape(-1)[0]))
    output = values[product.node.output[0]]
    values[product.node.output[0]] = _put_right(output, change, scale, weight_scale, output_scale, product)
    return hits, pairs


def _lost_by(product: Product, unsigned: NDArray[np.uint8], zero: int) -> tuple[NDArray[np.int32], int, int]:
    """What clamping changes, in the shape of the output; the pairs clamped, and all pairs."""
    matrices = product.matrices()
    if not product.convolves and len(matrices) > 1:
        raise ModelError(
            "multiplies by a stack of matrices, which is not emulated", field=product.name,
            fix="check its answers on the processors that will serve it",
        )  # fmt: skip
    if not product.convolves:
        rows = [unsigned.reshape(-1, unsigned.shape[-1])]
    else:
        rows = [_patches_of(product, each, zero) for each in np.split(unsigned, len(matrices), axis=1)]
    found = [lost(each, matrix) for each, matrix in zip(rows, matrices, strict=True)]
    change = np.concatenate([each for each, _ in found], axis=1)
    pairs = sum(len(each) * -(-len(matrix) // 2) * matrix.shape[1] for each, matrix in zip(rows, matrices, strict=True))
    return change, sum(hits for _, hits in found), pairs


def _patches_of(product: Product, images: NDArray[np.uint8], zero: int) -> NDArray[np.uint8]:
    """The patches that a convolution sees; one along a line is one over an image of height 1."""
    line = images.ndim == 3
    kernel, ones = product.weights.shape[2:], [1] * (images.ndim - 2)
    if images.ndim not in {3, 4} or product.attribute("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        raise ModelError(
            "is a convolution of a kind that is not emulated", field=product.name,
            fix="check its answers on the processors that will serve it",
        )  # fmt: skip
    strides, dilations = (list(product.attribute(name, ones)) for name in ("strides", "dilations"))
    pads = list(product.attribute("pads", [0] * 2 * len(ones)))
    if line:
        images, kernel, strides, dilations = images[:, :, None], (1, *kernel), [1, *strides], [1, *dilations]
        pads = [0, pads[0], 0, pads[1]]
    top, left, bottom, right = pads
    return patches(
        images,
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (top, left, bottom, right),
        (dilations[0], dilations[1]),
        zero,
    )


def _put_right(
    output: NDArray[Any], change: NDArray[np.int32], scale: Any, weight_scale: Any, output_scale: Any, product: Product
) -> NDArray[Any]:
    """A product's output with what clamping changes, in the output's own unit and type."""
    if product.convolves:
        places = output.shape[2:]
        shaped = np.moveaxis(change.reshape(len(output), *places, -1), -1, 1)
        weight_scale = (
            weight_scale
            if weight_scale is None or weight_scale.size == 1
            else weight_scale.reshape(-1, *[1] * len(places))
        )
    else:
        shaped = change.reshape(output.shape)
    if scale is None:
        return np.asarray(output + shaped, output.dtype)
    moved = shaped * (np.float64(scale) * np.float64(weight_scale) * product.attribute("alpha", 1.0))
    if output.dtype.kind == "f":
        return np.asarray(output + moved, output.dtype)
    limits = np.iinfo(output.dtype)
    bytes_ = np.clip(np.rint(output + moved / np.float64(output_scale)), limits.min, limits.max)
    return np.asarray(bytes_, output.dtype)


def _quantized(array: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Unsigned bytes and their scale as `DynamicQuantizeLinear` makes them (ONNX operators, version 11)."""
    low, high = min(0.0, float(array.min(initial=0.0))), max(0.0, float(array.max(initial=0.0)))
    scale = np.float32((high - low) / 255.0 or 1.0)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    return np.clip(np.rint(array / scale) + zero, 0, 255).astype(np.uint8), np.asarray(scale)


def _name(node: Any, at: int | None) -> str:
    return node.input[at] if at is not None and at < len(node.input) else ""


def _all_nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of inner graphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_nodes(inner)
