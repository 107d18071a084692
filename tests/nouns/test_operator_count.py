from __future__ import annotations

import math
from typing import Any

import pytest

from windtunnel.operator_count import CLASSES, RULES, Node, Operator, Value, count


def _f(*shape: int) -> Value:
    return Value(shape, "float32", 32)


def _i8(*shape: int) -> Value:
    return Value(shape, "int8", 8)


def _count(
    kind: str, inputs: list[Value | None], outputs: list[Value], domain: str = "", **attributes: Any
) -> Operator:
    operator = count(Node("n", kind, domain, attributes, tuple(inputs), tuple(outputs)))
    assert operator is not None
    return operator


def _flops(kind: str, inputs: list[Value | None], output: Value, domain: str = "", **attributes: Any) -> int:
    return _count(kind, inputs, [output], domain, **attributes).flops


def test_matrix_products() -> None:
    """A product of M×K by K×N is 2MNK operations in every spelling, and a bias one more an output element."""
    assert _flops("MatMul", [_f(8, 64), _f(64, 10)], _f(8, 10)) == 2 * 8 * 10 * 64
    assert _flops("MatMul", [_f(8, 64), _f(64)], _f(8)) == 2 * 8 * 64
    assert _flops("MatMul", [_f(2, 4, 8, 64), _f(2, 4, 64, 10)], _f(2, 4, 8, 10)) == 2 * 2 * 4 * 8 * 10 * 64
    assert _flops("Gemm", [_f(8, 64), _f(64, 10), _f(10)], _f(8, 10)) == 2 * 8 * 10 * 64 + 80
    assert _flops("Gemm", [_f(64, 8), _f(64, 10)], _f(8, 10), transA=1) == 2 * 8 * 10 * 64
    assert _flops("Gemm", [_f(8, 64), _f(10, 64)], _f(8, 10), transB=1) == 2 * 8 * 10 * 64


def test_quantized_products() -> None:
    """Quantized products are as many operations, on 8-bit integers, and read a quarter of the bytes."""
    product = _count("MatMulInteger", [_i8(8, 64), _i8(64, 10)], [Value((8, 10), "int32", 32)])

    assert (product.flops, product.dtype, product.operator_class) == (10240, "int8", "matmul")
    assert (product.bytes_read, product.bytes_written) == (8 * 64 + 64 * 10, 320)
    scale, zero = _f(), _i8()
    linear = [_i8(8, 64), scale, zero, _i8(64, 10), scale, zero, scale, zero]
    assert _flops("QLinearMatMul", list(linear), _i8(8, 10)) == 10240
    assert (
        _flops("DynamicQuantizeMatMul", [_f(8, 64), _i8(64, 10), scale, zero, _f(10)], _f(8, 10), "com.microsoft")
        == 10320
    )
    assert (
        _count("DynamicQuantizeMatMul", [_f(8, 64), _i8(64, 10), scale, zero], [_f(8, 10)], "com.microsoft").dtype
        == "int8"
    )


def test_factors_behind_dequantize() -> None:
    """A product whose factors both come from DequantizeLinear runs on integers; with one of them it does not."""
    x, w = (Value(shape, "float32", 32, integer_source=True) for shape in ((8, 64), (64, 10)))

    assert _count("MatMul", [x, w], [_f(8, 10)]).dtype == "int8"
    assert _count("MatMul", [_f(8, 64), w], [_f(8, 10)]).dtype == "float32"


def test_convolutions() -> None:
    """A convolution is two operations for each output element, input channel of its group, and kernel element."""
    x, w, y = _f(2, 6, 8, 8), _f(12, 6, 3, 3), _f(2, 12, 8, 8)

    assert _flops("Conv", [x, w], y) == 2 * (2 * 12 * 8 * 8) * 6 * 9
    assert _flops("Conv", [x, w, _f(12)], y) == 2 * (2 * 12 * 8 * 8) * 6 * 9 + 2 * 12 * 8 * 8
    assert _flops("Conv", [x, _f(12, 2, 3, 3)], y, group=3) == 2 * (2 * 12 * 8 * 8) * 2 * 9
    # each input element meets every output channel through the whole kernel
    assert _flops("ConvTranspose", [x, _f(6, 5, 3, 3)], _f(2, 5, 17, 17)) == 2 * (2 * 6 * 8 * 8) * 5 * 9
    quantized = [_i8(2, 6, 8, 8), _f(), _i8(), _i8(12, 6, 3, 3), _f(), _i8(), _f(), _i8()]
    assert _flops("QLinearConv", list(quantized), _i8(2, 12, 8, 8)) == 2 * (2 * 12 * 8 * 8) * 6 * 9


