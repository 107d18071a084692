"""Weights in one byte, products as floats in the file: a runtime that can quantizes activations row by row as they come."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .draft import Draft, attribute
from .grid import Grid
from .int8 import raised
from .product import products_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    from .grid import Floats
    from .product import Product

    Coded = tuple[NDArray[Any], Floats, NDArray[np.uint8] | None]
    """Weights as bytes [outputs, inputs], and for each output the scale and the byte that stands for nought."""

BITS = 8

GROUP = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
"""OpenVINO's property: so many activations of one row, side by side, share a scale that is found as they come; 0 leaves them
floats, and so does a group larger than the row."""


@dataclass(frozen=True)
class CompressedWeights:
    """How weights are written in one byte.

    Args:
        symmetric: each output's grid lies around nought (`int8`, which then needs no zero points); otherwise it reaches from
            the smallest to the largest of its weights (`uint8`), which is nearer and in OpenVINO as fast.
    """

    symmetric: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return asdict(self)


def compressed_weights(parent: Variant, path: Path, settings: CompressedWeights) -> None:
    """Write each product's weights as bytes and a `DequantizeLinear`, with a scale for each output.

    OpenVINO (2026.4) keeps such weights as they are, and on processors with VNNI multiplies integers: it quantizes each row's
    activations in groups of `GROUP`, so that no row's answer hangs on its neighbours. ONNX Runtime makes floats of the
    weights when the file is loaded; there only the file is smaller.

    Args:
        parent: a float model.
        path: where the file goes.
        settings: how.

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
        _compress(draft, product, settings, written)
    draft.save(path)


def _compress(draft: Draft, product: Product, settings: CompressedWeights, written: dict[tuple[str, str], str]) -> None:
    """Let a product read bytes; `written` knows whose weights are there already, for some products share theirs."""
    node = product.node
    gemm = node.op_type == "Gemm"
    turned = gemm and bool(attribute(node, "transB", 0))
    scaling = attribute(node, "alpha", 1.0) if gemm else 1.0
    key = (node.input[1], f"{turned} {scaling}")
    if key not in written:
        written[key] = _dequantized(draft, product.weights, settings, turned=turned)
    for each in [each for each in node.attribute if gemm and each.name == "alpha"]:
        node.attribute.remove(each)  # the weights hold it
    node.input[1] = written[key]


def _dequantized(draft: Draft, weights: Floats, settings: CompressedWeights, *, turned: bool) -> str:
    """The name of what `DequantizeLinear` makes of weights [inputs, outputs], [outputs, inputs] where they are turned."""
    by_output = np.ascontiguousarray(weights.T)
    codes, scale, zero = (_around_nought if settings.symmetric else _to_both_ends)(by_output)
    inputs = [draft.weight(codes if turned else codes.T, "codes"), draft.weight(scale, "scales")]
    if zero is not None:
        inputs.append(draft.weight(zero, "zeros"))
    return draft.node("DequantizeLinear", inputs, axis=0 if turned else 1)


def _around_nought(weights: Floats) -> Coded:
    scale = (np.abs(weights).max(axis=1) / np.float32(127)).astype(np.float32)
    scale[scale < np.finfo(np.float32).tiny] = 1.0
    return np.rint(weights / scale[:, None]).astype(np.int8), scale, None


def _to_both_ends(weights: Floats) -> Coded:
    grid = Grid.around(weights, BITS)
    return grid.codes(weights).astype(np.uint8), grid.scale[:, 0], grid.zero[:, 0].astype(np.uint8)
