"""GPTQ: round one weight after the other, and let those still to come make up for the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from .grid import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .grid import Floats

DAMPING = 0.01
"""Added to the diagonal of what inputs say of each other, as a share of its mean, so that it can be inverted."""


def corrected(weights: Floats, block: int, bits: int, moments: NDArray[np.float64]) -> tuple[Floats, Grid]:
    """Round each output's weights in the order of their inputs; what is left of each error goes to the inputs to come.

    Frantar et al., arXiv 2210.17323, without the reordering of inputs. Where an error goes is told by how inputs go
    together on real rows. The grid of a block is laid when its turn comes.

    Args:
        weights: [outputs, inputs], inputs a multiple of the block.
        block: inputs that share a scale.
        bits: of a whole number.
        moments: [inputs, inputs], the sum over rows of each input times each other.

    Returns:
        Whole numbers [outputs, blocks, block] and their grid.
    """
    left, factor = weights.astype(np.float64), _inverse_factor(moments)
    codes = np.empty((len(weights), weights.shape[1] // block, block), np.float32)
    scales, zeros = (np.empty((*codes.shape[:2], 1), np.float32) for _ in range(2))
    for place in range(codes.shape[1]):
        here, after = slice(place * block, (place + 1) * block), slice((place + 1) * block, None)
        grid = Grid.around(left[:, here].astype(np.float32), bits)
        scales[:, place], zeros[:, place] = grid.scale, grid.zero
        mine = np.ascontiguousarray(factor[here, here])
        errors = np.empty((len(weights), block))
        _round(left[:, here].copy(), mine, 2**bits - 1, grid.scale[:, 0], grid.zero[:, 0], codes[:, place], errors)
        left[:, after] -= errors @ factor[here, after]
    return codes, Grid(bits, scales, zeros)


def _inverse_factor(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upper Cholesky factor of the inverse of the damped moments."""
    diagonal = np.arange(len(moments))
    damped = moments.copy()
    damped[diagonal, diagonal] += max(DAMPING * float(np.diag(moments).mean()), 1e-12)
    return np.ascontiguousarray(np.linalg.cholesky(np.linalg.inv(damped)).T)


@njit(nogil=True, cache=True)
def _round(left: Any, factor: Any, most: int, scales: Any, zeros: Any, codes: Any, errors: Any) -> None:
    """Round one block, row by row, into `codes`, and say in `errors` what the inputs of later blocks are to make up for."""
    rows, inputs = left.shape
    for row in range(rows):
        scale, zero = scales[row], zeros[row]
        for place in range(inputs):
            code = min(max(np.rint(left[row, place] / scale) + zero, 0.0), most)
            codes[row, place] = code
            error = (left[row, place] - (code - zero) * scale) / factor[place, place]
            errors[row, place] = error
            for later in range(place + 1, inputs):
                left[row, later] -= error * factor[place, later]