def test_recurrent() -> None:
    """An LSTM of 4 gates, a GRU of 3 and a plain RNN of 1 multiply input and state in every step, both directions."""
    steps, rows, width, hidden = 7, 2, 16, 32
    x, y = _f(steps, rows, width), _f(steps, 1, rows, hidden)
    per_unit = {"LSTM": 4, "GRU": 3, "RNN": 1}
    state = {"LSTM": 5, "GRU": 5, "RNN": 0}
    for kind, gates in per_unit.items():
        one = steps * rows * hidden * (2 * gates * (width + hidden) + 2 * gates + state[kind])
        weights = [x, _f(1, gates * hidden, width), _f(1, gates * hidden, hidden)]
        both = [x, _f(2, gates * hidden, width), _f(2, gates * hidden, hidden)]
        assert _flops(kind, list(weights), y, hidden_size=hidden) == one
        assert _flops(kind, list(both), y, hidden_size=hidden) == 2 * one


def test_attention() -> None:
    """Fused attention is what its parts are: the projections where it holds them, the scores and the mixture."""
    rows, length, width, heads = 2, 16, 64, 4
    x = _f(rows, length, width)
    parts = 2 * 2 * rows * length * length * width
    fused = [x, _f(width, 3 * width), _f(3 * width)]

    assert (
        _flops("Attention", list(fused), x, "com.microsoft", num_heads=heads)
        == 2 * rows * length * width * 3 * width + parts
    )
    assert _flops("MultiHeadAttention", [x, x, x], x, "com.microsoft", num_heads=heads) == parts
    split = _f(rows, heads, length, width // heads)
    assert _flops("Attention", [split, split, split], split) == parts


def test_attention_in_integers() -> None:
    """Attention on 8-bit integers is the same work in another type."""
    x, y = _i8(2, 16, 64), _f(2, 16, 64)
    fused = _count("QAttention", [x, _i8(64, 192), _f(192)], [y], "com.microsoft", num_heads=4)

    assert (fused.flops, fused.dtype) == (2 * 2 * 16 * 64 * 192 + 4 * 2 * 16 * 16 * 64, "int8")


def test_gathering_reads_rows_only() -> None:
    """An embedding reads the rows it takes and their indices, never the whole table."""
    table, index = _f(30_000, 128), Value((4, 16), "int64", 64)
    gathered = _count("Gather", [table, index], [_f(4, 16, 128)])

    assert (gathered.flops, gathered.bytes_read, gathered.bytes_written) == (
        0,
        4 * 16 * 128 * 4 + 4 * 16 * 8,
        4 * 16 * 128 * 4,
    )


def test_views_move_nothing() -> None:
    """A change of shape is free; a transposition is not."""
    view, moved = (
        _count("Reshape", [_f(8, 4), Value((1,), "int64", 64)], [_f(32)]),
        _count("Transpose", [_f(8, 4)], [_f(4, 8)]),
    )

    assert (view.flops, view.bytes) == (0, 0)
    assert (moved.flops, moved.bytes_read, moved.bytes_written) == (0, 128, 128)


@pytest.mark.parametrize(
    ("kind", "operator_class", "each"),
    [("Relu", "elementwise", 1), ("Sigmoid", "transcendental", 1), ("Softmax", "reduction", 5), ("LayerNormalization", "reduction", 7),
     ("DequantizeLinear", "quantization", 2), ("Transpose", "movement", 0)],
)  # fmt: skip
def test_classes(kind: str, operator_class: str, each: int) -> None:
    """Operators of one kind of work are one class, so many operations an element."""
    operator = _count(kind, [_f(8, 16)], [_f(8, 16)])

    assert (operator.operator_class, operator.flops) == (operator_class, each * 128)


def test_reductions_count_what_they_read() -> None:
    """A sum costs its input, a pool its kernel at every output element."""
    assert _flops("ReduceSum", [_f(8, 16)], _f(8)) == 128
    assert _flops("MaxPool", [_f(1, 3, 8, 8)], _f(1, 3, 4, 4), kernel_shape=[2, 2]) == 3 * 16 * 4


def test_unknown_kinds() -> None:
    """What nobody taught us to count is None, and so is a known name of an unknown domain."""
    assert count(Node("n", "Custom", "", {}, (_f(1),), (_f(1),))) is None
    assert count(Node("n", "MatMul", "somebody.else", {}, (_f(1), _f(1)), (_f(1),))) is None


def test_broken_node() -> None:
    """A node without the input it cannot do without is refused, not counted as nothing."""
    with pytest.raises(LookupError, match="MatMul without input 0"):
        count(Node("n", "MatMul", "", {}, (None,), (_f(1),)))


def test_every_rule_has_a_class() -> None:
    """Every kind belongs to one of the classes."""
    assert {rule.operator_class for rule in RULES.values()} <= set(CLASSES)


def test_narrow_types() -> None:
    """Two 4-bit numbers share a byte, and an odd one takes a whole."""
    assert Value((3,), "int4", 4).bytes == 2
    assert Value((), "float32", 32).bytes == 4
    assert Value((2, 3), "float16", 16).elements == math.prod((2, 3))
