"""Weights in one byte, products as floats in the file: a runtime that can quantizes activations row by row as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import ModelError

from .draft import Draft, attribute
from .grid import Grid
from .int8 import raised
from .product import products_of

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.variant import Variant

    from .grid import Floats
    from .product import Product

BITS = 8

GROUP = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
"""OpenVINO's property: so many activations of one row, side by side, share a scale that is found as they come; 0 leaves them
floats, and so does a group larger than the row."""


def compressed_weights(parent: Variant, path: Path) -> None:
    """Write each product's weights as bytes and a `DequantizeLinear`, with a grid for each output.

    A grid reaches from the smallest to the largest weight, which is nearer than one around nought, and in OpenVINO as fast.
    OpenVINO (2026.4) keeps such weights as they are, and on processors with VNNI multiplies integers: it quantizes each row's
    activations in groups of `GROUP`, so that no row's answer hangs on its neighbours. ONNX Runtime makes floats of the
    weights when the file is loaded; there only the file is smaller.

    Args:
        parent: a float model.
        path: where the file goes.

    Raises:
        ModelError: it multiplies nothing with weights of its own.
    """
    draft = Draft(parent)
    draft.adopt(raised(draft.model))
    products = products_of(draft)
    if not products:
        raise ModelError("multiplies nothing with weights of its own", file=parent.path, fix="leave it as it is")
    written: dict[tuple[str, str], str] = {}
    for product in products:
        _compress(draft, product, written)
    draft.save(path)


def _compress(draft: Draft, product: Product, written: dict[tuple[str, str], str]) -> None:
    """Let a product read bytes; `written` knows whose weights are there already, for some products share theirs."""
    node = product.node
    gemm = node.op_type == "Gemm"
    turned = gemm and bool(attribute(node, "transB", 0))
    scaling = attribute(node, "alpha", 1.0) if gemm else 1.0
    key = (node.input[1], f"{turned} {scaling}")
    if key not in written:
        written[key] = _dequantized(draft, product.weights, turned=turned)
    for each in [each for each in node.attribute if gemm and each.name == "alpha"]:
        node.attribute.remove(each)  # the weights hold it
    node.input[1] = written[key]


def _dequantized(draft: Draft, weights: Floats, *, turned: bool) -> str:
    """The name of what `DequantizeLinear` makes of weights [inputs, outputs], [outputs, inputs] where they are turned."""
    by_output = np.ascontiguousarray(weights.T)
    grid = Grid.around(by_output, BITS)
    codes = grid.codes(by_output).astype(np.uint8)
    inputs = [
        draft.weight(codes if turned else codes.T, "codes"),
        draft.weight(grid.scale[:, 0], "scales"),
        draft.weight(grid.zero[:, 0].astype(np.uint8), "zeros"),
    ]
    return draft.node("DequantizeLinear", inputs, axis=0 if turned else 1)
