"""A Product: one multiplication of what flows through a model with weights of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .draft import attribute

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from .draft import Draft


@dataclass(frozen=True)
class Product:
    """A `MatMul` or a `Gemm` whose second factor is constant.

    Args:
        node: in the draft.
        source: the value that is multiplied, its last axis with the weights' first.
        weights: float32 [inputs, outputs], as they are multiplied (a `Gemm`'s turned and scaled).
        bias: what a `Gemm` adds, or empty.
    """

    node: onnx.NodeProto
    source: str
    weights: NDArray[np.float32]
    bias: str = ""


def products_of(draft: Draft) -> list[Product]:
    """Every product with constant float32 weights, in the order of the graph."""
    found = (_product(draft, node) for node in draft.graph.node)
    return [each for each in found if each is not None]


def _product(draft: Draft, node: onnx.NodeProto) -> Product | None:
    if node.op_type not in {"MatMul", "Gemm"} or draft.constant(node.input[0]) is not None:
        return None
    weights = draft.constant(node.input[1])
    if weights is None or weights.ndim != 2 or weights.dtype != np.float32:
        return None
    if node.op_type == "MatMul":
        return Product(node, node.input[0], weights)
    if attribute(node, "transA", 0) or attribute(node, "beta", 1.0) != 1.0:
        return None
    turned = weights.T if attribute(node, "transB", 0) else weights
    bias = node.input[2] if len(node.input) > 2 else ""
    return Product(node, node.input[0], np.float32(attribute(node, "alpha", 1.0)) * turned, bias)


def rewrite(draft: Draft, product: Product, weights: NDArray[Any], source: str = "") -> None:
    """Give a product other weights [inputs, outputs], and another value to multiply where one is named."""
    node = product.node
    if node.op_type == "Gemm":
        weights = weights.T if attribute(node, "transB", 0) else weights
        for each in [each for each in node.attribute if each.name == "alpha"]:
            node.attribute.remove(each)
    node.input[1] = draft.weight(weights.astype(np.float32), "weight")
    if source:
        node.input[0] = source
