"""What of a model is integer: how many of its heavy operators really multiply integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.errors import ModelError

from .int8 import HEAVY

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.variant import Variant

QUANTIZED = (
    "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QLinearMatMul", "QGemm", "ConvInteger", "QLinearConv", "QAttention",
    "MatMulNBits",
)  # fmt: skip
"""Kinds that multiply integers by themselves."""


def count_quantized(path: Path) -> tuple[int, int]:
    """How many of the heavy operators are integer ones, and how many heavy ones there are.

    In the Q/DQ format a heavy operator counts when all it multiplies comes from a `DequantizeLinear`: one whose weights
    alone are integers multiplies floats, and is slower than before.
    """
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    integer = sum(node.op_type in QUANTIZED for node in graph.node)
    heavy = [node for node in graph.node if node.op_type in HEAVY]
    return integer + sum(all(name in dequantized for name in node.input[:2]) for node in heavy), integer + len(heavy)


def check_quantized(path: Path, parent: Variant) -> tuple[int, int]:
    """Refuse a file of which nothing heavy was quantized; see `count_quantized`.

    Raises:
        ModelError: none of the heavy operators multiplies integers.
    """
    quantized, heavy = count_quantized(path)
    if quantized == 0:
        raise ModelError(
            f"has {heavy} heavy operators and none of them was quantized",
            file=parent.path,
            fix="its weights may be computed in the graph; fold constants before",
        )
    return quantized, heavy
