"""What one ONNX node asks of a machine: floating-point operations, and bytes read and written.

One multiply-add is two operations. An elementary function (exp, erf, tanh) is one operation and a class of its own, since
processors do not agree on what it costs. Each node is counted as if it stood alone: what a runtime fuses, it fuses into
another node, and that one is counted where the optimised graph is read.

| class | operations |
|---|---|
| matmul | 2 × output elements × inner length, + 1 an output element for a bias; attention: the two products, and the projections where the node holds them |
| convolution | 2 × output elements × (input channels ÷ groups × kernel), transposed: × input elements × output channels; + 1 for a bias |
| recurrent | a step, row and unit: 2 × gates × (input + hidden width) + 2 × gates + 5 (0 for a plain RNN) |
| elementwise | 1 an output element; some a little more |
| transcendental | 1 an output element; gated forms (Gelu, Swish) 2 to 4 |
| reduction | 1 an input element; softmax 5, layer normalisation 7, batch normalisation 2; pooling: the kernel, an output element |
| quantization | 2 an element to dequantize, 3 to quantize, 5 where minimum and maximum are sought first |
| movement | 0; gathers and slices read only what they take; a mere change of shape moves nothing |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CLASSES = (
    "matmul",
    "convolution",
    "recurrent",
    "elementwise",
    "transcendental",
    "reduction",
    "quantization",
    "movement",
)
"""Operators that meet the same bound of a machine in the same way."""

DOMAINS = ("", "ai.onnx", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
"""ONNX itself, and what ONNX Runtime puts in its place when it optimises."""


@dataclass(frozen=True)
class Value:
    """A tensor between nodes.

    Args:
        shape: sizes of its axes.
        dtype: numpy's name.
        bits: of one element.
        integer_source: whether a DequantizeLinear made it: runtimes then compute on the integers behind it.
    """

    shape: tuple[int, ...]
    dtype: str
    bits: int
    integer_source: bool = False

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return (self.elements * self.bits + 7) // 8


@dataclass(frozen=True)
class Node:
    """One node with its tensors known; an optional input that was left out is None."""

    name: str
    kind: str
    domain: str
    attributes: Mapping[str, Any]
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value | None, ...]

    def input(self, index: int) -> Value | None:
        """The input at a position, or None where it was left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def need(self, index: int) -> Value:
        """The input at a position that the operator cannot do without."""
        value = self.input(index)
        if value is None:
            raise LookupError(f"{self.kind} without input {index}")
        return value

    @property
    def output(self) -> Value:
        """The first output."""
        value = self.outputs[0]
        if value is None:
            raise LookupError(f"{self.kind} without output")
        return value


@dataclass(frozen=True)
class Operator:
    """What one node asks for.

    Args:
        name: the node's.
        kind: such as `MatMul`.
        operator_class: one of `CLASSES`.
        flops: operations; a multiply-add is two.
        bytes_read: by it, weights included.
        bytes_written: by it.
        dtype: in which it computes: `int8` for quantized ones.
    """

    name: str
    kind: str
    operator_class: str
    flops: int
    bytes_read: int
    bytes_written: int
    dtype: str

    @property
    def bytes(self) -> int:
        """Bytes moved both ways."""
        return self.bytes_read + self.bytes_written


@dataclass(frozen=True)
class _Rule:
    """How a kind of operator is counted; bytes are those of all inputs and outputs unless `reads` says otherwise."""

    operator_class: str
    flops: Callable[[Node], float]
    reads: Callable[[Node], int] | None = None
    moves: bool = True


def count(node: Node) -> Operator | None:
    """Count one node; None where its kind is not known.

    Raises:
        LookupError: an input that the count needs was left out.

    Example:
        >>> x, w, y = (Value(shape, "float32", 32) for shape in ((8, 64), (64, 10), (8, 10)))
        >>> count(Node("n", "MatMul", "", {}, (x, w), (y,)))
        Operator(name='n', kind='MatMul', operator_class='matmul', flops=10240, bytes_read=4608, bytes_written=320, dtype='float32')
    """
    rule = RULES.get(node.kind) if node.domain in DOMAINS else None
    if rule is None:
        return None
    read = sum(value.bytes for value in node.inputs if value) if rule.reads is None else rule.reads(node)
    written = sum(value.bytes for value in node.outputs if value)
    if not rule.moves:
        read = written = 0
    return Operator(
        node.name, node.kind, rule.operator_class, round(rule.flops(node)), read, written, _dtype(node, rule.operator_class)
    )  # fmt: skip


def _dtype(node: Node, operator_class: str) -> str:
    """The type in which a node computes: 8-bit integers where its factors are such, or stand behind a DequantizeLinear."""
    if operator_class in {"matmul", "convolution", "recurrent"}:
        factors = [value for value in node.inputs if value and len(value.shape) > 1]
        if node.kind.startswith(("QLinear", "QGemm", "QAttention", "DynamicQuantize", "MatMulInteger", "ConvInteger")):
            return "int8"
        if factors and all(value.integer_source for value in factors):
            return "int8"
    known = [value.dtype for value in (*node.inputs, *node.outputs) if value]
    return next((dtype for dtype in known if "float" in dtype), known[0] if known else "float32")


