"""SmoothQuant: what is hard to quantize in activations is moved into weights, where it is easy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import ModelError

from .draft import Draft, attribute
from .product import products_of, rewrite
from .tap import watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    from .product import Product

ALPHA = 0.5
"""The share of the difficulty that moves into the weights: this one leaves both equally hard."""

OUTLIER = 4.0
"""Where smoothing costs a multiplication of its own, the largest channel must be so many times the median one to be worth it."""

TINY = 1e-5
"""Channels that never carry more than this are taken to carry this: nothing is divided by zero."""

NORMALIZATIONS = ("LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization")
"""Operators that end in a scale of their own, and mostly a bias, for every channel."""


def smooth(parent: Variant, path: Path, rows: Mapping[str, NDArray[Any]]) -> None:
    """Divide each channel of an activation by a number, and multiply the weights that meet it by the same.

    The model says what it said before, up to rounding; int8 of it is nearer (Xiao et al., arXiv 2211.10438). The division
    is folded into the layer before (a normalization, a product, a scale, also through a `Relu`) where nothing else takes
    what that gives; else a `Mul` is put in between.

    Args:
        parent: a float model.
        path: where the file goes.
        rows: real rows by input name, on which the size of each channel is seen.

    Raises:
        ModelError: it has no product of activations with weights, or none that smoothing would help.
    """
    draft = Draft(parent)
    groups: dict[str, list[Product]] = {}
    for product in products_of(draft):
        groups.setdefault(product.source, []).append(product)
    if not groups:
        raise ModelError("multiplies nothing with weights of its own", file=parent.path, fix="leave it as it is")
    sizes = _channel_sizes(draft, list(groups), rows)
    smoothed = [
        _smooth(draft, source, products, sizes[source])
        for source, products in groups.items()
        if len(sizes[source]) == len(products[0].weights)
    ]
    if not any(smoothed):
        raise ModelError(
            f"has no channel {OUTLIER:g} times as large as the median one, and no layer to fold a scale into",
            file=parent.path,
            fix="leave it as it is",
        )
    draft.save(path)


def _channel_sizes(
    draft: Draft, names: Sequence[str], rows: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float64]]:
    """The largest size that each channel (the last axis) of each value reaches."""
    sizes = {name: np.zeros(1) for name in names}
    for values in watch(draft, names, rows):
        for name, array in values.items():
            here = np.abs(array.reshape(-1, array.shape[-1])).max(axis=0, initial=0.0)
            sizes[name] = np.maximum(sizes[name], here)
    return sizes


def _smooth(draft: Draft, source: str, products: Sequence[Product], sizes: NDArray[np.float64]) -> bool:
    """Smooth one value and all that multiply it; whether it was done."""
    scale = _scale(sizes, products)
    if np.ptp(scale) == 0.0 or not np.isfinite(scale).all():
        return False
    alone = len(draft.takers(source)) == len(products) and source not in draft.outputs
    places = _foldable(draft, source) if alone else None
    if places is not None:
        for node, slot in places:
            array = draft.constant(node.input[slot])
            assert array is not None
            divided = array / (scale[:, None] if _turned(node, slot) else scale)
            node.input[slot] = draft.weight(divided.astype(array.dtype), "smoothed")
        source = ""
    elif sizes.max() < OUTLIER * max(float(np.median(sizes)), TINY):
        return False
    else:
        source = draft.node("Mul", [source, draft.weight((1.0 / scale).astype(np.float32), "smoothing")])
    for product in products:
        rewrite(draft, product, product.weights * scale[:, None], source)
    return True


def _scale(sizes: NDArray[np.float64], products: Sequence[Product]) -> NDArray[np.float64]:
    """What each channel is divided by: size^ALPHA ÷ the largest of its weights^(1 − ALPHA)."""
    weights = np.max([np.abs(each.weights).max(axis=1) for each in products], axis=0)
    scale = np.maximum(sizes, TINY) ** ALPHA / np.maximum(weights, TINY) ** (1.0 - ALPHA)
    # only ratios matter to int8; this one leaves the activations about as large as they were
    scale /= np.exp(np.log(scale).mean())
    return np.asarray(scale)


def _foldable(draft: Draft, name: str) -> list[tuple[onnx.NodeProto, int]] | None:
    """Which constants of which nodes to divide so that a value is divided, channel by channel; None where none will do."""
    node = draft.maker(name)
    if node is None:
        return None
    if node.op_type in NORMALIZATIONS:
        return _normalization(draft, node)
    if node.op_type == "Relu" and draft.only_taker(node.input[0]) is not None:
        return _foldable(draft, node.input[0])  # a Relu of a third is a third of the Relu
    if node.op_type in {"Add", "Mul"}:
        return _elementwise(draft, node)
    if node.op_type == "MatMul" and _is_matrix(draft, node.input[1]):
        return [(node, 1)]
    if (
        node.op_type == "Gemm"
        and _is_matrix(draft, node.input[1])
        and all(_is_row(draft, each) for each in node.input[2:])
    ):
        return [(node, 1), *((node, slot) for slot in range(2, len(node.input)))]
    return None


def _normalization(draft: Draft, node: onnx.NodeProto) -> list[tuple[onnx.NodeProto, int]] | None:
    if attribute(node, "axis", -1) != -1:
        return None  # channels are not its last axis
    slots = [slot for slot in (1, 2) if slot < len(node.input) and node.input[slot]]
    return [(node, slot) for slot in slots] if all(_is_row(draft, node.input[slot]) for slot in slots) else None


def _elementwise(draft: Draft, node: onnx.NodeProto) -> list[tuple[onnx.NodeProto, int]] | None:
    """A sum with constants is divided when both are; a product with constants when these are."""
    slot = next((place for place, name in enumerate(node.input) if _is_row(draft, name)), None)
    if slot is None:
        return None
    if node.op_type == "Mul":
        return [(node, slot)]
    other = node.input[1 - slot]
    before = _foldable(draft, other) if draft.only_taker(other) is not None else None
    return None if before is None else [*before, (node, slot)]


def _is_row(draft: Draft, name: str) -> bool:
    array = draft.constant(name)
    return array is not None and array.ndim == 1 and array.size > 1


def _is_matrix(draft: Draft, name: str) -> bool:
    array = draft.constant(name)
    return array is not None and array.ndim == 2


def _turned(node: onnx.NodeProto, slot: int) -> bool:
    """Whether a constant's channels are its rows: the weights of a `Gemm` that are kept turned."""
    return node.op_type == "Gemm" and slot == 1 and bool(attribute(node, "transB", 0))
