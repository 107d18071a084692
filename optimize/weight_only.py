"""Weights in 4 or 8 bits, activations as they are: smaller, and faster where reading weights is what takes the time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.errors import ModelError

from .draft import DOMAIN, Draft
from .gptq import corrected
from .grid import half_quadratic, nearest, pack
from .product import products_of
from .tap import watch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.variant import Variant

    from .grid import Floats, Grid
    from .product import Product


@dataclass(frozen=True)
class WeightOnly:
    """How weights alone are quantized.

    Args:
        bits: of a weight, 4 or 8.
        block: inputs that share a scale; 16, 32, 64, 128 or 256.
        method: `rtn` rounds to nearest; `hqq` fits the scales to most of the weights; `gptq` lets weights make up for each
            other's errors, by how inputs go together on real rows.
        accuracy_level: of the sums (ONNX Runtime's `MatMulNBits`): 1 in float32; 4 quantizes activations too, block by
            block of each row, which is faster and depends on no neighbour.
    """

    bits: Literal[4, 8] = 4
    block: int = 32
    method: Literal["rtn", "hqq", "gptq"] = "rtn"
    accuracy_level: int = 4

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values, for the origin."""
        return asdict(self)


def weight_only(
    parent: Variant, path: Path, settings: WeightOnly, rows: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """Put every product with weights of its own into one `MatMulNBits`, an operator of ONNX Runtime.

    Args:
        parent: a float model.
        path: where the file goes.
        settings: how.
        rows: real rows by input name; `gptq` learns from them, the other methods need none.

    Raises:
        ModelError: it has no product as large as a block, or `gptq` was given no rows.
    """
    draft = Draft(parent)
    products = [each for each in products_of(draft) if len(each.weights) >= settings.block]
    if not products:
        raise ModelError(
            f"multiplies nothing with weights of its own of {settings.block} inputs or more",
            file=parent.path,
            fix="leave it as it is",
        )
    moments = _moments(draft, products, settings, rows)
    for product in products:
        codes, grid = _quantize(product, settings, moments.get(product.source))
        _replace(draft, product, settings, codes, grid)
    draft.save(path)


def _moments(
    draft: Draft, products: list[Product], settings: WeightOnly, rows: Mapping[str, NDArray[Any]] | None
) -> dict[str, NDArray[np.float64]]:
    """By value that is multiplied: the sum over rows of each of its inputs times each other."""
    if settings.method != "gptq":
        return {}
    if not rows:
        raise ModelError(
            "needs rows to learn from", file=draft.parent.path, field="gptq", fix="give data, or choose hqq"
        )
    sums: dict[str, NDArray[np.float64]] = {}
    for values in watch(draft, list(dict.fromkeys(each.source for each in products)), rows):
        for name, array in values.items():
            flat = array.reshape(-1, array.shape[-1]).astype(np.float64)
            sums[name] = sums.get(name, 0.0) + flat.T @ flat
    return sums


def _quantize(product: Product, settings: WeightOnly, moments: NDArray[np.float64] | None) -> tuple[Floats, Grid]:
    block, bits = settings.block, settings.bits
    short = -len(product.weights) % block
    weights = np.pad(product.weights.T, ((0, 0), (0, short)))
    if settings.method == "hqq":
        return half_quadratic(weights, block, bits)
    if moments is None:
        return nearest(weights, block, bits)
    return corrected(weights, block, bits, np.pad(moments, (0, short)))


def _replace(draft: Draft, product: Product, settings: WeightOnly, codes: Floats, grid: Grid) -> None:
    """Write the operator in the place of the product."""
    inputs, outputs = product.weights.shape
    packed = [
        draft.weight(pack(codes, settings.bits), "codes"),
        draft.weight(grid.scale[..., 0].reshape(outputs, -1), "scales"),
        draft.weight(pack(grid.zero[..., 0].reshape(outputs, -1), settings.bits), "zeros"),
    ]
    draft.drop([product.node])
    biased = bool(product.bias)
    answer = draft.fresh("product") if biased else product.node.output[0]
    draft.node(
        "MatMulNBits", [product.source, *packed], [answer], DOMAIN, K=inputs, N=outputs, bits=settings.bits,
        block_size=settings.block, accuracy_level=settings.accuracy_level,
    )  # fmt: skip
    if biased:
        draft.node("Add", [answer, product.bias], [product.node.output[0]])