def _per_output(flops: float) -> Callable[[Node], float]:
    return lambda node: flops * node.output.elements


def _per_input(flops: float) -> Callable[[Node], float]:
    return lambda node: flops * node.need(0).elements


def _matmul(node: Node) -> float:
    a = node.need(0)
    inner = a.shape[-2] if node.attributes.get("transA") and len(a.shape) > 1 else a.shape[-1]
    return 2.0 * node.output.elements * inner


def _biased(at: int, product: Callable[[Node], float]) -> Callable[[Node], float]:
    return lambda node: product(node) + (node.output.elements if node.input(at) else 0)


def _convolution(weight: int) -> Callable[[Node], float]:
    def flops(node: Node) -> float:
        return 2.0 * node.output.elements * math.prod(node.need(weight).shape[1:])

    return flops


def _transposed_convolution(node: Node) -> float:
    return 2.0 * node.need(0).elements * math.prod(node.need(1).shape[1:])


def _recurrent(gates: int, state: int) -> Callable[[Node], float]:
    """A layout of [steps, rows, width] or, by `layout`, [rows, steps, width]; both directions where there are two."""

    def flops(node: Node) -> float:
        steps, rows, width = node.need(0).shape
        hidden, directions = node.attributes["hidden_size"], node.need(1).shape[0]
        return float(steps * rows * directions * hidden * (2 * gates * (width + hidden) + 2 * gates + state))

    return flops


def _attention(node: Node) -> float:
    """Scores and mixture; and the projection of queries, keys and values by com.microsoft's `Attention` itself."""
    x = node.need(0)
    if node.domain == "com.microsoft" and node.kind in {"Attention", "QAttention"}:
        rows, length, _ = x.shape
        width = node.output.shape[-1]
        past = _past(node, length)
        projected = node.need(1).shape[-1]
        return 2.0 * rows * length * x.shape[-1] * projected + 4.0 * rows * length * past * width
    keys = node.need(1).shape[-2]
    return 4.0 * node.output.elements * keys


def _past(node: Node, length: int) -> int:
    """Keys attended to: those that come now and those kept from before."""
    past = node.input(4) if node.kind == "Attention" else None
    return length + (past.shape[-2] if past and len(past.shape) > 2 else 0)


def _pool(node: Node) -> float:
    return float(node.output.elements * math.prod(node.attributes["kernel_shape"]))


def _taken(node: Node) -> int:
    """Bytes of the rows taken, and of the indices."""
    index = node.input(1)
    return node.output.bytes + (index.bytes if index else 0)


def _written(node: Node) -> int:
    return sum(value.bytes for value in node.outputs if value)


def _updates(node: Node) -> int:
    return sum(value.bytes for value in node.inputs if value)


def _embedding(node: Node) -> int:
    """com.microsoft's EmbedLayerNormalization: the rows of up to three tables, and what it writes."""
    return 3 * node.output.bytes


_ELEMENTWISE = {
    "Abs": 1, "Add": 1, "And": 1, "BiasAdd": 1, "BitShift": 1, "BitwiseAnd": 1, "BitwiseNot": 1, "BitwiseOr": 1, "BitwiseXor": 1,
    "Ceil": 1, "Clip": 2, "Div": 1, "Equal": 1, "Floor": 1, "Greater": 1, "GreaterOrEqual": 1, "HardSigmoid": 3, "HardSwish": 4,
    "IsInf": 1, "IsNaN": 1, "LeakyRelu": 2, "Less": 1, "LessOrEqual": 1, "Max": 1, "Mean": 1, "Min": 1, "Mod": 1, "Mul": 1,
    "Neg": 1, "Not": 1, "Or": 1, "PRelu": 2, "Reciprocal": 1, "Relu": 1, "Round": 1, "Sign": 1, "Sqrt": 1, "Sub": 1, "Sum": 1,
    "ThresholdedRelu": 1, "Where": 1, "Xor": 1, "QLinearAdd": 3, "QLinearMul": 3, "QLinearWhere": 1, "QLinearLeakyRelu": 3,
}  # fmt: skip
_TRANSCENDENTAL = {
    "Acos": 1, "Asin": 1, "Atan": 1, "BiasGelu": 5, "Celu": 3, "Cos": 1, "Cosh": 1, "Elu": 2, "Erf": 1, "Exp": 1, "FastGelu": 8,
    "Gelu": 4, "Log": 1, "Mish": 4, "Pow": 1, "QLinearSigmoid": 3, "QuickGelu": 3, "Selu": 3, "Sigmoid": 1, "Sin": 1, "Sinh": 1,
    "Softplus": 2, "Softsign": 3, "Swish": 2, "Tan": 1, "Tanh": 1,
}  # fmt: skip
_REDUCTION = {
    "ArgMax": 1, "ArgMin": 1, "BatchNormalization": 2, "BiasSoftmax": 6, "CumSum": 1,
    "GlobalAveragePool": 1, "GlobalMaxPool": 1, "GroupNormalization": 7, "Hardmax": 1, "InstanceNormalization": 7,
    "LayerNormalization": 7, "LogSoftmax": 5, "LpNormalization": 3, "MeanVarianceNormalization": 6, "QLinearGlobalAveragePool": 1,
    "QLinearReduceMean": 1, "QLinearSoftmax": 5, "RMSNormalization": 4, "ReduceL1": 2, "ReduceL2": 2, "ReduceLogSum": 1,
    "ReduceLogSumExp": 2, "ReduceMax": 1, "ReduceMean": 1, "ReduceMin": 1, "ReduceProd": 1, "ReduceSum": 1, "ReduceSumSquare": 2,
    "SimplifiedLayerNormalization": 4, "SkipLayerNormalization": 8, "SkipSimplifiedLayerNormalization": 5, "Softmax": 5, "TopK": 1,
}  # fmt: skip
_QUANTIZATION = {"DequantizeLinear": 2, "QuantizeLinear": 3, "DynamicQuantizeLinear": 5}
_POOLS = ("AveragePool", "LpPool", "MaxPool", "QLinearAveragePool")
_MOVES = ("Cast", "Concat", "DepthToSpace", "OneHot", "QLinearConcat", "ReorderInput", "ReorderOutput", "Reverse", "ReverseSequence",
          "SpaceToDepth", "Split", "Transpose")  # fmt: skip
_TAKES = ("Gather", "GatherElements", "GatherND", "Slice")
_SPREADS = ("ConstantOfShape", "EyeLike", "Expand", "Pad", "Range", "Resize", "Tile", "Trilu", "Upsample")
_UPDATES = ("ScatterElements", "ScatterND", "Compress", "NonZero")
VIEWS = ("Constant", "Dropout", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze")
"""Operators whose output is their input under another shape, or a number about it."""

RULES: Mapping[str, _Rule] = {
    **{kind: _Rule("elementwise", _per_output(each)) for kind, each in _ELEMENTWISE.items()},
    **{kind: _Rule("transcendental", _per_output(each)) for kind, each in _TRANSCENDENTAL.items()},
    **{kind: _Rule("reduction", _per_input(each)) for kind, each in _REDUCTION.items()},
    **{kind: _Rule("quantization", _per_input(each)) for kind, each in _QUANTIZATION.items()},
    **{kind: _Rule("reduction", _pool) for kind in _POOLS},
    **{kind: _Rule("movement", _per_output(0)) for kind in _MOVES},
    **{kind: _Rule("movement", _per_output(0), _taken) for kind in _TAKES},
    **{kind: _Rule("movement", _per_output(0), _written) for kind in _SPREADS},
    **{kind: _Rule("movement", _per_output(0), _updates) for kind in _UPDATES},
    **{kind: _Rule("movement", lambda _: 0.0, moves=False) for kind in VIEWS},
    "MatMul": _Rule("matmul", _matmul),
    "FusedMatMul": _Rule("matmul", _matmul),
    "TransposeMatMul": _Rule("matmul", _matmul),
    "MatMulInteger": _Rule("matmul", _matmul),
    "MatMulNBits": _Rule("matmul", _matmul),
    "QLinearMatMul": _Rule("matmul", _matmul),
    "Gemm": _Rule("matmul", _biased(2, _matmul)),
    "FusedGemm": _Rule("matmul", _biased(2, _matmul)),
    "QGemm": _Rule("matmul", _biased(6, _matmul)),
    "DynamicQuantizeMatMul": _Rule("matmul", _biased(4, _matmul)),
    "MatMulIntegerToFloat": _Rule("matmul", _biased(6, _matmul)),
    "Attention": _Rule("matmul", _attention),
    "QAttention": _Rule("matmul", _attention),
    "MultiHeadAttention": _Rule("matmul", _attention),
    "Conv": _Rule("convolution", _biased(2, _convolution(1))),
    "FusedConv": _Rule("convolution", _biased(2, _convolution(1))),
    "NhwcFusedConv": _Rule("convolution", _biased(2, _convolution(1))),
    "ConvInteger": _Rule("convolution", _convolution(1)),
    "QLinearConv": _Rule("convolution", _biased(8, _convolution(3))),
    "ConvTranspose": _Rule("convolution", _biased(2, _transposed_convolution)),
    "LSTM": _Rule("recurrent", _recurrent(4, 5)),
    "GRU": _Rule("recurrent", _recurrent(3, 5)),
    "RNN": _Rule("recurrent", _recurrent(1, 0)),
    "DynamicQuantizeLSTM": _Rule("recurrent", _recurrent(4, 5)),
    "EmbedLayerNormalization": _Rule("reduction", lambda node: 9.0 * node.output.elements, _embedding),
}
"""How each kind is counted; what is not here is uncounted, and said to be."""
